"""Convolution, ReLU and max-pooling in one operator, and how its weight trains.

An image is ``[H*W, C]``, channels last; a weight ``[O, kh*kw*C]``, split between flash and SRAM as
that of a linear layer (``linear.py``). Attributes: ``image`` (H, W), ``conv`` and ``pool`` (a
``Window`` each; ``ONE`` is no pooling), ``relu``, ``winners``.

The convolution's own output never exists: one row of it is made at a time and joins the pooled rows
that it belongs to, which hold the largest so far. It is requantized before the maximum: the largest
stays the largest, a row is int8, and one requantization is little beside kh*kw*C products.

``winners`` (uint8, like y) names the place in the pooling window that won, the first in rows where
several did; NOBODY where the output is a ReLU's zero or saturated, so that no gradient passes.
There is no gradient of the input: what lies before a convolution does not train.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import SchemeError, ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types
from ..ir.numerics import clamp, multiplier, requantize, stream_key
from .base import Backward, Grad, exact_matmul, need, need_aligned
from .linear import merge_rows, out_channels
from .update import (
    BIAS_LIMIT,
    PRODUCT,
    codes,
    linear_bias_update_s32,
    panel_bytes,
    split_rows,
    step_weights,
    trained_channels,
    update_bound,
    update_types,
)
from .window import ONE, Pair, Window, patches, windows

NOBODY = 255


def _kernel(attrs: Attrs) -> int:
    rows, columns = attrs["conv"].size
    return int(rows * columns)


def _shapes(x: Type, attrs: Attrs) -> tuple[Pair, Pair]:
    """Rows and columns of the convolution and of the pooled output."""
    image, pool = attrs["image"], attrs["pool"]
    if x.shape[0] != image[0] * image[1]:
        raise ShapeError(f"conv_pool: {x} is no image of {image[0]}x{image[1]}")
    if any(2 * p > k for p, k in zip(pool.padding, pool.size, strict=True)):
        raise ShapeError(f"conv_pool: pooling by {pool}: padding is more than half of the size")
    if pool.size[0] * pool.size[1] > NOBODY:
        raise ShapeError(f"conv_pool: pooling by {pool}; {NOBODY} places are the most")
    full = attrs["conv"].places(image)
    return full, pool.places(full)


def _infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    x, w, wt, rows, b, bt, mult, shift = types
    x, w, mult = need(x, "i8", 2), need(w, "i8", 2), need(mult, "i32", 1)
    (height, width), outs = _shapes(x, attrs)[1], out_channels(w, wt, rows)
    if w.shape[1] != _kernel(attrs) * x.shape[1]:
        raise ShapeError(f"conv_pool: weight {w} for {x.shape[1]} channels and {attrs['conv']}")
    if mult.shape[0] not in (1, outs) or shift is None or shift.shape != mult.shape:
        raise ShapeError(f"conv_pool: {mult.shape[0]} multipliers for {outs} output channels")
    if b is None or out_channels(b, bt, rows) != outs:
        raise ShapeError(f"conv_pool: bias {b} for {outs} output channels")
    shape = (height * width, outs)
    return Type(shape, "i8", attrs["scale"]), Type(shape, "u8") if attrs["winners"] else None


def _ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array | None, ...]:
    x, w, wt, rows, b, bt, mult, shift = ins
    image, conv, pool = attrs["image"], attrs["conv"], attrs["pool"]
    acc = exact_matmul(patches(x, image, conv), merge_rows(w, wt, rows).T) + merge_rows(b, bt, rows)
    full = clamp(requantize(acc, mult, shift), 127)
    full = np.maximum(full, 0) if attrs["relu"] else full
    seen = windows(full, conv.places(image), pool, -128)
    y = np.ascontiguousarray(seen.max(axis=1))
    if not attrs["winners"]:
        return y, None
    silent = (np.abs(y.astype(np.int16)) == 127) | (attrs["relu"] & (y == 0))
    return y, np.where(silent, NOBODY, seen.argmax(axis=1)).astype(np.uint8)


def _geometry(attrs: Attrs) -> dict[str, int]:
    """Height, width, channels; then size, stride and padding of both windows."""
    found = {"H": attrs["image"][0], "W": attrs["image"][1]}
    for name in ("conv", "pool"):
        for part in ("size", "stride", "padding"):
            for axis, n in zip("hw", getattr(attrs[name], part), strict=True):
                found[f"{name}_{part}_{axis}"] = n
    return found


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    x, mult, y = need(ins[0]), need(ins[6]), need(outs[0])
    return {"C": x.shape[1], "O": y.shape[1], **_geometry(attrs), "relu": int(attrs["relu"]),
            "per_channel": int(mult.shape[0] > 1)}  # fmt: skip


def _scratch(ins: Types, attrs: Attrs) -> int:
    """Two patches and one row of the convolution."""
    x, w, wt, rows = need(ins[0]), need(ins[1]), ins[2], ins[3]
    return 2 * w.shape[1] + _shapes(x, attrs)[0][1] * out_channels(w, wt, rows)


def _room(ins: Types, attrs: Attrs) -> int:
    """Panels of two rows of the weight and of one row of patches as well."""
    pair = panel_bytes(need(ins[1]).shape[1])
    width = _shapes(need(ins[0]), attrs)[0][1]
    return _scratch(ins, attrs) + 3 + pair * (1 + (width + 1) // 2)


def _macs(types: Types, attrs: Attrs) -> int:
    w, wt, rows = need(types[1]), types[2], types[3]
    height, width = _shapes(need(types[0]), attrs)[0]
    return height * width * w.shape[1] * out_channels(w, wt, rows)


def _grad(b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: tuple[bool, ...]) -> Any:
    x, w, wt, rows, bias, bt, *_ = node.inputs
    gy, winners = grads[0], node.outputs[1]
    assert gy and x and w and bias
    if wanted[0]:
        raise SchemeError(
            f"{node.layer or node.name}: a convolution gives no gradient to its input, so nothing "
            "before it can train; train this convolution and what is behind it"
        )
    assert winners, "select.py asks for the winners of a convolution that trains"
    (value,) = b.node(conv_mask_grad_s8, [gy.value, winners], f"{gy.value.name}.passed",
                      layer=node.layer)  # fmt: skip
    gy = Grad(value, gy.exponent)
    if isinstance(w.type.scale, tuple):
        gy = b.fold_channel_scales(gy, w.type.scale, node)
    trained_w, trained_b = (wt or w, 2 if wt else 1), (bt or bias, 5 if bt else 4)
    gy = b.aligned(gy)
    if wanted[trained_w[1]]:
        attrs = {name: node.attrs[name] for name in ("image", "conv", "pool")}
        b.update_weight(conv_update_s8, gy, x, trained_w[0], rows if wt else None, node,
                        [winners], **attrs)  # fmt: skip
    if wanted[trained_b[1]]:
        b.update_bias(linear_bias_update_s32, gy, x, trained_b[0], rows if bt else None, node)
    return (None,) * 8


def _mask_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    g, winners = need(types[0], "i8", 2), need(types[1], "u8", 2)
    if g.shape != winners.shape:
        raise ShapeError(f"conv_mask_grad: gradient {g} and winners {winners} differ in shape")
    return (g,)


def _mask_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    return (np.where(ins[1] == NOBODY, 0, ins[0]).astype(np.int8),)


def _update_infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    g, e, x, w, *_, winners = types
    g, x, w, winners = need_aligned(g, e), need(x, "i8", 2), need(w, "i8", 2), need(winners, "u8")
    height, width = _shapes(x, attrs)[1]
    if g.shape[0] != height * width or winners.shape != g.shape:
        raise ShapeError(f"conv_update: {g} and {winners} for {height}x{width} pooled pixels")
    if w.shape[1] != _kernel(attrs) * x.shape[1]:
        raise ShapeError(f"conv_update: weight {w} for {x.shape[1]} channels and {attrs['conv']}")
    return update_types(types[:8])


def _update_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array | None, ...]:
    """The weight gradient and the step."""
    g, e, x, w, fraction, moment, coefs, rows, winners = ins
    order = trained_channels(rows, len(w))
    acc = weight_gradient(g[:, order], x, winners[:, order], attrs)
    key = stream_key(step.seed, step.step, attrs["stream"])
    return step_weights(acc, order, int(e[0]), w, fraction, moment, coefs, key, step)


def weight_gradient(g: Array, x: Array, winners: Array, attrs: Attrs) -> Array:
    """int64 ``[O, kh*kw*C]``: of each channel the sum of g[t] times the patch that won output t."""
    every = patches(x, attrs["image"], attrs["conv"])
    numbers = np.arange(len(every)).reshape(-1, 1)
    full = attrs["conv"].places(attrs["image"])
    place = windows(numbers, full, attrs["pool"], -1)[:, :, 0]  # [pooled, in the window] -> pixel
    passed = np.where(winners == NOBODY, 0, g).astype(np.int64)
    won = place[np.arange(len(g))[:, None], np.where(winners == NOBODY, 0, winners)]
    dense = np.zeros((len(every), g.shape[1]), np.int64)  # the gradient of every pixel
    np.add.at(dense, (np.maximum(won, 0), np.arange(g.shape[1])[None]), passed)
    return exact_matmul(dense.T, every)


def _update_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, x, coefs = need(ins[0]), need(ins[2]), ins[6]
    many = int(coefs is not None and coefs.shape[0] > 1)
    return {"C": x.shape[1], "O": g.shape[1], **_geometry(attrs), "per_channel": many,
            "stream": attrs["stream"]}  # fmt: skip


def _case(image: Pair, conv: Window, pool: Window, relu: bool) -> dict[str, Any]:
    return {"image": image, "conv": conv, "pool": pool, "relu": relu}


SAME = Window((3, 3), (1, 1), (1, 1))
HALF = Window((3, 3), (2, 2), (1, 1))
SHAPES = (  # image, C, O, convolution, pooling
    ((1, 1), 1, 1, ONE, ONE),
    ((8, 8), 1, 4, SAME, HALF),
    ((7, 5), 3, 5, SAME, HALF),
    ((9, 6), 2, 3, Window((3, 2), (2, 1), (1, 0)), Window((2, 3), (1, 2), (0, 1))),
    ((6, 10), 4, 2, Window((2, 5), (2, 5), (0, 0)), ONE),
    ((1, 17), 3, 4, Window((1, 4), (1, 3), (0, 2)), Window((1, 2), (1, 2), (0, 0))),
    ((5, 5), 2, 3, Window((5, 5), (1, 1), (2, 2)), Window((3, 3), (3, 3), (0, 0))),
    ((4, 4), 1, 3, Window((1, 1), (3, 3), (2, 2)), Window((2, 2), (1, 1), (1, 1))),
    ((8, 7), 2, 3, Window((2, 2), (1, 1), (0, 0)), Window((2, 2), (3, 3), (0, 0))),
)


def _examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for image, c, o, conv, pool in SHAPES:
        for split in (False, True):
            for relu in (False, True):
                k = conv.size[0] * conv.size[1] * c
                x, w = codes(rng, image[0] * image[1], c), codes(rng, o, k)
                bias = rng.integers(-3000, 3000, o).astype(np.int32)
                many = o if split else 1
                pairs = [multiplier(r) for r in rng.uniform(0.5, 2.0, many) / (80 * k**0.5)]
                mult, shift = (np.array(p, np.int32) for p in zip(*pairs, strict=True))
                wt = bt = rows = None
                if split and o > 1:
                    w, wt, rows = split_rows(rng, w)
                    bias, bt = bias[rows < 0], bias[rows >= 0]
                attrs = {**_case(image, conv, pool, relu), "winners": relu != split, "scale": 0.05}
                ins = (x, w, wt, rows, bias, bt, mult, shift)
                cases.append(Case(ins, attrs, label=f"{image} C{c} O{o} {conv} {split} {relu}"))
    return cases


def _mask_examples(rng: np.random.Generator) -> list[Case]:
    return [
        Case((codes(rng, t, o), rng.choice([0, 3, NOBODY], (t, o)).astype(np.uint8)),
             scales=(0.7, None), label=f"{t}x{o}")
        for t, o in ((1, 1), (3, 17), (16, 5))
    ]  # fmt: skip


def _update_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for forward in _examples(rng):
        attrs = {**forward.attrs, "winners": True}
        winners = _ref(forward.inputs, attrs, Step())[1]
        assert winners is not None
        x, w, wt, rows = forward.inputs[:4]
        assert x is not None and w is not None
        w = w if wt is None else wt
        for rule in ("lsb", "first", "sgd", "sgd_channels"):
            e = rng.integers(-20, -8, 1).astype(np.int16)
            level = (2.0 ** int(e[0]) * 4000) ** 2 if rule == "lsb" else 0.0
            many = winners.shape[1] if rule == "sgd_channels" else 1
            coefs = rng.uniform(0.5, 2, many).astype(np.float32)
            ins = (
                codes(rng, *winners.shape), e, x, w,
                rng.integers(-128, 128, w.shape).astype(np.int8) if wt is not None else None,
                None if "sgd" in rule else np.array([level], np.float32),
                coefs if "sgd" in rule else None, rows, winners,
            )  # fmt: skip
            kept = {name: attrs[name] for name in ("image", "conv", "pool")}
            cases.append(Case(ins, {**kept, "stream": 5}, label=f"{forward.label} {rule}"))
    return cases


conv_pool_s8 = Op(
    "conv_pool_s8", _infer, _ref, _dims, scratch=_scratch, room=_room, macs=_macs, grad=_grad,
    bound=lambda ins, a: need(ins[1]).shape[1] * PRODUCT + BIAS_LIMIT, examples=_examples,
)  # fmt: skip
conv_mask_grad_s8 = Op(
    "conv_mask_grad_s8", _mask_infer, _mask_ref,
    lambda ins, outs, a: {"n": need(ins[0]).size}, inplace=((0, 0),), rowwise=(0, 1),
    examples=_mask_examples,
)  # fmt: skip
conv_update_s8 = Op(
    "conv_update_s8", _update_infer, _update_ref, _update_dims, uses_step=True,
    scratch=lambda ins, a: 4 * need(ins[3]).shape[1],
    updates=((0, 3), (1, 4), (2, 5)),
    macs=lambda ins, a: need(ins[0]).shape[0] * need(ins[3]).size,
    bound=update_bound, examples=_update_examples,
)  # fmt: skip
OPS = (conv_pool_s8, conv_mask_grad_s8, conv_update_s8)
