"""The linear layer of one token whose weight is laid out for it when the model is generated.

``pack_weight`` joins two columns of a row to the int16 ``256 * w[2j + 1] + w[2j]``, low byte first,
and lets the four rows of a group take turns, four columns at a time. Of these numbers ``h`` and of
their low bytes ``l = w[2j]``, with a row x of activations,

    sum h * x[2j + 1] + l * (256 * x[2j] - x[2j + 1]) = 256 * sum w[i] * x[i],

so that of every two weights only one is unpacked. The factor 256 limits the channels to
``CHANNELS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Op, Step, Type, Types
from ..ir.numerics import clamp, multiplier, requantize
from .base import exact_matmul, need
from .update import BIAS_LIMIT, PRODUCT, SHAPES, codes

ROWS, COLUMNS = 4, 8  # output and input channels come in multiples of these
CHANNELS = (2**31 - 1) // (256 * PRODUCT) // COLUMNS * COLUMNS  # 520


def fits(outs: int, channels: int) -> bool:
    """Whether a weight of this shape can be packed."""
    return outs % ROWS == 0 and channels % COLUMNS == 0 and channels <= CHANNELS


def pack_weight(w: Array) -> Array:
    """int8 ``[O, C]`` in +-127, ``fits`` its shape -> int8 ``[O, C]``, laid out."""
    outs, channels = w.shape
    pairs = 256 * w[:, 1::2].astype(np.int32) + w[:, 0::2]
    words = pairs.astype("<i2").view(np.int8).reshape(outs // ROWS, ROWS, channels // 4, 4)
    return np.ascontiguousarray(words.transpose(0, 2, 1, 3)).reshape(outs, channels)


def unpack_weight(packed: Array) -> Array:
    """The inverse of ``pack_weight``."""
    outs, channels = packed.shape
    words = packed.reshape(outs // ROWS, channels // 4, ROWS, 4).transpose(0, 2, 1, 3)
    pairs = np.ascontiguousarray(words).view("<i2").reshape(outs, channels // 2).astype(np.int32)
    w = np.empty((outs, channels), np.int8)
    low = pairs.astype(np.int8)
    w[:, 0::2] = low
    w[:, 1::2] = (pairs - low) >> 8
    return w


def _infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, w = need(types[0], "i8", 2), need(types[1], "i8", 2)
    b, mult, shift = (need(t, "i32", 1) for t in types[2:])
    if x.shape[0] != 1 or x.shape[1] != w.shape[1] or b.shape[0] != w.shape[0]:
        raise ShapeError(f"linear_packed: weight {w} and bias {b} for input {x}")
    if not fits(*w.shape):
        raise ShapeError(
            f"linear_packed: weight {w}; rows come in multiples of {ROWS}, columns of {COLUMNS}"
        )
    if mult.shape != (1,) or shift.shape != (1,):
        raise ShapeError(f"linear_packed: one multiplier is needed, got {mult.shape[0]}")
    return (Type((1, w.shape[0]), "i8", attrs["scale"]),)


def _ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    x, w, b, mult, shift = ins
    acc = exact_matmul(x, unpack_weight(w).T) + b
    return (clamp(requantize(acc, mult, shift), 127, np.int8),)


def _examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for _, c, o in SHAPES:
        c, o = min(COLUMNS * c, CHANNELS), ROWS * o
        for factor in (1.0, 300.0):  # the larger one saturates; its shift is small
            pair = multiplier(factor * rng.uniform(0.5, 2.0) / (80 * c**0.5))
            mult, shift = (np.array([v], np.int32) for v in pair)
            bias = rng.integers(-3000, 3000, o).astype(np.int32)
            ins = (codes(rng, 1, c), pack_weight(codes(rng, o, c)), bias, mult, shift)
            cases.append(Case(ins, {"scale": 0.05}, label=f"C{c} O{o} factor {factor:g}"))
    return cases


linear_packed_s8 = Op(
    "linear_packed_s8", _infer, _ref,
    lambda ins, outs, a: {"C": need(ins[1]).shape[1], "O": need(ins[1]).shape[0]},
    real=lambda ins, a: np.asarray(ins[0] @ unpack_weight(ins[1]).T + ins[2]),
    macs=lambda ins, a: need(ins[1]).size,
    room=lambda ins, a: 2 * need(ins[1]).shape[1],  # x, and what its low bytes are multiplied by
    bound=lambda ins, a: max(256 * PRODUCT * need(ins[1]).shape[1],
                             PRODUCT * need(ins[1]).shape[1] + BIAS_LIMIT),
    examples=_examples,
)  # fmt: skip
OPS = (linear_packed_s8,)
