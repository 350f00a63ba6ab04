"""The hottest kernels run from a memory of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.boards.memories import FastCode
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import BudgetError
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.sessions.runner import open_session
from tinytrain.toolchain.build import Artifact, build

SPLIT = "qemu_mps2_an386_split"


def made(kind: str, board: str) -> Compiled:
    recipe = toys.recipe(kind, toys.scheme(kind, "full"), toys.compiled(kind, "full").optimizer)
    return compile_recipe(recipe, load_board(board), toys.quantized(kind))


@pytest.mark.qemu
def test_code_runs_from_where_it_is_copied(tmp_path: Path) -> None:
    compiled = made("sensor", SPLIT)
    fast = compiled.board.fast_code
    assert fast
    session, artifact = open_session(compiled, SPLIT, tmp_path / "b")
    with session:
        toys.assert_same(session, numpy_session(compiled), toys.data("sensor"), 3)
    assert isinstance(artifact, Artifact)
    size = artifact.sections[".fast"]
    assert 2048 < size <= fast.length_bytes
    for name in ("tt_layer_rows", "tt_linear_dx_s8", "tt_expand"):
        assert fast.origin <= artifact.addresses[name] < fast.origin + size, name
    assert artifact.addresses["tt_model_train"] < fast.origin
    without = replace(compiled.board, fast_code=None)
    plain = build(compiled.files, without, tmp_path / "plain")
    assert plain.sections[".fast"] == 0 and plain.sram_bytes == artifact.sram_bytes
    assert plain.flash_bytes < artifact.flash_bytes < plain.flash_bytes + 1024  # far calls


def test_too_little_memory_for_it_is_told(tmp_path: Path) -> None:
    compiled = made("sensor", SPLIT)
    small = replace(compiled.board, fast_code=FastCode("fast_code", 0x203F0000, 1024))
    with pytest.raises(BudgetError, match=r"over the memory for fast code of 1024 bytes"):
        build(compiled.files, small, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.qemu
@pytest.mark.parametrize("files_of", ["qemu_rv32", "esp32-c3-devkitm-1"])
def test_a_riscv_core_runs_code_from_the_memory_of_its_data(files_of: str, tmp_path: Path) -> None:
    """Kernels that the linker script chooses, and those of an ESP32 that name their sections."""
    board = load_board("qemu_rv32")
    fast = FastCode("fast_code", board.ram[0].origin, 0x1400, shares=board.ram[0].name)
    board = replace(board, fast_code=fast)
    compiled = made("sensor", files_of)
    artifact = build(compiled.files, board, tmp_path / "b")
    with QemuSession(board, artifact, compiled.codec) as session:
        toys.assert_same(session, numpy_session(compiled), toys.data("sensor"), 3)
    assert 2048 < artifact.sections[".fast"] <= fast.length_bytes
    for name in ("tt_linear_s8", "tt_linear_dx_s8", "tt_round_row"):
        assert fast.origin <= artifact.addresses[name] < fast.end, name
    assert artifact.addresses["tt_run"] >= fast.end
