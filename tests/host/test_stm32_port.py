"""The STM32 port on the host, against a model of the registers of each family."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from stm32_chip import ECC, RCC, RESET_HZ, SYSTICK, Chip

from tinytrain.boards import Board, all_boards, port_defines
from tinytrain.support.assets import firmware_dir

STUB = Path(__file__).resolve().parent / "register_stub.c"
BOARDS = [board for board in all_boards() if board.stm32]
FLASH_ACR = {"f4": 0x40023C00, "f7": 0x40023C00, "h7": 0x52002000, "l4": 0x40022000}
# Fastest core for so many wait states, in MHz, at 3.3 V and the highest voltage scale.
WAIT_STATES = {"f4": 30, "f7": 30, "l4": 16, "h7": 2 * 70}
MOST_BUS_HZ = {"f4": (45e6, 90e6), "f7": (54e6, 108e6), "l4": (80e6, 80e6), "h7": (120e6, 120e6)}


@pytest.fixture(scope="module", params=BOARDS, ids=lambda board: board.name)
def board(request: Any) -> Board:
    found: Board = request.param
    return found


@pytest.fixture(scope="module")
def library(board: Board, tmp_path_factory: Any) -> Path:
    made = Path(tmp_path_factory.mktemp("port")) / f"{board.name}.so"
    firmware = firmware_dir()
    sources = [str(path) for path in sorted((firmware / "port" / "stm32").glob("*.c"))]
    defines = [f"-D{name}={value:#x}u" for name, value in port_defines(board).items()]
    command = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
               "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error",
               "-DTT_REGISTERS_OF_A_TEST", *defines, f"-I{firmware / 'include'}"]  # fmt: skip
    subprocess.run([*command, "-o", str(made), *sources, str(STUB)], check=True)
    return made


def started(board: Board, library: Path, *broken: str) -> tuple[Chip, Any]:
    chip = Chip(board, frozenset(broken))
    port = chip.load(library)
    port.tt_port_start()
    return chip, port


def uart_hz(chip: Chip) -> float:
    """The baud rate that the divider gives, from the bus that the UART hangs on."""
    uart = chip.board.uart
    assert uart
    divider = chip.registers[uart.base + (0x08 if chip.family == "f4" else 0x0C)]
    return chip.bus_hz(1 if uart.base < 0x40010000 else 2) / divider


def test_full_speed(board: Board, library: Path) -> None:
    chip, _ = started(board, library)
    assert board.uart and chip.core_hz == board.clock_hz
    assert uart_hz(chip) == pytest.approx(board.uart.baud, rel=0.005)
    for apb in (1, 2):
        assert chip.bus_hz(apb) <= MOST_BUS_HZ[chip.family][apb - 1]
    states = chip.registers[FLASH_ACR[chip.family]] & 15
    assert (board.clock_hz - 1) // (WAIT_STATES[chip.family] * 1_000_000) <= states <= 8
    # Wait states come before speed: the last write to the switch is behind that of the flash.
    switch = RCC[chip.family] + (0x10 if chip.family == "h7" else 0x08)
    last = len(chip.order) - 1 - chip.order[::-1].index(switch)
    assert FLASH_ACR[chip.family] in chip.order[:last]
    if board.clock_hz > {"f4": 168e6, "f7": 180e6}.get(chip.family, 1e9):
        assert chip.registers[0x40007000] >> 16 & 3 == 3, "over-drive is off"


def test_a_crystal_that_does_not_start_costs_no_speed(board: Board, library: Path) -> None:
    chip, _ = started(board, library, "hse")
    assert board.uart and chip.core_hz == board.clock_hz
    assert uart_hz(chip) == pytest.approx(board.uart.baud, rel=0.005)


def test_without_a_pll_it_runs_as_after_reset(board: Board, library: Path) -> None:
    """What QEMU does: nothing of the clocks ever becomes ready."""
    chip, _ = started(board, library, "hse", "hsi", "pll")
    assert board.uart and chip.core_hz == RESET_HZ[chip.family]
    assert uart_hz(chip) == pytest.approx(board.uart.baud, rel=0.01)
    assert chip.registers[RCC[chip.family]] >> 24 & 1 == 0, "the PLL is still asked for"


def test_pins_and_interrupt_of_the_uart(board: Board, library: Path) -> None:
    chip, _ = started(board, library)
    assert board.stm32 and board.uart
    gpio = {"h7": 0x58020000, "l4": 0x48000000}.get(chip.family, 0x40020000)
    enable = {"h7": 0xE0, "l4": 0x4C}.get(chip.family, 0x30)
    for pin in (board.stm32.tx, board.stm32.rx):
        port, number = ord(pin[1]) - ord("A"), int(pin[2:])
        base = gpio + 0x400 * port
        assert chip.registers[RCC[chip.family] + enable] >> port & 1
        assert chip.registers[base] >> 2 * number & 3 == 2  # alternate function
        alternate = chip.registers[base + 0x20 + 4 * (number // 8)]
        assert alternate >> 4 * (number % 8) & 15 == board.stm32.alternate
    irq = {0x40011000: 37, 0x40004400: 38, 0x40004800: 39}[board.uart.base]
    assert board.stm32.irq == irq and chip.registers[0xE000E100 + 4 * (irq // 32)] >> irq % 32 & 1
    # Where each manual has the bit that gives the UART its clock.
    places = {"h7": (0xE8, 0xF0), "l4": (0x58, 0x60)}.get(chip.family, (0x40, 0x44))
    place, bit = {
        0x40011000: (places[1], 4), 0x40004400: (places[0], 17), 0x40004800: (places[0], 18),
    }[board.uart.base]  # fmt: skip
    assert chip.registers[RCC[chip.family] + place] >> bit & 1


def test_bytes_in_and_out(board: Board, library: Path) -> None:
    chip, port = started(board, library)

    def receive(data: bytes) -> None:
        for byte in data:
            chip.received.append(byte)
            port.tt_uart_interrupt()

    assert port.tt_port_read() == -1
    for _ in range(5):  # round the ring
        receive(bytes(range(100)))
        assert bytes(port.tt_port_read() for _ in range(100)) == bytes(range(100))
    receive(bytes(i % 251 for i in range(300)))
    kept = []
    while (byte := port.tt_port_read()) >= 0:
        kept.append(byte)
    assert kept == [i % 251 for i in range(255)]  # what finds the ring full is lost
    port.tt_uart_interrupt()  # an overrun without a byte
    assert port.tt_port_read() == -1
    port.tt_port_write(b"\x00\xc0\xff", 3)
    assert chip.sent == b"\x00\xc0\xff"


def test_time(board: Board, library: Path) -> None:
    chip, port = started(board, library)
    mhz = board.clock_hz // 1_000_000
    top = chip.registers[SYSTICK - 4]
    assert top < 2**24 and (top + 1) % mhz == 0
    chip.registers[SYSTICK] = top
    assert port.tt_port_time_us() == 0
    chip.registers[SYSTICK] = top - 1000 * mhz
    assert port.tt_port_time_us() == 1000
    for _ in range(3):
        port.tt_tick()
    assert port.tt_port_time_us() == 3 * (top + 1) // mhz + 1000


def test_random_numbers(
    board: Board, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    assert board.stm32
    data = board.stm32.rng + 8
    numbers = iter((11, 42, 42, 42))
    plain = Chip.get
    monkeypatch.setattr(
        Chip, "get", lambda self, at: next(numbers) if at == data else plain(self, at)
    )
    _, port = started(board, library)
    assert port.tt_port_random() == (42 if board.stm32.rng else 0)
    assert port.tt_port_random() == 0  # a generator that repeats itself is none


@pytest.mark.parametrize("slot", [0, 1])
def test_flash(board: Board, library: Path, slot: int) -> None:
    chip, port = started(board, library)
    size, unit = port.tt_port_flash_bytes(slot), port.tt_port_flash_unit()
    assert size == board.storage[slot].length_bytes and 32 % unit == 0
    begin = board.storage[slot].origin - chip.start
    place = slice(begin, begin + size)
    chip.flash[:] = bytes(len(chip.flash))
    assert port.tt_port_flash_erase(slot) == 0
    assert sum(chip.sector(number)[1] for number in chip.erased) == size
    assert chip.flash[place] == b"\xff" * size and chip.flash.count(0xFF) == size
    text = os.urandom(3 * unit)
    assert port.tt_port_flash_program(slot, unit, text, len(text)) == 0
    content = chip.flash[place]
    assert content[unit : unit + len(text)] == text
    assert content[:unit] == b"\xff" * unit and content[4 * unit :] == b"\xff" * (size - 4 * unit)
    out = ctypes.create_string_buffer(len(text) - 1)
    assert port.tt_port_flash_read(slot, unit + 1, out, len(text) - 1) == 0
    assert out.raw == text[1:]
    assert port.tt_port_flash_program(slot, unit, bytes(unit), unit) == 0  # ones become zeros
    assert port.tt_port_flash_program(slot, unit, b"\xff" * unit, unit) == -1  # and stay so
    for offset, count in ((1, unit), (0, unit + 1), (size, unit), (0, size + unit)):
        assert port.tt_port_flash_program(slot, offset, bytes(size + unit), count) == -1
    assert port.tt_port_flash_read(slot, size - 3, out, 4) == -1
    lock = 1 if chip.family == "h7" else 1 << 31
    assert chip.registers[chip.flash_control] & lock


def test_flash_that_cannot_be_written_is_an_error(board: Board, library: Path) -> None:
    _, port = started(board, library, "flash")
    assert port.tt_port_flash_erase(0) == -1
    assert port.tt_port_flash_program(0, 0, bytes(32), 32) == 0  # all zeros are there already
    assert port.tt_port_flash_program(0, 0, b"\x01" * 32, 32) == -1


def test_a_word_that_the_ecc_refuses_is_an_error_and_no_fault(
    board: Board, library: Path
) -> None:  # fmt: skip
    chip, port = started(board, library)
    if chip.family not in ECC:
        pytest.skip("flash without ECC")
    out = ctypes.create_string_buffer(64)
    chip.torn = {40}
    assert port.tt_port_flash_read(0, 0, out, 40) == 0
    assert port.tt_port_flash_read(0, 0, out, 64) == -1
    assert port.tt_port_flash_read(0, 44, out, 20) == 0  # of the error nothing is left
    if chip.family == "h7":
        assert chip.registers[0xE000ED14] >> 8 & 1 == 0, "bus faults are still ignored"
