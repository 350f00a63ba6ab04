"""The float operators: what a frontend makes, calibration runs and quantize.py turns to int8.

No value has a batch dimension. Activations are float32 ``[T, C]``, after pooling ``[1, C]``; only
the model's input may have another shape until ``reshape`` and ``permute`` have made it ``[T, C]``.
A token may be a pixel: images are ``[H*W, C]`` (``window.py``).
These ops are never emitted as C, so they have no dims, scratch or gradient.

Letters: T tokens, C channels in, O channels out, D model width, H heads, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Op, Step, Type, Types
from .base import need
from .functions import UNARY
from .window import patches, windows

Ref = Callable[[Sequence[Any], Attrs, Step], tuple[Array]]


def _float(*shape: int) -> tuple[Type]:
    return (Type(shape, "f32"),)


def _rows(kind: Type | None) -> Type:
    """A float activation ``[T, C]``."""
    return need(kind, "f32", 2)


def _linear_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, w, b = _rows(types[0]), _rows(types[1]), need(types[2], "f32", 1)
    if w.shape[1] != x.shape[1] or b.shape[0] != w.shape[0]:
        raise ShapeError(f"linear: input {x}, weight {w} and bias {b} do not fit")
    return _float(x.shape[0], w.shape[0])


def _norm_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, gamma, beta = _rows(types[0]), need(types[1], "f32", 1), need(types[2], "f32", 1)
    if gamma.shape != (x.shape[1],) or beta.shape != gamma.shape:
        raise ShapeError(f"layer_norm: input {x}, gamma {gamma} and beta {beta} do not fit")
    return _float(*x.shape)


def _norm_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    """(x - mean) / sqrt(var + eps) * gamma + beta, over the channels; var divides by C."""
    x, gamma, beta = ins
    middle = x - x.mean(axis=1, keepdims=True)
    var = (middle * middle).mean(axis=1, keepdims=True)
    y = middle / np.sqrt(var + np.float32(attrs["eps"])) * gamma + beta
    return (np.asarray(y, np.float32),)


def _affine_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, gamma, beta = _rows(types[0]), need(types[1], "f32", 1), need(types[2], "f32", 1)
    if gamma.shape != x.shape[1:] or beta.shape != gamma.shape:
        raise ShapeError(f"affine: gain {gamma} and offset {beta} do not fit {x}")
    return _float(*x.shape)


def _attention_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    q, k, v = (_rows(kind) for kind in types)
    if not q.shape == k.shape == v.shape:
        raise ShapeError(f"attention: queries {q}, keys {k} and values {v} differ in shape")
    if attrs["heads"] < 1 or q.shape[1] % attrs["heads"]:
        raise ShapeError(f"attention: {attrs['heads']} heads do not divide {q.shape[1]} channels")
    return _float(*q.shape)


def _attention_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    """softmax(scale * q k^T) v in each head; a causal token sees itself and those before it."""
    tokens, width = ins[0].shape
    heads = attrs["heads"]
    q, k, v = (a.reshape(tokens, heads, width // heads).transpose(1, 0, 2) for a in ins)
    scores = np.float32(attrs["scale"]) * (q @ k.transpose(0, 2, 1))  # [H, T, T]
    if attrs["causal"]:
        scores = np.where(np.tri(tokens, dtype=bool), scores, np.float32(-np.inf))
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return (np.asarray((weights @ v).transpose(1, 0, 2).reshape(tokens, width), np.float32),)


def _conv_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, w, b = _rows(types[0]), _rows(types[1]), need(types[2], "f32", 1)
    image, conv = attrs["image"], attrs["conv"]
    kernel = math.prod(conv.size) * x.shape[1]
    if x.shape[0] != math.prod(image) or w.shape != (b.shape[0], kernel):
        raise ShapeError(f"conv_pool: image {image} in {x}, weight {w} and bias {b} do not fit")
    return _float(math.prod(attrs["pool"].places(conv.places(image))), w.shape[0])


def _conv(ins: Sequence[Any], attrs: Attrs) -> Array:
    """max over the pooling window of [relu of] patches W^T + b; W's columns as patches are."""
    x, w, b = ins
    y = patches(x, attrs["image"], attrs["conv"]) @ w.T + b
    y = np.maximum(y, 0) if attrs["relu"] else y
    full = attrs["conv"].places(attrs["image"])
    return np.asarray(windows(y, full, attrs["pool"], -np.inf).max(axis=1))


def _conv_macs(types: Types, attrs: Attrs) -> int:
    places = attrs["conv"].places(attrs["image"])
    return int(math.prod(places)) * need(types[1]).size


def _sequence_pool_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, a = _rows(types[0]), _rows(types[1])
    if a.shape != (x.shape[0], 1):
        raise ShapeError(f"sequence_pool: scores {a} for tokens {x}")
    return _float(1, x.shape[1])


def _sequence_pool(ins: Sequence[Any], attrs: Attrs) -> Array:
    x, a = ins
    weights = np.exp(a - a.max())
    return np.asarray((weights / weights.sum()).T @ x)


def _unary_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    if attrs["fn"] not in UNARY:
        raise ShapeError(f"unary: no function {attrs['fn']!r}; there are {', '.join(UNARY)}")
    return _float(*_rows(types[0]).shape)


def _add_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    a, b = _rows(types[0]), _rows(types[1])
    if a.shape != b.shape:
        raise ShapeError(f"add: {a} and {b} differ in shape")
    return _float(*a.shape)


def _embedding_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    ids, table = need(types[0], rank=1), _rows(types[1])
    dtype = "u8" if table.shape[0] <= 256 else "u16"
    if ids.dtype != dtype or table.shape[0] > 65536:
        raise ShapeError(f"embedding: ids {ids} for a table {table}; ids must be {dtype}")
    return _float(ids.shape[0], table.shape[1])


def _select_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x = _rows(types[0])
    if not 0 <= attrs["index"] < x.shape[0]:
        raise ShapeError(f"select_token: no token {attrs['index']} in {x}")
    return _float(1, x.shape[1])


def _concat_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    a, b = _rows(types[0]), _rows(types[1])
    if a.shape[1] != b.shape[1]:
        raise ShapeError(f"concat_tokens: {a} and {b} differ in channels")
    return _float(a.shape[0] + b.shape[0], a.shape[1])


def _reshape_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, shape = need(types[0], "f32"), tuple(attrs["shape"])
    if math.prod(shape) != x.size:
        raise ShapeError(f"reshape: {x} has {x.size} elements, {shape} has {math.prod(shape)}")
    return _float(*shape)


def _permute_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, axes = need(types[0], "f32"), tuple(attrs["axes"])
    if sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(f"permute: axes {axes} are no order of the axes of {x}")
    return _float(*(x.shape[axis] for axis in axes))


def _ref(compute: Callable[[Sequence[Any], Attrs], Any]) -> Ref:
    """A meaning that needs no step, rounded to float32 and laid out in memory in order."""

    def ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
        return (np.ascontiguousarray(compute(ins, attrs), np.float32),)

    return ref


linear = Op(
    "linear", _linear_infer, _ref(lambda i, a: i[0] @ i[1].T + i[2]),
    macs=lambda types, attrs: need(types[0]).shape[0] * need(types[1]).size,
)  # fmt: skip
layer_norm = Op("layer_norm", _norm_infer, _norm_ref)
affine = Op("affine", _affine_infer, _ref(lambda i, a: i[0] * i[1] + i[2]))
attention = Op(
    "attention", _attention_infer, _attention_ref,
    macs=lambda types, attrs: 2 * need(types[0]).shape[0] * need(types[0]).size,
)  # fmt: skip
conv_pool = Op("conv_pool", _conv_infer, _ref(_conv), macs=_conv_macs)
sequence_pool = Op(
    "sequence_pool", _sequence_pool_infer, _ref(_sequence_pool),
    macs=lambda types, attrs: need(types[0]).size,
)  # fmt: skip
unary = Op(
    "unary", _unary_infer, _ref(lambda i, a: UNARY[a["fn"]][0](np.asarray(i[0], np.float64)))
)
add = Op("add", _add_infer, _ref(lambda i, a: i[0] + i[1]))
scale = Op(
    "scale", lambda types, attrs: _float(*_rows(types[0]).shape),
    _ref(lambda i, a: i[0] * np.float32(a["factor"])),
)  # fmt: skip
embedding = Op("embedding", _embedding_infer, _ref(lambda i, a: i[1][i[0]]))
mean_tokens = Op(
    "mean_tokens", lambda types, attrs: _float(1, _rows(types[0]).shape[1]),
    _ref(lambda i, a: i[0].mean(axis=0, keepdims=True)),
)  # fmt: skip
select_token = Op("select_token", _select_infer, _ref(lambda i, a: i[0][[a["index"]]]))
concat_tokens = Op("concat_tokens", _concat_infer, _ref(lambda i, a: np.concatenate(i)))
reshape = Op("reshape", _reshape_infer, _ref(lambda i, a: i[0].reshape(a["shape"])))
permute = Op("permute", _permute_infer, _ref(lambda i, a: i[0].transpose(a["axes"])))

FLOAT_OPS: dict[str, Op] = {
    op.name: op
    for op in (
        linear, layer_norm, attention, unary, add, scale, embedding, mean_tokens, select_token,
        concat_tokens, reshape, permute, conv_pool, sequence_pool, affine,
    )
}  # fmt: skip
