"""Frozen weights that are copied to RAM outside of the chip before the first step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.boards.memories import Psram
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import BoardError
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.sessions.runner import open_session
from tinytrain.toolchain.build import Artifact, build

SPLIT = "qemu_mps2_an386_split"


def made(board: str = SPLIT) -> Compiled:
    return compile_recipe(
        toys.recipe("lm", "head_only"), load_board(board), toys.quantized("lm")
    )  # fmt: skip


@pytest.mark.qemu
def test_training_reads_them_from_there(tmp_path: Path) -> None:
    compiled = made()
    psram = compiled.board.psram
    assert psram and psram.length_bytes >= compiled.psram_bytes > 1024
    session, image = open_session(compiled, SPLIT, tmp_path / "b")
    host, _ = open_session(compiled, "host", tmp_path / "host")
    with session, host:
        toys.assert_same(session, numpy_session(compiled), toys.data("lm"), 3)
        toys.assert_same(host, numpy_session(compiled), toys.data("lm"), 3)
        assert session.weights_sha256() == host.weights_sha256()
    assert isinstance(image, Artifact)
    assert image.sections[".psram"] == image.symbols["frozen"] == compiled.psram_bytes
    assert psram.origin <= image.addresses["frozen"] < psram.end
    facts = compiled.facts()
    assert facts["psram_bytes"] == compiled.psram_bytes
    assert image.model_const_bytes == facts["model_const_bytes"]


@pytest.mark.qemu
def test_without_the_copy_it_learns_something_else(tmp_path: Path) -> None:
    """The memory is what the kernels read, and nothing but the copy fills it."""
    compiled = made()
    files = dict(compiled.files)
    assert files["model.c"].count("frozen = frozen_image;") == 1
    files["model.c"] = files["model.c"].replace("frozen = frozen_image;", "(void)frozen_image;")
    image = build(files, compiled.board, tmp_path / "b")
    data = toys.data("lm")
    with QemuSession(compiled.board, image, compiled.codec) as session:
        loss = session.step(data.x[0], data.y[0]).loss
    assert loss != numpy_session(compiled).step(data.x[0], data.y[0]).loss


def test_the_same_model_in_flash_has_the_same_constants() -> None:
    psram, flash = made(), made("qemu_mps2_an386")
    assert psram.const_bytes == flash.const_bytes and flash.psram_bytes == 0
    assert psram.sram.sram_bytes == flash.sram.sram_bytes - sum(psram.sram.beside.values())
    assert "frozen" not in flash.files["model.c"] and "TT_PSRAM" not in flash.files["model.h"]


def test_more_weights_than_psram_are_told() -> None:
    small = replace(load_board(SPLIT), psram=Psram("psram", 0x21008000, 1024))
    with pytest.raises(BoardError, match=r"bytes of frozen weights, and the PSRAM of .* 1024; set"):
        compile_recipe(toys.recipe("lm", "head_only"), small, toys.quantized("lm"))
