"""Gradients between layers: where activations saturated, the sum of two branches, and one exponent
for all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Op, Step, Type, Types
from ..ir.numerics import ZERO_EXPONENT, quantize_rows, split_scale, stochastic_shift, stream_key
from .base import need, need_gradient

FRACTION = 14  # bits below an integer step while two gradients are added


def grad_add_attrs(s_a: float, s_b: float) -> dict[str, int]:
    """The ratio s_b / s_a of the scales of both operands of ``grad_add_s8``."""
    rho, rho_e = split_scale(s_b / s_a)
    return {"rho_q14": round(rho * 2**FRACTION), "rho_e": rho_e}


def _row_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    """Rows, and elements in each: all axes but the first."""
    x = need(ins[0])
    return {"T": x.shape[0], "C": x.size // x.shape[0]}


def _mask_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    dims = _row_dims((need(types[0], "i8"),), (), attrs)
    return (Type((dims["T"], (dims["C"] + 7) // 8), "u8"),)


def _mask_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    rows = ins[0].reshape(len(ins[0]), -1)
    return (np.packbits(np.abs(rows.astype(np.int16)) == 127, axis=1, bitorder="little"),)


def _clip_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    g, bits = need(types[0], "i8"), need(types[1], "u8", 2)
    if (bits,) != _mask_infer((g,), attrs):
        raise ShapeError(f"clip_grad: mask {bits} does not fit {g}")
    return (g,)


def _clip_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    g, bits = ins
    clipped = np.unpackbits(bits, axis=1, count=g[0].size, bitorder="little").reshape(g.shape)
    return (np.where(clipped == 1, 0, g).astype(np.int8),)


def _add_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    a, b = need_gradient(types[0], types[1]), need_gradient(types[2], types[3])
    if a.shape != b.shape:
        raise ShapeError(f"grad_add: {a} and {b} differ in shape")
    ratio = grad_add_attrs(a.tensor_scale, b.tensor_scale)
    if any(attrs[name] != value for name, value in ratio.items()):
        raise ShapeError(f"grad_add: attributes do not fit the scales of {a} and {b}: {ratio}")
    return a, need(types[1])


def _shifted(x: Array, factor: int, down: Array) -> Array:
    """x * factor >> down, row by row; a shift over 30 gives 0."""
    return np.where(down > 30, 0, (x.astype(np.int64) * factor) >> np.minimum(down, 30))


def _add_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    a, b = (g.reshape(len(g), -1) for g in (ins[0], ins[2]))
    ea, eb = ins[1].astype(np.int64), ins[3].astype(np.int64) + attrs["rho_e"]
    e = np.maximum(ea, eb)
    acc = _shifted(a, 1 << FRACTION, (e - ea)[:, None])
    acc = acc + _shifted(b, attrs["rho_q14"], (e - eb)[:, None])
    key = stream_key(step.seed, step.step, attrs["stream"])
    out, found = quantize_rows(acc, e, -FRACTION, key)
    return out.reshape(ins[0].shape), found


def _add_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    names = ("rho_q14", "rho_e", "stream")
    return {**_row_dims(ins, outs, attrs), **{name: attrs[name] for name in names}}


def _align_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    return need_gradient(types[0], types[1]), Type((1,), "i16")


def _align_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e = ins
    largest = e.max()
    down = (int(largest) - e.astype(np.int64)).reshape(-1, *[1] * (g.ndim - 1))
    key = stream_key(step.seed, step.step, attrs["stream"])
    return stochastic_shift(g, down, key), np.array([largest], np.int16)


def _align_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return {**_row_dims(ins, outs, attrs), "stream": attrs["stream"]}


SHAPES: tuple[tuple[int, ...], ...] = ((1,), (1, 1), (3, 17), (8,), (17, 3), (2, 3, 5))


def _codes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Random codes, about a third of them saturated."""
    x = rng.integers(-190, 191, shape)
    return np.clip(x, -127, 127).astype(np.int8)


def _mask_examples(rng: np.random.Generator) -> list[Case]:
    cases = [Case((_codes(rng, s),), label=f"{s}") for s in SHAPES]
    return [*cases, Case((np.full((3, 3), -127, np.int8),), label="all saturated")]


def _clip_examples(rng: np.random.Generator) -> list[Case]:
    return [Case((_codes(rng, s), _mask_ref([_codes(rng, s)], {}, Step())[0]), label=f"{s}")
            for s in SHAPES]  # fmt: skip


def _add_examples(rng: np.random.Generator) -> list[Case]:
    """Rows whose exponents lie ``apart``; zero rows with ZERO_EXPONENT, and as clipping leaves
    them."""
    cases = []
    for shape in SHAPES:
        for apart in (0, 1, -3, 9, -14, 31, -40, 200):
            for zero in ("", "a", "b", "ab", "clipped"):
                a, b = _codes(rng, shape), _codes(rng, shape)
                if apart == 1:
                    a, b = (np.sign(x) * np.int8(127) for x in (a, b))
                ea = rng.integers(-30, 4, len(a)).astype(np.int16)
                eb = (ea + apart).astype(np.int16)
                for x, e, who in ((a, ea, "a"), (b, eb, "b")):
                    some = rng.random(len(x)) < 0.7
                    if who in zero:
                        x[some], e[some] = 0, ZERO_EXPONENT
                    elif zero == "clipped":
                        x[some] = 0
                s_a, s_b = (float(s) for s in rng.uniform(0.01, 1.0, 2))
                attrs = {**grad_add_attrs(s_a, s_b), "stream": 6}
                scales = (s_a, None, s_b, None)
                cases.append(Case((a, ea, b, eb), attrs, scales, f"{shape} {apart} {zero}"))
    return cases


def _align_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for shape in SHAPES:
        for spread in (1, 8, 40):
            g, e = _codes(rng, shape), rng.integers(-spread, 1, shape[0]).astype(np.int16)
            cases.append(Case((g, e), {"stream": 3}, label=f"{shape} spread {spread}"))
            g, e = g.copy(), e.copy()
            g[1::2], e[1::2] = 0, ZERO_EXPONENT
            cases.append(Case((g, e), {"stream": 3}, label=f"{shape} spread {spread} zero rows"))
        nothing = (np.zeros(shape, np.int8), np.full(shape[0], ZERO_EXPONENT, np.int16))
        cases.append(Case(nothing, {"stream": 3}, label=f"{shape} nothing"))
    return cases


clip_mask_u8 = Op(
    "clip_mask_u8", _mask_infer, _mask_ref, _row_dims, rowwise=(0,), examples=_mask_examples,
)  # fmt: skip
clip_grad_s8 = Op(
    "clip_grad_s8", _clip_infer, _clip_ref, _row_dims, inplace=((0, 0),), rowwise=(0, 1),
    examples=_clip_examples,
)  # fmt: skip
grad_add_s8 = Op(
    "grad_add_s8", _add_infer, _add_ref, _add_dims, uses_step=True,
    inplace=((0, 0), (0, 2), (1, 1), (1, 3)), bound=lambda ins, a: 2 * 127 * 2**FRACTION,
    rowwise=(0, 1, 2, 3), examples=_add_examples,
)  # fmt: skip
align_grad_s8 = Op(
    "align_grad_s8", _align_infer, _align_ref, _align_dims, uses_step=True, inplace=((0, 0),),
    examples=_align_examples,
)  # fmt: skip
OPS = (clip_mask_u8, clip_grad_s8, grad_add_s8, align_grad_s8)
