"""Convolution, pooling and the update of a convolution's weight, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tinytrain.errors import ShapeError
from tinytrain.ir import Case, Step, Type
from tinytrain.ops.conv import (
    HALF,
    NOBODY,
    SAME,
    conv_mask_grad_s8,
    conv_pool_s8,
    conv_update_s8,
    weight_gradient,
)
from tinytrain.ops.linear import merge_rows
from tinytrain.ops.update import linear_update_s8
from tinytrain.ops.window import ONE, Window, patches

assert conv_pool_s8.examples and conv_update_s8.examples
FORWARD = conv_pool_s8.examples(np.random.default_rng(5))
UPDATES = conv_update_s8.examples(np.random.default_rng(6))


def channels_first(x: Any, image: tuple[int, int]) -> torch.Tensor:
    """``[H*W, C]`` -> float64 ``[1, C, H, W]``."""
    return torch.from_numpy(x.astype(np.float64).reshape(*image, -1)).permute(2, 0, 1)[None]


def kernel_of(w: Any, conv: Window) -> torch.Tensor:
    """``[O, kh*kw*C]`` -> ``[O, C, kh, kw]``."""
    return torch.from_numpy(w.astype(np.float64).reshape(len(w), *conv.size, -1)).permute(
        0, 3, 1, 2
    )


def convolved(case: Case) -> torch.Tensor:
    """The accumulators, ``[1, O, rows, columns]``."""
    x, w, wt, rows, b, bt, *_ = case.inputs
    conv = case.attrs["conv"]
    weight, bias = merge_rows(w, wt, rows), merge_rows(b, bt, rows)
    return F.conv2d(
        channels_first(x, case.attrs["image"]), kernel_of(weight, conv),
        torch.from_numpy(bias.astype(np.float64)), conv.stride, conv.padding,
    )  # fmt: skip


@pytest.mark.parametrize("case", FORWARD, ids=lambda c: c.label)
def test_forward_is_torchs(case: Case) -> None:
    """The maximum of the accumulators, then requantized: the same as in the other order."""
    attrs = {**case.attrs, "winners": True}
    y, winners = conv_pool_s8.ref(case.inputs, attrs, Step())
    acc, pool = convolved(case), attrs["pool"]
    best, places = F.max_pool2d(acc, pool.size, pool.stride, pool.padding, return_indices=True)
    mult, shift = (np.broadcast_to(v, acc.shape[1]) for v in case.inputs[6:])
    real = best[0].numpy() * (mult * 2.0**-shift)[:, None, None]
    want = np.clip(np.floor(real + 0.5), 0 if attrs["relu"] else -127, 127)
    np.testing.assert_array_equal(y, want.reshape(len(want), -1).T)
    # The winner has the largest value; where two accumulators give one code, it is the first.
    wide, high = attrs["conv"].places(attrs["image"])[1], pool.places(tuple(acc.shape[2:]))[1]
    t, o = np.nonzero(winners != NOBODY)
    inside = winners[t, o].astype(int)
    r = t // high * pool.stride[0] - pool.padding[0] + inside // pool.size[1]
    c = t % high * pool.stride[1] - pool.padding[1] + inside % pool.size[1]
    chosen = acc[0].numpy()[o, r, c] * (mult * 2.0**-shift)[o]
    assert (np.floor(chosen + 0.5) == y[t, o]).all()
    assert (r * wide + c <= places[0].numpy().reshape(acc.shape[1], -1)[o, t]).all()
    silent = (np.abs(y.astype(int)) == 127) | (attrs["relu"] & (y == 0))
    np.testing.assert_array_equal(winners == NOBODY, silent)


@pytest.mark.parametrize("case", UPDATES[::4], ids=lambda c: c.label)
def test_weight_gradient_is_torchs(case: Case) -> None:
    """The gradient of sum(g * pooled) by autograd, where the forward pass chose the winners."""
    g, _, x, *_, winners = case.inputs
    image, conv, pool = (case.attrs[name] for name in ("image", "conv", "pool"))
    outs, columns = g.shape[1], conv.size[0] * conv.size[1] * x.shape[1]
    weight = kernel_of(np.zeros((outs, columns)), conv).requires_grad_()
    acc = F.conv2d(channels_first(x, image), weight, None, conv.stride, conv.padding)
    full, pooled = conv.places(image), pool.places(conv.places(image))
    t, o = np.nonzero(winners != NOBODY)
    inside = winners[t, o].astype(int)
    r = t // pooled[1] * pool.stride[0] - pool.padding[0] + inside // pool.size[1]
    c = t % pooled[1] * pool.stride[1] - pool.padding[1] + inside % pool.size[1]
    assert (r >= 0).all() and (r < full[0]).all() and (c >= 0).all() and (c < full[1]).all()
    (acc[0, o, r, c] * torch.from_numpy(g[t, o].astype(np.float64))).sum().backward()
    want = weight.grad.permute(0, 2, 3, 1).reshape(outs, -1).numpy()  # type: ignore[union-attr]
    np.testing.assert_array_equal(weight_gradient(g, x, winners, case.attrs), want)


@pytest.mark.parametrize("rule", ["lsb", "sgd", "sgd_channels"])
def test_a_pointwise_convolution_steps_like_a_linear_layer(rule: str) -> None:
    """Kernel 1, no pooling: the same weights, fractions and moments, bit by bit."""
    for case in linear_update_s8.examples(np.random.default_rng(8)):  # type: ignore[misc]
        if case.label.split()[3] != rule:
            continue
        g, x = case.inputs[0], case.inputs[2]
        assert g is not None and x is not None
        attrs = {**case.attrs, "image": (1, len(x)), "conv": ONE, "pool": ONE}
        ins = (*case.inputs, np.zeros(g.shape, np.uint8))
        for seed in range(3):
            step = Step(seed=seed, step=4, learning_rate=np.float32(1.5))
            want = linear_update_s8.ref(case.inputs, case.attrs, step)
            for a, b in zip(conv_update_s8.ref(ins, attrs, step), want, strict=True):
                assert (a is None) == (b is None) and (a is None or np.array_equal(a, b))


def test_nobody_passes_no_gradient() -> None:
    case = next(c for c in UPDATES if c.attrs["conv"] == SAME)
    g, *rest, winners = case.inputs
    assert g is not None and winners is not None
    (passed,) = conv_mask_grad_s8.ref((g, winners), {}, Step())
    assert not passed[winners == NOBODY].any()
    np.testing.assert_array_equal(passed[winners != NOBODY], g[winners != NOBODY])
    alone, whole = (weight_gradient(v, rest[1], winners, case.attrs) for v in (passed, g))
    np.testing.assert_array_equal(alone, whole)


def test_the_feature_map_never_exists() -> None:
    """CCT's second stage: 32 KB of it, of which one row and two patches are held."""
    x, w = Type((256, 64), "i8", 0.1), Type((128, 576), "i8", 0.1)
    b, one = Type((128,), "i32"), Type((1,), "i32")
    types = (x, w, None, None, b, None, one, one)
    attrs = {"image": (16, 16), "conv": SAME, "pool": HALF, "relu": True, "winners": False,
             "scale": 0.1}  # fmt: skip
    assert conv_pool_s8.infer(types, attrs)[0] == Type((64, 128), "i8", 0.1)
    assert conv_pool_s8.scratch and conv_pool_s8.scratch(types, attrs) == 2 * 576 + 16 * 128
    assert conv_pool_s8.macs and conv_pool_s8.macs(types, attrs) == 256 * 576 * 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": (5, 5)}, "no image of 5x5"),
        ({"conv": Window((9, 3), (1, 1), (0, 0))}, "does not fit an image of 4x6"),
        ({"conv": Window((3, 2), (1, 1), (1, 1))}, "weight .* for 2 channels"),
        ({"pool": Window((2, 2), (1, 1), (2, 0))}, "more than half of the size"),
        ({"pool": Window((16, 16), (1, 1), (8, 8))}, "255 places are the most"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    types = (Type((24, 2), "i8", 0.1), Type((3, 18), "i8", 0.1), None, None, Type((3,), "i32"),
             None, Type((1,), "i32"), Type((1,), "i32"))  # fmt: skip
    attrs = {"image": (4, 6), "conv": SAME, "pool": ONE, "relu": True, "winners": True,
             "scale": 0.1}  # fmt: skip
    conv_pool_s8.infer(types, attrs)
    with pytest.raises(ShapeError, match=message):
        conv_pool_s8.infer(types, {**attrs, **change})


def test_patches_have_the_order_of_the_weight() -> None:
    x = np.arange(12).reshape(4, 3)  # 2x2 pixels of three channels
    got = patches(x, (2, 2), Window((2, 1), (1, 1), (1, 0)))
    np.testing.assert_array_equal(got[0], [0, 0, 0, 0, 1, 2])  # the row above is padding
    np.testing.assert_array_equal(got[3], [3, 4, 5, 9, 10, 11])
