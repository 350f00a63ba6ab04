"""Attention: probabilities, their product with the values, and the gradients of both.

``C`` channels are ``heads`` times ``C / heads``; head h is a slice of columns of q, k and v
``[T, C]``. Probabilities are uint8 ``[H, T, T]``, worth 1/255 a step. ``causal``: row i counts only
columns j <= i. All ops have the attributes ``heads`` and ``causal``.

**The Grad of a probability value is the gradient of its scores.** The softmax is undone where the
gradient of the product is made (``attention_ds``), for that needs g, v and P, and a gradient of P
itself is never stored. So ``attention_mix`` gives, for its input P, a Grad that is already dS, with
one exponent a head, and ``attention_probs`` turns that into the gradients of q and k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types
from ..numerics import (
    clamp,
    gradient_shift,
    multiplier,
    quantize_gradient,
    requantize,
    stochastic_shift,
    stream_key,
)
from ..tables import EXP16
from .base import Backward, Grad, exact_matmul, need

FULL = 255  # a probability of one
PRODUCT = 127 * 127


def probs_attrs(s_q: float, s_k: float, softmax_scale: float) -> dict[str, Any]:
    """What ``attention_probs_u8`` needs of the scales: scores in sixteenths of a nat."""
    mult, shift = multiplier(16 * s_q * s_k * softmax_scale)
    return {"mult": mult, "shift": shift, "softmax_scale": softmax_scale}


def mix_attrs(s_v: float, s_y: float) -> dict[str, Any]:
    """What ``attention_mix_s8`` needs of the scales."""
    mult, shift = multiplier(s_v / (FULL * s_y))
    return {"mult": mult, "shift": shift, "scale": s_y}


def split_heads(x: Array, heads: int) -> Array:
    """[T, C] -> [H, T, C/H]."""
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def merge_heads(x: Array) -> Array:
    """[H, T, C/H] -> [T, C]."""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def _visible(tokens: int, attrs: Attrs) -> Array:
    """Where row i counts column j."""
    full = np.ones((tokens, tokens), bool)
    return np.tril(full) if attrs["causal"] else full


def _width(channels: int, attrs: Attrs) -> int:
    heads = int(attrs["heads"])
    if heads < 1 or channels % heads:
        raise ShapeError(f"attention: {channels} channels do not divide into {heads} heads")
    return channels // heads


def _probs_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    q, k = (need(t, "i8", 2) for t in types)
    _width(q.shape[1], attrs)
    if q.shape != k.shape:
        raise ShapeError(f"attention: queries {q} and keys {k} differ in shape")
    tokens = q.shape[0]
    if tokens > 65537:
        raise ShapeError(f"attention: {tokens} tokens; the sum of exponentials holds 65537")
    return (Type((attrs["heads"], tokens, tokens), "u8", 1 / FULL),)


def _probs_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    q, k = (split_heads(x, attrs["heads"]) for x in ins)
    acc, visible = exact_matmul(q, k.transpose(0, 2, 1)), _visible(len(ins[0]), attrs)
    top = np.where(visible, acc, np.iinfo(np.int64).min).max(axis=2, keepdims=True)
    t = np.minimum(requantize(np.where(visible, top - acc, 0), attrs["mult"], attrs["shift"]), 255)
    e = np.where(visible, EXP16[t].astype(np.int64), 0)
    rec = (FULL << 24) // e.sum(axis=2, keepdims=True)
    return (((e * rec + (1 << 23)) >> 24).astype(np.uint8),)


def _probs_grad(
    b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: tuple[bool, ...]
) -> tuple[Grad | None, ...]:
    q, k = node.inputs
    gs = grads[0]  # the gradient of the scores, see the head of this file
    assert gs and q and k
    name, attrs = node.layer or node.name, {n: node.attrs[n] for n in ("heads", "causal")}
    factor = gs.value.type.tensor_scale * node.attrs["softmax_scale"]
    gq = b.input_gradient(attention_dq_s8, gs, [k], factor * k.type.tensor_scale,
                          f"{name}.dq", node, **attrs) if wanted[0] else None  # fmt: skip
    gk = b.input_gradient(attention_dk_s8, gs, [q], factor * q.type.tensor_scale,
                          f"{name}.dk", node, **attrs) if wanted[1] else None  # fmt: skip
    return gq, gk


def _check_probs(p: Type | None, x: Type, attrs: Attrs) -> None:
    p = need(p, None, 3)
    _width(x.shape[1], attrs)
    if p.shape != (attrs["heads"], x.shape[0], x.shape[0]):
        raise ShapeError(f"attention: probabilities {p} do not fit {x} in {attrs['heads']} heads")


def _mix_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    p, v = need(types[0], "u8"), need(types[1], "i8", 2)
    _check_probs(p, v, attrs)
    return (Type(v.shape, "i8", attrs["scale"]),)


def _mix_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    acc = merge_heads(exact_matmul(ins[0], split_heads(ins[1], attrs["heads"])))
    return (clamp(requantize(acc, attrs["mult"], attrs["shift"]), 127),)


def _mix_grad(
    b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: tuple[bool, ...]
) -> tuple[Grad | None, ...]:
    p, v = node.inputs
    gy = grads[0]
    assert gy and p and v
    gy = b.clip(gy, node)
    name, attrs = node.layer or node.name, {n: node.attrs[n] for n in ("heads", "causal")}
    factor = gy.value.type.tensor_scale
    gs = b.input_gradient(attention_ds_s8, gy, [v, p],
                          factor * v.type.tensor_scale * 256 / FULL**2,
                          f"{name}.ds", node, **attrs) if wanted[0] else None  # fmt: skip
    gv = b.input_gradient(attention_dv_s8, gy, [p], factor / FULL,
                          f"{name}.dv", node, **attrs) if wanted[1] else None  # fmt: skip
    return gs, gv


def _dv_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, _, p = need(types[0], "i8", 2), need(types[1], "i32", 1), need(types[2], "u8")
    _check_probs(p, g, attrs)
    return Type(g.shape, "i8", attrs["scale"]), Type((1,), "i32")


def _dv_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, p = ins
    acc = merge_heads(exact_matmul(p.transpose(0, 2, 1), split_heads(g, attrs["heads"])))
    out, shift = quantize_gradient(acc, stream_key(step.seed, step.step, attrs["stream"]))
    return out, np.array([e[0] + shift + attrs["exp_add"]], np.int32)


def _ds_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, _, v, p = need(types[0], "i8", 2), need(types[1], "i32", 1), types[2], need(types[3], "u8")
    _check_probs(p, g, attrs)
    if need(v, "i8", 2).shape != g.shape:
        raise ShapeError(f"attention_ds: values {v} and gradient {g} differ in shape")
    return Type(p.shape, "i8", attrs["scale"]), Type((p.shape[0],), "i32")


def _ds_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, v, p = ins
    heads, wide = attrs["heads"], p.astype(np.int64)
    d = exact_matmul(split_heads(g, heads), split_heads(v, heads).transpose(0, 2, 1))
    r = (wide * d).sum(axis=2, keepdims=True)
    acc = wide * ((FULL * d - r + 128) >> 8)
    key, out, exps = stream_key(step.seed, step.step, attrs["stream"]), [], []
    for h, head in enumerate(acc):
        shift = gradient_shift(int(np.abs(head).max()))
        out.append(stochastic_shift(head, shift, key, h * head.size))
        exps.append(e[0] + shift + attrs["exp_add"])
    return np.stack(out), np.array(exps, np.int32)


def _ds_bound(types: Types, attrs: Attrs) -> int:
    """With B = C/H * 127^2 >= |d| and a row of P that sums to 255 +- D, D = T/2 (rounding of P) +
    T/256 (rounding of its reciprocal): |255 d - r| <= (510 + D) B. Written as
    sum_k P_k (d - d_k) + (255 - sum P) d, it is at most 2 (255 + D - P) B + D B, so that P times
    it is at most (255 + D)^2 B / 2 + 255 D B. Stochastic rounding needs twice that."""
    g = need(types[0])
    largest = PRODUCT * _width(g.shape[1], attrs)
    spread = g.shape[0] * 129 // 256 + 1
    product = ((FULL + spread) ** 2 // 2 + FULL * spread) * largest // 256 + FULL
    return max((2 * FULL + spread) * largest + 128, 2 * product)


def _scores_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    s, e, x = need(types[0], "i8", 3), need(types[1], "i32", 1), need(types[2], "i8", 2)
    _check_probs(s, x, attrs)
    if e.shape != (attrs["heads"],):
        raise ShapeError(f"attention: {e} for the exponents of {attrs['heads']} heads")
    return Type(x.shape, "i8", attrs["scale"]), Type((1,), "i32")


def _scores_ref(axes: tuple[int, int, int]) -> Any:
    def ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
        s, exps, x = ins
        acc = exact_matmul(s.transpose(axes), split_heads(x, attrs["heads"]))
        peaks = [int(np.abs(head).max()) for head in acc]
        needed = [int(e) + gradient_shift(p) for e, p in zip(exps, peaks, strict=True) if p]
        exponent = max(needed) if needed else int(exps.max())
        key, out, flat = stream_key(step.seed, step.step, attrs["stream"]), [], merge_heads(acc)
        for h, e in enumerate(exps):
            shift = min(31, max(0, exponent - int(e)))
            out.append(split_heads(stochastic_shift(flat, shift, key), attrs["heads"])[h])
        return merge_heads(np.stack(out)), np.array([exponent + attrs["exp_add"]], np.int32)

    return ref


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    x = _activations(ins)
    names = [n for n in ("mult", "shift", "exp_add", "stream") if n in attrs]
    return {"T": x.shape[0], "C": x.shape[1], "H": attrs["heads"], "causal": int(attrs["causal"]),
            **{n: attrs[n] for n in names}}  # fmt: skip


def _activations(types: Types) -> Type:
    """The first input [T, C]."""
    return next(t for t in types if t is not None and t.dtype == "i8" and len(t.shape) == 2)


def _macs(types: Types, attrs: Attrs) -> int:
    """The products of one [T, T] by [T, C], or of as many channels for each pair of tokens."""
    tokens, channels = _activations(types).shape
    return channels * (tokens * (tokens + 1) // 2 if attrs["causal"] else tokens**2)


def _bound(values: int) -> Any:
    return lambda types, attrs: values * need(types[-1]).shape[-2]


SHAPES = ((1, 1, 1), (1, 3, 1), (3, 6, 2), (17, 5, 1), (17, 12, 4), (9, 18, 2))  # T, C, H


def _cases(rng: np.random.Generator, attrs: dict[str, Any]) -> list[tuple[Any, ...]]:
    """(q, k or v or g, P, attributes, label); random, then all codes at an extreme."""
    cases = []
    for extreme in (False, True):
        for causal in (False, True):
            for t, c, h in SHAPES:
                x = [rng.integers(-127, 128, (t, c)).astype(np.int8) for _ in range(2)]
                if extreme:
                    x = [np.where(a < 0, -127, 127).astype(np.int8) for a in x]
                mult, shift = multiplier(float(rng.uniform(0.5, 2)) * 2**-7 / (c // h) ** 0.5)
                kind = {"heads": h, "causal": causal}
                scores = {**kind, "mult": mult, "shift": shift, "softmax_scale": (c // h) ** -0.5}
                p = _probs_ref(x, scores, Step())[0]
                more = scores if not attrs else {**kind, **attrs}
                cases.append((*x, p, more, f"T{t} C{c} H{h} causal={causal} extreme={extreme}"))
    return cases


GRADIENT = {"stream": 3, "exp_add": -5, "scale": 0.75}


def _exponents(rng: np.random.Generator, count: int = 1) -> Array:
    return rng.integers(-40, 4, count).astype(np.int32)


def _probs_examples(rng: np.random.Generator) -> list[Case]:
    return [Case((q, k), a, (0.1, 0.1), label) for q, k, _, a, label in _cases(rng, {})]


def _mix_examples(rng: np.random.Generator) -> list[Case]:
    attrs = {**mix_attrs(0.1, 0.06)}
    return [Case((p, v), a, (1 / FULL, 0.1), label) for _, v, p, a, label in _cases(rng, attrs)]


def _dv_examples(rng: np.random.Generator) -> list[Case]:
    return [Case((g, _exponents(rng), p), a, label=s) for _, g, p, a, s in _cases(rng, GRADIENT)]


def _ds_examples(rng: np.random.Generator) -> list[Case]:
    return [Case((g, _exponents(rng), v, p), a, label=s)
            for g, v, p, a, s in _cases(rng, GRADIENT)]  # fmt: skip


def _scores_examples(rng: np.random.Generator) -> list[Case]:
    """Heads far apart in exponent, an all-zero head that has the largest, nothing but zeros."""
    cases = []
    for i, (_, x, p, attrs, label) in enumerate(_cases(rng, GRADIENT)):
        s = rng.integers(-127, 128, p.shape).astype(np.int8)
        exps = _exponents(rng, len(s)) // (8 if i % 2 else 1)
        if i % 3 == 0:
            s[int(exps.argmax())] = 0
        if i % 5 == 4:
            s[...] = 0
        s = np.where(_visible(len(x), attrs), s, 0).astype(np.int8)
        cases.append(Case((s, exps.astype(np.int32), x), attrs, label=label))
    return cases


def _matrix(types: Types, attrs: Attrs) -> int:
    """Scratch: int32 of the shape of the activations."""
    return 4 * _activations(types).size


attention_probs_u8 = Op(
    "attention_probs_u8", _probs_infer, _probs_ref, _dims, grad=_probs_grad, macs=_macs,
    scratch=lambda ins, a: 4 * need(ins[0]).shape[0],
    bound=lambda ins, a: 2 * PRODUCT * _width(need(ins[0]).shape[1], a),
    examples=_probs_examples,
)  # fmt: skip
attention_mix_s8 = Op(
    "attention_mix_s8", _mix_infer, _mix_ref, _dims, grad=_mix_grad, macs=_macs,
    bound=_bound(255 * 127), examples=_mix_examples,
)  # fmt: skip
attention_dv_s8 = Op(
    "attention_dv_s8", _dv_infer, _dv_ref, _dims, uses_step=True, scratch=_matrix, macs=_macs,
    bound=_bound(2 * 255 * 127),  # stochastic rounding: 2**30
    examples=_dv_examples,
)  # fmt: skip
attention_ds_s8 = Op(
    "attention_ds_s8", _ds_infer, _ds_ref, _dims, uses_step=True, macs=_macs, bound=_ds_bound,
    scratch=lambda ins, a: 4 * need(ins[0]).shape[0] ** 2, examples=_ds_examples,
)  # fmt: skip
attention_dq_s8 = Op(
    "attention_dq_s8", _scores_infer, _scores_ref((0, 1, 2)), _dims, uses_step=True,
    scratch=_matrix, macs=_macs, bound=_bound(2 * PRODUCT), examples=_scores_examples,
)  # fmt: skip
attention_dk_s8 = Op(
    "attention_dk_s8", _scores_infer, _scores_ref((0, 2, 1)), _dims, uses_step=True,
    scratch=_matrix, macs=_macs, bound=_bound(2 * PRODUCT), examples=_scores_examples,
)  # fmt: skip
OPS = (
    attention_probs_u8, attention_mix_s8, attention_dv_s8, attention_ds_s8, attention_dq_s8,
    attention_dk_s8,
)  # fmt: skip
