"""Integer arithmetic that every target shares, in numpy; ``tt_math.h`` is the same in C.

All functions are exact: the C and these give the same bits for every input in the stated range.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

GOLDEN = 0x9E3779B9
MASK32 = 0xFFFFFFFF
ZERO_EXPONENT = -(2**14)  # of a row of gradients that are all zero: below that of any other


def multiplier(ratio: float) -> tuple[int, int]:
    """Fixed-point form (M, shift) of ``ratio`` > 0: ratio = M * 2**-shift, M in [2**30, 2**31).

    ``y = (acc * M + 2**(shift-1)) >> shift``; shift in [1, 62] (Jacob et al. 2018, section 2.2).
    Ratios below 2**-32 become (0, 62).
    """
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"requantize ratio must be positive and finite, got {ratio}")
    mantissa, exponent = math.frexp(ratio)
    m = round(mantissa * 2**31)
    if m == 2**31:
        m, exponent = 2**30, exponent + 1
    shift = 31 - exponent
    if shift > 62:
        return 0, 62
    if shift < 1:
        raise ValueError(f"requantize ratio {ratio} is too large (2**30 is the limit)")
    return m, shift


def requantize(acc: Array, mult: Array | int, shift: Array | int) -> Array:
    """round-half-up(acc * M * 2**-shift) in int64, not clamped. acc: int32 range."""
    wide = np.asarray(acc, np.int64) * np.asarray(mult, np.int64)
    s = np.asarray(shift, np.int64)
    return (wide + (np.int64(1) << (s - 1))) >> s


def clamp(values: Array, limit: int, dtype: Any = np.int8) -> Array:
    """Saturate to [-limit, limit]."""
    return np.clip(values, -limit, limit).astype(dtype)


def mix(x: Array | int) -> Array:
    """A 32-bit finalizer (lowbias32 of Chris Wellons' hash-prospector), on uint32."""
    v = np.asarray(x, np.uint64) & MASK32
    v ^= v >> np.uint64(16)
    v = (v * np.uint64(0x7FEB352D)) & np.uint64(MASK32)
    v ^= v >> np.uint64(15)
    v = (v * np.uint64(0x846CA68B)) & np.uint64(MASK32)
    v ^= v >> np.uint64(16)
    return v.astype(np.uint32)


def stream_key(seed: int, step: int, stream: int) -> int:
    """Key of one node's random numbers in one step."""
    inner = int(mix((seed + step * GOLDEN) & MASK32))
    return int(mix(inner ^ ((stream * 0x85EBCA6B) & MASK32)))


def random16(key: int, count: int) -> Array:
    """``count`` random 16-bit integers (int64). Number i depends on (key, i) only, so that any
    order of evaluation, tiling or recomputation draws the same ones. One hash gives two."""
    index = np.arange((count + 1) // 2, dtype=np.uint64)
    words = mix(key + index * np.uint64(GOLDEN)).astype(np.int64)
    return np.stack([words & 0xFFFF, words >> 16], axis=1).reshape(-1)[:count]


def bit_length(value: int) -> int:
    return int(value).bit_length()


def gradient_shift(peak: int) -> int:
    """Smallest shift that brings |acc| <= peak into int8: peak >> shift <= 127."""
    return max(0, bit_length(peak) - 7)


def stochastic_shift(acc: Array, shift: int | Array, key: int, first: int = 0) -> Array:
    """clamp(floor(acc * 2**-shift + u), -127, 127), u in [0, 1) with 16 bits.

    ``acc`` int32 range with |acc| < 2**30, any shape, its element i (C order) draws number
    ``first + i`` of the stream. ``shift``: one, or an array that broadcasts to ``acc``; 0 is exact,
    over 30 gives 0.
    """
    wide = np.asarray(acc, np.int64)
    s = np.asarray(shift, np.int64)
    noise = random16(key, first + wide.size)[first:].reshape(wide.shape)
    noise = np.where(s <= 16, noise >> np.clip(16 - s, 0, 16), noise << np.clip(s - 16, 0, 14))
    return clamp(np.where(s > 30, 0, (wide + noise) >> np.clip(s, 0, 30)), 127)


def row_shifts(acc: Array) -> Array:
    """int64 ``[T, 1]``: the smallest shift that brings each row of ``acc`` ``[T, C]`` into int8."""
    peaks = np.abs(np.asarray(acc, np.int64)).max(axis=1, initial=0)
    return np.array([gradient_shift(int(p)) for p in peaks], np.int64)[:, None]


def row_exponents(acc: Array, exponents: Array) -> Array:
    """int16 ``[T]``: ``exponents``, but ZERO_EXPONENT where a row of ``acc`` is all zero."""
    some = np.asarray(acc).any(axis=1)
    return np.where(some, np.asarray(exponents, np.int64), ZERO_EXPONENT).astype(np.int16)


def quantize_rows(acc: Array, exponents: Array, add: int, key: int) -> tuple[Array, Array]:
    """Gradient accumulators ``[T, C]`` worth ``2**(exponents[t] + add)`` -> (int8 ``[T, C]``, int16
    ``[T]``): each row by the smallest shift that fits, with stochastic rounding."""
    shifts = row_shifts(acc)
    found = row_exponents(acc, np.asarray(exponents, np.int64) + add + shifts[:, 0])
    return stochastic_shift(acc, shifts, key), found


def isqrt(value: int) -> int:
    """floor(sqrt(value)) of an unsigned 64-bit integer."""
    return math.isqrt(int(value))


def pow2f(exponent: int) -> np.float32:
    """2**exponent as float32, exponent clamped to [-126, 127]."""
    return np.float32(2.0 ** max(-126, min(127, exponent)))


def scaled_float(value: int, exponent: int) -> np.float32:
    """value * 2**exponent as float32, from the top 24 bits of an unsigned 64-bit integer."""
    drop = max(0, bit_length(value) - 24)
    return np.float32(np.float32(value >> drop) * pow2f(exponent + drop))


def sqrtf(x: np.float32) -> np.float32:
    """Correctly rounded float32 square root (IEEE 754), x >= 0."""
    return np.float32(np.sqrt(np.float32(x)))


def float_multiplier(x: np.float32) -> tuple[int, int]:
    """A float32 x >= 0 as (m, shift): x = m * 2**-shift, m < 2**24 exact; (0, 0) for 0."""
    if not x > 0:
        return 0, 0
    mantissa, exponent = math.frexp(float(x))
    return int(mantissa * 2**24), 24 - exponent


def apply_multiplier(acc: Array, m: int, shift: int, limit: int) -> Array:
    """clamp(round-half-up(acc * m * 2**-shift), +-limit) in int64; |acc| < 2**31, m < 2**24."""
    wide = np.asarray(acc, np.int64) * np.int64(m)
    if shift <= 0:
        # A left shift of up to 7 bits cannot overflow (55 + 7 bits); beyond, all saturates.
        wide = wide << np.int64(min(-shift, 7))
    elif shift > 62:
        wide = np.zeros_like(wide)
    else:
        wide = (wide + (np.int64(1) << np.int64(shift - 1))) >> np.int64(shift)
    return np.asarray(np.clip(wide, -limit, limit))


def split_scale(scale: float) -> tuple[float, int]:
    """scale = mantissa * 2**exponent, mantissa in [0.5, 1). How gradients carry real factors: the
    mantissa in the type, the exponent added at run time."""
    return math.frexp(scale)
