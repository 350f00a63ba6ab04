"""A model of the STM32 registers that the port uses, written from the reference manuals: what
becomes ready, which clock follows, what flash takes. The port runs on the host against it."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tinytrain.boards import Board

GET = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)
SET = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)

RCC = {"f4": 0x40023800, "f7": 0x40023800, "h7": 0x58024400, "l4": 0x40021000}
SYSTICK = 0xE000E018
# (offset in RCC, bit that switches on, name of what answers, bit that says so).
READY = {
    "f4": [(0, 16, "hse", 17), (0, 24, "pll", 25)],
    "f7": [(0, 16, "hse", 17), (0, 24, "pll", 25)],
    "h7": [(0, 12, "hsi48", 13), (0, 16, "hse", 17), (0, 24, "pll", 25)],
    "l4": [(0, 0, "msi", 1), (0, 8, "hsi", 10), (0, 16, "hse", 17), (0, 24, "pll", 25)],
}
SWITCH = {"f4": (0x08, 2), "f7": (0x08, 2), "h7": (0x10, 3), "l4": (0x08, 2)}
RESET_HZ = {"f4": 16_000_000, "f7": 16_000_000, "h7": 64_000_000, "l4": 4_000_000}
HSI_HZ = {"f4": 16_000_000, "f7": 16_000_000, "h7": 64_000_000, "l4": 16_000_000}
FLASH = {"f4": 0x40023C00, "f7": 0x40023C00, "h7": 0x52002100, "l4": 0x40022000}
# Offsets of key, state and control; masks of lock, program, erase, start; where the number stands.
FLASH_LAYOUT = {
    "f4": (0x04, 0x0C, 0x10, 1 << 31, 1, 2, 1 << 16, 3),
    "f7": (0x04, 0x0C, 0x10, 1 << 31, 1, 2, 1 << 16, 3),
    "h7": (0x04, 0x10, 0x0C, 1, 2, 4, 1 << 7, 8),
    "l4": (0x08, 0x10, 0x14, 1 << 31, 1, 2, 1 << 16, 3),
}
# KB of the sectors before those that are all alike.
LARGE_SECTORS = {
    "f4": (16, 16, 16, 16, 64, *[128] * 7),
    "f7": (32, 32, 32, 32, 128, 256, 256, 256),
}
# Of a read with two wrong bits: where its flag is cleared, where it stands, which bit it is.
ECC = {"h7": (0x52002114, 0x52002110, 1 << 26), "l4": (0x40022018, 0x40022018, 1 << 31)}


@dataclass
class Chip:
    """``broken``: what never becomes ready, and ``flash`` where that is read-only."""

    board: Board
    broken: frozenset[str] = frozenset()
    registers: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    order: list[int] = field(default_factory=list)  # addresses that were written
    flash: bytearray = field(init=False)
    keys: list[int] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    torn: set[int] = field(default_factory=set)  # offsets of words with two wrong bits
    port: ctypes.CDLL = field(init=False)
    received: list[int] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        assert self.board.stm32 and self.board.storage
        self.family = self.board.stm32.family
        self.flash = bytearray(sum(slot.length_bytes for slot in self.board.storage))
        self.start = self.board.storage[0].origin  # of the slots, which lie one behind the other
        self.registers[self.flash_control] = FLASH_LAYOUT[self.family][3]

    @cached_property
    def flash_control(self) -> int:
        return FLASH[self.family] + FLASH_LAYOUT[self.family][2]

    def load(self, library: Path) -> ctypes.CDLL:
        """The port, with these registers."""
        loaded = self.port = ctypes.CDLL(str(library))
        self.calls = (GET(self.get), SET(self.set))  # kept, as C does not keep them
        for name, call in zip(("tt_on_get", "tt_on_set"), self.calls, strict=True):
            ctypes.c_void_p.in_dll(loaded, name).value = ctypes.cast(call, ctypes.c_void_p).value
        return loaded

    # -- registers ---------------------------------------------------------------------------------

    def get(self, address: int) -> int:
        uart, at = self.board.uart, address - self.start
        assert uart
        if 0 <= at < len(self.flash):
            if at in self.torn:
                self.double_error()
            return int.from_bytes(self.flash[at : at + 4], "little")
        value = self.registers[address] | self.answers(address)
        if uart.base <= address < uart.base + 0x400:
            return self.uart(address - uart.base, value)
        return value

    def answers(self, address: int) -> int:
        """Bits that the hardware sets."""
        offset, found = address - RCC[self.family], 0
        for where, on, name, ready in READY[self.family]:
            if offset == where and self.registers[address] >> on & 1 and name not in self.broken:
                found |= 1 << ready
        switch, shift = SWITCH[self.family]
        if offset == switch:
            found |= (self.registers[address] & (7 if shift == 3 else 3)) << shift
        if address == 0x40007004 and self.family in ("f4", "f7"):  # over-drive
            found |= self.registers[0x40007000] & 3 << 16
        if address in (0x58024804, 0x58024818) and self.registers[0x5802480C] == 2:
            found |= 1 << 13  # the voltage follows once the supply is chosen
        if address - (self.board.stm32.rng if self.board.stm32 else 0) == 4:
            found |= 1
        return found

    def uart(self, offset: int, value: int) -> int:
        state, data = (0, 4) if self.family == "f4" else (0x1C, 0x24)
        if offset == state:
            return 0xC0 | (0x20 if self.received else 0)
        return self.received.pop(0) if offset == data and self.received else value

    def set(self, address: int, value: int) -> None:
        uart, at = self.board.uart, address - self.start
        assert uart
        self.order.append(address)
        if 0 <= at < len(self.flash):
            self.program(at, value)
        elif address == FLASH[self.family] + FLASH_LAYOUT[self.family][0]:
            self.keys.append(value)
            if self.keys[-2:] == [0x45670123, 0xCDEF89AB]:
                self.registers[self.flash_control] &= ~FLASH_LAYOUT[self.family][3]
        elif address == self.flash_control:
            self.control_flash(value)
        elif address == ECC.get(self.family, (-1,))[0]:
            self.registers[ECC[self.family][1]] &= ~value
        elif address == FLASH[self.family] + FLASH_LAYOUT[self.family][1]:
            pass  # flags are cleared by writing ones
        elif address == uart.base + (4 if self.family == "f4" else 0x28):
            self.sent.append(value)
        else:
            self.registers[address] = value

    # -- flash -------------------------------------------------------------------------------------

    def program(self, at: int, word: int) -> None:
        lock, program = FLASH_LAYOUT[self.family][3:5]
        control = self.registers[self.flash_control]
        if control & lock or not control & program or "flash" in self.broken:
            return
        old = int.from_bytes(self.flash[at : at + 4], "little")
        self.flash[at : at + 4] = (old & word).to_bytes(4, "little")

    def control_flash(self, value: int) -> None:
        _, _, _, lock, _, erase, start, shift = FLASH_LAYOUT[self.family]
        if self.registers[self.flash_control] & lock:
            return
        self.registers[self.flash_control] = value & ~start
        if not (value & start and value & erase) or "flash" in self.broken:
            return
        number = value >> shift & (7 if self.family == "h7" else 511 if self.family == "l4" else 15)
        self.erased.append(number)
        at, size = self.sector(number)
        at += 0x08000000 - self.start
        assert 0 <= at < len(self.flash), "a sector of the code is erased"
        self.flash[at : at + size] = b"\xff" * size

    def sector(self, number: int) -> tuple[int, int]:
        """Offset in the flash and bytes of a sector of the bank with the slots."""
        if self.family in ("h7", "l4"):
            size = 2048 if self.family == "l4" else 0x20000
            return number * size + (0x100000 if self.family == "h7" else 0), size
        sizes = [1024 * kb for kb in LARGE_SECTORS[self.family]]
        return sum(sizes[:number]), sizes[number]

    def double_error(self) -> None:
        """A read finds two wrong bits: a flag, and for an L4 an NMI."""
        _, flag, bit = ECC[self.family]
        self.registers[flag] |= bit
        if self.family == "l4":
            self.port.tt_nmi()

    # -- clocks ------------------------------------------------------------------------------------

    @property
    def core_hz(self) -> int:
        """What the core runs at, from the registers."""
        r, base, family = self.registers, RCC[self.family], self.family
        switch, shift = SWITCH[family]
        pll = r[base + switch] & (7 if shift == 3 else 3) == (2 if family in ("f4", "f7") else 3)
        if not pll:
            return RESET_HZ[family]
        assert self.get(base) >> 25 & 1, "switched to a PLL that does not run"
        assert self.board.stm32
        hse_hz = self.board.stm32.oscillator_hz
        if family in ("f4", "f7"):
            c = r[base + 4]
            source = hse_hz if c >> 22 & 1 else HSI_HZ[family]
            vco_in = source / (c & 63)
            vco, most, parts = vco_in * (c >> 6 & 511), 432e6, 2 * ((c >> 16 & 3) + 1)
            assert 0.95e6 <= vco_in <= 2.1e6 and vco / (c >> 24 & 15) <= 48e6
        elif family == "l4":
            c = r[base + 0x0C]
            source = hse_hz if c & 3 == 3 else HSI_HZ[family]
            vco_in = source / ((c >> 4 & 7) + 1)
            vco, most, parts = vco_in * (c >> 8 & 127), 344e6, 2 * ((c >> 25 & 3) + 1)
            assert 4e6 <= vco_in <= 16e6 and c >> 24 & 1
        else:
            c, d = r[base + 0x28], r[base + 0x30]
            source = hse_hz if c & 3 == 2 else HSI_HZ[family]
            vco_in = source / (c >> 4 & 63)
            vco, most, parts = vco_in * ((d & 511) + 1), 836e6, (d >> 9 & 127) + 1
            assert 2e6 <= vco_in <= 4e6 and r[base + 0x2C] >> 2 & 3 == 1
        assert 100e6 <= vco <= most
        return round(vco / parts)

    def bus_hz(self, apb: int) -> int:
        """Of the peripherals on one of the two buses."""
        r, base, core = self.registers, RCC[self.family], self.core_hz
        if self.family == "h7":
            half = 2 if r[base + 0x18] & 15 == 8 else 1
            return core // half // _divider(r[base + 0x1C] >> (4 if apb == 1 else 8))
        places = (8, 11) if self.family == "l4" else (10, 13)
        return core // _divider(r[base + 8] >> places[apb - 1])


def _divider(code: int) -> int:
    return 2 << (code & 3) if code & 4 else 1
