"""Post-training quantization: float graph and calibration samples -> int8 graph, noise report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir import Array, Graph
from .calibrate import Noise, noise, ranges
from .codec import Codec
from .fold import fold_norms
from .logits import Logits
from .lower import Lowering, finite

__all__ = ["Noise", "Quantized", "quantize"]

KEPT = 32  # calibration samples at most


@dataclass(frozen=True)
class Quantized:
    """``graph``: int8 forward graph, its output int16 logits. ``report``: SQNR of each layer.
    ``samples``: some calibration samples as the graph reads them."""

    graph: Graph
    report: tuple[Noise, ...]
    samples: tuple[Array, ...] = ()


def quantize(
    graph: Graph, samples: Sequence[Array], *, weight_scales: str = "tensor",
    calibrator: str = "minmax", report_samples: int = 8,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Quantized:  # fmt: skip
    """Calibrate on ``samples`` (each without batch dimension) and lower to int8.

    ``weight_scales``: ``tensor`` or ``channel``; ``calibrator``: ``minmax`` or ``percentile:P``.
    Where logits would not fit int16 for an offset that they share, the head's bias is centred.
    Raises CalibrationError for NaN in weights or samples and for magnitudes that int8 cannot hold,
    naming the layer, UnsupportedOp for what has no int8 form.
    """
    for name, param in graph.params.items():
        finite(param.data, name)
    folded = fold_norms(graph)
    logits = Logits()
    found = ranges(folded, samples, calibrator, progress, logits.see)
    lowered = Lowering(folded, found, weight_scales == "channel", logits).run()
    codec = Codec(lowered.inputs[0].type, 1, lowered.outputs[0].type.shape, True, ())
    rows = noise(folded, lowered, samples[:report_samples], codec.quantize_input)
    kept = samples[:: -(-len(samples) // KEPT)]
    return Quantized(lowered, tuple(rows), tuple(codec.quantize_input(s) for s in kept))
