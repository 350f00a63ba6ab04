"""Portable C compiles for Xtensa LX106 (ESP8266): no FPU, no C library, another compiler. Nothing
runs there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import toys

from tinytrain.support.assets import firmware_dir
from tinytrain.toolchain.build import COMMON, CROSS, kernel_sources

COMPILER = "xtensa-lx106-elf-gcc"
RUNTIME = sorted((firmware_dir() / "runtime").glob("*.c"))

pytestmark = pytest.mark.skipif(not shutil.which(COMPILER), reason=f"no {COMPILER}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated files of a toy model."""
    folder = tmp_path_factory.mktemp("model")
    for name, text in toys.compiled("lm").files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def compiles(source: Path, model: Path, tmp_path: Path) -> None:
    firmware = firmware_dir()
    paths = [f"-I{folder}" for folder in (firmware / "include", firmware / "kernels", model)]
    command = [COMPILER, *COMMON, *CROSS, "-Werror", "-O2", *paths, "-c", str(source)]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "made.o")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source", [*kernel_sources(), *RUNTIME], ids=lambda path: path.name)
def test_firmware_compiles(source: Path, model: Path, tmp_path: Path) -> None:
    compiles(source, model, tmp_path)


def test_a_generated_model_compiles(model: Path, tmp_path: Path) -> None:
    compiles(model / "model.c", model, tmp_path)
