"""Ranges of activations from calibration samples, and how much noise quantization adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CalibrationError, ShapeError
from ..ir import Array, Graph
from ..ir.execute import execute

USUAL = 1e3  # zero beside values of this magnitude has the range 1
LARGEST_ROOT = 1e18  # its square times many channels is still a float32
SAMPLED = 4096  # values a sample keeps of each activation for a percentile


def observer(method: str) -> Callable[[list[Array]], float]:
    """How the range comes from the samples: ``minmax`` or ``percentile:P`` (of absolute values).

    Raises CalibrationError for another method.
    """
    if method == "minmax":
        return lambda parts: float(max(np.abs(p).max() for p in parts))
    name, _, value = method.partition(":")
    try:
        percent = float(value)
    except ValueError:
        percent = 0.0
    if name != "percentile" or not 50 < percent <= 100:
        raise CalibrationError(
            f"unknown calibrator {method!r}; use minmax or percentile:P with P in (50, 100]"
        )
    return lambda parts: float(np.percentile(np.abs(np.concatenate(parts)), percent))


def ranges(
    graph: Graph, samples: Sequence[Array], method: str,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    see_logits: Callable[[Array], None] = lambda logits: None,
) -> dict[str, float]:  # fmt: skip
    """Largest absolute value of every float activation, by name. What is zero throughout has the
    range 1, or that of what it is made from where this is of another magnitude. ``see_logits`` is
    given the output of every sample.

    Raises CalibrationError when there are no samples, or for NaN or infinity, naming the sample or
    the layer.
    """
    reduce_parts = observer(method)
    if len(samples) == 0:
        raise CalibrationError("no calibration samples; give at least one (32 or more are better)")
    seen: dict[str, list[Array]] = {}
    whole = method == "minmax"
    layer = {name: n.layer for n in graph.nodes for name in n.makes}
    wanted = graph.inputs[0].type.shape
    for index, sample in enumerate(progress(samples)):
        if np.shape(sample) != wanted:
            raise ShapeError(
                f"calibration sample {index} has shape {np.shape(sample)}; the model takes {wanted}"
            )
        if not np.isfinite(sample).all():
            raise CalibrationError(f"calibration sample {index} holds NaN or infinity")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is named below
            values = execute(graph, {graph.inputs[0].name: sample})
        for name in dict.fromkeys([graph.inputs[0].name, *layer]):
            array = np.asarray(values[name], np.float32).reshape(-1)
            if not np.isfinite(array).all():
                raise CalibrationError(
                    f"{layer.get(name) or name} gives NaN or infinity for calibration sample "
                    f"{index}"
                )
            stride = 1 + len(array) // SAMPLED
            kept = np.abs(array).max(keepdims=True) if whole else array[::stride]
            seen.setdefault(name, []).append(kept)
        see_logits(values[graph.outputs[0].name])
    found = {name: reduce_parts(parts) for name, parts in seen.items()}
    return _zeros_filled(graph, found)


def _zeros_filled(graph: Graph, found: dict[str, float]) -> dict[str, float]:
    """``found`` with a range for what is zero; raises CalibrationError naming a layer_norm whose
    squares float32 cannot hold, so that the float model itself is wrong there."""
    for value in graph.inputs:
        found[value.name] = found[value.name] or 1.0
    for node in graph.nodes:
        peak = max((found[v.name] for v in node.inputs if v and v.name in found), default=1.0)
        if node.op.name == "layer_norm" and peak > LARGEST_ROOT:
            raise CalibrationError(
                f"{node.layer or node.name}: its input reaches {peak:.3g} and the squares overflow "
                "float32; scale the weights or the input before it down"
            )
        for name in node.makes:
            found[name] = found[name] or (1.0 if 1 / USUAL <= peak <= USUAL else peak)
    return found


@dataclass(frozen=True)
class Noise:
    """Signal-to-quantization-noise ratio of one layer's output, dB over all calibration samples."""

    layer: str
    op: str
    sqnr_db: float
    saturated: float


def noise(
    float_graph: Graph, graph: Graph, samples: Sequence[Array], encode: Callable[[Array], Array]
) -> list[Noise]:
    """Both graphs over the samples, compared value by value (same names): 10 log10(S / N)."""
    power: dict[str, list[float]] = {}
    for sample in samples:
        real = execute(float_graph, {float_graph.inputs[0].name: sample})
        exact = execute(graph, {graph.inputs[0].name: encode(sample)})
        for node in graph.nodes:
            value = node.outputs[0]
            if value is None or value.name not in real or not isinstance(value.type.scale, float):
                continue
            codes = exact[value.name]
            got = codes.astype(np.float64) * value.type.scale
            want = np.asarray(real[value.name], np.float64).reshape(got.shape)
            sums = power.setdefault(value.name, [0.0, 0.0, 0.0, 0.0])
            sums[0] += float((want**2).sum())
            sums[1] += float(((want - got) ** 2).sum())
            limit = np.iinfo(codes.dtype).max
            sums[2] += float((np.abs(codes.astype(np.int32)) == limit).sum())
            sums[3] += codes.size
    rows = []
    for node in graph.nodes:
        value = node.outputs[0]
        if value is not None and value.name in power:
            signal, error, clipped, count = power[value.name]
            ratio = 10 * np.log10(signal / error) if error > 0 and signal > 0 else np.inf
            rows.append(Noise(node.layer, node.op.name, float(ratio), clipped / count))
    return rows
