"""A recipe on every board: each verdict is what a plan, and a link, of its own would say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys
from command_line import call

from tinytrain.boards import Board, all_boards, load_board, port_bytes
from tinytrain.compiler import compile_recipe
from tinytrain.planning.fit import Planning
from tinytrain.reports import all_boards as module
from tinytrain.reports.all_boards import across

HEURISTIC = Planning(planner="heuristic")
RECIPE = """
import toys

def recipe():
    return toys.recipe("sensor", "last_k:1")
"""


def verdicts(boards: list[Board], planning: Planning = HEURISTIC) -> list[module.Verdict]:
    return across(toys.recipe("sensor", "head_only"), boards, toys.quantized("sensor"), planning)


def test_verdicts_are_plans_and_links() -> None:
    boards = [load_board(name) for name in ("nucleo_f446re", "nucleo_l476rg", "qemu_rv32")]
    found = verdicts(boards)
    for board, verdict in zip(boards, found, strict=True):
        made = compile_recipe(
            toys.recipe("sensor", "head_only"), board, toys.quantized("sensor"), planning=HEURISTIC
        )
        assert verdict.board == board.name and verdict.fits and verdict.why == ""
        assert verdict.sram_bytes == made.sram.sram_bytes
        assert verdict.beside_bytes == sum(made.sram.beside.values())
        assert board.code and verdict.flash_capacity_bytes == board.code.length_bytes
        assert verdict.flash_bytes and 5_000 < verdict.flash_bytes < 60_000


def test_what_does_not_fit_says_why() -> None:
    board = load_board("nucleo_f446re")
    assert board.flash
    small = replace(board, sram_budget_bytes=1600, stack_bytes=512)
    full = replace(board, storage=(), flash=replace(board.flash, length_bytes=4096))
    arena, flash = verdicts([small, full])
    assert not arena.fits and arena.flash_bytes is None
    over = arena.sram_bytes - 1600
    assert arena.why.startswith(f"SRAM: {over:,} bytes too many; the arena of ")
    assert "peaks at linear_s8 of blocks." in arena.why
    assert not flash.fits and "bytes over the flash of 4096 bytes" in flash.why
    recipe = toys.recipe("sensor", "full")
    (weights,) = across(recipe, [small], toys.quantized("sensor"), HEURISTIC)
    assert "what is not arena takes 8," in weights.why


def test_boards_with_the_same_memories_share_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []

    def watched(recipe: Any, board: Board, *rest: Any, **options: Any) -> Any:
        planned.append(board.name)
        return compile_recipe(recipe, board, *rest, **options)

    monkeypatch.setattr(module, "compile_recipe", watched)
    monkeypatch.setattr(module, "_link", lambda compiled: (1, ""))
    found = verdicts([load_board(n) for n in ("nucleo_f446re", "blackpill_f411ce", "qemu_rv32")])
    assert planned == ["nucleo_f446re", "qemu_rv32"] and len(found) == 3
    assert found[0] == replace(found[1], board="nucleo_f446re")


def test_without_a_compiler_the_flash_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (verdict,) = verdicts([load_board("nucleo_f446re")])
    assert verdict.fits is None and verdict.flash_bytes is None
    assert verdict.why.startswith("not linked: no arm-none-eabi-gcc on the PATH")


def test_what_a_framework_links_is_known_in_part() -> None:
    board = next(board for board in all_boards() if board.on_framework)
    (verdict,) = verdicts([board])
    assert verdict.fits is None and verdict.why == "not linked: its framework does that"


def test_on_the_command_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(RECIPE)
    monkeypatch.setattr(module, "_link", lambda compiled: (12345, ""))
    code, out, err = call(capfd, "plan", file, "--all-boards", "--json")
    assert code == 0 and err == ""
    facts = json.loads(out)
    wanted = [board.name for board in all_boards() if not board.is_host]
    assert [row["board"] for row in facts["boards"]] == wanted and facts["scheme"] == "last_k:1"
    code, out, _ = call(capfd, "plan", file, "--all-boards")
    assert code == 0 and all(name in out for name in wanted) and "12,345" in out
    code, _, err = call(capfd, "plan", file, "--all-boards", "--sram", "9000")
    assert code == 2 and "--all-boards goes without --sram" in err
    assert all(port_bytes(board) % 8 == 0 for board in all_boards())
