"""Attention without a matrix ``[H, T, T]``: probabilities and mixing in one op, all gradients in
another. Both give the numbers of the single ops, for that is what they are composed of here; their
kernels hold one row of P (forward), or ``keys`` columns of one head (backward).

Their attributes are those of the nodes that they stand for, by name: ``probs`` and ``mix``;
``probs``, ``ds``, ``dq``, ``dk`` and ``dv`` (None: that gradient is not wanted) with ``keys``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Attrs, Case, Node, Op, Step, Type, Types
from .attention import attention_mix_s8, attention_probs_u8, mix_attrs
from .attention_grad import (
    attention_dk_s8,
    attention_dq_s8,
    attention_ds_s8,
    attention_dv_s8,
    gradient_cases,
)
from .attention_heads import cases, head_width, product_macs, product_room, sizes
from .base import need, need_gradient


def fuse(probs: Node, mix: Node) -> dict[str, Any]:
    """Attributes of the ``attention_s8`` (q, k, v) that does what both nodes do."""
    return {"probs": dict(probs.attrs), "mix": dict(mix.attrs)}


def fuse_gradient(
    probs: Node, ds: Node | None, dq: Node | None, dk: Node | None, dv: Node | None
) -> dict[str, Any]:
    """Attributes of the ``attention_grad_s8`` (g, e, q, k, v) that does what all nodes do, with all
    keys at once. ``ds`` is needed by ``dq`` and ``dk``."""
    parts = {"ds": ds, "dq": dq, "dk": dk, "dv": dv}
    return {
        "probs": dict(probs.attrs),
        **{name: None if node is None else dict(node.attrs) for name, node in parts.items()},
        "keys": probs.out_types()[0].shape[1],  # type: ignore[union-attr]
    }


def _probs(types: Types, attrs: Attrs) -> Type:
    """The type of P, which is never made."""
    (p,) = attention_probs_u8.infer(types, attrs["probs"])
    return need(p)


def _infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    q, k, v = types
    return attention_mix_s8.infer((_probs((q, k), attrs), v), attrs["mix"])


def _ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Any, ...]:
    q, k, v = ins
    (p,) = attention_probs_u8.ref((q, k), attrs["probs"], step)
    return attention_mix_s8.ref((p, v), attrs["mix"], step)


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    probs, mix = attrs["probs"], attrs["mix"]
    return {**sizes(ins, probs), "score_mult": probs["mult"], "score_shift": probs["shift"],
            "mix_mult": mix["mult"], "mix_shift": mix["shift"]}  # fmt: skip


def _macs(types: Types, attrs: Attrs) -> int:
    return 2 * product_macs(types, attrs["probs"])


def _bound(types: Types, attrs: Attrs) -> int:
    q, k, v = types
    assert attention_probs_u8.bound and attention_mix_s8.bound
    return max(attention_probs_u8.bound((q, k), attrs["probs"]),
               attention_mix_s8.bound((_probs((q, k), attrs), v), attrs["mix"]))  # fmt: skip


def _grad_infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    g, e, q, k, v = types
    p = _probs((q, k), attrs)
    g, tokens = need_gradient(need(g, rank=2), e), p.shape[1]
    ds, dq, dk, dv = (attrs[name] for name in ("ds", "dq", "dk", "dv"))
    if need(v, "i8", 2).shape != g.shape or g.shape != need(q).shape:
        raise ShapeError(f"attention_grad: gradient {g}, queries {q}, values {v} differ in shape")
    if not 1 <= attrs["keys"] <= tokens:
        raise ShapeError(f"attention_grad: {attrs['keys']} keys at once; choose 1 to {tokens}")
    if not (dq or dk or dv) or (ds is None) != (not dq and not dk):
        raise ShapeError("attention_grad: dq or dk with ds, or dv, or all of them must be wanted")
    found: list[Type | None] = []
    for part in (dq, dk, dv):
        found += [Type(g.shape, "i8", part["scale"]), need(e)] if part else [None, None]
    return tuple(found)


def _grad_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Any, ...]:
    g, e, q, k, v = ins
    (p,) = attention_probs_u8.ref((q, k), attrs["probs"], step)
    found: list[Any] = [None] * 6
    if attrs["ds"]:
        s, exps = attention_ds_s8.ref((g, e, v, p), attrs["ds"], step)
        if attrs["dq"]:
            found[:2] = attention_dq_s8.ref((s, exps, k), attrs["dq"], step)
        if attrs["dk"]:
            found[2:4] = attention_dk_s8.ref((s, exps, q), attrs["dk"], step)
    if attrs["dv"]:
        found[4:] = attention_dv_s8.ref((g, e, p), attrs["dv"], step)
    return tuple(found)


STREAMS = {
    "ds": ("stream",),
    "dq": ("stream", "stream_heads"),
    "dk": ("stream", "stream_heads", "stream_rows"),
    "dv": ("stream", "stream_heads", "stream_rows"),
}


def _grad_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    """The kernel sees from its outputs what is wanted; the numbers of the rest are 0."""
    probs, dims = attrs["probs"], {}
    for part, streams in STREAMS.items():
        for name in ("exp_add", *streams):
            dims[f"{part}_{name}"] = attrs[part][name] if attrs[part] else 0
    return {**sizes(ins, probs), "keys": attrs["keys"], "mult": probs["mult"],
            "shift": probs["shift"], **dims}  # fmt: skip


def _again(types: Types, attrs: Attrs) -> bool:
    """Whether P, and the gradient of the scores if the keys want it, is made twice."""
    return bool(attrs["dk"] or attrs["dv"]) and attrs["keys"] < need(types[0]).shape[0]


def _grad_scratch(types: Types, attrs: Attrs) -> int:
    """int32: a row; softmax and r of each row, if made twice. int16: the exponents of the scores'
    gradient, and of each head of each result. int8: a row; a head of aligned g and of the gradient
    of q, ``keys`` rows of the gradient of v; ``keys`` columns of P."""
    tokens, channels = need(types[0]).shape
    width = head_width(channels, attrs["probs"])
    keys, heads = int(attrs["keys"]), int(attrs["probs"]["heads"])
    q, k, v = (attrs[name] is not None for name in ("dq", "dk", "dv"))
    rows = 4 * max(tokens, width) + _again(types, attrs) * tokens * (12 if k else 8)
    exponents = 2 * tokens * ((q or k) + heads * (q + k + v))
    held = tokens + width * (tokens * (v + q) + keys * v)
    return rows + exponents + held + (k or v) * tokens * keys


def _room(types: Types, attrs: Attrs) -> int:
    return product_room(types, attrs["probs"], 2)


def _grad_room(types: Types, attrs: Attrs) -> int:
    """One panel at a time with all keys at once, else three and a second row."""
    tokens, keys = need(types[0]).shape[0], attrs["dk"] or attrs["dv"]
    panels = 1 if keys and attrs["keys"] == tokens else 3
    return _grad_scratch(types, attrs) + product_room(types, attrs["probs"], panels) + tokens + 4


def _grad_macs(types: Types, attrs: Attrs) -> int:
    """Products for P, for the gradient of the scores, for each result; for the first two again."""
    q, k, v, again = (int(bool(x)) for x in (attrs["dq"], attrs["dk"], attrs["dv"],
                                             _again(types, attrs)))  # fmt: skip
    return (1 + (q or k) + q + k + v + again * (1 + k)) * product_macs(types, attrs["probs"])


def _grad_bound(types: Types, attrs: Attrs) -> int:
    g, e, q, k, v = types
    p = _probs((q, k), attrs)
    s, exps = Type(p.shape, "i8"), Type(p.shape[:2], "i16")
    parts: dict[str, tuple[Op, Types]] = {
        "probs": (attention_probs_u8, (q, k)), "ds": (attention_ds_s8, (g, e, v, p)),
        "dq": (attention_dq_s8, (s, exps, k)), "dk": (attention_dk_s8, (s, exps, q)),
        "dv": (attention_dv_s8, (g, e, p)),
    }  # fmt: skip
    found = [op.bound(ins, attrs[name]) for name, (op, ins) in parts.items()
             if op.bound and attrs[name]]  # fmt: skip
    return max(found)


def _examples(rng: np.random.Generator) -> list[Case]:
    found = []
    for x, probs, label in cases(rng):
        kind = {"heads": probs["heads"], "causal": probs["causal"]}
        attrs = {"probs": probs, "mix": {**kind, **mix_attrs(0.1, 0.06)}}
        found.append(Case(tuple(x), attrs, (0.1, 0.1, 0.1), label))
    return found


def gradient_parts(kind: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Attributes of the gradients of the inputs in ``wanted`` ("q", "kv" ...), no stream twice."""
    parts: dict[str, Any] = {name: None for name in STREAMS}
    for i, (part, streams) in enumerate(STREAMS.items()):
        if part[1] in wanted or (part == "ds" and wanted != "v"):
            drawn = {name: 10 * i + n for n, name in enumerate(streams)}
            parts[part] = {**kind, **drawn, "exp_add": -5 + i, "scale": 0.75}
    return parts


def _grad_examples(rng: np.random.Generator) -> list[Case]:
    found = []
    for g, e, x, probs, label in gradient_cases(rng):
        tokens, kind = len(g), {"heads": probs["heads"], "causal": probs["causal"]}
        blocks = sorted({1, min(3, tokens), max(1, tokens // 2), tokens})
        ways = [("qkv", keys) for keys in blocks]
        ways += [(w, int(rng.choice(blocks))) for w in ("q", "k", "v", "qk", "qv", "kv")]
        for wanted, keys in ways:
            attrs = {"probs": probs, "keys": keys, **gradient_parts(kind, wanted)}
            found.append(Case((g, e, *x), attrs, label=f"{label} keys {keys} for {wanted}"))
    return found


attention_s8 = Op(
    "attention_s8", _infer, _ref, _dims, inplace=((0, 0),), macs=_macs, bound=_bound,
    scratch=lambda ins, a: 4 * need(ins[0]).shape[0], room=_room, examples=_examples,
)  # fmt: skip
attention_grad_s8 = Op(
    "attention_grad_s8", _grad_infer, _grad_ref, _grad_dims, uses_step=True,
    inplace=((0, 0), (0, 2), (2, 3), (4, 4)), scratch=_grad_scratch, room=_grad_room,
    macs=_grad_macs, bound=_grad_bound, examples=_grad_examples,
)  # fmt: skip
OPS = (attention_s8, attention_grad_s8)
