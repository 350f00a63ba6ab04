"""Biases that were written from outside, beyond what any update leaves: defined, and legal ones
keep their bits. The kernels are compiled with the check of undefined behaviour."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

LARGEST = 2**31 - 1
MULT, SHIFT = 1 << 30, 45


class Step(ctypes.Structure):
    _fields_ = [("seed", ctypes.c_uint32), ("step", ctypes.c_uint32), ("rate", ctypes.c_float),
                ("beta", ctypes.c_float), ("row", ctypes.c_int32)]  # fmt: skip


def at(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize("bias", (LARGEST, -LARGEST - 1, 2**30 - 1, 1 - 2**30))
def test_linear(kernels: ctypes.CDLL, bias: int) -> None:
    T, C, outs = 3, 8, 5
    sign = 1 if bias > 0 else -1
    x, w = np.full((T, C), 127, np.int8), np.full((outs, C), 127 * sign, np.int8)
    b, y = np.full(outs, bias, np.int32), np.zeros((T, outs), np.int8)
    mult, shift = np.array([MULT], np.int32), np.array([SHIFT], np.int32)
    scratch = np.zeros(4096, np.int32)
    kernels.tt_linear_s8(
        at(y), at(x), at(w), None, None, at(b), None, at(mult), at(shift), at(scratch),
        scratch.nbytes, T, C, outs, 0,
    )  # fmt: skip
    total = (bias + sign * C * 127 * 127 + 2**31) % 2**32 - 2**31
    assert (y == np.clip((total * MULT + 2 ** (SHIFT - 1)) >> SHIFT, -127, 127)).all()


@pytest.mark.parametrize("bias", (LARGEST, -LARGEST - 1, 1000))
def test_update(kernels: ctypes.CDLL, bias: int) -> None:
    b, moment = np.array([bias], np.int32), np.array([1e-6], np.float32)
    g = np.array([[127 if bias < 0 else -127]], np.int8)
    exponents, step = np.zeros(1, np.int16), Step(1, 1, 2.0, 0.9, 0)
    kernels.tt_linear_bias_update_s32(
        at(b), at(moment), at(g), at(exponents), None, None, ctypes.byref(step), 1, 1, 0,
        ctypes.c_float(65536.0),
    )  # fmt: skip
    delta = 8 * 2 * 65536
    edge = 2**30 - 1
    assert b[0] == (bias + delta if bias == 1000 else edge if bias > 0 else -edge)
