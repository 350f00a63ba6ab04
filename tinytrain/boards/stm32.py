"""Facts of an STM32 board beyond those of every board: family, oscillator, pins of the UART."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..support.toml_table import Table

# Family: the fastest core that its clock code reaches, and what the oscillator is a multiple of.
FAMILIES = {
    "f4": (180_000_000, 1_000_000),
    "f7": (216_000_000, 1_000_000),
    "h7": (400_000_000, 2_000_000),
    "l4": (80_000_000, 4_000_000),
}
# ``hsi``: the chip's own. ``hse``: a crystal. ``hse_bypass``: a clock at the pin of the crystal.
OSCILLATORS = ("hsi", "hse", "hse_bypass")
INTERNAL_HZ = {"f4": 16_000_000, "f7": 16_000_000, "h7": 64_000_000, "l4": 16_000_000}
# KB of the sectors of the flash: as many of the last kind as there are.
SECTORS = {
    "f4": (16, 16, 16, 16, 64, 128),
    "f7": (32, 32, 32, 32, 128, 256),
    "h7": (128,),
    "l4": (2,),
}
H7_BANK = 8  # sectors; the second bank counts from 0 again
PIN = re.compile(r"P([A-K])(1[0-5]|[0-9])")


@dataclass(frozen=True)
class Stm32:
    """``tx``, ``rx``: pins as in ``PA2``, with the ``alternate`` function that is the UART's.
    ``irq``: its interrupt. ``rng``: address of the random number generator, 0: none."""

    family: str
    oscillator: str
    oscillator_hz: int
    tx: str
    rx: str
    alternate: int
    irq: int
    rng: int = 0

    def defines(self) -> dict[str, int]:
        """Macros of the port; a pin is 16 times its port plus its number."""
        return {
            f"TT_STM32_{self.family.upper()}": 1,
            "TT_HSE_HZ": 0 if self.oscillator == "hsi" else self.oscillator_hz,
            "TT_HSE_BYPASS": int(self.oscillator == "hse_bypass"),
            "TT_UART_TX": _number(self.tx), "TT_UART_RX": _number(self.rx),
            "TT_UART_ALTERNATE": self.alternate, "TT_UART_IRQ": self.irq,
            "TT_RNG_BASE": self.rng,
        }  # fmt: skip


def read_stm32(table: Table, clock_hz: int) -> Stm32:
    """The table ``[stm32]``; ``clock_hz``: of the core. Raises BoardError."""
    family = table.text("family", tuple(FAMILIES))
    most_hz, step_hz = FAMILIES[family]
    if clock_hz > most_hz:
        table.fail("family", family, f"a core of at most {most_hz} Hz, and clock_hz is {clock_hz}")
    oscillator = table.text("oscillator", OSCILLATORS)
    oscillator_hz = table.number("oscillator_hz", 4_000_000, 64_000_000, step_hz)
    if oscillator == "hsi" and oscillator_hz != INTERNAL_HZ[family]:
        table.fail("oscillator_hz", oscillator_hz, f"{INTERNAL_HZ[family]}, the chip's own")
    found = Stm32(
        family, oscillator, oscillator_hz, _pin(table, "tx"), _pin(table, "rx"),
        table.number("alternate", 0, 15), table.number("irq", 0, 149),
        table.number("rng", 0, 2**32 - 1, 4, needed=False),
    )  # fmt: skip
    table.done()
    return found


def storage_sectors(family: str, offset: int, length_bytes: int) -> tuple[int, int]:
    """Number of the sector at an offset of the flash, and how many fill ``length_bytes`` from it;
    for ``h7`` of the second bank, where they count from 0 again. Raises ValueError."""
    sizes = SECTORS[family]

    def size(number: int) -> int:
        return 1024 * sizes[min(number, len(sizes) - 1)]

    at, first = 0, 0
    while at < offset:
        at, first = at + size(first), first + 1
    end, number = at, first
    while end < offset + length_bytes:
        end, number = end + size(number), number + 1
    if at != offset or end != offset + length_bytes:
        raise ValueError(f"whole sectors, as the one of {size(first)} bytes at offset {at:#x}")
    if family == "h7" and first < H7_BANK:
        raise ValueError(f"a sector of the second bank, from offset {H7_BANK * size(0):#x}")
    return first % H7_BANK if family == "h7" else first, number - first


def _pin(table: Table, key: str) -> str:
    pin = table.text(key)
    if not PIN.fullmatch(pin):
        table.fail(key, pin, "a pin from 'PA0' to 'PK15'")
    return pin


def _number(pin: str) -> int:
    found = PIN.fullmatch(pin)
    assert found is not None
    return 16 * (ord(found[1]) - ord("A")) + int(found[2])
