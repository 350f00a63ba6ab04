"""Windows over an image: what convolution and pooling share, for numbers of any type.

An image is a value ``[H*W, C]``: pixel (r, c) is row r*W + c, channels last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from ..ir import Array

Pair = tuple[int, int]  # rows, columns


@dataclass(frozen=True)
class Window:
    """Places (i*stride - padding) of a window of ``size``; each a pair of rows and columns."""

    size: Pair
    stride: Pair
    padding: Pair

    def places(self, image: Pair) -> Pair:
        """Rows and columns of what the window gives. Raises ShapeError where it does not fit."""
        found = tuple(
            (n + 2 * p - k) // s + 1
            for n, k, s, p in zip(image, self.size, self.stride, self.padding, strict=True)
        )
        if min(*self.size, *self.stride) < 1 or min(self.padding) < 0 or min(found) < 1:
            raise ShapeError(f"{self} does not fit an image of {image[0]}x{image[1]}")
        return found[0], found[1]

    def __str__(self) -> str:
        size, stride, padding = ("x".join(map(str, v)) for v in vars(self).values())
        return f"a window of {size}, stride {stride}, padding {padding}"


ONE = Window((1, 1), (1, 1), (0, 0))  # of no pooling


def windows(x: Array, image: Pair, window: Window, fill: float) -> Array:
    """``x`` ``[H*W, C]`` -> ``[places, size, C]``, rows first in both; ``fill`` in the padding."""
    rows, columns = window.places(image)
    border = [(p, p) for p in window.padding]
    padded = np.pad(x.reshape(*image, -1), [*border, (0, 0)], constant_values=fill)
    every = np.lib.stride_tricks.sliding_window_view(padded, window.size, axis=(0, 1))
    chosen = every[:: window.stride[0], :: window.stride[1]].transpose(0, 1, 3, 4, 2)
    return chosen.reshape(rows * columns, window.size[0] * window.size[1], x.shape[1])


def patches(x: Array, image: Pair, window: Window) -> Array:
    """``[H*W, C]`` -> ``[places, kh*kw*C]``: what a convolution multiplies with its weight."""
    return windows(x, image, window, 0).reshape(math.prod(window.places(image)), -1)
