"""Images of the RISC-V parts: linked to their addresses, accepted by Espressif's own tool, and for
the C3 run by an emulator of that chip. Start and port are the tests' own: on a chip ESP-IDF's start
and the port ``espidf`` take their place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys
from elftools.elf.elffile import ELFFile

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.sessions.serial_session import SerialSession
from tinytrain.toolchain import build as module

UART_PORT = Path(__file__).resolve().parent / "c3" / "port.c"
C3_CONSTANTS = 0x3C000020  # where the C3 maps flash for data
IRAM = "#define TT_USES_IRAM 1\n"
FOLDERS = (sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath))
ESPTOOL = shutil.which("esptool", path=os.pathsep.join(FOLDERS))


def linker_script(board: module.Board, constants: int | None) -> str:
    """The script of bare boards, with constants in a range of their own where the chip maps flash
    for data elsewhere."""
    script = module.linker_script(board)
    if constants is None:
        return script
    assert board.flash
    region = f"DROM (r) : ORIGIN = {constants:#x}, LENGTH = {board.flash.length_bytes}\n"
    head, rodata, rest = script.replace("    RAM   ", f"    {region}    RAM   ").partition(
        ".rodata"
    )
    return head + rodata + rest.replace("> FLASH", "> DROM", 1)


def linked(
    name: str,
    constants: int | None,
    files: Mapping[str, str],
    folder: Path,
    port: Path | None = None,
) -> Path:
    """An ELF with the addresses of the chip, and the start of an emulated RISC-V; its port, too,
    or that file in its place."""
    board = replace(load_board(name), port="riscv_virt")
    for file, text in files.items():
        (folder / file).write_text(text)
    (folder / "link.ld").write_text(linker_script(board, constants))
    sources = module._sources(board)
    if port:
        sources = [item for item in sources if item[1].name != "port.c"] + [(board.port, port)]
    compiler = module.find_compiler(board)
    objects = module._compile_all(compiler, board, sources, folder, sorted(files))
    return module._link(compiler, board, folder, [made for _, made in objects])


def small(name: str) -> Compiled:
    """A model for a board."""
    return compile_recipe(toys.recipe("sensor"), load_board(name), toys.quantized("sensor"))


@pytest.mark.skipif(ESPTOOL is None, reason="esptool is not there")
@pytest.mark.parametrize(
    ("name", "chip", "constants", "memories"),
    [
        ("esp32-c3-devkitm-1", "esp32c3", C3_CONSTANTS, {"IROM", "DROM", "DRAM", "IRAM"}),
        ("esp32-c6-devkitc-1", "esp32c6", None, {"IROM", "DRAM", "IRAM"}),
    ],
)
def test_an_image_passes_the_checks_of_esptool(
    name: str, chip: str, constants: int | None, memories: set[str], tmp_path: Path
) -> None:
    elf = linked(name, constants, small(name).files, tmp_path)
    image = elf.with_suffix(".bin")

    def esptool(*arguments: str) -> str:
        command = [str(ESPTOOL), "--chip", chip, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    esptool("elf2image", "-o", str(image), str(elf))
    said = esptool("image-info", str(image))
    assert len(re.findall(r"^(?:Checksum|Validation hash): .* \(valid\)", said, re.MULTILINE)) == 2
    rows = re.findall(r"^ +\d+ +0x\w+ +(0x\w+) +0x\w+ +(\w.*)$", said, re.MULTILINE)
    assert memories <= {word for _, types in rows for word in re.findall(r"\w+", types)}


@pytest.mark.parametrize("name", ["esp32-c3-devkitm-1", "esp32-c6-devkitc-1"])
def test_hot_kernels_lie_in_iram_and_the_rest_behind_them(name: str, tmp_path: Path) -> None:
    """What is planned for the SRAM that code and data share is what the image has there."""
    made = small(name)
    board, sram = made.board, made.sram
    fast = board.fast_code
    assert fast and fast.shares == board.ram[0].name
    constants = C3_CONSTANTS if "c3" in name else None
    image = module.measure(linked(name, constants, made.files, tmp_path), board)
    assert 0 < image.sections[".fast"] <= fast.length_bytes == sram.fast_code_bytes
    for hot in ("tt_linear_s8", "tt_linear_dx_s8", "tt_quantize_row", "tt_peak", "tt_round_row"):
        assert fast.origin <= image.addresses[hot] < fast.end, hot
    assert board.flash and board.flash.origin <= image.addresses["tt_model_train"] < board.flash.end
    assert image.sections[".stack"] == sram.stack_bytes
    assert image.sram_bytes == sram.sram_bytes
    first = board.ram[0].origin + fast.length_bytes
    last = board.ram[0].origin + board.sram_budget_bytes
    with image.path.open("rb") as stream:
        for section in map(ELFFile(stream).get_section_by_name, (".stack", ".data", ".bss")):
            assert first <= section["sh_addr"] <= last - section["sh_size"], section.name


@pytest.mark.parametrize(
    ("prefix", "flags"),
    [
        ("riscv64-unknown-elf-", ("-march=rv32imc", "-misa-spec=2.2", "-mabi=ilp32")),
        ("xtensa-lx106-elf-", ("-mlongcalls",)),
    ],
)
def test_all_code_of_hot_kernels_names_iram(
    prefix: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """The files that a linker script of tinytrain chooses, and no others; what a board reserves
    holds all of them."""
    if shutil.which(prefix + "gcc") is None:
        pytest.skip(f"no {prefix}gcc")
    (tmp_path / "model_uses.h").write_text(IRAM)
    board = replace(load_board("esp32dev"), prefix=prefix, flags=flags)
    kernels = [("kernels", path) for path in module.kernel_sources()]
    objects = module._compile_all(prefix + "gcc", board, kernels, tmp_path, ["model_uses.h"])
    total = 0
    for name, made in objects:
        with made.open("rb") as stream:
            named = (".literal", ".iram1")
            code = [section for section in ELFFile(stream).iter_sections()
                    if section["sh_flags"] & 6 == 6 or section.name.startswith(named)]  # fmt: skip
            sizes = {section.name: section["sh_size"] for section in code}
        fast = sum(size for section, size in sizes.items() if section.startswith(".iram1."))
        hot = name.removesuffix(".c") in module.HOT
        assert bool(fast) == hot and (not hot or sum(sizes.values()) == fast), (name, sizes)
        total += fast
    assert board.fast_code and 3072 < total <= board.fast_code.length_bytes


class SimulatedWire:
    """The UART of an emulated chip, whose time passes while one reads."""

    def __init__(self, chip: Any) -> None:
        self.chip = chip

    def read(self, timeout_s: float) -> bytes:
        self.chip.run_for("500us")
        return bytes(self.chip.read_uart_bytes())

    def write(self, data: bytes) -> None:
        self.chip.send_bytes(data)

    def close(self) -> None:
        self.chip.close()


@pytest.mark.slow
def test_an_emulated_c3_trains_with_the_bits_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package ``labwired`` emulates the chip, some 100,000 instructions a second."""
    labwired = pytest.importorskip("labwired")
    made = small("esp32-c3-devkitm-1")
    elf = linked("esp32-c3-devkitm-1", C3_CONSTANTS, made.files, tmp_path, UART_PORT)
    chip = labwired.Sim(elf, chip="esp32c3")
    monkeypatch.setattr(
        "tinytrain.sessions.serial_session.SerialWire", lambda url, baud: SimulatedWire(chip)
    )
    device = SerialSession("esp32c3", made.codec, timeout_s=600, model_hash=made.model_hash)
    host = toys.host(replace(made, board=load_board("host")), tmp_path / "host")
    with host, device:
        toys.assert_same(host, device, toys.data("sensor"), 3)
