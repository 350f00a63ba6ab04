"""Weight updates in two steps: the sum over rows, which may be collected a few rows at a time, and
the step. For weights with few inputs or outputs, such as low-rank adapters.

The accumulators take fewer bytes than the rows that would have to wait for an update that reads
them at once, and rows keep exponents of their own: no alignment, which would need all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Op, Step, Type, Types
from ..ir.numerics import ZERO_EXPONENT, stream_key
from .base import need, need_gradient
from .elementwise import spread_rows
from .update import PRODUCT, SHAPES, codes, step_weights, update_bound, update_examples


def collects(rows: int, outputs: int, inputs: int) -> bool:
    """Whether int32 accumulators of a weight are fewer bytes than int8 rows of what it reads."""
    return rows > 1 and 4 * min(outputs, inputs) < rows


def _sums_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, x = need_gradient(need(types[0], "i8", 2), types[1]), need(types[2], "i8", 2)
    if g.shape[0] != x.shape[0]:
        raise ShapeError(f"weight_sums: gradient {g} and input {x} differ in rows")
    return Type((g.shape[1], x.shape[1]), "i32"), Type((1,), "i16")


def _sums_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    """acc = sum_t 2**(e[t] - top) g[t]^T x[t], row after row: ``top`` is the largest exponent so
    far; when it rises, what is there is shifted, otherwise the products. Rounded half up."""
    g, exponents, x = ins
    acc, top = np.zeros((g.shape[1], x.shape[1]), np.int64), ZERO_EXPONENT
    for row, e, inputs in zip(g.astype(np.int64), exponents.tolist(), x, strict=True):
        if e > top:
            acc = _halved(acc, e - top)
            top = e
        acc += _halved(np.outer(row, inputs), top - e)
    return acc.astype(np.int32), np.array([top], np.int16)


def _halved(values: Array, times: int) -> Array:
    """values / 2**times, rounded half up; nothing is left after 30 times."""
    if times == 0:
        return values
    return values * 0 if times > 30 else (values + (1 << (times - 1))) >> times


def _sums_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, x = need(ins[0]), need(ins[2])
    return {"T": g.shape[0], "C": x.shape[1], "O": g.shape[1]}


def _sums_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c, o in SHAPES:
        for kind in ("rows", "zero", "far"):
            g, e = spread_rows(rng, codes(rng, t, o))
            if kind == "zero":
                g, e = g * np.int8(0), np.full(t, ZERO_EXPONENT, np.int16)
            if kind == "far":
                e = rng.choice([-40, -12, -3, ZERO_EXPONENT], t).astype(np.int16)
            cases.append(Case((g, e, codes(rng, t, c)), label=f"T{t} C{c} O{o} {kind}"))
    return cases


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
    order, wide = np.arange(len(w)), acc.astype(np.int64)
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
            acc = (g.astype(np.int32).T @ x).astype(np.int32)
            ins = (acc, e, w, fraction, moment, coefs)
            cases.append(Case(ins, {**case.attrs, "tokens": len(x)}, label=case.label))
    return cases


weight_sums_s32 = Op(
    "weight_sums_s32", _sums_infer, _sums_ref, _sums_dims, uses_step=True,
    macs=lambda ins, a: need(ins[0]).size * need(ins[2]).shape[1],
    bound=lambda ins, a: (PRODUCT + 1) * need(ins[0]).shape[0],
    rowwise=(0, 1, 2), sums=True, examples=_sums_examples,
)  # fmt: skip
weight_step_s8 = Op(
    "weight_step_s8", _step_infer, _step_ref, _step_dims, uses_step=True,
    updates=((0, 2), (1, 3), (2, 4)),
    bound=lambda ins, a: update_bound((Type((a["tokens"],), "i8"), None, None, ins[2]), a),
    examples=_step_examples,
)  # fmt: skip
OPS = (weight_sums_s32, weight_step_s8)
