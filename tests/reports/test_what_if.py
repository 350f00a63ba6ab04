"""The grid of schemes and ways to fit: each cell is what a plan of its own would say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from command_line import call

from tinytrain.boards import load_board, with_sram
from tinytrain.cli import options
from tinytrain.compiler import compile_recipe
from tinytrain.errors import CalibrationError
from tinytrain.planning.fit import Planning
from tinytrain.reports import what_if
from tinytrain.reports.what_if import Cell, grid

BUDGET = 8_000
RECIPE = """
import toys

def recipe():
    return toys.recipe("sensor", "last_k:1")
"""


def cells(progress: Any = iter) -> list[Cell]:
    board = with_sram(load_board("host"), BUDGET)
    return what_if.what_if(
        toys.recipe("sensor", "head_only"), board, quantized=toys.quantized("sensor"),
        progress=progress,
    )  # fmt: skip


def test_the_grid_has_every_choice_once() -> None:
    found = grid(toys.recipe("sensor", toys.scheme("sensor", "half")))
    choices = {(c.scheme, c.recompute, c.tile) for c in found}
    assert len(found) == len(choices) == 5 * 3 * 2
    assert found[0].scheme == "half"
    own = grid(toys.recipe("sensor", "head_only"))
    assert len(own) == 4 * 3 * 2 and own[0].scheme == "head_only"


def test_cells_are_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "SCHEMES", ("last_k:1",))
    seen: list[Cell] = []

    def watched(items: Iterable[Cell]) -> Iterator[Cell]:
        for item in items:
            seen.append(item)
            yield item

    found = cells(watched)
    assert len(seen) == len(found) == 12
    board = with_sram(load_board("host"), BUDGET)
    for cell in found:
        recipe = toys.recipe("sensor", cell.scheme)
        made = compile_recipe(recipe, board, toys.quantized("sensor"), check=False,
                              planning=Planning(cell.recompute, cell.tile))  # fmt: skip
        assert cell.sram_bytes == made.sram.sram_bytes
        assert cell.arena_bytes == made.sram.arena_bytes
        assert cell.fits == (made.sram.sram_bytes <= board.sram_budget_bytes)
        assert cell.extra_macs == made.train.macs() / made.plain.macs() - 1
        assert not cell.why
    of = {(c.scheme, c.recompute, c.tile): c for c in found}
    assert of["last_k:1", "off", "off"].extra_macs == 0
    assert not of["last_k:1", "off", "off"].fits and of["last_k:1", "auto", "auto"].fits


def test_cells_that_cannot_be_planned_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "SCHEMES", ("last_k:9",))
    found = [c for c in cells() if c.scheme == "last_k:9"]
    assert len(found) == 6
    for cell in found:
        assert cell.sram_bytes is None and cell.fits is None
        assert cell.why.startswith("last_k:9: the model has 2 blocks")


def test_the_recipe_is_quantized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "SCHEMES", ())
    calls: list[str] = []
    real = what_if.prepare
    monkeypatch.setattr(what_if, "prepare", lambda r: calls.append(r.name) or real(r))
    what_if.what_if(toys.recipe("sensor", "head_only"), load_board("host"))
    assert calls == ["toy_sensor"]
    bad = toys.recipe("sensor")
    with pytest.raises(CalibrationError):  # what is wrong with the recipe is no cell's reason
        what_if.what_if(bad.replace(calibration=bad.calibration * float("nan")), load_board("host"))


# -- command line ----------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(what_if, "SCHEMES", ("head_only", "last_k:9"))
    file = tmp_path / "toy.py"
    file.write_text(RECIPE)
    return file


def test_json(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, "plan", source, "--what-if", "--json", "--sram", BUDGET)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["model"] == "toy_sensor" and facts["board"] == "host"
    assert facts["sram_budget_bytes"] == BUDGET
    assert len(facts["cells"]) == 18
    assert set(facts["cells"][0]) == set(vars(Cell("", "off", "off")))
    board = with_sram(load_board("host"), BUDGET)
    recipe = toys.recipe("sensor", "last_k:1")
    expected = what_if.what_if(recipe, board, quantized=toys.quantized("sensor"))
    assert [Cell(**cell) for cell in facts["cells"]] == expected


def test_table(source: Path, capfd: pytest.CaptureFixture[str],
               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(options.out, "width", 200)
    code, out, _ = call(capfd, "plan", source, "--what-if", "--sram", BUDGET)
    assert code == 0
    assert f"budget {BUDGET:,} bytes" in out
    assert out.count("min-memory") == 6 and out.count("the model has 2 blocks") == 6
    assert out.count("yes") + out.count(" no ") == 12


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_map_option(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    file = tmp_path / f"map.{suffix}"
    code, _, err = call(capfd, "plan", source, "--sram", BUDGET, "--map", file, "--json")
    assert code == 0, err
    assert "toy_sensor" in file.read_text() and "</svg>" in file.read_text()


def test_map_of_an_unknown_format(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capfd, "plan", source, "--map", tmp_path / "map.pdf")
    assert code == 2 and out == "" and "RecipeError" in err and "Traceback" not in err
