"""The shared arithmetic of the kernels in C against numpy, over random and extreme inputs."""

from __future__ import annotations

import ctypes
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinytrain.ir import numerics as num
from tinytrain.support.assets import firmware_dir

# What tt_math.h has inline, with plain arguments and an exported name.
SHIM = """
#include "norm_rows.h"
#include "tinytrain/tt_rows.h"
#include <string.h>
uint32_t shim_key(uint32_t seed, uint32_t step, int32_t stream);
uint32_t shim_key(uint32_t seed, uint32_t step, int32_t stream) {
    const tt_step st = {seed, step, 0.0f, 0.0f, 0};
    return tt_key(&st, stream);
}
int32_t shim_random16(uint32_t key, uint32_t i);
int32_t shim_random16(uint32_t key, uint32_t i) { return tt_random16(key, i); }
int32_t shim_requantize(int32_t acc, int32_t m, int32_t shift, int32_t limit);
int32_t shim_requantize(int32_t acc, int32_t m, int32_t shift, int32_t limit) {
    return tt_requantize(acc, m, shift, limit);
}
int32_t shim_apply(int32_t acc, int32_t m, int32_t shift, int32_t limit);
int32_t shim_apply(int32_t acc, int32_t m, int32_t shift, int32_t limit) {
    const tt_multiplier f = {m, shift};
    return tt_apply_multiplier(acc, f, limit);
}
int32_t shim_gradient_shift(int32_t peak);
int32_t shim_gradient_shift(int32_t peak) { return tt_gradient_shift(peak); }
int32_t shim_stochastic_shift(int32_t acc, int32_t shift, uint32_t key, uint32_t i);
int32_t shim_stochastic_shift(int32_t acc, int32_t shift, uint32_t key, uint32_t i) {
    return tt_stochastic_shift(acc, shift, key, i);
}
int32_t shim_quotient(uint64_t a, uint32_t b);
int32_t shim_quotient(uint64_t a, uint32_t b) { return norm_quotient(a, b); }
static void copy(int32_t *acc, const void *row, int32_t from, int32_t n) {
    memcpy(acc, (const int32_t *)row + from, (size_t)n * sizeof *acc);
}
int16_t shim_made(int8_t *out, const int32_t *acc, int32_t n, int32_t base, uint32_t key,
                  uint32_t first);
int16_t shim_made(int8_t *out, const int32_t *acc, int32_t n, int32_t base, uint32_t key,
                  uint32_t first) {
    return tt_quantize_made(out, copy, acc, n, base, key, first);
}
"""
C_FILES = ("math.c", "quantize.c", "rounding.c", "rows.c")
STRICT = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes",
          "-Wdouble-promotion", "-ffp-contract=off", "-fsanitize=undefined",
          "-fsanitize-undefined-trap-on-error"]  # fmt: skip

i16, i32 = ctypes.c_int16, ctypes.c_int32
u32, u64, f32 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_float
int32s = st.integers(-(2**31) + 1, 2**31 - 1)
uint32s = st.integers(0, 2**32 - 1)
# Every float32 from 0 to the largest, by its bits, subnormals included.
bits = st.integers(0, 0x7F7FFFFF)
normal_bits = st.integers(0x00800000, 0x7F7FFFFF) | st.just(0)


class Multiplier(ctypes.Structure):
    _fields_ = [("m", i32), ("shift", i32)]


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = Path(tmp_path_factory.mktemp("math"))
    (folder / "shim.c").write_text(SHIM)
    firmware = firmware_dir()
    sources = [str(folder / "shim.c"), *(str(firmware / "kernels" / name) for name in C_FILES)]
    command = ["gcc", *STRICT, "-shared", "-fPIC", f"-I{firmware / 'include'}",
               f"-I{firmware / 'kernels'}"]  # fmt: skip
    subprocess.run([*command, "-o", str(folder / "math.so"), *sources], check=True)
    library = ctypes.CDLL(str(folder / "math.so"))
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "tt_sqrtf": (f32, [f32]), "tt_pow2f": (f32, [i32]), "tt_scaled_float": (f32, [u64, i32]),
        "tt_isqrt64": (u32, [u64]), "tt_float_multiplier": (Multiplier, [f32]),
        "tt_quantize_row": (i16, [ctypes.c_void_p, ctypes.c_void_p, i32, i32, u32, u32]),
        "shim_made": (i16, [ctypes.c_void_p, ctypes.c_void_p, i32, i32, u32, u32]),
        "shim_quotient": (i32, [u64, u32]),
        "shim_key": (u32, [u32, u32, i32]), "shim_random16": (i32, [u32, u32]),
        "shim_requantize": (i32, [i32] * 4), "shim_apply": (i32, [i32] * 4),
        "shim_gradient_shift": (i32, [i32]), "shim_stochastic_shift": (i32, [i32, i32, u32, u32]),
    }  # fmt: skip
    for name, (result, arguments) in signatures.items():
        getattr(library, name).restype = result
        getattr(library, name).argtypes = arguments
    return library


def float_of(pattern: int) -> np.float32:
    return np.array(pattern, np.uint32).view(np.float32)[()]


def same_float(have: float, want: np.float32) -> bool:
    return np.float32(have).tobytes() == np.float32(want).tobytes()


quick = settings(max_examples=1000, deadline=None)


@quick
@given(normal_bits)
@example(0x00800000)
@example(0x7F7FFFFF)
@example(0x3F7FFFFF)
@example(0x3F800001)
def test_sqrtf(c: Any, pattern: int) -> None:
    x = float_of(pattern)
    assert same_float(c.tt_sqrtf(x), num.sqrtf(x)) and same_float(c.tt_sqrtf(x), np.sqrt(x))


@quick
@given(st.integers(0, 2**64 - 1) | st.integers(0, 2**32 - 1).map(lambda r: max(0, r * r - 1)))
@example(2**64 - 1)
@example((2**32 - 1) ** 2)
@example(0)
def test_isqrt64(c: Any, x: int) -> None:
    assert c.tt_isqrt64(x) == num.isqrt(x) == math.isqrt(x)


@quick
@given(st.integers(0, 2**60 - 1), st.integers(0, 31), st.integers(1, 2**32 - 1))
@example(2**60 - 1, 0, 2**29)
@example(2**63 - 2**31 - 1, 0, 2**32 - 1)
@example((2**31 - 1) * (2**32 - 2**16 + 1), 0, 2**32 - 2**16 + 1)
def test_quotient_of_layernorm(c: Any, a: int, down: int, b: int) -> None:
    assert c.shim_quotient(a >> down, b) == min((a >> down) // b, 2**31 - 1)


@pytest.mark.parametrize("channels", [1, 63, 64, 65, 128, 200, 256, 257, 700])
@pytest.mark.parametrize("first", [0, 7])
def test_a_row_made_in_parts(c: Any, channels: int, first: int) -> None:
    """The same as at once, wherever the largest lies."""
    rng = np.random.default_rng(channels)
    for place in {0, channels // 2, channels - 1}:
        acc = rng.integers(-900, 900, channels).astype(np.int32)
        acc[place] = -70000
        found = [np.zeros(channels, np.int8) for _ in range(2)]
        exponents = [
            run(out.ctypes.data, acc.ctypes.data, channels, -5, 99, first)
            for run, out in zip((c.tt_quantize_row, c.shim_made), found, strict=True)
        ]
        assert exponents[0] == exponents[1] == 17 - 7 - 5
        np.testing.assert_array_equal(*found)


@quick
@given(bits)
@example(1)
@example(0x007FFFFF)
@example(0x00800000)
def test_float_multiplier(c: Any, pattern: int) -> None:
    x = float_of(pattern)
    have = c.tt_float_multiplier(x)
    assert (have.m, have.shift) == num.float_multiplier(x)
    assert have.m < 2**24 and math.ldexp(have.m, -have.shift) == float(x)


@quick
@given(st.integers(-(2**30) + 1, 2**30 - 1), st.integers(0, 40), uint32s, st.integers(0, 500))
def test_stochastic_shift(c: Any, acc: int, shift: int, key: int, first: int) -> None:
    want = num.stochastic_shift(np.array([acc]), shift, key, first)
    assert c.shim_stochastic_shift(acc, shift, key, first) == want[0]


def quantized_by_c(c: Any, acc: Any, exponents: Any, add: int, key: int, row: int = 0) -> Any:
    """Each row in place: the result takes the first bytes of the accumulators."""
    rows, channels = acc.shape
    out, found = np.zeros(acc.shape, np.int8), np.zeros(rows, np.int16)
    for t in range(rows):
        held = acc[t].astype(np.int32)
        base, first = int(exponents[t]) + add, (row + t) * channels
        found[t] = c.tt_quantize_row(held.ctypes.data, held.ctypes.data, channels, base, key, first)
        out[t] = held.view(np.int8)[:channels]
    return out, found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 40),
    st.integers(-300, 300), uint32s,
)  # fmt: skip
def test_quantize_rows(c: Any, widths: list[int], channels: int, add: int, key: int) -> None:
    """Rows of 0 to 30 bits, each for itself; a tile of them draws the numbers of the whole."""
    rng = np.random.default_rng(channels)
    limits = np.array([[2**width - 1] for width in widths])
    acc = rng.integers(-limits, limits + 1, (len(widths), channels))
    exponents = rng.integers(-200, 200, len(widths)).astype(np.int16)
    want, found = num.quantize_rows(acc, exponents, add, key)
    out, have = quantized_by_c(c, acc, exponents, add, key)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(have, found)
    first = len(widths) // 2
    out, have = quantized_by_c(c, acc[first:], exponents[first:], add, key, first)
    np.testing.assert_array_equal(out, want[first:])
    np.testing.assert_array_equal(have, found[first:])
    zero = ~acc.any(axis=1)
    assert (found[zero] == num.ZERO_EXPONENT).all() and (found[~zero] > num.ZERO_EXPONENT).all()
    shifts = np.where(zero, 0, found - exponents - add)[:, None]
    assert np.abs(want - acc / 2.0**shifts).max() <= 1
    assert (np.abs(want).max(axis=1) >= np.where(shifts[:, 0] > 0, 63, 0)).all()


@pytest.mark.parametrize("peak", [1, 127, 128, 2**30 - 1])
def test_quantize_rows_of_extremes(c: Any, peak: int) -> None:
    acc = np.array([[peak, -peak, 0], [0, 0, 0], [0, 0, -peak], [peak, peak, peak]])
    exponents = np.array([0, 5, -40, num.ZERO_EXPONENT + 40], np.int16)
    want, found = num.quantize_rows(acc, exponents, -7, 99)
    out, have = quantized_by_c(c, acc, exponents, -7, 99)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(have, found)
    shift = max(0, peak.bit_length() - 7)
    base = [shift - 7, num.ZERO_EXPONENT, shift - 47, num.ZERO_EXPONENT + shift + 33]
    np.testing.assert_array_equal(found, base)
    if shift == 0:
        np.testing.assert_array_equal(want, acc)


@quick
@given(st.integers(0, 2**64 - 1) | st.integers(0, 2**25), st.integers(-200, 100))
def test_scaled_float(c: Any, value: int, exponent: int) -> None:
    with np.errstate(over="ignore"):
        want = num.scaled_float(value, exponent)
    assert same_float(c.tt_scaled_float(value, exponent), want)


@quick
@given(st.integers(-(2**31), 2**31 - 1))
def test_pow2f(c: Any, exponent: int) -> None:
    assert same_float(c.tt_pow2f(exponent), num.pow2f(exponent))


@quick
@given(uint32s, uint32s, st.integers(0, 2**31 - 1), st.integers(0, 2000))
def test_random16(c: Any, seed: int, step: int, stream: int, index: int) -> None:
    key = c.shim_key(seed, step, stream)
    assert key == num.stream_key(seed, step, stream)
    assert c.shim_random16(key, index) == num.random16(key, index + 1)[index]


@quick
@given(int32s, st.integers(0, 2**31 - 1), st.integers(1, 62), st.integers(0, 2**31 - 1))
def test_requantize(c: Any, acc: int, mult: int, shift: int, limit: int) -> None:
    want = np.clip(num.requantize(np.array(acc), mult, shift), -limit, limit)
    assert c.shim_requantize(acc, mult, shift, limit) == want


@quick
@given(int32s, bits, st.integers(0, 2**31 - 1))
def test_apply_multiplier(c: Any, acc: int, pattern: int, limit: int) -> None:
    m, shift = num.float_multiplier(float_of(pattern))
    want = num.apply_multiplier(np.array(acc), m, shift, limit)
    assert c.shim_apply(acc, m, shift, limit) == want


@quick
@given(st.integers(0, 2**31 - 1))
def test_gradient_shift(c: Any, peak: int) -> None:
    shift = num.gradient_shift(peak)
    assert c.shim_gradient_shift(peak) == shift
    assert peak >> shift <= 127 and (shift == 0 or peak >> (shift - 1) > 127)


@quick
@given(st.floats(2**-40, 2**20))
def test_multiplier(ratio: float) -> None:
    m, shift = num.multiplier(ratio)
    assert m == 0 or (2**30 <= m < 2**31 and abs(m * 2.0**-shift / ratio - 1) < 2**-30)
