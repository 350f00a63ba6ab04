"""Attention: probabilities and their product with the values (``attention_heads.py`` has the
layout of both). All ops have the attributes ``heads`` and ``causal``.

**The Grad of a probability value is the gradient of its scores.** The softmax is undone where the
gradient of the product is made (``attention_ds``), for that needs g, v and P, and a gradient of P
itself is never stored. So ``attention_mix`` gives, for its input P, a Grad that is already dS, with
one exponent for each row of each head, and ``attention_probs`` turns that into the gradients of q
and k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types
from ..ir.numerics import clamp, multiplier, requantize
from .attention_grad import attention_dk_s8, attention_dq_s8, attention_ds_s8, attention_dv_s8
from .attention_heads import (
    FULL,
    PRODUCT,
    cases,
    check_probs,
    head_width,
    merge_heads,
    probabilities,
    product_macs,
    product_room,
    sizes,
    split_heads,
)
from .base import Backward, Grad, exact_matmul, need

STEEPEST = 2.0**20  # a score's step in sixteenths of a nat; beyond 2**12 all but the largest is 0


def probs_attrs(s_q: float, s_k: float, softmax_scale: float) -> dict[str, Any]:
    """What ``attention_probs_u8`` needs of the scales: scores in sixteenths of a nat."""
    mult, shift = multiplier(min(16 * s_q * s_k * softmax_scale, STEEPEST))
    return {"mult": mult, "shift": shift, "softmax_scale": softmax_scale}


def mix_attrs(s_v: float, s_y: float) -> dict[str, Any]:
    """What ``attention_mix_s8`` needs of the scales."""
    mult, shift = multiplier(s_v / (FULL * s_y))
    return {"mult": mult, "shift": shift, "scale": s_y}


def _probs_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    q, k = (need(t, "i8", 2) for t in types)
    head_width(q.shape[1], attrs)
    if q.shape != k.shape:
        raise ShapeError(f"attention: queries {q} and keys {k} differ in shape")
    tokens = q.shape[0]
    if tokens > 65537:
        raise ShapeError(f"attention: {tokens} tokens; the sum of exponentials holds 65537")
    return (Type((attrs["heads"], tokens, tokens), "u8", 1 / FULL),)


def _probs_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    q, k = ins
    return (probabilities(q, k, attrs),)


def _probs_grad(
    b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: tuple[bool, ...]
) -> tuple[Grad | None, ...]:
    q, k = node.inputs
    gs = grads[0]  # the gradient of the scores, see the head of this file
    assert gs and q and k
    name, attrs = node.layer or node.name, {n: node.attrs[n] for n in ("heads", "causal")}
    factor = gs.value.type.tensor_scale * node.attrs["softmax_scale"]
    gq = b.input_gradient(attention_dq_s8, gs, [k], factor * k.type.tensor_scale,
                          f"{name}.dq", node, stream_heads=b.stream(),
                          **attrs) if wanted[0] else None  # fmt: skip
    gk = b.input_gradient(attention_dk_s8, gs, [q], factor * q.type.tensor_scale,
                          f"{name}.dk", node, stream_heads=b.stream(), stream_rows=b.stream(),
                          **attrs) if wanted[1] else None  # fmt: skip
    return gq, gk


def _mix_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    p, v = need(types[0], "u8"), need(types[1], "i8", 2)
    check_probs(p, v, attrs)
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
    gv = b.input_gradient(attention_dv_s8, gy, [p], factor / FULL, f"{name}.dv", node,
                          stream_heads=b.stream(), stream_rows=b.stream(),
                          **attrs) if wanted[1] else None  # fmt: skip
    return gs, gv


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return {**sizes(ins, attrs), "mult": attrs["mult"], "shift": attrs["shift"]}


def _probs_examples(rng: np.random.Generator) -> list[Case]:
    return [Case((q, k), attrs, (0.1, 0.1), label) for (q, k, _), attrs, label in cases(rng)]


def _mix_examples(rng: np.random.Generator) -> list[Case]:
    found = []
    for (q, k, v), probs, label in cases(rng):
        attrs = {"heads": probs["heads"], "causal": probs["causal"], **mix_attrs(0.1, 0.06)}
        found.append(Case((probabilities(q, k, probs), v), attrs, (1 / FULL, 0.1), label))
    return found


attention_probs_u8 = Op(
    "attention_probs_u8", _probs_infer, _probs_ref, _dims, grad=_probs_grad, macs=product_macs,
    scratch=lambda ins, a: 4 * need(ins[0]).shape[0], room=product_room,
    bound=lambda ins, a: 2 * PRODUCT * head_width(need(ins[0]).shape[1], a),
    examples=_probs_examples,
)  # fmt: skip
attention_mix_s8 = Op(
    "attention_mix_s8", _mix_infer, _mix_ref, _dims, grad=_mix_grad, macs=product_macs,
    room=product_room,
    bound=lambda ins, a: FULL * 127 * need(ins[0]).shape[-1], examples=_mix_examples,
)  # fmt: skip
OPS = (attention_probs_u8, attention_mix_s8)
