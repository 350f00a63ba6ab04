"""Constant tables of the kernels; ``firmware/kernels/tables.c`` holds the same numbers.

Computed in decimal arithmetic, whose ``exp`` and ``ln`` are correctly rounded: no entry depends on
the math library of a platform. ``c_source`` is the text of the C file; a test holds both equal.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
import numpy.typing as npt


def _rounded(values: list[Decimal]) -> npt.NDArray[np.uint16]:
    return np.array([int(v.to_integral_value(ROUND_HALF_EVEN)) for v in values], np.uint16)


with localcontext() as _context:
    _context.prec = 50
    # exp16[i] = round(65535 exp(-i/16)): sixteenths of a nat; the last of 256 entries is 0.
    EXP16 = _rounded([65535 * (Decimal(-i) / 16).exp() for i in range(256)])
    # exp256[i] = round(2^15 exp(-i/256)): what is left below a sixteenth.
    EXP256 = _rounded([32768 * (Decimal(-i) / 256).exp() for i in range(16)])
    # ln128[i] = round(2^16 ln(1 + i/128)); the last of 129 entries is ln 2.
    LN128 = _rounded([65536 * (1 + Decimal(i) / 128).ln() for i in range(129)])

TABLES = {"tt_exp16": EXP16, "tt_exp256": EXP256, "tt_ln128": LN128}


def c_source() -> str:
    """The text of ``firmware/kernels/tables.c``."""
    text = "/* Made by c_source() in tinytrain/ir/tables.py. */\n/* clang-format off */\n"
    text += '#include "tinytrain/tt_tables.h"\n'
    for name, table in TABLES.items():
        numbers = [str(v) for v in table]
        lines = [", ".join(numbers[i : i + 12]) for i in range(0, len(numbers), 12)]
        body = ",\n    ".join(lines)
        text += f"\nconst uint16_t {name}[{len(table)}] = {{\n    {body},\n}};\n"
    return text
