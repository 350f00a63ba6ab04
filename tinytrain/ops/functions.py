"""Functions of one variable with their derivatives, and the int8 tables made of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..ir import Array
from ..ir.numerics import clamp

Function = Callable[[Array], Array]
CODES = np.arange(-128, 128, dtype=np.float64)
ROOT_2_PI = math.sqrt(2 / math.pi)


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _normal_cdf(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))))


def _gelu_slope(x: Array) -> Array:
    return np.asarray(_normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _gelu_tanh_inner(x: Array) -> Array:
    return np.asarray(np.tanh(ROOT_2_PI * (x + 0.044715 * x**3)))


def _gelu_tanh_slope(x: Array) -> Array:
    t = _gelu_tanh_inner(x)
    return np.asarray(
        0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT_2_PI * (1 + 3 * 0.044715 * x * x)
    )


# Each function with its derivative, in float64.
UNARY: dict[str, tuple[Function, Function]] = {
    "gelu": (lambda x: x * _normal_cdf(x), _gelu_slope),
    "gelu_tanh": (lambda x: 0.5 * x * (1 + _gelu_tanh_inner(x)), _gelu_tanh_slope),
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * (1 - _sigmoid(x))),
    "silu": (
        lambda x: x * _sigmoid(x),
        lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x))),
    ),
    "identity": (lambda x: x, np.ones_like),
    "neg": (lambda x: -x, lambda x: -np.ones_like(x)),
}


def lut_table(fn: Function, s_x: float, s_y: float) -> Array:
    """int8 [256]: the code of ``fn`` at each code -128..127 of the input."""
    return clamp(np.rint(fn(CODES * s_x) / s_y), 127)


def slope_table(derivative: Function, s_x: float) -> tuple[Array, float]:
    """(int8 [256], scale) of the derivative at each code. A derivative of only 0 and +-c (ReLU) is
    exact as 0 and +-1, so that its gradient is not rounded again; else 127 steps."""
    slope = np.asarray(derivative(CODES * s_x), np.float64)
    peak = float(np.abs(slope).max())
    if peak == 0:
        return np.zeros(256, np.int8), 1.0
    scale = peak if np.all((slope == 0) | (np.abs(slope) == peak)) else peak / 127
    return clamp(np.rint(slope / scale), 127), scale
