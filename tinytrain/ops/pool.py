"""Sequence pooling: the mean of all tokens, weighted by the softmax of one score a token.

y = sum_t p_t x_t with p = softmax(a) over the tokens (SeqPool of Hassani et al. 2021, "Compact
Transformers"). ``x`` is
int8 ``[T, C]``, the scores ``a`` int8 ``[T, 1]``. The weights are made in each of the three
operators, by the tables of the loss (1/256 nat), with 15 bits: one softmax makes the whole output,
and one token's share of many would be little in 8 bits. ``mult`` and ``shift`` bring scores to
1/256 nat.

A gradient of y has one row; each row of the gradients of x and a has an exponent of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types
from ..ir.numerics import bit_length, clamp, multiplier, quantize_rows, requantize, stream_key
from ..ir.tables import EXP16, EXP256
from .base import Backward, Grad, exact_matmul, need, need_gradient
from .update import PRODUCT, codes

FULL = 2**15  # a weight of one
STEEPEST = 2.0**20  # a score's step in 1/256 nat; beyond 2**12 all but the largest is 0


def pool_attrs(s_x: float, s_a: float, s_y: float) -> dict[str, Any]:
    """What ``sequence_pool_s8`` needs of the scales."""
    mult, shift = multiplier(min(256 * s_a, STEEPEST))
    y_mult, y_shift = multiplier(s_x / (FULL * s_y))
    return {"scale": s_y, "mult": mult, "shift": shift, "y_mult": y_mult, "y_shift": y_shift}


def _weights(a: Array, attrs: Attrs) -> Array:
    """int64 ``[T]``, about 2**15 in sum."""
    wide = a.reshape(-1).astype(np.int64)
    d = np.minimum(requantize(wide.max() - wide, attrs["mult"], attrs["shift"]), 4095)
    e = (EXP16[d >> 4].astype(np.int64) * EXP256[d & 15] + 2**14) >> 15
    return np.asarray((e * ((1 << 47) // int(e.sum())) + (1 << 31)) >> 32)


def _most(tokens: int) -> int:
    """Largest sum of the weights: each is rounded up by half at most."""
    return FULL + tokens // 2 + 1


def _tokens(x: Type, a: Type | None) -> Type:
    a = need(a, "i8", 2)
    if a.shape != (x.shape[0], 1):
        raise ShapeError(f"sequence_pool: scores {a} for {x.shape[0]} tokens")
    if x.shape[0] > 65537:
        raise ShapeError(f"sequence_pool: {x.shape[0]} tokens; the sum of exponentials holds 65537")
    return x


def _infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x = _tokens(need(types[0], "i8", 2), types[1])
    return (Type((1, x.shape[1]), "i8", attrs["scale"]),)


def _ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    x, a = ins
    acc = exact_matmul(_weights(a, attrs)[None], x)
    return (clamp(requantize(acc, attrs["y_mult"], attrs["y_shift"]), 127),)


def _real(ins: Sequence[Any], attrs: Attrs) -> Array:
    x, a = ins
    weights = np.exp(a - a.max())
    return np.asarray((weights / weights.sum()).T @ x)


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    x = need(ins[0])
    names = ("mult", "shift", "y_mult", "y_shift", "fraction", "exp_add", "stream")
    return {"T": x.shape[0], "C": x.shape[1], **{n: attrs[n] for n in names if n in attrs}}


def _grad(b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: tuple[bool, ...]) -> Any:
    x, a = node.inputs
    gy = grads[0]
    assert gy and x and a
    gy = b.clip(gy, node)
    name, attrs = node.layer or node.name, {n: node.attrs[n] for n in ("mult", "shift")}
    factor, fraction = gy.value.type.tensor_scale, score_fraction(*x.type.shape)
    gx = b.input_gradient(sequence_pool_dx_s8, gy, [a], factor / FULL, f"{name}.dx", node,
                          **attrs) if wanted[0] else None  # fmt: skip
    ga = b.input_gradient(sequence_pool_da_s8, gy, [x, a],
                          factor * x.type.tensor_scale * 2.0**fraction / FULL**2, f"{name}.da",
                          node, fraction=fraction, **attrs) if wanted[1] else None  # fmt: skip
    return gx, ga


def score_fraction(tokens: int, channels: int) -> int:
    """Bits that ``sequence_pool_da_s8`` drops, so that its accumulators stay below 2**30.

    With B = 127^2 C >= |d| and S the sum of the weights, d S - r = sum_k p_k (d - d_k) is at most
    (S - p) 2 B, and p times it at most S^2 B / 2.
    """
    return max(1, bit_length(_most(tokens) ** 2 * PRODUCT * channels // 2) - 29)


def _dx_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, a = _one_row(types), need(types[2], "i8", 2)
    x = _tokens(Type((a.shape[0], g.shape[1]), "i8", attrs["scale"]), a)
    return x, Type((a.shape[0],), "i16")


def _one_row(types: Types) -> Type:
    g = need_gradient(need(types[0], rank=2), types[1])
    if g.shape[0] != 1:
        raise ShapeError(f"sequence_pool: a gradient of one row is needed, got {g}")
    return g


def _dx_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, a = ins
    acc = _weights(a, attrs)[:, None] * g.astype(np.int64)
    key = stream_key(step.seed, step.step, attrs["stream"])
    return quantize_rows(acc, np.repeat(e, len(a)), attrs["exp_add"], key)


def _da_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, x = _one_row(types), _tokens(need(types[2], "i8", 2), types[3])
    if g.shape[1] != x.shape[1]:
        raise ShapeError(f"sequence_pool_da: gradient {g} and tokens {x} differ in channels")
    return Type((x.shape[0], 1), "i8", attrs["scale"]), Type((x.shape[0],), "i16")


def _da_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, x, a = ins
    p, d = _weights(a, attrs), exact_matmul(x, g[0])
    wide = p * (d * p.sum() - (p * d).sum())
    acc = (wide + (1 << (attrs["fraction"] - 1))) >> attrs["fraction"]
    key = stream_key(step.seed, step.step, attrs["stream"])
    return quantize_rows(acc[:, None], np.repeat(e, len(a)), attrs["exp_add"], key)


def _da_bound(types: Types, attrs: Attrs) -> int:
    tokens, channels = need(types[2]).shape
    worst: int = _most(tokens) ** 2 * PRODUCT * channels // 2
    return max(PRODUCT * channels, 2 * ((worst >> int(attrs["fraction"])) + 1))


SHAPES = ((1, 1), (1, 5), (3, 1), (2, 3), (17, 5), (64, 16))  # T, C


def _scores(rng: np.random.Generator) -> list[tuple[Array, Array, float, str]]:
    """(tokens, scores, their scale, label): alike, spread, and far apart (two tokens share all)."""
    cases = []
    for t, c in SHAPES:
        for s_a in (1e-3, 0.02, 1.0):
            a = codes(rng, t, 1)
            a[:2] = 127 if s_a == 1.0 else a[:2]
            cases.append((codes(rng, t, c), a, s_a, f"T{t} C{c} {s_a}"))
    full = np.full((9, 4), 127, np.int8)
    return [*cases, (full, np.zeros((9, 1), np.int8), 0.1, "all 127")]


def _examples(rng: np.random.Generator) -> list[Case]:
    return [
        Case((x, a), pool_attrs(0.03, s_a, s_y), (0.03, s_a), f"{label} {s_y}")
        for x, a, s_a, label in _scores(rng) for s_y in (0.02, 0.03)
    ]  # fmt: skip


def _gradient_case(
    rng: np.random.Generator, channels: int, s_a: float
) -> tuple[Array, Array, dict[str, Any]]:
    mult, shift = multiplier(256 * s_a)
    attrs = {"mult": mult, "shift": shift, "stream": 3, "exp_add": -5, "scale": 0.75}
    return codes(rng, 1, channels), rng.integers(-40, 4, 1).astype(np.int16), attrs


def _dx_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for x, a, s_a, label in _scores(rng):
        g, e, attrs = _gradient_case(rng, x.shape[1], s_a)
        cases.append(Case((g, e, a), attrs, label=label))
        cases.append(Case((g * np.int8(0), e, a), attrs, label=f"{label} zero"))
    return cases


def _da_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for x, a, s_a, label in _scores(rng):
        g, e, attrs = _gradient_case(rng, x.shape[1], s_a)
        attrs["fraction"] = score_fraction(*x.shape)
        far = np.where(np.arange(len(x))[:, None] % 2, -127, 127).astype(np.int8)
        for tokens in (x, far * np.ones_like(x)):
            sign = np.where(g < 0, -127, 127).astype(np.int8) if tokens is not x else g
            cases.append(Case((sign, e, tokens, a), attrs, label=label))
    return cases


sequence_pool_s8 = Op(
    "sequence_pool_s8", _infer, _ref, _dims, real=_real, grad=_grad,
    scratch=lambda ins, a: 4 * need(ins[0]).shape[0],
    macs=lambda ins, a: need(ins[0]).size,
    bound=lambda ins, a: 127 * _most(need(ins[0]).shape[0]), examples=_examples,
)  # fmt: skip
sequence_pool_dx_s8 = Op(
    "sequence_pool_dx_s8", _dx_infer, _dx_ref,
    lambda ins, outs, a: _dims(outs, ins, a), uses_step=True,
    scratch=lambda ins, a: 4 * (need(ins[2]).shape[0] + need(ins[0]).shape[1]),
    macs=lambda ins, a: need(ins[2]).shape[0] * need(ins[0]).shape[1],
    bound=lambda ins, a: 2 * 127 * FULL,  # stochastic rounding: 2**30
    examples=_dx_examples,
)  # fmt: skip
sequence_pool_da_s8 = Op(
    "sequence_pool_da_s8", _da_infer, _da_ref,
    lambda ins, outs, a: _dims(ins[2:], outs, a), uses_step=True,
    scratch=lambda ins, a: 8 * need(ins[2]).shape[0],
    macs=lambda ins, a: need(ins[2]).size, bound=_da_bound, examples=_da_examples,
)  # fmt: skip
OPS = (sequence_pool_s8, sequence_pool_dx_s8, sequence_pool_da_s8)
