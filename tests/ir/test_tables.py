"""The constant tables of the kernels are those that Python computes."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from tinytrain.ir.tables import EXP16, EXP256, LN128, TABLES, c_source
from tinytrain.support.assets import firmware_dir


def test_c_holds_the_same_numbers(kernels: ctypes.CDLL) -> None:
    for name, table in TABLES.items():
        held = (ctypes.c_uint16 * len(table)).in_dll(kernels, name)
        np.testing.assert_array_equal(np.array(held), table, name)
    assert (firmware_dir() / "kernels" / "tables.c").read_text() == c_source()


def test_values() -> None:
    """Against the platform's float functions, which are good to far below half a step."""
    for i, e in enumerate(EXP16):
        assert abs(65535 * math.exp(-i / 16) - int(e)) <= 0.500001
    for i, e in enumerate(EXP256):
        assert abs(32768 * math.exp(-i / 256) - int(e)) <= 0.500001
    for i, e in enumerate(LN128):
        assert abs(65536 * math.log1p(i / 128) - int(e)) <= 0.500001
    assert EXP16[0] == 65535 and EXP16[255] == 0 and EXP256[0] == 32768
