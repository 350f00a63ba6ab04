"""What the attention ops share: heads as slices of columns, the integer softmax, example cases.

``C`` channels are ``heads`` times ``C / heads``; head h is a slice of columns of q, k and v
``[T, C]``. Probabilities are uint8 ``[H, T, T]``, worth 1/255 a step. ``causal``: row i counts only
columns j <= i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Type, Types
from ..ir.numerics import multiplier, requantize
from ..ir.tables import EXP16
from .base import exact_matmul, need

FULL = 255  # a probability of one
PRODUCT = 127 * 127


def split_heads(x: Array, heads: int) -> Array:
    """[T, C] -> [H, T, C/H]."""
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def merge_heads(x: Array) -> Array:
    """[H, T, C/H] -> [T, C]."""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def head_width(channels: int, attrs: Attrs) -> int:
    """C/H. Raises ShapeError where the heads do not divide the channels."""
    heads = int(attrs["heads"])
    if heads < 1 or channels % heads:
        raise ShapeError(f"attention: {channels} channels do not divide into {heads} heads")
    return channels // heads


def visible(tokens: int, attrs: Attrs) -> Array:
    """Where row i counts column j."""
    full = np.ones((tokens, tokens), bool)
    return np.tril(full) if attrs["causal"] else full


def probabilities(q: Array, k: Array, attrs: Attrs) -> Array:
    """uint8 [H, T, T]: the softmax of the scores, which are ``mult * 2**-shift`` sixteenths of a
    nat a unit."""
    heads = attrs["heads"]
    acc = exact_matmul(split_heads(q, heads), split_heads(k, heads).transpose(0, 2, 1))
    seen = visible(len(q), attrs)
    top = np.where(seen, acc, np.iinfo(np.int64).min).max(axis=2, keepdims=True)
    t = np.minimum(requantize(np.where(seen, top - acc, 0), attrs["mult"], attrs["shift"]), 255)
    e = np.where(seen, EXP16[t].astype(np.int64), 0)
    rec = (FULL << 24) // e.sum(axis=2, keepdims=True)
    return np.asarray((e * rec + (1 << 23)) >> 24, np.uint8)


def check_probs(p: Type | None, x: Type, attrs: Attrs) -> Type:
    """The type of P or of a gradient of scores, checked against activations ``[T, C]``."""
    p = need(p, None, 3)
    head_width(x.shape[1], attrs)
    if p.shape != (attrs["heads"], x.shape[0], x.shape[0]):
        raise ShapeError(f"attention: probabilities {p} do not fit {x} in {attrs['heads']} heads")
    return p


def activations(types: Types) -> Type:
    """The first input [T, C]."""
    return next(t for t in types if t is not None and t.dtype == "i8" and len(t.shape) == 2)


def sizes(types: Types, attrs: Attrs) -> dict[str, int]:
    """The first arguments of every attention kernel."""
    tokens, channels = activations(types).shape
    return {"T": tokens, "C": channels, "H": attrs["heads"], "causal": int(attrs["causal"])}


def product_macs(types: Types, attrs: Attrs) -> int:
    """The products of one [T, T] by [T, C], or of as many channels for each pair of tokens."""
    tokens, channels = activations(types).shape
    return channels * (tokens * (tokens + 1) // 2 if attrs["causal"] else tokens**2)


def product_room(types: Types, attrs: Attrs, panels: int = 1) -> int:
    """What a fast kernel has use for: heads of matrices ``[T, C]`` as int16, two rows to multiply
    them with, two rows of products, 48 bytes beside."""
    tokens, channels = activations(types).shape
    rows, width = _padded(tokens), _padded(head_width(channels, attrs))
    return panels * 2 * rows * width + 8 * (rows + width) + 48


def _padded(n: int) -> int:
    return -(-n // 4) * 4


def codes(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-127, 128, shape).astype(np.int8)


SHAPES = ((1, 1, 1), (1, 3, 1), (3, 6, 2), (17, 5, 1), (17, 12, 4), (9, 18, 2))  # T, C, H


def cases(rng: np.random.Generator) -> list[tuple[list[Array], dict[str, Any], str]]:
    """([q, k, v], attributes of the probabilities, label); random, then all codes at an extreme."""
    found = []
    for extreme in (False, True):
        for causal in (False, True):
            for t, c, h in SHAPES:
                x = [codes(rng, t, c) for _ in range(3)]
                if extreme:
                    x = [np.where(a < 0, -127, 127).astype(np.int8) for a in x]
                root = (c // h) ** -0.5
                mult, shift = multiplier(float(rng.uniform(0.5, 2)) * 2**-7 * root)
                attrs = {"heads": h, "causal": causal, "mult": mult, "shift": shift,
                         "softmax_scale": root}  # fmt: skip
                found.append((x, attrs, f"T{t} C{c} H{h} causal={causal} extreme={extreme}"))
    return found
