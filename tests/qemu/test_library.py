"""The example of the library form: a firmware that learns with no host, and the host's bits."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe, prepare
from tinytrain.deploy.library import FLAGS, write_library
from tinytrain.quantize import Quantized
from tinytrain.recipe import Recipe, load_recipe

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "library"
RUN = ("qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial",
       "none", "-semihosting-config", "enable=on,target=native", "-kernel")  # fmt: skip


@lru_cache
def example() -> tuple[Recipe, Quantized]:
    recipe = load_recipe(EXAMPLE / "recipe.py")
    return recipe, prepare(recipe)


def with_library(folder: Path, board: str) -> Path:
    """A copy of the example with the library in it."""
    recipe, quantized = example()
    shutil.copytree(EXAMPLE, folder)
    write_library(compile_recipe(recipe, load_board(board), quantized), folder / "tinytrain")
    return folder


def said_here(folder: Path) -> str:
    """What the same program says on this machine, with portable kernels."""
    made, sources = folder / "here", sorted((folder / "tinytrain" / "src").rglob("*.c"))
    command = ["gcc", "-std=gnu11", *FLAGS, f"-I{folder / 'tinytrain' / 'src'}", "-o", str(made)]
    command += [str(folder / "main.c"), *map(str, sources), "-Wl,--defsym,stack_end=0"]
    subprocess.run(command, check=True)
    return subprocess.run([made], check=True, capture_output=True, text=True).stdout


def test_the_firmware_is_short() -> None:
    assert len((EXAMPLE / "main.c").read_text().splitlines()) <= 60


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not there")
def test_it_learns_from_its_own_sensor_and_says_what_the_host_says(tmp_path: Path) -> None:
    folder = with_library(tmp_path / "m4", "qemu_mps2_an386")
    for command in (
        ["cmake", "-B", "build", "-DCMAKE_TOOLCHAIN_FILE=cortex-m4.cmake"],
        ["cmake", "--build", "build"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    done = subprocess.run(
        [*RUN, str(folder / "build" / "firmware")], capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    rows = re.findall(r"(\d+) steps: mean loss ([\d.]+), then (\d+) of 200 right", done.stdout)
    losses = [float(loss) for steps, loss, _ in rows if steps == "100"]
    right = [int(count) for _, _, count in rows]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2 and right[0] < 100 and right[-2] > 160
    assert done.stdout.rstrip().endswith("\nrestored")
    assert done.stdout == said_here(with_library(tmp_path / "here", "host"))
