"""The sum of two gradients and their alignment against real numbers, and the mask of saturated
values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrain.errors import ShapeError
from tinytrain.ir import Step, Type
from tinytrain.ir.numerics import ZERO_EXPONENT
from tinytrain.ops.gradient import (
    align_grad_s8,
    clip_grad_s8,
    clip_mask_u8,
    grad_add_attrs,
    grad_add_s8,
)

ROWS, CHANNELS = 3, 6
scales = st.floats(1e-4, 1e4)
codes = st.lists(st.integers(-127, 127), min_size=ROWS * CHANNELS, max_size=ROWS * CHANNELS).map(
    lambda values: np.array(values, np.int8).reshape(ROWS, CHANNELS)
)
exponents = st.lists(st.integers(-60, 20), min_size=ROWS, max_size=ROWS).map(
    lambda values: np.array(values, np.int16)
)
seeds = st.integers(0, 2**32 - 1)


def real(g: Any, e: Any, scale: float = 1.0) -> Any:
    return g * 2.0 ** e[:, None].astype(float) * scale


@settings(max_examples=300, deadline=None)
@given(codes, codes, exponents, exponents, scales, scales, seeds)
def test_sum_of_real_gradients(
    a: Any, b: Any, ea: Any, eb: Any, s_a: float, s_b: float, seed: int
) -> None:
    attrs = {**grad_add_attrs(s_a, s_b), "stream": 1}
    out, e = grad_add_s8.ref([a, ea, b, eb], attrs, Step(seed=seed))
    x, y = real(a, ea, s_a), real(b, eb, s_b)
    want = x + y
    for t in range(ROWS):
        unit = 2.0 ** int(e[t]) * s_a
        # stochastic rounding, the ratio's 14 bits, the bits lost where an operand is shifted down:
        # to the exponent of the other, also where clipping has left nothing of that
        largest = max(127 * 2.0 ** int(ea[t]) * s_a, 127 * 2.0 ** int(eb[t]) * s_b)
        assert np.abs(out[t] * unit - want[t]).max() <= unit + largest * 2.0**-12
        if np.abs(want[t]).max() > largest / 4:
            assert np.abs(out[t]).max() >= 62


def test_zero_row_changes_nothing() -> None:
    """Its exponent is below any other: the other row comes through unrounded."""
    a, zero = np.array([[127, -3, 64], [0, 1, -70]], np.int8), np.zeros((2, 3), np.int8)
    e, none = np.array([-9, 4], np.int16), np.full(2, ZERO_EXPONENT, np.int16)
    attrs = {**grad_add_attrs(0.5, 0.5), "stream": 1}
    for ins in ([a, e, zero, none], [zero, none, a, e]):
        out, found = grad_add_s8.ref(ins, attrs, Step())
        np.testing.assert_array_equal(out, a)
        np.testing.assert_array_equal(found, e)
    out, found = grad_add_s8.ref([zero, none, zero, none], attrs, Step())
    assert not out.any() and (found == ZERO_EXPONENT).all()


@settings(max_examples=300, deadline=None)
@given(codes, exponents, seeds)
def test_aligned_gradient_is_the_same_to_a_step(g: Any, e: Any, seed: int) -> None:
    out, found = align_grad_s8.ref([g, e], {"stream": 1}, Step(seed=seed))
    assert found.shape == (1,) and found[0] == e.max()
    unit = 2.0 ** int(found[0])
    assert np.abs(out * unit - real(g, e)).max() < unit
    top = e == e.max()
    np.testing.assert_array_equal(out[top], g[top])


def test_aligned_gradient_is_right_on_average() -> None:
    g, e = np.full((2, 4000), 77, np.int8), np.array([0, -9], np.int16)
    out, _ = align_grad_s8.ref([g, e], {"stream": 1}, Step())
    p = 77 / 2**9
    assert abs(out[1].mean() - p) < 5 * np.sqrt(p / 4000) and set(out[1]) == {0, 1}


def test_zero_rows_do_not_align() -> None:
    g = np.array([[0, 0], [5, -7], [0, 0]], np.int8)
    e = np.array([ZERO_EXPONENT, -20, ZERO_EXPONENT], np.int16)
    out, found = align_grad_s8.ref([g, e], {"stream": 1}, Step())
    np.testing.assert_array_equal(out, g)
    assert found[0] == -20


def test_what_is_refused() -> None:
    rows, g = Type((2,), "i16"), Type((2, 3), "i8", 0.5)
    attrs = {**grad_add_attrs(0.5, 0.5), "stream": 1}
    assert grad_add_s8.infer((g, rows, g, rows), attrs) == (g, rows)
    assert align_grad_s8.infer((g, rows), attrs) == (g, Type((1,), "i16"))
    wrong = (
        (g, rows, Type((2, 3), "i8", (0.5, 0.5, 0.5)), rows),
        (g, rows, Type((2, 3), "i8", 0.4), rows),
        (g, rows, Type((2, 4), "i8", 0.5), rows),
        (g, Type((1,), "i16"), g, rows),
        (g, Type((2,), "i32"), g, rows),
    )
    for types in wrong:
        with pytest.raises(ShapeError):
            grad_add_s8.infer(types, attrs)
    with pytest.raises(ShapeError):
        align_grad_s8.infer((g, Type((1,), "i16")), attrs)
    with pytest.raises(ShapeError):
        clip_grad_s8.infer((g, Type((1,), "u8")), {})


def test_clipping() -> None:
    """Rows begin with a byte of their own."""
    y = np.array(
        [[127, 0, -127, 126, 1, -126, 5, 6, -127], [0, -127, 0, 0, 0, 0, 0, 0, 3]], np.int8
    )
    bits = clip_mask_u8.ref([y], {}, Step())[0]
    np.testing.assert_array_equal(bits, [[0b101, 1], [0b10, 0]])
    g = np.arange(1, 19, dtype=np.int8).reshape(2, 9)
    out = clip_grad_s8.ref([g, bits], {}, Step())[0]
    np.testing.assert_array_equal(out[0], [0, 2, 0, 4, 5, 6, 7, 8, 0])
    np.testing.assert_array_equal(out[1], [10, 0, 12, 13, 14, 15, 16, 17, 18])
