"""What a selection says that its schemes need is what their firmware has."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import toys
from selection_cases import invented_outcome

from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import compile_recipe
from tinytrain.planning.fit import Planning
from tinytrain.recipe import Optimizer
from tinytrain.selection import Settings, runs, select
from tinytrain.selection.proxy import tasks_of
from tinytrain.selection.store import Store
from tinytrain.sessions.runner import measurements, open_session
from tinytrain.toolchain.build import build

pytestmark = pytest.mark.qemu

PLANNING = Planning(planner="heuristic")
SHORT = Optimizer("lsb", 2.0, steps=4)


def test_sram_of_the_front_is_what_firmware_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, but for the stack, of which no more is used than was reserved. What the schemes
    are worth is invented, so that the front has several."""
    monkeypatch.setattr(runs, "trained", invented_outcome)
    board = with_sram(load_board("qemu_mps2_an386"), 20_000)
    recipe, quantized = toys.recipe("sensor", "auto", SHORT), toys.quantized("sensor")
    settings = Settings(trials=6, steps=2, jobs=1, contributions="estimate")
    found = select(recipe, board, settings, PLANNING, quantized, Store(tmp_path))
    assert len({c.need.sram_bytes for c in found.front}) > 1
    for at, candidate in enumerate(found.front):
        made = recipe.replace(scheme=candidate.scheme)
        compiled = compile_recipe(made, candidate.memory.board, quantized, planning=PLANNING)
        artifact = build(compiled.files, board, tmp_path / str(at))
        static = artifact.sections[".data"] + artifact.sections[".bss"]
        assert static == candidate.need.sram_bytes - compiled.sram.stack_bytes, candidate.name
    session, artifact = open_session(found.compiled, board.name, tmp_path / "selected")
    with session:
        session.step(recipe.train.x[0], recipe.train.y[0])
    assert measurements(session, artifact)["stack_used_bytes"] <= found.compiled.sram.stack_bytes


@pytest.mark.parametrize("method", ["cpsat", "optuna"])
def test_steps_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Instructions are those of the firmware; the front goes by them."""
    monkeypatch.setattr(runs, "trained", invented_outcome)
    board = with_sram(load_board("qemu_mps2_an386"), 20_000)
    recipe, quantized = toys.recipe("sensor", "auto", SHORT), toys.quantized("sensor")
    settings = Settings(
        method=method, trials=5, steps=2, jobs=1, contributions="estimate", count=True
    )
    found = select(recipe, board, settings, PLANNING, quantized, Store(tmp_path))
    assert all(c.need.instructions for c in found.candidates)
    session, _ = open_session(found.compiled, board.name, tmp_path / "selected")
    task = tasks_of(recipe, settings.folds, settings.seed)[0]
    with session:
        for i in range(2):
            session.step(task.train.x[i], task.train.y[i])
    counted = session.instructions_per_step[-1]
    assert found.best.need.instructions == pytest.approx(counted, rel=0.02)
    assert found.best.facts("accuracy")["instructions_per_step"] == found.best.need.instructions
    by_sram = sorted(found.front, key=lambda c: c.need.sram_bytes)
    for small, large in pairwise(by_sram):
        assert (
            large.score("accuracy") > small.score("accuracy")
            or large.need.instructions < small.need.instructions
        )
