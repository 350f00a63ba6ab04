"""Gradients of attention: of the scores, and from it of the queries and keys; of the values.

The gradient of the scores has one exponent for each row of each head. Those of q, k and v are
quantized by rows of a head too, and then all heads of a row are brought to the largest of their
exponents. What a sum runs over needs one exponent and is brought to it first. Each of these
roundings draws from a stream of its own: ``stream``, ``stream_heads``, ``stream_rows``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Op, Step, Type, Types
from ..ir.numerics import ZERO_EXPONENT, quantize_rows, stochastic_shift, stream_key
from .attention_heads import (
    FULL,
    PRODUCT,
    activations,
    cases,
    check_probs,
    head_width,
    merge_heads,
    probabilities,
    product_macs,
    product_room,
    sizes,
    split_heads,
    visible,
)
from .base import exact_matmul, need, need_gradient


def _key(attrs: Attrs, step: Step, name: str = "stream") -> int:
    return stream_key(step.seed, step.step, attrs[name])


def align(value: Array, exponents: Array, key: int) -> tuple[Array, Array]:
    """The N parts of ``value`` ``[..., N, M]``, worth ``2**exponents`` ``[..., N]``, brought to the
    largest of the N: (value, exponents ``[...]``)."""
    wide = exponents.astype(np.int64)
    top = wide.max(axis=-1, keepdims=True)
    return stochastic_shift(value, (top - wide)[..., None], key), top[..., 0].astype(np.int16)


def quantize_heads(acc: Array, exponents: Array, attrs: Attrs, step: Step) -> tuple[Array, Array]:
    """Accumulators ``[H, T, C/H]`` worth ``2**(exponents[t, h] + exp_add)`` -> (int8 ``[T, C]``,
    int16 ``[T]``)."""
    heads, tokens, width = acc.shape
    flat = merge_heads(acc).reshape(tokens * heads, width)
    value, each = quantize_rows(flat, exponents.reshape(-1), attrs["exp_add"], _key(attrs, step))
    value, top = align(value.reshape(tokens, heads, width), each.reshape(tokens, heads),
                       _key(attrs, step, "stream_heads"))  # fmt: skip
    return value.reshape(tokens, -1), top


def _ds_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, v, p = need_gradient(need(types[0], rank=2), types[1]), types[2], need(types[3], "u8")
    check_probs(p, g, attrs)
    if need(v, "i8", 2).shape != g.shape:
        raise ShapeError(f"attention_ds: values {v} and gradient {g} differ in shape")
    return Type(p.shape, "i8", attrs["scale"]), Type(p.shape[:2], "i16")


def _ds_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, v, p = ins
    heads, wide = attrs["heads"], p.astype(np.int64)
    d = exact_matmul(split_heads(g, heads), split_heads(v, heads).transpose(0, 2, 1))
    r = (wide * d).sum(axis=2, keepdims=True)
    acc = wide * ((FULL * d - r + 128) >> 8)
    out, exps = quantize_rows(acc.reshape(-1, len(g)), np.tile(e, heads), attrs["exp_add"],
                              _key(attrs, step))  # fmt: skip
    return out.reshape(p.shape), exps.reshape(p.shape[:2])


def _ds_bound(types: Types, attrs: Attrs) -> int:
    """With B = C/H * 127^2 >= |d| and a row of P that sums to 255 +- D, D = T/2 (rounding of P) +
    T/256 (rounding of its reciprocal): |255 d - r| <= (510 + D) B. Written as
    sum_k P_k (d - d_k) + (255 - sum P) d, it is at most 2 (255 + D - P) B + D B, so that P times
    it is at most (255 + D)^2 B / 2 + 255 D B. Stochastic rounding needs twice that."""
    g = need(types[0])
    largest = PRODUCT * head_width(g.shape[1], attrs)
    spread = g.shape[0] * 129 // 256 + 1
    product = ((FULL + spread) ** 2 // 2 + FULL * spread) * largest // 256 + FULL
    return max((2 * FULL + spread) * largest + 128, 2 * product)


def _scores_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    s, e, x = need(types[0], "i8", 3), need(types[1], "i16", 2), need(types[2], "i8", 2)
    check_probs(s, x, attrs)
    if e.shape != s.shape[:2]:
        raise ShapeError(f"attention: {e} for the exponents of the rows of {s}")
    return Type(x.shape, "i8", attrs["scale"]), Type(x.shape[:1], "i16")


def _dq_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    s, exps, k = ins
    return quantize_heads(exact_matmul(s, split_heads(k, attrs["heads"])), exps.T, attrs, step)


def _dk_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    s, exps, q = ins
    s, top = align(s, exps, _key(attrs, step, "stream_rows"))
    acc = exact_matmul(s.transpose(0, 2, 1), split_heads(q, attrs["heads"]))
    return quantize_heads(acc, np.tile(top, (len(q), 1)), attrs, step)


def _dv_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, p = need_gradient(need(types[0], rank=2), types[1]), need(types[2], "u8")
    check_probs(p, g, attrs)
    return Type(g.shape, "i8", attrs["scale"]), Type(g.shape[:1], "i16")


def _dv_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, p = ins
    g, top = align(g, e, _key(attrs, step, "stream_rows"))
    acc = exact_matmul(p.transpose(0, 2, 1), split_heads(g, attrs["heads"]))
    return quantize_heads(acc, np.full((len(g), len(p)), top), attrs, step)


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    names = ("exp_add", "stream", "stream_heads", "stream_rows")
    return {**sizes(ins, attrs), **{n: attrs[n] for n in names if n in attrs}}


def _bound(value: int) -> Callable[[Types, Attrs], int]:
    """Sums of T products of an int8 with ``value``; stochastic rounding needs twice that."""
    return lambda types, attrs: 2 * 127 * value * activations(types).shape[0]


def _shape(types: Types, attrs: Attrs) -> tuple[int, int, int]:
    """(tokens, channels of a head, heads)."""
    tokens, channels = activations(types).shape
    return tokens, head_width(channels, attrs), int(attrs["heads"])


def _dq_scratch(types: Types, attrs: Attrs) -> int:
    """Accumulators of a head of one row, exponents of the heads."""
    _, width, heads = _shape(types, attrs)
    return 4 * width + 2 * heads


def _dk_scratch(types: Types, attrs: Attrs) -> int:
    """The same, the largest exponent of each head, one aligned column of the scores' gradient."""
    tokens, _, heads = _shape(types, attrs)
    return _dq_scratch(types, attrs) + 2 * heads + tokens


def _dv_scratch(types: Types, attrs: Attrs) -> int:
    """Accumulators of a head of one row, exponents of all rows and heads, a head of aligned g, one
    column of P."""
    tokens, width, heads = _shape(types, attrs)
    return 4 * width + tokens * (2 * heads + width + 1)


def _dq_room(types: Types, attrs: Attrs) -> int:
    """Exponents of all rows and heads besides."""
    tokens, _, heads = _shape(types, attrs)
    return product_room(types, attrs) + 2 * tokens * heads


def _dk_room(types: Types, attrs: Attrs) -> int:
    """The same, and the aligned gradient of the scores of a head."""
    tokens, _, heads = _shape(types, attrs)
    return _dq_room(types, attrs) + 2 * heads + tokens**2 + 4


def _dv_room(types: Types, attrs: Attrs) -> int:
    tokens, width, _ = _shape(types, attrs)
    return _dq_room(types, attrs) + tokens * width + 4


GRADIENT = {"stream": 3, "exp_add": -5, "scale": 0.75}
QUERIES = {**GRADIENT, "stream_heads": 4}
SUMMED = {**QUERIES, "stream_rows": 5}


def spread_gradient(rng: np.random.Generator, g: Array, kind: int) -> tuple[Array, Array]:
    """(g, an exponent for each of its rows), kind 0: near each other, 1: far apart, 2: with rows of
    zeros, 3: nothing but zeros, 4: a row of zeros has the largest."""
    g, e = g.copy(), rng.integers(-9 if kind == 0 else -40, 4, g.shape[:-1]).astype(np.int16)
    if kind == 2:
        none = rng.integers(0, 2, e.shape).astype(bool)
        g[none], e[none] = 0, ZERO_EXPONENT
    elif kind == 3:
        g[...], e[...] = 0, ZERO_EXPONENT
    elif kind == 4:
        g.reshape(-1, g.shape[-1])[int(e.argmax())] = 0
    return g, e


def gradient_cases(rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """(g, e, [q, k, v], attributes of the probabilities, label)."""
    found = []
    for i, (x, attrs, label) in enumerate(cases(rng)):
        codes = rng.integers(-127, 128, x[0].shape).astype(np.int8)
        if "extreme=True" in label:
            codes = np.where(codes < 0, -127, 127).astype(np.int8)
        kind = i % 5
        found.append((*spread_gradient(rng, codes, kind), x, attrs, f"{label} rows {kind}"))
    return found


def _given(attrs: Attrs, more: dict[str, Any]) -> dict[str, Any]:
    return {"heads": attrs["heads"], "causal": attrs["causal"], **more}


def _ds_examples(rng: np.random.Generator) -> list[Case]:
    return [Case((g, e, v, probabilities(q, k, a)), _given(a, GRADIENT), label=label)
            for g, e, (q, k, v), a, label in gradient_cases(rng)]  # fmt: skip


def _dv_examples(rng: np.random.Generator) -> list[Case]:
    return [Case((g, e, probabilities(q, k, a)), _given(a, SUMMED), label=label)
            for g, e, (q, k, _), a, label in gradient_cases(rng)]  # fmt: skip


def _scores_examples(more: dict[str, Any]) -> Callable[[np.random.Generator], list[Case]]:
    def examples(rng: np.random.Generator) -> list[Case]:
        found = []
        for i, ((x, *_), attrs, label) in enumerate(cases(rng)):
            s = rng.integers(-127, 128, (attrs["heads"], len(x), len(x))).astype(np.int8)
            s = np.where(visible(len(x), attrs), s, 0).astype(np.int8)
            s, e = spread_gradient(rng, s, i % 5)
            if i % 4 == 3:
                s[0], e[0] = 0, ZERO_EXPONENT  # a head without gradient
            found.append(Case((s, e, x), _given(attrs, more), label=f"{label} rows {i % 5}"))
        return found

    return examples


attention_ds_s8 = Op(
    "attention_ds_s8", _ds_infer, _ds_ref, _dims, uses_step=True, macs=product_macs,
    bound=_ds_bound, scratch=lambda ins, a: 4 * need(ins[0]).shape[0], room=product_room,
    examples=_ds_examples,
)  # fmt: skip
attention_dq_s8 = Op(
    "attention_dq_s8", _scores_infer, _dq_ref, _dims, uses_step=True, macs=product_macs,
    scratch=_dq_scratch, room=_dq_room, bound=_bound(127),
    examples=_scores_examples(QUERIES),
)  # fmt: skip
attention_dk_s8 = Op(
    "attention_dk_s8", _scores_infer, _dk_ref, _dims, uses_step=True, macs=product_macs,
    scratch=_dk_scratch, room=_dk_room, bound=_bound(127),
    examples=_scores_examples(SUMMED),
)  # fmt: skip
attention_dv_s8 = Op(
    "attention_dv_s8", _dv_infer, _dv_ref, _dims, uses_step=True, macs=product_macs,
    scratch=_dv_scratch, room=_dv_room, bound=_bound(FULL), examples=_dv_examples,
)  # fmt: skip
OPS = (attention_ds_s8, attention_dq_s8, attention_dk_s8, attention_dv_s8)
