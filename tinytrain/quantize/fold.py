"""LayerNorm without its affine part: gamma and beta move into the linear layers that read it.

W' = W diag(gamma), b' = b + W beta. Reading may go through token pooling, which commutes with a
factor per channel. Where another operator reads the norm (post-norm residuals), an explicit
``affine`` stays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Array, Build, Graph, Node, Value
from ..ops.floating import FLOAT_OPS

LINEAR, NORM, AFFINE = (FLOAT_OPS[name] for name in ("linear", "layer_norm", "affine"))
THROUGH = (FLOAT_OPS["mean_tokens"], FLOAT_OPS["select_token"], FLOAT_OPS["sequence_pool"])


def fold_norms(graph: Graph) -> Graph:
    """Float graph in, the same function out, with every ``layer_norm`` of gamma 1 and beta 0."""
    return _fold(graph)[0]


def folded_gains(graph: Graph) -> dict[str, tuple[Array, Array]]:
    """Linear layer -> (gamma, beta) that ``fold_norms`` moves into it."""
    return _fold(graph)[1]


def _fold(graph: Graph) -> tuple[Graph, dict[str, tuple[Array, Array]]]:
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            if value is not None:
                readers.setdefault(value.name, []).append(node)
    build = Build(graph)
    build.nodes = []
    renamed: dict[str, Value] = {}
    scaled: dict[str, tuple[Array, Array]] = {}
    moved: dict[str, tuple[Array, Array]] = {}
    for node in graph.nodes:
        inputs = tuple(renamed.get(v.name, v) if v is not None else None for v in node.inputs)
        node = replace(node, inputs=inputs)
        if node.op is NORM:
            _fold_one(build, node, readers, graph, renamed, scaled)
        elif node.op is LINEAR and inputs[0] is not None and inputs[0].name in scaled:
            moved[node.layer] = scaled[inputs[0].name]
            build.append(_folded_linear(build, node, moved[node.layer]))
        else:
            if node.op in THROUGH and inputs[0] is not None and inputs[0].name in scaled:
                assert node.outputs[0] is not None
                scaled[node.outputs[0].name] = scaled[inputs[0].name]
            build.append(node)
    outputs = [renamed.get(v.name, v) for v in graph.outputs]
    return build.graph(outputs), moved


def _fold_one(
    build: Build, node: Node, readers: dict[str, list[Node]], graph: Graph,
    renamed: dict[str, Value], scaled: dict[str, tuple[Array, Array]],
) -> None:  # fmt: skip
    x, gamma, beta = node.inputs
    y = node.outputs[0]
    assert y is not None and gamma is not None and beta is not None
    g, b = graph.params[gamma.name].data, graph.params[beta.name].data
    if bool((g == 1).all() and (b == 0).all()):
        build.append(node)
        return
    one = build.param(f"{node.layer}.one", np.ones_like(g))
    zero = build.param(f"{node.layer}.zero", np.zeros_like(b))
    if _only_linear_reads(y, readers, graph):
        build.append(replace(node, inputs=(x, one, zero)))
        scaled[y.name] = (g, b)
        return
    (unit,) = build.node(NORM, [x, one, zero], f"{y.name}.unit", **node.attrs)
    (shifted,) = build.node(AFFINE, [unit, gamma, beta], f"{y.name}.affine", layer=node.layer)
    renamed[y.name] = shifted


def _only_linear_reads(y: Value, readers: dict[str, list[Node]], graph: Graph) -> bool:
    if any(v.name == y.name for v in graph.outputs):
        return False
    for node in readers.get(y.name, []):
        if node.op in THROUGH and y not in node.inputs[1:]:
            out = node.outputs[0]
            if out is None or not _only_linear_reads(out, readers, graph):
                return False
        elif node.op is not LINEAR:
            return False
    return True


def _folded_linear(build: Build, node: Node, norm: tuple[Array, Array]) -> Node:
    x, w, b = node.inputs
    assert w is not None and b is not None
    gamma, beta = norm
    weight, bias = build.params[w.name].data, build.params[b.name].data
    new_w = build.param(f"{w.name}.folded", (weight * gamma).astype(np.float32))
    new_b = build.param(f"{b.name}.folded", (bias + weight @ beta).astype(np.float32))
    return replace(node, inputs=(x, new_w, new_b))
