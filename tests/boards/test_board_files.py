"""Board files: those that ship, and what is said about a wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinytrain.boards import (
    SUPPORT,
    all_boards,
    load_board,
    port_bytes,
    port_defines,
    read_board,
    runtime_bytes,
)
from tinytrain.boards.stm32 import storage_sectors
from tinytrain.errors import BoardError
from tinytrain.support.assets import boards_dir

GOOD = """
name = "test"
title = "A board"
cpu = "cortex-m4"
port = "mps2"
support = "compiled"
sram_budget_bytes = 65536
stack_bytes = 2048
[compiler]
prefix = "arm-none-eabi-"
flags = ["-mcpu=cortex-m4"]
[flash]
origin = 0
length_bytes = 1048576
[[ram]]
name = "sram"
origin = 0x20000000
length_bytes = 131072
[uart]
base = 0x40004000
baud = 115200
"""


def write(folder: Path, text: str) -> Path:
    (folder / "test").mkdir()
    file = folder / "test" / "board.toml"
    file.write_text(text)
    return file


def test_boards_that_ship() -> None:
    boards = {board.name: board for board in all_boards()}
    emulated = {"qemu_mps2_an386", "qemu_mps2_an500", "qemu_mps3_an547", "qemu_rv32"}
    assert {"host", *emulated} <= set(boards)
    assert [m.name for m in boards["qemu_mps2_an386_split"].beside] == ["block", "sram2"]
    assert [name for name, board in boards.items() if board.is_host] == ["host"]
    assert all(board.support in SUPPORT for board in boards.values())
    assert all(board.stack_bytes % 8 == 0 for board in boards.values())
    assert boards["qemu_mps2_an386"].arch == "armv7em" and boards["host"].arch == "host"


def test_a_good_file(tmp_path: Path) -> None:
    board = read_board(write(tmp_path, GOOD))
    assert board.ram[0].origin == 0x20000000 and board.uart and board.uart.baud == 115200
    assert board.flags == ("-mcpu=cortex-m4",) and board.qemu_machine is None
    assert board.arch == "" and board.qemu_system == "arm"


def test_an_arch(tmp_path: Path) -> None:
    text = GOOD.replace('port = "mps2"', 'port = "mps2"\narch = "armv7em"')
    assert read_board(write(tmp_path, text)).arch == "armv7em"


def memory(name: str, origin: int) -> str:
    """One more memory, before the table of the UART."""
    return f'[[ram]]\nname = "{name}"\norigin = {origin}\nlength_bytes = 65536\n[uart]'


def fast(origin: int, more: str = "", length: int = 1024) -> str:
    """Memory for code, before the table of the UART."""
    return f"[fast_code]\norigin = {origin}\nlength_bytes = {length}\n{more}[uart]"


PSRAM = "[psram]\norigin = 0x60000000\nlength_bytes = 0x800000\n[uart]"
SHARES = 'shares = "sram"\n'


def test_memory_for_code(tmp_path: Path) -> None:
    board = read_board(write(tmp_path, GOOD.replace("[uart]", fast(0x10000000))))
    assert board.fast_code and board.fast_code.length_bytes == 1024
    assert port_defines(board)["TT_FAST_CODE"] == 1024


@pytest.mark.parametrize(("budget", "origin"), [(0x10000, 0x10000000), (0x8000, 0x20000000)])
def test_code_in_the_memory_of_data(tmp_path: Path, budget: int, origin: int) -> None:
    """By another bus or at the same addresses: it lies first and is a part of the budget."""
    text = GOOD.replace("[uart]", fast(origin, 'shares = "sram"\n')).replace("65536", str(budget))
    board = read_board(write(tmp_path, text))
    assert board.fast_sram_bytes == 1024
    assert (board.data.origin, board.data.length_bytes) == (0x20000400, budget - 1024)


def test_psram(tmp_path: Path) -> None:
    board = read_board(write(tmp_path, GOOD.replace("[uart]", PSRAM)))
    assert board.psram and board.psram.mode == "" and board.weights_section == ""
    (tmp_path / "b").mkdir()
    text = GOOD.replace("[uart]", PSRAM).replace("stack_bytes", 'weights = "psram"\nstack_bytes')
    assert read_board(write(tmp_path / "b", text)).weights_section == ".bss.psram"
    board = load_board("esp32-s3-devkitc-1-n8r8")
    assert board.psram and (board.psram.mode, board.psram.clock_hz) == ("octal", 80_000_000)
    assert board.weights_section.startswith(".ext_ram.bss")


def test_memories_beside_the_first(tmp_path: Path) -> None:
    text = GOOD.replace("[uart]", memory("ccm", 0x10000000))
    text = text.replace("[uart]", memory("b", 0x08000000))
    board = read_board(write(tmp_path, text))
    assert [(m.name, m.origin, m.length_bytes) for m in board.beside] == [
        ("ccm", 0x10000000, 65536), ("b", 0x08000000, 65536),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("stack_bytes = 2048", "", r"stack_bytes is missing; allowed: an integer from 256"),
        ("stack_bytes = 2048", "stack_bytes = 2050", r"stack_bytes is 2050; .*multiple of 8"),
        ("stack_bytes = 2048", "stack_bytes = 40000", r"at most half of sram_budget_bytes"),
        ("stack_bytes = 2048", 'stack_bytes = "2K"', r"stack_bytes is '2K'; allowed: an integer"),
        ("stack_bytes = 2048", "stack_bytes = true", r"stack_bytes is True; allowed: an integer"),
        ("65536", "262144", r"sram_budget_bytes is 262144; .*131072 bytes of ram 'sram'"),
        ('"compiled"', '"gold"', r"support is 'gold'; allowed: 'tested' or 'compiled'"),
        ('port = "mps2"', 'port = "mars"', r"port is 'mars'; allowed: 'host' or .*'mps2'"),
        ("stack_bytes", 'arch = "armv5"\nstack_bytes', r"arch is 'armv5'; allowed: 'armv7em'"),
        ("stack_bytes", 'arch = ""\nstack_bytes', r"arch is ''; allowed: 'armv7em'"),
        ('name = "test"', 'name = "other"', r"name is 'other'; allowed: 'test'"),
        ('title = "A board"', 'title = ""', r"title is ''; allowed: a text"),
        ('["-mcpu=cortex-m4"]', "[1]", r"compiler\.flags is \[1\]; allowed: a list of texts"),
        ("[compiler]", "[compiler]\ncolour = 1", r"unknown key compiler\.colour; allowed: prefix"),
        ('name = "test"', 'name = "test"\nsram = 1', r"unknown key sram; allowed: compiler"),
        ("baud = 115200", "baud = 3", r"uart\.baud is 3; allowed: an integer from 300"),
        ("origin = 0x20000000", "origin = -1", r"ram\[0\]\.origin is -1"),
        ("[flash]\norigin = 0\nlength_bytes = 1048576", "", r"flash is missing"),
        ("[[ram]]", "[ram]", r"ram is .*allowed: one or more tables"),
        ("[uart]", memory("CCM", 0x10000000), r"ram\[1\]\.name is 'CCM'; allowed: small letters"),
        ("[uart]", memory("sram", 0x10000000), r"ram\[1\]\.name is 'sram'; allowed: a name of its"),
        ("[uart]", memory("arena", 0x10000000), r"ram\[1\]\.name is 'arena'; allowed: a name of"),
        ("[uart]", memory("ccm", 0x10000004), r"ram\[1\]\.origin is 268435460; .*multiple of 8"),
        ("[uart]", memory("ccm", 0x2001FFF8), r"ram\[1\] is .*addresses outside of 'sram'"),
        ("[uart]", memory("ccm", 0), r"ram\[1\] is '0x0 to .*addresses outside of 'flash'"),
        (
            "[compiler]",
            '[qemu]\nmachine = "m"\nsystem = "avr"\n[compiler]',
            r"qemu\.system is 'avr'; allowed: 'arm' or 'riscv32'",
        ),
        ("[uart]", fast(0x20000100), r"fast_code is '0x20000100 to .*outside of 'sram'"),
        ("[uart]", fast(0x10000004), r"fast_code\.origin is 268435460; .*multiple of 8"),
        (
            "[uart]",
            fast(0x10000000, 'shares = "flash"\n'),
            r"fast_code\.shares is 'flash'; allowed: 'sram', the first memory",
        ),
        ("[uart]", fast(0x20000100, SHARES), r"fast_code is .*addresses outside of 'sram'"),
        (
            "[uart]",
            fast(0x10000000, SHARES, 61448),
            r"fast_code\.length_bytes is 61448; allowed: at most the 61440 that sram_budget_bytes",
        ),
        ("[uart]", fast(0x10000000, length=1030), r"length_bytes is 1030; .*multiple of 8"),
        (
            "[uart]",
            PSRAM.replace("0x60000000", "0x20000000"),
            r"psram is '0x20000000 to 0x20800000'; allowed: addresses outside of 'sram'",
        ),
        ("[uart]", PSRAM.replace("0x60000000", "0x60000004"), r"psram\.origin is .*multiple of 8"),
        (
            "[uart]",
            PSRAM.replace("[uart]", 'mode = "octal"\n[uart]'),
            r"unknown key psram\.mode; allowed: origin, length_bytes",
        ),
        ("[uart]", memory("psram", 0x10000000), r"ram\[1\]\.name is 'psram'; allowed: a name of"),
        (
            "stack_bytes",
            'weights = "psram"\nstack_bytes',
            r"weights is 'psram'; allowed: 'flash', as the board has no table psram",
        ),
        (
            "stack_bytes",
            'weights = "sram"\nstack_bytes',
            r"weights is 'sram'; allowed: 'flash' or 'psram'",
        ),
        ("[compiler]", "[compiler", r"not valid TOML"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(BoardError, match=says) as error:
        read_board(file)
    assert str(file) in str(error.value)


def test_only_a_cortex_m_copies_code(tmp_path: Path) -> None:
    text = GOOD.replace("cortex-m4", "rv32imc").replace("[uart]", fast(0x10000000))
    with pytest.raises(BoardError, match=r"fast_code is .*only the start of a bare Cortex-M"):
        read_board(write(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('mode = "octal"\n', "", r"psram\.mode is missing; allowed: 'quad' or 'octal'"),
        ("80_000_000", "60_000_000", r"psram\.clock_hz is 60000000; .*multiple of 40000000"),
        ('frameworks = ["', 'frameworks = ["arduino", "',
         r"weights is 'psram'; allowed: 'flash', or platformio\.frameworks without 'arduino'"),
    ],
)  # fmt: skip
def test_psram_of_an_esp32(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (boards_dir() / "esp32-s3-devkitc-1-n8r8" / "board.toml").read_text()
    assert old in text
    text = text.replace("esp32-s3-devkitc-1-n8r8", "test", 1).replace(old, new)
    with pytest.raises(BoardError, match=says):
        read_board(write(tmp_path, text))


def test_unknown_board_names_the_close_ones() -> None:
    with pytest.raises(BoardError, match=r"no board 'qemu_an386'; did you mean qemu_mps2_an386"):
        load_board("qemu_an386")
    with pytest.raises(BoardError, match=r"no board 'zzz'\. Known boards: .*host"):
        load_board("zzz")
    with pytest.raises(BoardError):
        load_board("../boards/host")


def test_runtime_bytes_are_read_from_the_header() -> None:
    assert runtime_bytes() % 8 == 0 and re.fullmatch(r"\d+", str(runtime_bytes()))


STM32 = """
name = "test"
title = "A board"
cpu = "cortex-m4"
mcu = "STM32F411CE"
port = "stm32"
support = "compiled"
clock_hz = 100_000_000
sram_budget_bytes = 65536
stack_bytes = 2048
sources = ["a datasheet"]
[compiler]
prefix = "arm-none-eabi-"
flags = ["-mcpu=cortex-m4"]
[flash]
origin = 0x08000000
length_bytes = 0x80000
[[storage]]
origin = 0x08004000
length_bytes = 0xC000
[[storage]]
origin = 0x08010000
length_bytes = 0x10000
[[ram]]
name = "sram"
origin = 0x20000000
length_bytes = 131072
[uart]
base = 0x40011000
baud = 115200
[stm32]
family = "f4"
oscillator = "hse"
oscillator_hz = 25_000_000
tx = "PA9"
rx = "PB10"
alternate = 7
irq = 37
[platformio]
id = "blackpill_f411ce"
platform = "ststm32"
frameworks = ["arduino", "stm32cube"]
"""


def test_an_stm32_board(tmp_path: Path) -> None:
    board = read_board(write(tmp_path, STM32))
    assert board.code and board.code.length_bytes == 0x60000 and board.clock_hz == 100_000_000
    assert board.platformio and board.platformio.frameworks == ("arduino", "stm32cube")
    assert board.sources == ("a datasheet",) and board.mcu == "STM32F411CE"
    defines = port_defines(board)
    assert defines["TT_UART_TX"] == 9 and defines["TT_UART_RX"] == 16 + 10
    assert defines["TT_STM32_F4"] == 1 and defines["TT_SLOT_0_SECTOR"] == 1
    assert defines["TT_SLOT_0_SECTORS"] == 3 and defines["TT_SLOT_1_SECTOR"] == 4
    assert board.code.origin == 0x08020000 and board.boot and board.boot.length_bytes == 0x4000
    assert defines["TT_HSE_HZ"] == 25_000_000 and defines["TT_HSE_BYPASS"] == 0
    assert port_bytes(board) == 272 and port_bytes(load_board("qemu_mps2_an386")) == 0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"f4"', '"f5"', r"stm32\.family is 'f5'; allowed: 'f4' or 'f7' or 'h7' or 'l4'"),
        ('"f4"', '"l4"', r"stm32\.family is 'l4'; .*at most 80000000 Hz, and clock_hz is 1000"),
        ("clock_hz = 100_000_000", "", r"clock_hz is missing; allowed: an integer from 1000000"),
        ("100_000_000", "100_500_000", r"clock_hz is 100500000; .*multiple of 1000000"),
        ('mcu = "STM32F411CE"', "", r"mcu is missing"),
        ('"hse"', '"lse"', r"stm32\.oscillator is 'lse'; allowed: 'hsi' or 'hse' or 'hse_bypass'"),
        ('"hse"', '"hsi"', r"stm32\.oscillator_hz is 25000000; allowed: 16000000, the chip's own"),
        ("25_000_000", "24_500_000", r"stm32\.oscillator_hz is 24500000; .*multiple of 1000000"),
        ("25_000_000", "1_000_000", r"stm32\.oscillator_hz is 1000000; .*from 4000000"),
        ('"PA9"', '"A9"', r"stm32\.tx is 'A9'; allowed: a pin from 'PA0' to 'PK15'"),
        ('"PB10"', '"PB16"', r"stm32\.rx is 'PB16'; allowed: a pin"),
        ("alternate = 7", "alternate = 16", r"stm32\.alternate is 16; .*from 0 to 15"),
        ("irq = 37", "", r"stm32\.irq is missing; allowed: an integer from 0 to 149"),
        ("irq = 37", "irq = 37\nrng = 2", r"stm32\.rng is 2; .*multiple of 4"),
        ("irq = 37", "irq = 37\nled = 1", r"unknown key stm32\.led; allowed: family, oscillator"),
        ("[stm32]", "[stm33]", r"stm32 is missing; allowed: a table"),
        ("0x08004000\nlength_bytes = 0xC000", "0x08000000\nlength_bytes = 0x10000",
         r"storage is '0x8000000 to 0x8020000'; .*a part of the flash behind its start"),
        ("length_bytes = 0xC000", "length_bytes = 0x8000", r"storage is .*the second right behind"),
        ("0x08004000\nlength_bytes = 0xC000", "0x08003000\nlength_bytes = 0xD000",
         r"storage is '53248 bytes from 0x8003000'; allowed: whole sectors, as the one of 16384"),
        ("[[storage]]\norigin = 0x08010000\nlength_bytes = 0x10000", "",
         r"storage is 1; allowed: two tables, one for each slot"),
        ('sources = ["a datasheet"]', "", r"sources is missing; allowed: a list of texts"),
        ('id = "blackpill_f411ce"', "", r"platformio\.id is missing; allowed: a text"),
        ('"ststm32"', '"atmelavr"', r"platformio\.platform is 'atmelavr'; allowed: 'ststm32' or"),
        ('"arduino", ', '"qt", ', r"platformio\.frameworks is \['qt', .*a list of 'arduino' or"),
    ],
)  # fmt: skip
def test_a_wrong_stm32_board_is_explained(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in STM32
    file = write(tmp_path, STM32.replace(old, new, 1))
    with pytest.raises(BoardError, match=says) as error:
        read_board(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("family", "offset", "length", "sectors"),
    [
        ("f4", 0x60000, 0x20000, (7, 1)), ("f4", 0x0C000, 0x4000, (3, 1)),
        ("f4", 0x04000, 0x1C000, (1, 4)), ("f7", 0xC0000, 0x40000, (7, 1)),
        ("f7", 0x08000, 0x18000, (1, 3)), ("h7", 0x1E0000, 0x20000, (7, 1)),
        ("h7", 0x100000, 0x40000, (0, 2)), ("l4", 0xE0000, 0x20000, (448, 64)),
        ("l4", 0xE0000, 0x1000, (448, 2)),
    ],
)  # fmt: skip
def test_sectors_of_the_flash(
    family: str, offset: int, length: int, sectors: tuple[int, int]
) -> None:
    assert storage_sectors(family, offset, length) == sectors


def test_the_first_bank_of_an_h7_runs_the_program() -> None:
    with pytest.raises(ValueError, match=r"second bank, from offset 0x100000"):
        storage_sectors("h7", 0x20000, 0x20000)
