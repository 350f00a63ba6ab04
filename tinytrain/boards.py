"""Boards: what a ``board.toml`` says, checked key by key. The host is a board."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .assets import boards_dir, firmware_dir
from .errors import BoardError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUPPORT = {
    "tested": "every test runs on it",
    "emulated": "the firmware runs under QEMU in the tests",
    "compiled": "the firmware is only compiled and linked in the tests",
}
# Folders of firmware/arch: kernels that use instructions which C does not name.
ARCHS = ("armv7em",)
# Emulators, by the ending of their program's name.
SYSTEMS = ("arm", "riscv32")
ADDRESSES = 2**32 - 1


@dataclass(frozen=True)
class Memory:
    """A range of addresses."""

    name: str
    origin: int
    length_bytes: int


@dataclass(frozen=True)
class Uart:
    base: int
    baud: int


@dataclass(frozen=True)
class Board:
    """A place that firmware is built for.

    ``sram_budget_bytes`` of the first ``ram`` are used: data, bss and ``stack_bytes`` of stack. The
    others serve the arena alone. ``prefix`` is put before ``gcc``, ``flags`` choose its CPU.
    ``port`` is the folder in ``firmware/port/`` (``host``: a shared library, with no flash, ram or
    uart). ``arch`` is the folder in ``firmware/arch/`` whose kernels take the place of the portable
    ones; empty: none. ``qemu_machine`` is emulated by ``qemu-system-<qemu_system>``.
    """

    name: str
    title: str
    cpu: str
    port: str
    support: str
    sram_budget_bytes: int
    stack_bytes: int
    prefix: str
    flags: tuple[str, ...]
    flash: Memory | None = None
    ram: tuple[Memory, ...] = ()
    uart: Uart | None = None
    qemu_machine: str | None = None
    qemu_system: str = "arm"
    arch: str = ""

    @property
    def is_host(self) -> bool:
        return self.port == "host"

    @property
    def beside(self) -> tuple[Memory, ...]:
        """Memory that only the arena uses, in the order in which it is filled."""
        return self.ram[1:]


def all_boards() -> list[Board]:
    """Every board, by name."""
    return [load_board(name) for name in _names()]


def load_board(name: str) -> Board:
    """The board of this name. Raises BoardError for an unknown one, naming those that are close."""
    names = _names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        raise BoardError(f"no board {name!r}{hint} Known boards: {', '.join(names)}")
    return read_board(boards_dir() / name / "board.toml")


def with_sram(board: Board, sram_bytes: int | None) -> Board:
    """The board with another budget. Raises BoardError when its memory is smaller, or the budget
    leaves nothing beside the stack."""
    if sram_bytes is None:
        return board
    most = board.ram[0].length_bytes if board.ram else ADDRESSES
    least = 2 * board.stack_bytes
    if not least <= sram_bytes <= most:
        raise BoardError(f"--sram {sram_bytes}: {board.name} allows {least} to {most} bytes")
    return replace(board, sram_budget_bytes=sram_bytes - sram_bytes % 8)


def read_board(file: Path) -> Board:
    """Read and check one ``board.toml``. Raises BoardError naming the file, the key and what is
    allowed there."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BoardError(f"{file}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BoardError(f"{file}: not valid TOML: {error}") from error
    top = _Table(file, "", data)
    compiler = top.table("compiler")
    assert compiler is not None
    port = top.text("port", _ports())
    flash, uart, qemu = (
        top.table(key, needed=port != "host" and key != "qemu") for key in ("flash", "uart", "qemu")
    )
    ram = tuple(_memory(part, part.text("name")) for part in top.tables("ram", port != "host"))
    board = Board(
        name=top.text("name", (file.parent.name,)),
        title=top.text("title"),
        cpu=top.text("cpu"),
        port=port,
        support=top.text("support", tuple(SUPPORT)),
        sram_budget_bytes=top.number("sram_budget_bytes", 1024, ADDRESSES, multiple=8),
        stack_bytes=top.number("stack_bytes", 256, ADDRESSES, multiple=8),
        prefix=compiler.text("prefix", empty=True),
        flags=compiler.texts("flags"),
        flash=_memory(flash, "flash") if flash else None,
        ram=ram,
        uart=Uart(uart.number("base", 0, ADDRESSES), uart.number("baud", 300, 10_000_000))
        if uart
        else None,
        qemu_machine=qemu.text("machine") if qemu else None,
        qemu_system=(qemu.text("system", SYSTEMS, needed=False) if qemu else "") or SYSTEMS[0],
        arch=top.text("arch", ARCHS, needed=False),
    )
    for table in (compiler, uart, qemu):
        if table:
            table.done()
    top.done()
    if ram and board.sram_budget_bytes > ram[0].length_bytes:
        top.fail("sram_budget_bytes", board.sram_budget_bytes,
                 f"at most the {ram[0].length_bytes} bytes of ram {ram[0].name!r}")  # fmt: skip
    _check_ram(top, ram, board.flash)
    if board.stack_bytes > board.sram_budget_bytes // 2:
        top.fail("stack_bytes", board.stack_bytes, "at most half of sram_budget_bytes")
    return board


def runtime_bytes() -> int:
    """``.bss`` of the runtime itself: TT_RUNTIME_BYTES of its header."""
    header = firmware_dir() / "include" / "tinytrain" / "tt_runtime.h"
    found = re.search(r"#define TT_RUNTIME_BYTES (\d+)", header.read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def _names() -> list[str]:
    return sorted(file.parent.name for file in boards_dir().glob("*/board.toml"))


def _ports() -> tuple[str, ...]:
    folders = (firmware_dir() / "port").iterdir()
    return ("host", *sorted(f.name for f in folders if f.is_dir() and any(f.glob("*.c"))))


def _memory(table: _Table, name: str) -> Memory:
    origin = table.number("origin", 0, ADDRESSES)
    length = table.number("length_bytes", 1024, ADDRESSES + 1 - origin)
    table.done()
    return Memory(name, origin, length)


def _check_ram(top: _Table, ram: Sequence[Memory], flash: Memory | None) -> None:
    """What follows the first is named in C and in the linker script; none may overlap."""
    for i, memory in enumerate(ram):
        if i and not re.fullmatch(r"[a-z][a-z0-9_]*", memory.name):
            top.fail(f"ram[{i}].name", memory.name, "small letters, digits and _")
        if memory.origin % 8:
            top.fail(f"ram[{i}].origin", memory.origin, "a multiple of 8")
        for other in (flash, *ram[:i]) if flash else ():
            if memory.name in (other.name, "arena"):
                top.fail(f"ram[{i}].name", memory.name, "a name of its own, not 'arena'")
            if (memory.origin < other.origin + other.length_bytes
                    and other.origin < memory.origin + memory.length_bytes):  # fmt: skip
                top.fail(f"ram[{i}].origin", memory.origin, f"addresses outside of {other.name!r}")


class _Table:
    """One table of a TOML file; what is not asked for is an error in ``done``."""

    def __init__(self, file: Path, where: str, data: Mapping[str, Any]) -> None:
        self.file, self.where, self.data = file, where, data
        self.asked: list[str] = []

    def fail(self, key: str, value: object, allowed: str) -> None:
        raise BoardError(f"{self.file}: {self.where}{key} is {value!r}; allowed: {allowed}")

    def get(self, key: str, kind: type, allowed: str, needed: bool = True) -> Any:
        self.asked.append(key)
        if key not in self.data:
            if needed:
                raise BoardError(f"{self.file}: {self.where}{key} is missing; allowed: {allowed}")
            return None
        value = self.data[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(key, value, allowed)
        return value

    def text(
        self, key: str, among: tuple[str, ...] = (), empty: bool = False, needed: bool = True
    ) -> str:
        """Empty where it is absent and not needed."""
        allowed = " or ".join(map(repr, among)) if among else "a text"
        value: str | None = self.get(key, str, allowed, needed)
        if value is None:
            return ""
        if (among and value not in among) or not (value or empty) or "\n" in value:
            self.fail(key, value, allowed)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.get(key, list, "a list of texts")
        if not all(isinstance(v, str) and v for v in value):
            self.fail(key, value, "a list of texts")
        return tuple(value)

    def number(self, key: str, low: int, high: int, multiple: int = 1) -> int:
        allowed = f"an integer from {low} to {high}"
        if multiple > 1:
            allowed += f", a multiple of {multiple}"
        value: int = self.get(key, int, allowed)
        if not low <= value <= high or value % multiple:
            self.fail(key, value, allowed)
        return value

    def table(self, key: str, needed: bool = True) -> _Table | None:
        value = self.get(key, dict, "a table", needed)
        return None if value is None else _Table(self.file, f"{self.where}{key}.", value)

    def tables(self, key: str, needed: bool) -> list[_Table]:
        allowed = "one or more tables"
        value = self.get(key, list, allowed, needed) or []
        if (needed and not value) or not all(isinstance(v, dict) for v in value):
            self.fail(key, value, allowed)
        return [_Table(self.file, f"{key}[{i}].", v) for i, v in enumerate(value)]

    def done(self) -> None:
        for key in self.data:
            if key not in self.asked:
                allowed = ", ".join(self.asked)
                raise BoardError(f"{self.file}: unknown key {self.where}{key}; allowed: {allowed}")
