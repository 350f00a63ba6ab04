"""Images of the RISC-V parts: linked to their addresses and accepted by Espressif's own tool. The
start and the port are those of an emulated RISC-V, so the image shows layout and format, and is not
for a chip; there ESP-IDF's start and the port ``espidf`` take their place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from tinytrain import build as module
from tinytrain.boards import load_board

FAKE = Path(__file__).resolve().parents[1] / "qemu" / "fake"
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


@pytest.mark.skipif(ESPTOOL is None, reason="esptool is not there")
@pytest.mark.parametrize(
    ("name", "chip", "constants", "memories"),
    [
        ("esp32-c3-devkitm-1", "esp32c3", 0x3C000020, {"IROM", "DROM", "DRAM"}),
        ("esp32-c6-devkitc-1", "esp32c6", None, {"IROM", "DRAM"}),
    ],
)
def test_an_image_passes_the_checks_of_esptool(
    name: str, chip: str, constants: int | None, memories: set[str], tmp_path: Path
) -> None:
    board = replace(load_board(name), port="riscv_virt")
    for file in ("model.c", "model.h"):
        shutil.copy(FAKE / file, tmp_path)
    (tmp_path / "link.ld").write_text(linker_script(board, constants))
    compiler, files = module.find_compiler(board), ["model.c", "model.h"]
    objects = module._compile_all(compiler, board, module._sources(board), tmp_path, files)
    elf = module._link(compiler, board, tmp_path, [made for _, made in objects])
    image = elf.with_suffix(".bin")

    def esptool(*arguments: str) -> str:
        command = [str(ESPTOOL), "--chip", chip, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    esptool("elf2image", "-o", str(image), str(elf))
    said = esptool("image-info", str(image))
    assert len(re.findall(r"^(?:Checksum|Validation hash): .* \(valid\)", said, re.MULTILINE)) == 2
    rows = re.findall(r"^ +\d+ +0x\w+ +(0x\w+) +0x\w+ +(\w.*)$", said, re.MULTILINE)
    assert memories <= {word for _, types in rows for word in re.findall(r"\w+", types)}
