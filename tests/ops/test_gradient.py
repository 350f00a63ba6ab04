"""The sum of two gradients against real numbers, and the mask of saturated values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrain.errors import ShapeError
from tinytrain.ir import Step, Type
from tinytrain.ops.gradient import clip_grad_s8, clip_mask_u8, grad_add_attrs, grad_add_s8

scales = st.floats(1e-4, 1e4)
codes = st.lists(st.integers(-127, 127), min_size=6, max_size=6)
exponents = st.integers(-60, 20)


def exponent(value: int) -> Any:
    return np.array([value], np.int32)


@settings(max_examples=300, deadline=None)
@given(codes, codes, exponents, exponents, scales, scales, st.integers(0, 2**32 - 1))
def test_sum_of_real_gradients(
    a: list[int], b: list[int], ea: int, eb: int, s_a: float, s_b: float, seed: int
) -> None:
    x, y = np.array(a, np.int8), np.array(b, np.int8)
    attrs = {**grad_add_attrs(s_a, s_b), "stream": 1}
    ins = [x, exponent(ea), y, exponent(eb)]
    out, e = grad_add_s8.ref(ins, attrs, Step(seed=seed))
    want = x * 2.0**ea * s_a + y * 2.0**eb * s_b
    unit = 2.0 ** int(e[0]) * s_a
    # stochastic rounding, the ratio's 14 bits, and the bits lost where an operand is shifted down
    largest = max(np.abs(x).max() * 2.0**ea * s_a, np.abs(y).max() * 2.0**eb * s_b)
    assert np.abs(out * unit - want).max() <= unit + largest * 2.0**-12
    if want.any() and np.abs(want).max() > largest / 2:
        assert np.abs(out).max() >= 62


def test_zero_operand_changes_nothing() -> None:
    """Neither its huge exponent nor its scale: 7 bits come through unrounded."""
    a, zero = np.array([127, -3, 64], np.int8), np.zeros(3, np.int8)
    attrs = {**grad_add_attrs(0.5, 0.5), "stream": 1}
    for far in (-100, 100):
        out, e = grad_add_s8.ref([a, exponent(-9), zero, exponent(far)], attrs, Step())
        np.testing.assert_array_equal(out, a)
        assert e[0] == -9
        out, e = grad_add_s8.ref([zero, exponent(far), a, exponent(-9)], attrs, Step())
        np.testing.assert_array_equal(out, a)
        assert e[0] == -9


def test_what_is_refused() -> None:
    one, g = Type((1,), "i32"), Type((2, 3), "i8", 0.5)
    attrs = {**grad_add_attrs(0.5, 0.5), "stream": 1}
    assert grad_add_s8.infer((g, one, g, one), attrs) == (g, one)
    wrong = (
        (g, one, Type((2, 3), "i8", (0.5, 0.5, 0.5)), one),
        (g, one, Type((2, 3), "i8", 0.4), one),
        (g, one, Type((3, 2), "i8", 0.5), one),
        (g, Type((4,), "i32"), g, one),
    )
    for types in wrong:
        with pytest.raises(ShapeError):
            grad_add_s8.infer(types, attrs)


def test_clipping() -> None:
    y = np.array([127, 0, -127, 126, 1, -126, 5, 6, -127], np.int8)
    bits = clip_mask_u8.ref([y], {}, Step())[0]
    np.testing.assert_array_equal(bits, [0b101, 1])
    g = clip_grad_s8.ref([np.arange(1, 10, dtype=np.int8), bits], {}, Step())[0]
    np.testing.assert_array_equal(g, [0, 2, 0, 4, 5, 6, 7, 8, 0])
