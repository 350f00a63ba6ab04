"""Gradients between layers: where activations saturated, and the sum of two branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Op, Step, Type, Types
from ..numerics import quantize_gradient, split_scale, stream_key
from .base import need

FRACTION = 14  # bits below an integer step while two gradients are added


def grad_add_attrs(s_a: float, s_b: float) -> dict[str, int]:
    """The ratio s_b / s_a of the scales of both operands of ``grad_add_s8``."""
    rho, rho_e = split_scale(s_b / s_a)
    return {"rho_q14": round(rho * 2**FRACTION), "rho_e": rho_e}


def _mask_bytes(kind: Type) -> int:
    return (kind.size + 7) // 8


def _mask_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    return (Type((_mask_bytes(need(types[0], "i8")),), "u8"),)


def _mask_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    return (np.packbits(np.abs(ins[0].astype(np.int16)).reshape(-1) == 127, bitorder="little"),)


def _clip_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    g, bits = need(types[0], "i8"), need(types[1], "u8", 1)
    if bits.shape[0] != _mask_bytes(g):
        raise ShapeError(f"clip_grad: {bits.shape[0]} bytes of mask for {g}")
    return (g,)


def _clip_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    g, bits = ins
    clipped = np.unpackbits(bits, count=g.size, bitorder="little").reshape(g.shape)
    return (np.where(clipped == 1, 0, g).astype(np.int8),)


def _size(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return {"n": need(ins[0]).size}


def _add_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    a, ea, b, eb = need(types[0], "i8"), need(types[1], "i32"), need(types[2], "i8"), types[3]
    if a.shape != b.shape:
        raise ShapeError(f"grad_add: {a} and {b} differ in shape")
    if ea.shape != (1,) or need(eb, "i32").shape != (1,):
        raise ShapeError("grad_add: both operands need one exponent, not one a head")
    ratio = grad_add_attrs(a.tensor_scale, b.tensor_scale)
    if any(attrs[name] != value for name, value in ratio.items()):
        raise ShapeError(f"grad_add: attributes do not fit the scales of {a} and {b}: {ratio}")
    return a, Type((1,), "i32")


def _aligned(x: Array, factor: int, down: int) -> Array:
    """x * factor >> down; an operand that is all zero may have a negative ``down``."""
    if down > 30:
        return np.zeros(x.shape, np.int64)
    return (x.astype(np.int64) * factor) >> np.int64(max(0, down))


def _add_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    a, ea, b, eb = ins[0], int(ins[1][0]), ins[2], int(ins[3][0]) + attrs["rho_e"]
    present = [e for x, e in ((a, ea), (b, eb)) if x.any()]
    exponent = max(present or [ea, eb])
    acc = _aligned(a, 1 << FRACTION, exponent - ea) + _aligned(b, attrs["rho_q14"], exponent - eb)
    out, shift = quantize_gradient(acc, stream_key(step.seed, step.step, attrs["stream"]))
    return out, np.array([exponent - FRACTION + shift], np.int32)


def _add_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    names = ("rho_q14", "rho_e", "stream")
    return {"n": need(ins[0]).size, **{name: attrs[name] for name in names}}


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
    cases = []
    for shape in SHAPES:
        for apart in (0, 1, -3, 9, -14, 31, -40, 200):
            for zero in ("", "a", "b", "ab"):
                a, b = _codes(rng, shape), _codes(rng, shape)
                a, b = (x * 0 if who in zero else x for x, who in ((a, "a"), (b, "b")))
                if apart == 1:
                    a, b = (np.sign(x) * np.int8(127) for x in (a, b))
                e = rng.integers(-30, 4, 1).astype(np.int32)
                s_a, s_b = (float(s) for s in rng.uniform(0.01, 1.0, 2))
                attrs = {**grad_add_attrs(s_a, s_b), "stream": 6}
                ins = (a, e, b, (e + apart).astype(np.int32))
                cases.append(Case(ins, attrs, (s_a, None, s_b, None), f"{shape} {apart} {zero}"))
    return cases


clip_mask_u8 = Op("clip_mask_u8", _mask_infer, _mask_ref, _size, examples=_mask_examples)
clip_grad_s8 = Op(
    "clip_grad_s8", _clip_infer, _clip_ref, _size, inplace=((0, 0),), examples=_clip_examples,
)  # fmt: skip
grad_add_s8 = Op(
    "grad_add_s8", _add_infer, _add_ref, _add_dims, uses_step=True, inplace=((0, 0), (0, 2)),
    bound=lambda ins, a: 2 * 127 * 2**FRACTION, examples=_add_examples,
)  # fmt: skip
OPS = (clip_mask_u8, clip_grad_s8, grad_add_s8)
