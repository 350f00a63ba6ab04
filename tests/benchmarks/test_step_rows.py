"""The rows of the benchmark of training steps, on a small model."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tinytrain.boards import with_sram
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.toolchain.build import build
from tinytrain.zoo import SensorTransformer

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
KEYS = {
    "model", "board", "phase", "node", "kernel", "calls", "instructions", "share", "macs",
    "per_mac", "estimated_cycles", "estimated_cycles_per_mac", "scratch_bytes",
    "room_bytes", "code_bytes",
}  # fmt: skip


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("step")
    memory = importlib.import_module("memory")
    small = memory.Model(lambda: SensorTransformer(window=32, d=16, blocks=2), (32, 6), 7)
    monkeypatch.setitem(module.MODELS, "har", small)
    memory.prepared.cache_clear()
    return module


def compiled(step: ModuleType, sram: int | None = None) -> Any:
    board = step.load_board(step.BOARD)
    return step.compiled_example("har", with_sram(board, sram) if sram else board)


def test_phases_and_macs(step: ModuleType) -> None:
    made = compiled(step)
    phases = dict(zip((n.name for n in made.train.nodes), step.phases(made.train), strict=True))
    assert phases["blocks.0.f1"] == "forward" and phases["blocks.0.f1.dx"] == "backward"
    assert phases["blocks.0.o.weight.new"] == phases["blocks.0.o.bias.new"] == "update"
    kinds = {n.op.name: p for n, p in zip(made.train.nodes, phases.values(), strict=True)}
    assert kinds["align_grad_s8"] == "other" and kinds["cross_entropy_grad_s16"] == "backward"
    macs = step.macs_by_phase(made.plain)
    assert sum(macs.values()) == made.plain.macs() and macs["other"] == 0
    assert macs["forward"] == made.evaluate.macs()


@pytest.mark.qemu
def test_nodes_add_up_to_the_step(step: ModuleType, tmp_path: Path) -> None:
    made = compiled(step, 6000)
    assert made.step.tiled
    artifact = build(made.files, made.board, tmp_path / "made")
    nodes = step.called(made.train)
    (row,) = step.run(made, artifact, 1)
    counts = step.counted(nodes, row)
    assert [c.node for c in counts[:-1]] == [node for node, _ in nodes]
    for count in counts[:-1]:
        loop = count.node.loop
        assert count.calls == (count.node.tokens // loop.rows if loop else 1)
        assert count.cycles >= count.instructions > 0

    recipe, _ = step.prepared("har")
    with QemuSession(made.board, artifact, made.codec) as session:
        session.step(recipe.train.x[0], recipe.train.y[0])
    assert sum(c.instructions for c in counts) == session.instructions_per_step[0]
    assert 0 < counts[-1].instructions < 100, "what no node needs"


@pytest.mark.qemu
def test_rows(
    step: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["step.py", "--json", "--models", "har", "--top", "5"]
    monkeypatch.setattr(sys, "argv", words)
    step.main()
    rows = json.loads(capsys.readouterr().out)
    assert all(set(row) == KEYS for row in rows)
    whole, *phases = rows[:5]
    assert whole["phase"] == "all" and 20000 < whole["code_bytes"] < 64 * 1024
    for key in ("instructions", "macs", "estimated_cycles", "calls"):
        assert whole[key] == sum(row[key] for row in phases)
    nodes = rows[5:]
    assert len(nodes) == 5 and all(row["node"] for row in nodes)
    assert all(0 <= row["scratch_bytes"] <= row["room_bytes"] for row in nodes)
    sizes = [row["instructions"] for row in nodes]
    assert sizes == sorted(sizes, reverse=True)

    monkeypatch.setattr(sys, "argv", [*words, "--by", "kernel", "--top", "0"])
    step.main()
    rows = json.loads(capsys.readouterr().out)
    named = [(row["phase"], row["kernel"]) for row in rows[5:]]
    assert len(set(named)) == len(named)
    assert sum(row["instructions"] for row in rows[5:]) <= whole["instructions"]
    assert sum(row["calls"] for row in rows[5:]) == whole["calls"]


@pytest.mark.qemu
def test_targets(
    step: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step.targets, "STEP_PER_MAC", {"har": 0.5})
    monkeypatch.setattr(step.targets, "CODE_BYTES", {"har": 1 << 20})
    monkeypatch.setattr(sys, "argv", ["step.py", "--models", "har", "--check"])
    with pytest.raises(SystemExit) as stop:
        step.main()
    assert stop.value.code == 1
    assert "1 of 2 targets missed" in capsys.readouterr().out


@pytest.mark.qemu
def test_calls_in_another_order(step: ModuleType, tmp_path: Path) -> None:
    made = compiled(step)
    artifact = build(made.files, made.board, tmp_path / "made")
    kernels = [node.op.name for node, _ in step.called(made.train)]
    assert len(step.call_sites(artifact, "tt_model_train", kernels)) == len(kernels)
    with pytest.raises(SystemExit, match="another order"):
        step.call_sites(artifact, "tt_model_train", kernels[::-1])


def test_an_unknown_example(step: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["step.py", "--models", "har,none"])
    with pytest.raises(SystemExit, match="no example none"):
        step.main()
