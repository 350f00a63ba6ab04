"""Operators that move, choose or average tokens, and their gradients.

A gradient that only moves keeps its codes and their scale; each row takes its exponent along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types
from ..ir.numerics import ZERO_EXPONENT, clamp, multiplier, requantize
from .base import Backward, Grad, need, need_gradient
from .elementwise import add_attrs, codes, rearranged, scaled, spread_rows

Grads = tuple[Grad | None, ...]


def mean_attrs(tokens: int, s_x: float, s_y: float) -> dict[str, Any]:
    """The attributes of ``mean_tokens_s8``."""
    mult, shift = multiplier(s_x / (tokens * s_y))
    return {"scale": s_y, "mult": mult, "shift": shift}


def _rows(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    rows, channels = need(ins[0]).shape
    return {"T": rows, "C": channels}


def moved(b: Backward, op: Op, gy: Grad | None, name: str, node: Node, **attrs: Any) -> Grad:
    """The gradient through an op that moves whole rows."""
    assert gy
    name = f"{node.layer or node.name}.{name}"
    value, exponent = b.node(op, [gy.value, gy.exponent], name, **attrs, layer=node.layer)
    return Grad(value, exponent)


def _mean_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x = need(types[0], "i8", 2)
    return (Type((1, x.shape[1]), "i8", attrs["scale"]),)


def _mean_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    acc = ins[0].astype(np.int64).sum(axis=0, keepdims=True)
    return (clamp(requantize(acc, attrs["mult"], attrs["shift"]), 127),)


def _mean_grad(b: Backward, node: Node, grads: Grads, wanted: tuple[bool, ...]) -> Any:
    gy, x = grads[0], node.inputs[0]
    assert gy and x
    tokens = x.type.shape[0]
    scale = gy.value.type.tensor_scale / tokens
    return (moved(b, broadcast_tokens_s8, gy, "dx", node, tokens=tokens, scale=scale),)


def _broadcast_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, tokens = need(need_gradient(*types), rank=2), attrs["tokens"]
    if g.shape[0] != 1:
        raise ShapeError(f"broadcast_tokens: one token is needed, got {g}")
    return Type((tokens, g.shape[1]), "i8", attrs["scale"]), Type((tokens,), "i16")


def _select_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x = need(types[0], "i8", 2)
    if not 0 <= attrs["index"] < x.shape[0]:
        raise ShapeError(f"select_token: {x} has no token {attrs['index']}")
    return (replace(x, shape=(1, x.shape[1])),)


def _select_grad(b: Backward, node: Node, grads: Grads, wanted: tuple[bool, ...]) -> Any:
    tokens, index = need(node.in_types()[0]).shape[0], node.attrs["index"]
    return (moved(b, scatter_token_s8, grads[0], "dx", node, tokens=tokens, index=index),)


def _scatter_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, tokens = need(need_gradient(*types), rank=2), attrs["tokens"]
    if g.shape[0] != 1 or not 0 <= attrs["index"] < tokens:
        raise ShapeError(f"scatter_token: {g} to {attrs['index']} of {tokens}")
    return replace(g, shape=(tokens, g.shape[1])), Type((tokens,), "i16")


def _scatter_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e = ins
    gx = np.zeros((attrs["tokens"], g.shape[1]), np.int8)
    gx_exp = np.full(attrs["tokens"], ZERO_EXPONENT, np.int16)
    gx[attrs["index"]], gx_exp[attrs["index"]] = g[0], e[0]
    return gx, gx_exp


def _scatter_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return _rows(outs, ins, attrs) | {"index": attrs["index"]}


def _embedding_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    ids, table = need(types[0], rank=1), need(types[1], "i8", 2)
    if ids.dtype not in ("u8", "u16") or isinstance(table.scale, tuple):
        raise ShapeError(f"embedding: {ids} of {table}: u8 or u16, and one scale, are needed")
    return (replace(table, shape=(ids.shape[0], table.shape[1])),)


def _embedding_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    ids, table = ins
    return (table[np.minimum(ids.astype(np.int64), len(table) - 1)],)


def _embedding_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    ids, table = need(ins[0]), need(ins[1])
    return {"T": ids.shape[0], "C": table.shape[1], "V": table.shape[0],
            "id_bytes": 1 if ids.dtype == "u8" else 2}  # fmt: skip


def _permute_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, axes = need(types[0], "i8"), tuple(attrs["axes"])
    if len(x.shape) > 4 or sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(f"permute: axes {axes} of {x} (at most 4)")
    if isinstance(x.scale, tuple):
        raise ShapeError(f"permute: one scale is needed, got {x}")
    return (replace(x, shape=tuple(x.shape[a] for a in axes)),)


def _permute_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    shape = need(ins[0]).shape
    pad = 4 - len(shape)
    sizes = (1,) * pad + shape
    axes = (*range(pad), *(a + pad for a in attrs["axes"]))
    return {f"n{i}": n for i, n in enumerate(sizes)} | {f"a{i}": a for i, a in enumerate(axes)}


def _permute_grad(b: Backward, node: Node, grads: Grads, wanted: tuple[bool, ...]) -> Any:
    gy, inverse = grads[0], tuple(int(a) for a in np.argsort(node.attrs["axes"]))
    assert gy
    return (rearranged(b, permute_s8, gy, node, axes=inverse),)


def _concat_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    a, b = need(types[0], "i8", 2), need(types[1], "i8", 2)
    if a.shape[1] != b.shape[1]:
        raise ShapeError(f"concat_tokens: {a} and {b} have different channels")
    return (Type((a.shape[0] + b.shape[0], a.shape[1]), "i8", attrs["scale"]),)


def _concat_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    a, b = (v.astype(np.int64) for v in ins)
    return (scaled(np.concatenate([a * attrs["ma"], b * attrs["mb"]]), attrs["shift"]),)


def _concat_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    a, b = need(ins[0]), need(ins[1])
    return {"T1": a.shape[0], "T2": b.shape[0], "C": a.shape[1], "ma": attrs["ma"],
            "mb": attrs["mb"], "shift": attrs["shift"]}  # fmt: skip


def _concat_grad(b: Backward, node: Node, grads: Grads, wanted: tuple[bool, ...]) -> Any:
    counts = [need(kind).shape[0] for kind in node.in_types()]
    parts = ((0, counts[0]), (counts[0], counts[1]))
    return tuple(
        moved(b, slice_tokens_s8, grads[0], f"dx{i}", node, first=first, count=count)
        if wanted[i] else None for i, (first, count) in enumerate(parts)
    )  # fmt: skip


def _slice_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g = need(need_gradient(*types), rank=2)
    first, count = attrs["first"], attrs["count"]
    if not (first >= 0 and count >= 1 and first + count <= g.shape[0]):
        raise ShapeError(f"slice_tokens: {g} has no tokens {first} to {first + count - 1}")
    return replace(g, shape=(count, g.shape[1])), Type((count,), "i16")


def _slice_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    rows = slice(attrs["first"], attrs["first"] + attrs["count"])
    return ins[0][rows].copy(), ins[1][rows].copy()


SHAPES = ((1, 1), (1, 17), (3, 1), (3, 3), (17, 5))


def _mean_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c in SHAPES:
        for s_y in (0.02, 1e-4, 1e3):
            attrs = mean_attrs(t, 0.03, s_y)
            cases.append(Case((codes(rng, t, c),), attrs, (0.03,), label=f"T{t} C{c} {s_y}"))
    for v in (127, -127):
        attrs = mean_attrs(17, 0.03, 0.03)
        cases.append(Case((np.full((17, 3), v, np.int8),), attrs, (0.03,), label=f"all {v}"))
    return cases


def _one_token_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c in SHAPES:
        for i in {0, t // 2, t - 1}:
            attrs = {"tokens": t, "index": i, "scale": 0.2}
            cases.append(Case(spread_rows(rng, codes(rng, 1, c)), attrs, label=f"{i} of {t} C{c}"))
    nothing = (np.zeros((1, 3), np.int8), np.array([ZERO_EXPONENT], np.int16))
    attrs = {"tokens": 3, "index": 1, "scale": 0.2}
    return [*cases, Case(nothing, attrs, label="no gradient")]


def _select_examples(rng: np.random.Generator) -> list[Case]:
    return [
        Case((codes(rng, t, c),), {"index": i}, (0.03,), label=f"{i} of {t} C{c}")
        for t, c in SHAPES for i in {0, t // 2, t - 1}
    ]  # fmt: skip


def _embedding_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c in SHAPES:
        for rows, kind in ((1, np.uint8), (97, np.uint8), (300, np.uint16)):
            ids = rng.integers(0, rows, t).astype(kind)
            ids[0] = np.iinfo(kind).max  # corrupted
            ins = (ids, codes(rng, rows, c))
            cases.append(Case(ins, scales=(None, 0.03), label=f"T{t} C{c} V{rows}"))
    return cases


def _permute_examples(rng: np.random.Generator) -> list[Case]:
    kinds = (((7,), (0,)), ((3, 17), (1, 0)), ((2, 3, 5), (1, 2, 0)), ((4, 1, 3), (2, 1, 0)),
             ((2, 3, 4, 5), (0, 2, 1, 3)), ((2, 3, 4, 5), (3, 0, 2, 1)))  # fmt: skip
    return [
        Case((codes(rng, *shape),), {"axes": axes}, (0.03,), label=f"{shape} {axes}")
        for shape, axes in kinds
    ]


def _concat_examples(rng: np.random.Generator) -> list[Case]:
    return [
        Case((codes(rng, t, c), codes(rng, t2, c)), add_attrs(s_a, 0.04, 0.05), (s_a, 0.04),
             label=f"T{t}+{t2} C{c}")
        for t, c in SHAPES for t2 in (1, 4) for s_a in (0.05, 1e-3)
    ]  # fmt: skip


def _slice_examples(rng: np.random.Generator) -> list[Case]:
    return [
        Case(spread_rows(rng, codes(rng, t, c)), {"first": f, "count": n}, (0.03, None),
             label=f"{f}+{n} of {t} C{c}")
        for t, c in SHAPES for f, n in {(0, t), (t - 1, 1), (t // 2, t - t // 2)}
    ]  # fmt: skip


mean_tokens_s8 = Op(
    "mean_tokens_s8", _mean_infer, _mean_ref,
    lambda ins, outs, a: _rows(ins, outs, a) | {"mult": a["mult"], "shift": a["shift"]},
    grad=_mean_grad, real=lambda ins, a: ins[0].mean(axis=0, keepdims=True),
    bound=lambda ins, a: 128 * need(ins[0]).shape[0], examples=_mean_examples,
)  # fmt: skip
broadcast_tokens_s8 = Op(
    "broadcast_tokens_s8", _broadcast_infer,
    lambda ins, a, step: tuple(np.repeat(v, a["tokens"], axis=0) for v in ins),
    lambda ins, outs, a: _rows(outs, ins, a), examples=_one_token_examples,
)  # fmt: skip
select_token_s8 = Op(
    "select_token_s8", _select_infer,
    lambda ins, a, step: (ins[0][a["index"] : a["index"] + 1].copy(),),
    lambda ins, outs, a: {"C": need(outs[0]).shape[1], "index": a["index"]},
    grad=_select_grad, real=lambda ins, a: ins[0][a["index"] : a["index"] + 1],
    examples=_select_examples,
)  # fmt: skip
scatter_token_s8 = Op(
    "scatter_token_s8", _scatter_infer, _scatter_ref, _scatter_dims, examples=_one_token_examples
)
embedding_s8 = Op(
    "embedding_s8", _embedding_infer, _embedding_ref, _embedding_dims, rowwise=(0,),
    examples=_embedding_examples,
)  # fmt: skip
permute_s8 = Op(
    "permute_s8", _permute_infer,
    lambda ins, a, step: (np.ascontiguousarray(np.transpose(ins[0], a["axes"])),),
    _permute_dims, grad=_permute_grad, real=lambda ins, a: np.transpose(ins[0], a["axes"]),
    examples=_permute_examples,
)  # fmt: skip
concat_tokens_s8 = Op(
    "concat_tokens_s8", _concat_infer, _concat_ref, _concat_dims, grad=_concat_grad,
    real=lambda ins, a: np.concatenate(ins),
    bound=lambda ins, a: 128 * max(a["ma"], a["mb"]) + 2 ** (a["shift"] - 1),
    examples=_concat_examples,
)  # fmt: skip
slice_tokens_s8 = Op(
    "slice_tokens_s8", _slice_infer, _slice_ref,
    lambda ins, outs, a: {"C": need(outs[0]).shape[1], "first": a["first"], "count": a["count"]},
    examples=_slice_examples,
)  # fmt: skip
OPS = (
    mean_tokens_s8, broadcast_tokens_s8, select_token_s8, scatter_token_s8, embedding_s8,
    permute_s8, concat_tokens_s8, slice_tokens_s8,
)  # fmt: skip
