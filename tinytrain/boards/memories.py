"""Memories of a board: ranges of addresses as its file has them, and what may overlap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..support.toml_table import Table

ADDRESSES = 2**32 - 1
MODES = ("quad", "octal")


@dataclass(frozen=True)
class Memory:
    """A range of addresses."""

    name: str
    origin: int
    length_bytes: int

    @property
    def end(self) -> int:
        """The address behind the last."""
        return self.origin + self.length_bytes

    def overlaps(self, other: Memory) -> bool:
        return self.origin < other.end and other.origin < self.end


@dataclass(frozen=True)
class FastCode(Memory):
    """Memory that code runs from. ``shares``: the ``ram`` whose first bytes these are, at the
    addresses of another bus or at the same; empty: memory of its own."""

    shares: str = ""


@dataclass(frozen=True)
class Psram(Memory):
    """RAM outside of the chip. ``mode``, ``clock_hz``: of its bus, where a framework starts it."""

    mode: str = ""
    clock_hz: int = 0


def read_memory(table: Table, name: str) -> Memory:
    """A table with nothing but a range."""
    found = Memory(name, *_range(table))
    table.done()
    return found


def read_fast_code(table: Table) -> FastCode:
    found = FastCode("fast_code", *_range(table), shares=table.text("shares", needed=False))
    table.done()
    return found


def read_psram(table: Table, framework: bool) -> Psram:
    """``framework``: whether one starts it, and needs to know how."""
    found = Psram("psram", *_range(table))
    if framework:
        clock_hz = table.number("clock_hz", 40_000_000, 120_000_000, 40_000_000)
        mode = table.text("mode", MODES)
        found = Psram("psram", found.origin, found.length_bytes, mode, clock_hz)
    table.done()
    return found


def _range(table: Table) -> tuple[int, int]:
    origin = table.number("origin", 0, ADDRESSES)
    return origin, table.number("length_bytes", 1024, ADDRESSES + 1 - origin)


def check_apart(top: Table, key: str, memory: Memory, other: Memory) -> None:
    if memory.overlaps(other):
        where = f"{memory.origin:#x} to {memory.end:#x}"
        top.fail(key, where, f"addresses outside of {other.name!r}")


def check_ram(top: Table, ram: Sequence[Memory], flash: Memory | None) -> None:
    """What follows the first is named in C and in the linker script; none may overlap."""
    for i, memory in enumerate(ram):
        if i and not re.fullmatch(r"[a-z][a-z0-9_]*", memory.name):
            top.fail(f"ram[{i}].name", memory.name, "small letters, digits and _")
        if memory.origin % 8:
            top.fail(f"ram[{i}].origin", memory.origin, "a multiple of 8")
        for other in (flash, *ram[:i]) if flash else ():
            if memory.name in (other.name, "arena", "psram"):
                top.fail(f"ram[{i}].name", memory.name, "a name of its own, not 'arena', 'psram'")
            check_apart(top, f"ram[{i}]", memory, other)


def check_fast_code(
    top: Table, fast: FastCode, ram: Memory, left_bytes: int, others: Sequence[Memory]
) -> None:
    """A memory of its own, or the start of the first RAM, whose budget then has ``left_bytes``
    beside the stack."""
    if fast.origin % 8 or fast.length_bytes % 8:
        key = "origin" if fast.origin % 8 else "length_bytes"
        top.fail(f"fast_code.{key}", getattr(fast, key), "a multiple of 8")
    if fast.shares not in ("", ram.name):
        top.fail("fast_code.shares", fast.shares, f"{ram.name!r}, the first memory")
    if fast.shares and fast.length_bytes > left_bytes:
        allowed = f"at most the {left_bytes} that sram_budget_bytes leaves beside two stacks"
        top.fail("fast_code.length_bytes", fast.length_bytes, allowed)
    same = fast.shares and fast.origin == ram.origin
    for other in (*([] if same else [ram]), *others):
        check_apart(top, "fast_code", fast, other)


def check_psram(top: Table, psram: Psram, others: Sequence[Memory]) -> None:
    """Addresses of its own."""
    if psram.origin % 8:
        top.fail("psram.origin", psram.origin, "a multiple of 8")
    for other in others:
        check_apart(top, "psram", psram, other)
