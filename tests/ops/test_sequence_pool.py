"""Sequence pooling against real numbers: its weights, its output and its gradients by row."""

from __future__ import annotations

import numpy as np
import pytest

from tinytrain.errors import ShapeError
from tinytrain.ir import Step, Type
from tinytrain.ir.numerics import ZERO_EXPONENT, multiplier
from tinytrain.ops.pool import (
    FULL,
    _weights,
    pool_attrs,
    score_fraction,
    sequence_pool_da_s8,
    sequence_pool_dx_s8,
    sequence_pool_s8,
)

S_X, S_A = 0.03, 0.02


def softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp((a - a.max()) * S_A)
    return e / e.sum()


@pytest.mark.parametrize("tokens", [1, 2, 64, 1000])
def test_weights_are_a_softmax(tokens: int) -> None:
    a = np.random.default_rng(tokens).integers(-127, 128, (tokens, 1)).astype(np.int8)
    mult, shift = multiplier(256 * S_A)
    got = _weights(a, {"mult": mult, "shift": shift})
    want = softmax(a.astype(float))[:, 0]
    assert np.abs(got / FULL - want).max() <= 0.6 / FULL + 0.003 * want.max()
    assert abs(int(got.sum()) - FULL) <= tokens / 2 + 1


def test_many_tokens_of_equal_weight() -> None:
    """1/64 each, where a probability in eight bits would be off by 1.6 %."""
    x = np.arange(-64, 64).reshape(64, 2).astype(np.int8)
    attrs = pool_attrs(1.0, 0.1, 1 / 16)
    (y,) = sequence_pool_s8.ref((x, np.full((64, 1), 5, np.int8)), attrs, Step())
    np.testing.assert_array_equal(y, np.floor(x.mean(axis=0, keepdims=True) * 16 + 0.5))


def test_gradients_by_row() -> None:
    """Each row keeps seven bits, however small its weight is."""
    rng = np.random.default_rng(3)
    x, g = (rng.integers(-127, 128, s).astype(np.int8) for s in ((40, 24), (1, 24)))
    a = rng.integers(-127, 128, (40, 1)).astype(np.int8)
    p = softmax(a.astype(float))
    mult, shift = multiplier(256 * S_A)
    attrs = {"mult": mult, "shift": shift, "stream": 1, "exp_add": 0, "scale": 0.5}
    e = np.array([-3], np.int16)
    gx, ex = sequence_pool_dx_s8.ref((g, e, a), attrs, Step())
    want = p * g * 2.0**-3 * FULL
    for row, exponent, real in zip(gx, ex, want, strict=True):
        unit = 2.0 ** int(exponent)
        assert np.abs(row * unit - real).max() <= unit + 0.005 * np.abs(real).max() + 2.0**-3 * 64
    fraction = score_fraction(40, 24)
    ga, ea = sequence_pool_da_s8.ref((g, e, x, a), {**attrs, "fraction": fraction}, Step())
    d = x.astype(float) @ g[0].astype(float)
    real = p[:, 0] * (d - p[:, 0] @ d) * 2.0**-3 * 2.0 ** (30 - fraction)
    got = ga[:, 0] * 2.0 ** ea.astype(float)
    assert np.abs(got - real).max() <= 0.02 * np.abs(real).max()
    clear = np.abs(real) > 0.02 * np.abs(real).max()
    assert (np.abs(got - real)[clear] <= 0.05 * np.abs(real)[clear]).all()


def test_no_gradient_is_the_exponent_of_nothing() -> None:
    mult, shift = multiplier(256 * S_A)
    attrs = {"mult": mult, "shift": shift, "stream": 1, "exp_add": 0, "scale": 0.5}
    g, a, e = np.zeros((1, 4), np.int8), np.zeros((3, 1), np.int8), np.array([2], np.int16)
    gx, ex = sequence_pool_dx_s8.ref((g, e, a), attrs, Step())
    assert not gx.any() and (ex == ZERO_EXPONENT).all()
    x = np.full((3, 4), 9, np.int8)  # equal tokens: the scores do not matter
    some = np.array([[127, -1, 2, 3]], np.int8)
    ins = (some, e, x, np.array([[1], [7], [-90]], np.int8))
    ga, ea = sequence_pool_da_s8.ref(ins, {**attrs, "fraction": score_fraction(3, 4)}, Step())
    assert not ga.any() and (ea == ZERO_EXPONENT).all()


@pytest.mark.parametrize(("tokens", "channels"), [(1, 1), (64, 128), (1000, 1024), (65537, 66000)])
def test_fraction_holds_its_bound(tokens: int, channels: int) -> None:
    attrs = {"fraction": score_fraction(tokens, channels)}
    types = (None, None, Type((tokens, channels), "i8", 0.1), None)
    assert sequence_pool_da_s8.bound and sequence_pool_da_s8.bound(types, attrs) < 2**31


def test_what_is_refused() -> None:
    x, a = Type((6, 4), "i8", 0.1), Type((6, 1), "i8", 0.1)
    for wrong in (Type((6, 2), "i8", 0.1), Type((5, 1), "i8", 0.1)):
        with pytest.raises(ShapeError, match="scores"):
            sequence_pool_s8.infer((x, wrong), {"scale": 0.1})
    with pytest.raises(ShapeError, match="one row"):
        two = (Type((2, 4), "i8", 0.1), Type((2,), "i16"), a)
        sequence_pool_dx_s8.infer(two, {"scale": 0.1})
