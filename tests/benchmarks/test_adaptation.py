"""The tables of adaptation on a toy: what is chosen on proxies, what is kept, what a row says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys

from tinytrain.recipe import Optimizer, Proxy, Recipe, UpdateScheme
from tinytrain.training.scheme import layers_of, selections
from tinytrain.zoo import SensorTransformer

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
KEYS = {
    "task", "method", "sram_budget_bytes", "metric", "target_mean", "target_std", "source_after",
    "sram_bytes", "trained_parameters", "instructions_per_step", "seeds",
}  # fmt: skip
HEAD = UpdateScheme({"head": 1.0}, ("head",), "head")


@pytest.fixture
def adapt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """``rows`` of the benchmark with one toy task of two seeds, which is its attribute ``task``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path))
    rows, tasks = (importlib.import_module(f"adapt.{name}") for name in ("rows", "tasks"))
    monkeypatch.setattr(importlib.import_module("adapt.rates"), "WIDEST", 1)
    tests = {name: toys.recipe("sensor", HEAD).train for name in ("new", "old")}
    own = toys.recipe("sensor", HEAD, Optimizer("lsb", 2.0, steps=4)).replace(tests=tests)

    def posed() -> Recipe:
        return own.replace(proxies=(Proxy(own.train, own.train),))

    cases = tuple(tasks.Case(f"seed {s}", lambda: own, s) for s in (1, 2))
    group = tasks.Group("toy", posed, cases)
    monkeypatch.setattr(rows, "task", tasks.Task("toy", (group,), "itself"), raising=False)
    return rows


def method(name: str) -> Any:
    found = importlib.import_module("adapt.methods").METHODS
    return next(m for m in found if m.name == name)


def test_a_row_says_what_was_trained(adapt: Any) -> None:
    for name, budget in (("none", None), ("hand-picked", 65536), ("fp32 full, SGD", None)):
        adapt.measure(adapt.task, method(name), budget)
        row = adapt.known(adapt.task, method(name), budget)
        assert row.keys() >= KEYS and row["seeds"] == 2 and row["metric"] == "accuracy"
        assert 0 <= row["target_mean"] <= 1 and set(row["cases"]) == {"seed 1", "seed 2"}
        assert (row["sram_bytes"] or 0) <= (budget or 0)
    assert adapt.known(adapt.task, method("bias only"), 65536) is None


def test_what_does_not_fit_is_said(adapt: Any) -> None:
    adapt.measure(adapt.task, method("hand-picked"), 2048)
    row = adapt.known(adapt.task, method("hand-picked"), 2048)
    assert row["target_mean"] is None and row["seeds"] == 0


def test_nothing_is_trained_twice(adapt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt.measure(adapt.task, method("head only"), 65536)
    cells = importlib.import_module("adapt.cells")
    monkeypatch.setattr(cells, "compile_recipe", None)
    adapt.store().folder.joinpath(
        f"{adapt.row_key(adapt.task, method('head only'), 65536)}.json"
    ).unlink()
    adapt.measure(adapt.task, method("head only"), 65536)


def test_a_selection_begins_with_that_of_less_memory(
    adapt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    picks = importlib.import_module("adapt.picks")
    given = []

    def selection(recipe: Any, memory: Any, runs: Any, also: Any) -> Any:
        given.append((memory.board.sram_budget_bytes, [scheme.name for scheme in also]))
        return HEAD, 2.0

    monkeypatch.setattr(picks, "selection", selection)
    picks.pick(method("selected"), adapt.task.groups[0], 128 * 1024)
    assert given == [(65536, []), (98304, ["of 64 KB"]), (131072, ["of 96 KB"])]


def test_the_grid_goes_on_at_its_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    rates = importlib.import_module("adapt.rates")
    monkeypatch.setattr(rates, "WIDEST", 8)
    asked: list[list[float]] = [[], [], []]

    def losses(found: Any, at: int) -> list[float]:
        asked[at].extend(found)
        best = (16, 8, 4)[at]  # the first training likes a rate that others do not
        return [abs(np.log2(rate / best)) if rate < 64 else float("nan") for rate in found]

    assert rates.lowest(losses, 1.0) == 8.0
    assert sorted(asked[0]) == [0.5, 1, 2, 4, 8, 16, 32]
    assert sorted(asked[1]) == sorted(asked[2]) == [8, 16, 32]


def test_the_largest_that_fits_is_taken(adapt: Any) -> None:
    methods, picks = (importlib.import_module(f"adapt.{n}") for n in ("methods", "picks"))
    recipe = adapt.task.groups[0].posed()
    found = picks.pick(method("last k layers"), adapt.task.groups[0], 10000)
    with picks.opened(recipe, 10000) as (_, memory):
        schemes = methods._last(memory.layers, recipe)
        more = schemes[[s.name for s in schemes].index(found.scheme.name) - 1]
        assert memory.fitting(found.scheme) and not memory.fitting(more)


def test_rescaled_models_are_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    scaling = importlib.import_module("scaling")
    model = SensorTransformer(window=32, d=16, blocks=2)
    x = torch.randn(3, 32, 6, generator=torch.Generator().manual_seed(0))
    other = scaling.rescaled(model)
    assert torch.equal(model(x), other(x))
    assert not torch.equal(model.blocks[0].o.weight, other.blocks[0].o.weight)


def test_no_case_is_chosen_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    tasks = importlib.import_module("adapt.tasks")
    people = [p for cases in tasks.PEOPLE for p in cases]
    assert sorted(people) == list(range(1, 11))
    assert not any(set(cases) & set(proxies) for cases, proxies in tasks.PEOPLE.items())


def test_an_objective_is_judged_by_the_other_half(
    adapt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = importlib.import_module("objective")
    data = toys.data("sensor")
    first, second = objective.halved([Proxy(data, data)])
    assert len(first.validation) + len(second.validation) == len(data)
    assert np.array_equal(second.validation.x, data.x[1::2]) and first.train is data
    layers = layers_of(toys.quantized("sensor").graph)
    schemes = list(objective.pool(layers))
    assert len({repr(selections(scheme, layers)) for scheme in schemes}) == len(schemes)

    def trained(group: Any, by: str) -> tuple[Any, Any]:
        score = np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
        return (score, score) if by == "loss" else (-score, score)

    monkeypatch.setattr(objective, "trained", trained)
    row = objective.measure((adapt.task, "loss"))  # what one half likes, the other does not
    assert row["rank_correlation"] == -1.0 and row["accuracy_of_choice"] == pytest.approx(0.1)
    row = objective.measure((adapt.task, "accuracy"))
    assert row["rank_correlation"] == 1.0 and row["accuracy_of_choice"] == row["accuracy_of_best"]
