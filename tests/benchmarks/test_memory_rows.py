"""The rows of the memory benchmark, on a small model."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tinytrain.planning.placement import lower_bound
from tinytrain.zoo import SensorTransformer

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
KEYS = {
    "model", "scheme", "board", "target_bytes", "sram_bytes_planned", "sram_bytes_measured",
    "arena_bytes", "lower_bound_bytes", "extra_instructions_ratio", "greedy_arena_bytes",
    "plain_sram_bytes",
}  # fmt: skip


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("memory")
    small = module.Model(lambda: SensorTransformer(window=32, d=16, blocks=2), (32, 6), 7)
    monkeypatch.setattr(module, "MODELS", {"small": small})
    module.prepared.cache_clear()
    return module


def test_cases_name_models_and_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("memory")
    named = [(m, s if isinstance(s, str) else s.name) for m, s, _ in module.CASES]
    assert len(set(named)) == len(named) and {m for m, _ in named} == set(module.MODELS)
    assert all(target % 1024 == 0 for _, _, target in module.CASES)


def test_a_planned_row(memory: ModuleType) -> None:
    row = memory.measure("small", "full", 13 * 1024, 0)
    assert set(row) == KEYS
    assert row["lower_bound_bytes"] <= row["arena_bytes"] < row["greedy_arena_bytes"]
    assert row["sram_bytes_planned"] <= 13 * 1024 < row["plain_sram_bytes"]
    assert row["sram_bytes_measured"] is None and row["extra_instructions_ratio"] is None


def test_greedy_is_no_better_than_the_bound(memory: ModuleType) -> None:
    recipe, quantized = memory.prepared("small")
    board = memory.with_sram(memory.load_board(memory.BOARD), memory.ROOMY)
    plain = memory.compile_recipe(recipe, board, quantized, planning=memory.Planning("off", "off"))
    buffers = plain.train_plan.buffers
    assert memory.greedy_arena_bytes(plain) >= lower_bound(buffers, len(plain.train.nodes))[0]


@pytest.mark.qemu
def test_a_measured_row(memory: ModuleType) -> None:
    row = memory.measure("small", "full", 13 * 1024, 1)
    assert 0 < row["extra_instructions_ratio"] < 2
    assert row["arena_bytes"] < row["sram_bytes_measured"] <= row["sram_bytes_planned"]


def test_the_second_table(memory: ModuleType) -> None:
    rows = [
        {"model": "a", "arena_bytes": 5, "greedy_arena_bytes": 10},
        {"model": "a", "arena_bytes": 9, "greedy_arena_bytes": 12},
        {"model": "b", "arena_bytes": 7, "greedy_arena_bytes": 7},
    ]
    first, second = memory.against_greedy(rows)
    assert first["schemes"] == 2 and first["least_ratio"] == 0.5 and first["largest_ratio"] == 0.75
    assert second["least_ratio"] == second["largest_ratio"] == 1


def test_what_does_not_exist_is_skipped_with_a_reason(
    memory: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent() -> Any:
        raise memory.Absent("no such model")

    monkeypatch.setitem(memory.MODELS, "none", memory.Model(absent, (1,), 2))
    cases = (("small", "head_only", 65536), ("small", "most:3", 65536), ("none", "full", 65536))
    monkeypatch.setattr(memory, "CASES", cases)
    monkeypatch.setattr(sys, "argv", ["memory.py", "--quick", "--json"])
    memory.main()
    out, err = capsys.readouterr()
    assert [row["scheme"] for row in json.loads(out)] == ["head_only"]
    assert "skipped small, most:3: unknown scheme" in err
    assert "skipped none, full: no such model" in err
    monkeypatch.setattr(memory, "CASES", cases[2:])
    with pytest.raises(SystemExit, match="nothing to plan"):
        memory.main()
