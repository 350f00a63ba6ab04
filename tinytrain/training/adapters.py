"""Low-rank adapters (Hu et al. 2021): small trained matrices beside frozen linear layers.

    y = x W^T + b + (x A^T) B^T,    A [r, C] random, B [O, r] zero at first

so that the model starts as it was. The paper's factor alpha / r is 1. On the int8 graph this is two
more ``linear_s8`` and an ``add_s8``, and what trains them is what trains any weight.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import SchemeError
from ..ir import Array, Build, Graph, Node, Value
from ..ir.execute import execute
from ..ir.numerics import multiplier
from ..ops.base import exact_matmul, scales_of
from ..ops.elementwise import add_attrs, add_s8
from ..ops.linear import linear_s8

DOWN, UP = "lora_a", "lora_b"  # for readers, behind the name of the layer
PARTS = {"down": DOWN, "up": UP}
HEADROOM = 2.0  # range of x A^T over the largest value that the first A gives


def attach(graph: Graph, ranks: Mapping[str, int], samples: Sequence[Array]) -> Graph:
    """Adapters beside linear layers of an int8 graph. All values keep their names and their bits.

    ``ranks``: layer to rank; ``samples``: encoded inputs that the range of x A^T is measured on.
    Raises SchemeError when there are no samples.
    """
    if not ranks:
        return graph
    if not samples:
        raise SchemeError("adapters need calibration samples, which their ranges are taken from")
    nodes = [n for n in graph.nodes if n.op is linear_s8 and n.layer in ranks]
    first = {node.layer: initial(node, ranks[node.layer]) for node in nodes}
    peaks = _peaks(graph, nodes, first, samples)
    build = Build(graph)
    build.nodes = []
    zeros: dict[int, Value] = {}
    for node in graph.nodes:
        if node in nodes:
            _adapt(build, node, *first[node.layer], HEADROOM * peaks[node.layer] / 127, zeros)
        else:
            build.append(node)
    return build.graph(graph.outputs)


def initial(node: Node, rank: int) -> tuple[Array, float]:
    """The first A of a layer, (int8 ``[r, C]``, scale): normal numbers of variance 1 / C. They
    depend on the layer's name alone, so that the model's scales are those of every run."""
    x = node.inputs[0]
    assert x is not None
    channels = x.type.shape[1]
    rng = np.random.default_rng(zlib.crc32(node.layer.encode()))
    real = rng.normal(0.0, channels**-0.5, (rank, channels))
    scale = float(np.abs(real).max()) / 127
    return np.rint(real / scale).astype(np.int8), scale


def up_scale(weight: Value, down: Array, scale: float) -> tuple[float, ...]:
    """s_B = s_W / (sqrt(r) rms(A)), one or one a channel: B of one step in every entry is then a
    change of W by one step in the root mean square, and B of 127 steps one by W's whole range."""
    rms = scale * math.sqrt(float(np.mean(np.square(down, dtype=np.float64))))
    return tuple(float(s) for s in scales_of(weight.type) / (math.sqrt(len(down)) * rms))


def _peaks(
    graph: Graph, nodes: Sequence[Node], first: Mapping[str, tuple[Array, float]],
    samples: Sequence[Array],
) -> dict[str, float]:  # fmt: skip
    """Largest |x A^T| of each layer over the samples; 1 where it is always zero."""
    largest = dict.fromkeys((node.layer for node in nodes), 0.0)
    for sample in samples:
        values = execute(graph, {graph.inputs[0].name: sample})
        for node in nodes:
            x = node.inputs[0]
            assert x is not None
            down, scale = first[node.layer]
            codes = int(np.abs(exact_matmul(values[x.name], down.T)).max())
            largest[node.layer] = max(largest[node.layer], codes * scale * x.type.tensor_scale)
    return {layer: peak or 1.0 for layer, peak in largest.items()}


def _adapt(
    build: Build, node: Node, down: Array, s_a: float, s_h: float, zeros: dict[int, Value]
) -> None:
    """The node, its adapter, and their sum under the name that the node's output had.

    The adapter's output has the scale of y: a sum of codes rounds to it anyway."""
    x, weight, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None and weight is not None and y is not None
    s_y = y.type.tensor_scale
    base = Value(build.fresh(f"{y.name}.base"), y.type)
    build.append(replace(node, outputs=(base,)))
    h = _linear(build, x, down, (s_a,), s_h, node.layer, "down", zeros)
    zero = np.zeros((y.type.shape[1], len(down)), np.int8)
    z = _linear(build, h, zero, up_scale(weight, down, s_a), s_y, node.layer, "up", zeros)
    build.append(Node(add_s8, (base, z), (y,), add_attrs(s_y, s_y, s_y), layer=node.layer))


def _linear(
    build: Build, x: Value, weight: Array, scales: tuple[float, ...], s_y: float, beside: str,
    role: Literal["down", "up"], zeros: dict[int, Value],
) -> Value:  # fmt: skip
    """``x weight^T`` with a trained weight and no bias, an adapter's matrix of a layer."""
    layer = f"{beside}.{PARTS[role]}"
    s_w = scales if len(scales) > 1 else scales[0]
    w = build.param(f"{layer}.weight.trained", weight, "trained", s_w, role=role, layer=beside)
    pairs = [multiplier(x.type.tensor_scale * s / s_y) for s in scales]
    mult, shift = (np.array(part, np.int32) for part in zip(*pairs, strict=True))
    constants = [
        build.param(f"{layer}.mult", mult, role="multiplier", layer=beside),
        build.param(f"{layer}.shift", shift, role="multiplier", layer=beside),
    ]
    bias = zeros.get(len(weight)) or build.param(
        f"lora.zero{len(weight)}", np.zeros(len(weight), np.int32)
    )
    zeros[len(weight)] = bias
    ins = [x, w, None, None, bias, None, *constants]
    return build.node(linear_s8, ins, layer, layer=layer, scale=s_y)[0]
