"""Boards: what a ``board.toml`` says, checked key by key. The host is a board."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BoardError
from ..support.assets import boards_dir, firmware_dir
from ..support.toml_table import Table, read_toml
from .memories import (
    ADDRESSES,
    FastCode,
    Memory,
    Psram,
    check_fast_code,
    check_psram,
    check_ram,
    read_fast_code,
    read_memory,
    read_psram,
)
from .stm32 import Stm32, read_stm32, storage_sectors

# What the tests do with a board: the most that is claimed of it.
SUPPORT = {
    "tested": "every test runs on it",
    "compiled": "the firmware is only compiled",
    "linked": "the firmware is linked with the board's memories, which hold what was planned",
    "emulated": "the firmware runs under QEMU",
    "hardware": "the firmware ran on the board itself",
}
# Folders of firmware/arch: kernels for a processor, in place of portable ones.
ARCHS = ("armv7em", "armv81m_mve", "host")
# Emulators, by the ending of their program's name.
SYSTEMS = ("arm", "riscv32")
PLACES = ("flash", "psram")  # of frozen weights
# Ports that run on a framework, which compiles and links; first what a project prefers.
PORTED = ("espidf", "arduino")
PLATFORMS = ("ststm32", "espressif32")
FRAMEWORKS = (
    "arduino", "cmsis", "espidf", "libopencm3", "mbed", "spl", "stm32cube", "zephyr",
)  # fmt: skip


@dataclass(frozen=True)
class Uart:
    base: int
    baud: int


@dataclass(frozen=True)
class PlatformIO:
    """What PlatformIO calls a board: ``board``, ``platform`` and the frameworks that it has there;
    none of them is bare metal."""

    id: str
    platform: str
    frameworks: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """A place that firmware is built for.

    ``sram_budget_bytes`` of the first ``ram`` are used: data, bss and ``stack_bytes`` of stack. The
    others serve the arena alone. ``prefix`` is put before ``gcc``, ``flags`` choose its CPU.
    ``port`` is the folder in ``firmware/port/`` (``host``: a shared library, with no flash, ram or
    uart). ``arch`` is the folder in ``firmware/arch/`` whose kernels take the place of the portable
    ones; empty: none. ``storage``: the two slots of flash that keep the state, or none.
    ``fast_code``: memory that the hottest kernels run from, such as the ITCM of a Cortex-M7.
    ``weights``: ``psram`` where a start copies the frozen ones there from the flash.
    ``clock_hz``: of the core; 0: not known. ``qemu_serial``: which of the machine's serial ports.
    ``sources``: the documents that the facts are from. ``qemu_machine`` is emulated by
    ``qemu-system-<qemu_system>``.
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
    qemu_serial: int = 0
    qemu_system: str = "arm"
    arch: str = ""
    mcu: str = ""
    clock_hz: int = 0
    storage: tuple[Memory, ...] = ()
    fast_code: FastCode | None = None
    psram: Psram | None = None
    weights: str = PLACES[0]
    platformio: PlatformIO | None = None
    stm32: Stm32 | None = None
    sources: tuple[str, ...] = ()

    @property
    def is_host(self) -> bool:
        return self.port == "host"

    @property
    def on_framework(self) -> bool:
        """Whether a framework compiles and links its firmware, and not tinytrain."""
        return self.port in PORTED

    @property
    def beside(self) -> tuple[Memory, ...]:
        """Memory that only the arena uses, in the order in which it is filled."""
        return self.ram[1:]

    @property
    def fast_sram_bytes(self) -> int:
        """Of the budget: kept for the fast code, where that shares the first memory."""
        return self.fast_code.length_bytes if self.fast_code and self.fast_code.shares else 0

    @property
    def data(self) -> Memory:
        """The budget without the fast code that shares it, which lies before all else."""
        first, taken = self.ram[0], self.fast_sram_bytes
        return Memory(first.name, first.origin + taken, self.sram_budget_bytes - taken)

    @property
    def names_hot(self) -> bool:
        """Whether hot kernels name the section that they lie in, as the linker script is not
        tinytrain's."""
        return self.on_framework and self.fast_code is not None

    @property
    def weights_section(self) -> str:
        """Where the frozen weights are copied to at the start; empty: they stay in the flash."""
        if self.weights == PLACES[0]:
            return ""
        return ".ext_ram.bss.tinytrain" if self.on_framework else ".bss.psram"

    @property
    def code(self) -> Memory | None:
        """The flash that code and constants fill: without ``boot`` and what keeps the state."""
        if self.flash is None or not self.storage or not _inside(self.storage, self.flash):
            return self.flash
        start, end = self.storage[0].origin, self.storage[1].end
        if end == self.flash.end:
            return replace(self.flash, length_bytes=start - self.flash.origin)
        return replace(self.flash, origin=end, length_bytes=self.flash.end - end)

    @property
    def boot(self) -> Memory | None:
        """The start of the flash, where the vectors are, if what keeps the state follows there."""
        if self.flash is None or self.code is None or self.code.origin == self.flash.origin:
            return None
        return Memory("boot", self.flash.origin, self.storage[0].origin - self.flash.origin)


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
    least = 2 * board.stack_bytes + board.fast_sram_bytes
    if not least <= sram_bytes <= most:
        raise BoardError(f"--sram {sram_bytes}: {board.name} allows {least} to {most} bytes")
    return replace(board, sram_budget_bytes=sram_bytes - sram_bytes % 8)


def read_board(file: Path) -> Board:
    """Read and check one ``board.toml``. Raises BoardError naming the file, the key and what is
    allowed there."""
    top = read_toml(file)
    compiler = top.table("compiler")
    assert compiler is not None
    port = top.text("port", _ports())
    flash, uart = (top.table(key, needed=port != "host") for key in ("flash", "uart"))
    stm32 = top.table("stm32", needed=port == "stm32")
    qemu, pio = (top.table(key, needed=False) for key in ("qemu", "platformio"))
    slots = top.tables("storage", needed=False)
    fast, psram = (top.table(key, needed=False) for key in ("fast_code", "psram"))
    ram = tuple(read_memory(part, part.text("name")) for part in top.tables("ram", port != "host"))
    clock_hz = top.number("clock_hz", 1_000_000, ADDRESSES, 1_000_000, needed=stm32 is not None)
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
        flash=read_memory(flash, "flash") if flash else None,
        ram=ram,
        uart=_uart(uart) if uart else None,
        qemu_machine=qemu.text("machine") if qemu else None,
        qemu_serial=qemu.number("serial", 0, 7, needed=False) if qemu else 0,
        qemu_system=(qemu.text("system", SYSTEMS, needed=False) if qemu else "") or SYSTEMS[0],
        arch=top.text("arch", ARCHS, needed=False),
        mcu=top.text("mcu", needed=stm32 is not None),
        clock_hz=clock_hz,
        storage=tuple(read_memory(part, f"slot{i}") for i, part in enumerate(slots)),
        fast_code=read_fast_code(fast) if fast else None,
        psram=read_psram(psram, port in PORTED) if psram else None,
        weights=top.text("weights", PLACES, needed=False) or PLACES[0],
        platformio=_platformio(pio) if pio else None,
        stm32=read_stm32(stm32, clock_hz) if stm32 else None,
        sources=top.texts("sources", needed=pio is not None),
    )
    for table in (compiler, qemu):
        if table:
            table.done()
    top.done()
    if ram and board.sram_budget_bytes > ram[0].length_bytes:
        top.fail("sram_budget_bytes", board.sram_budget_bytes,
                 f"at most the {ram[0].length_bytes} bytes of ram {ram[0].name!r}")  # fmt: skip
    check_ram(top, ram, board.flash)
    _check_storage(top, board)
    _check_fast_code(top, board)
    _check_psram(top, board)
    if board.stack_bytes > board.sram_budget_bytes // 2:
        top.fail("stack_bytes", board.stack_bytes, "at most half of sram_budget_bytes")
    return board


def runtime_bytes() -> int:
    """``.bss`` of the runtime itself: TT_RUNTIME_BYTES of its header."""
    header = firmware_dir() / "include" / "tinytrain" / "tt_runtime.h"
    found = re.search(r"#define TT_RUNTIME_BYTES (\d+)", header.read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1])


def port_bytes(board: Board) -> int:
    """``.data`` and ``.bss`` of the board's port: TT_PORT_BYTES of a header in its folder, which is
    absent where a port has none."""
    for header in sorted((firmware_dir() / "port" / board.port).glob("*.h")):
        if found := re.search(r"#define TT_PORT_BYTES (\d+)", header.read_text(encoding="utf-8")):
            return int(found[1])
    return 0


def port_defines(board: Board) -> dict[str, int]:
    """What the C of a port is compiled with: names and values of macros."""
    found: dict[str, int] = {}
    if board.uart:
        found |= {"TT_UART_BASE": board.uart.base, "TT_UART_BAUD": board.uart.baud}
    if board.clock_hz:
        found["TT_CORE_HZ"] = board.clock_hz
    if board.fast_code and not board.on_framework:
        found["TT_FAST_CODE"] = board.fast_code.length_bytes
    for i, slot in enumerate(board.storage):
        found |= {f"TT_SLOT_{i}_ORIGIN": slot.origin, f"TT_SLOT_{i}_BYTES": slot.length_bytes}
        if board.stm32:
            first, count = _sectors(board, slot)
            found |= {f"TT_SLOT_{i}_SECTOR": first, f"TT_SLOT_{i}_SECTORS": count}
    return found | (board.stm32.defines() if board.stm32 else {})


def _names() -> list[str]:
    return sorted(file.parent.name for file in boards_dir().glob("*/board.toml"))


def _ports() -> tuple[str, ...]:
    folders = (firmware_dir() / "port").iterdir()
    return ("host", *sorted(f.name for f in folders if any(f.glob("port.c*"))))


def _uart(table: Table) -> Uart:
    base, baud = table.number("base", 0, ADDRESSES), table.number("baud", 300, 10_000_000)
    table.done()
    return Uart(base, baud)


def _platformio(table: Table) -> PlatformIO:
    found = PlatformIO(
        table.text("id"), table.text("platform", PLATFORMS), table.texts("frameworks", FRAMEWORKS)
    )
    table.done()
    return found


def _inside(slots: Sequence[Memory], memory: Memory) -> bool:
    return all(memory.origin <= slot.origin < memory.end for slot in slots)


def _check_storage(top: Table, board: Board) -> None:
    """Two slots, one behind the other: at the end of the flash, between its start, which the
    vectors have, and the code, or in a flash of their own."""
    if not board.storage:
        return
    if len(board.storage) != 2:
        top.fail("storage", len(board.storage), "two tables, one for each slot")
    first, second = board.storage
    where = f"{first.origin:#x} to {second.end:#x}"
    if first.end != second.origin:
        top.fail("storage", where, "two slots, the second right behind the first")
    used = [memory for memory in (board.flash, *board.ram) if memory]
    both = Memory("slots", first.origin, second.end - first.origin)
    apart = not any(both.overlaps(memory) for memory in used)
    if not apart and (board.flash is None or not board.flash.origin < first.origin
                      or second.end > board.flash.end):  # fmt: skip
        top.fail("storage", where, "a part of the flash behind its start, or outside of all memory")
    try:
        for slot in board.storage:
            _sectors(board, slot)
    except ValueError as error:
        top.fail("storage", f"{slot.length_bytes} bytes from {slot.origin:#x}", str(error))


def _check_fast_code(top: Table, board: Board) -> None:
    """Of a core whose start copies code, or of a framework whose start does."""
    fast = board.fast_code
    if fast is None:
        return
    if not board.cpu.startswith("cortex-m") and board.port not in ("riscv_virt", "espidf"):
        allowed = "none: only the start of a bare Cortex-M or RISC-V copies code, or ESP-IDF's"
        top.fail("fast_code", f"{fast.origin:#x} to {fast.end:#x}", allowed)
    left = board.sram_budget_bytes - 2 * board.stack_bytes
    others = [memory for memory in (board.flash, *board.beside, *board.storage) if memory]
    check_fast_code(top, fast, board.ram[0], left, others)


def _check_psram(top: Table, board: Board) -> None:
    """What lies there must be able to."""
    if board.psram:
        others = (board.flash, *board.ram, *board.storage, board.fast_code)
        check_psram(top, board.psram, [memory for memory in others if memory])
    if board.weights == PLACES[0]:
        return
    if board.psram is None:
        top.fail("weights", board.weights, "'flash', as the board has no table psram")
    if board.on_framework and board.platformio and "arduino" in board.platformio.frameworks:
        top.fail("weights", board.weights, "'flash', or platformio.frameworks without 'arduino', "
                 "whose libraries are compiled without data of programs in PSRAM")  # fmt: skip


def _sectors(board: Board, slot: Memory) -> tuple[int, int]:
    """Number of the first sector of a slot, and how many there are. Raises ValueError."""
    assert board.flash
    if board.stm32 is None:
        return 0, 0
    return storage_sectors(board.stm32.family, slot.origin - board.flash.origin, slot.length_bytes)
