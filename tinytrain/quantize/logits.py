"""What int16 logits of 1/256 nat can hold of a model's logits, which softmax alone reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import CalibrationError
from ..ir import Array
from ..ops.loss import LOGIT_SCALE

LOW, HIGH = -(2**15) * LOGIT_SCALE, (2**15 - 1) * LOGIT_SCALE  # nat


@dataclass
class Logits:
    """The largest, the second and the smallest logit of each row of the calibration samples."""

    rows: list[Array] = field(default_factory=list)

    def see(self, logits: Array) -> None:
        """``logits`` ``[T, V]`` in nat."""
        real = np.asarray(logits, np.float64)
        tops = np.partition(real, -2, axis=1)[:, -2:] if real.shape[1] > 1 else real[:, [0, 0]]
        self.rows.append(np.column_stack([tops[:, 1], tops[:, 0], real.min(axis=1)]))


def centre_of(logits: Logits, layer: str) -> float:
    """What is subtracted from every bias of the head, in nat: 0 where all logits fit, else the
    middle of their range, which softmax does not see.

    Raises CalibrationError naming ``layer`` when the largest two logits of a sample would be one
    code all the same though they differ, or when all logits would be 0 though none of them is.
    """
    seen = np.concatenate(logits.rows)
    top, second, least = seen.T
    peak, bottom = float(top.max()), float(least.min())
    centre = 0.0 if bottom >= LOW and peak <= HIGH else (peak + bottom) / 2
    lost = (top > second) & ((second - centre >= HIGH) | (top - centre <= LOW))
    if lost.any():
        raise CalibrationError(
            f"{layer}: logits from {bottom:.4g} to {peak:.4g} nat do not fit the {LOW:.0f} to "
            f"{HIGH:.0f} that the device holds: {int(lost.sum())} of {len(seen)} calibration rows "
            "would lose which class is the largest; make the head's weights smaller, or normalise "
            "what it reads (nn.LayerNorm)"
        )
    largest = float(np.abs(seen - centre).max())
    if 0 < largest < LOGIT_SCALE / 2:
        raise CalibrationError(
            f"{layer}: no logit differs by more than {largest:.3g} nat from "
            f"{centre:.4g}, and the device counts in 1/256: all would be read as the same; "
            "make the head's weights larger, or set weight and bias to 0 to begin anew"
        )
    return centre
