"""A weight update in two steps: the sum over rows, which may be collected a few rows at a time, and
the step. Together they are ``linear_update_s8``, bit for bit; worth it where the accumulators are
fewer bytes than the rows that would have to wait for the update, as with low-rank adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Graph, Node, Op, Step, Type, Types, Value
from ..numerics import stream_key
from .base import exact_matmul, need
from .update import PRODUCT, linear_update_s8, step_weights, update_bound, update_examples


def summed(graph: Graph) -> Graph:
    """The graph with updates in two steps where that takes less memory: 4 bytes an accumulator, for
    O output channels, against T rows of the input. The alignment of such a gradient stands right
    behind it, so that what it is multiplied with can be made, and summed up, in a later loop."""
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _two_steps(node) if node.op is linear_update_s8 else [node]
    summed_up = {n.inputs[0].name for n in nodes if n.op is weight_sums_s32 and n.inputs[0]}
    early = {n.inputs[0].name: n for n in nodes if n.name in summed_up and n.inputs[0]}
    found: list[Node] = []
    for node in nodes:
        if node.name not in summed_up:
            found.append(node)
            found += [early[v.name] for v in node.outputs if v is not None and v.name in early]
    return graph.with_nodes(found)


def _two_steps(node: Node) -> list[Node]:
    g, e, x, w, fraction, moment, coefs, rows = node.inputs
    assert g is not None and x is not None and w is not None
    if rows is not None or 4 * w.type.shape[0] >= x.type.shape[0]:
        return [node]
    acc = Value(f"{node.name}.sums", Type(w.type.shape, "i32"))
    sums = Node(weight_sums_s32, (g, x), (acc,), {"layer": node.layer})
    step = replace(node, op=weight_step_s8, inputs=(acc, e, w, fraction, moment, coefs),
                   attrs={**node.attrs, "tokens": x.type.shape[0]})  # fmt: skip
    return [sums, step]


def _sums_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    g, x = need(types[0], "i8", 2), need(types[1], "i8", 2)
    if g.shape[0] != x.shape[0]:
        raise ShapeError(f"weight_sums: gradient {g} and input {x} differ in rows")
    return (Type((g.shape[1], x.shape[1]), "i32"),)


def _sums_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    g, x = ins
    return (exact_matmul(g.T, x).astype(np.int32),)


def _sums_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, x = need(ins[0]), need(ins[1])
    return {"T": g.shape[0], "C": x.shape[1], "O": g.shape[1]}


def _sums_examples(rng: np.random.Generator) -> list[Case]:
    return [
        Case((case.inputs[0], case.inputs[2]), label=case.label)
        for case in update_examples(rng)
        if case.inputs[7] is None
    ]


def _step_infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    acc, _, w, fraction, moment, coefs = types
    acc, w = need(acc, "i32", 2), need(w, "i8", 2)
    if acc.shape != w.shape:
        raise ShapeError(f"weight_step: accumulators {acc} do not fit weight {w}")
    if (moment is None) == (coefs is None):
        raise ShapeError("weight_step: give either the moment (lsb rule) or coefficients (sgd)")
    return w, fraction, moment


def _step_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array | None, ...]:
    acc, e, w, fraction, moment, coefs = ins
    key = stream_key(step.seed, step.step, attrs["stream"])
    order = np.arange(len(w))
    wide = acc.astype(np.int64)
    return step_weights(wide, order, int(e[0]), w, fraction, moment, coefs, key, step)


def _step_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    acc, coefs = need(ins[0]), ins[5]
    many = int(coefs is not None and coefs.shape[0] > 1)
    return {"C": acc.shape[1], "O": acc.shape[0], "per_channel": many, "stream": attrs["stream"]}


def _step_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for case in update_examples(rng):
        g, e, x, w, fraction, moment, coefs, rows = case.inputs
        assert g is not None and x is not None
        if rows is None:
            acc = exact_matmul(g.T, x).astype(np.int32)
            ins = (acc, e, w, fraction, moment, coefs)
            cases.append(Case(ins, {**case.attrs, "tokens": len(x)}, label=case.label))
    return cases


weight_sums_s32 = Op(
    "weight_sums_s32", _sums_infer, _sums_ref, _sums_dims, uses_step=True,
    macs=lambda ins, a: need(ins[0]).size * need(ins[1]).shape[1],
    bound=lambda ins, a: PRODUCT * need(ins[0]).shape[0],
    rowwise=(0, 1), sums=True, examples=_sums_examples,
)  # fmt: skip
weight_step_s8 = Op(
    "weight_step_s8", _step_infer, _step_ref, _step_dims, uses_step=True,
    updates=((0, 2), (1, 3), (2, 4)),
    bound=lambda ins, a: update_bound((Type((a["tokens"],), "i8"), None, None, ins[2]), a),
    examples=_step_examples,
)  # fmt: skip
OPS = (weight_sums_s32, weight_step_s8)
