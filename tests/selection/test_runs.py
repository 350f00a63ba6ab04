"""Selection: trainings that are kept, and all of it together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys
from selection_cases import (
    LAYERS,
    PLAIN,
    SHORT,
    invented_outcome,
    pool,
)

from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import compile_recipe
from tinytrain.errors import BudgetError, RecipeError
from tinytrain.recipe import Proxy, UpdateScheme
from tinytrain.selection import Settings, auto, runs, select, trials
from tinytrain.selection.explain import explain
from tinytrain.selection.pool import Context
from tinytrain.selection.proxy import tasks_of
from tinytrain.selection.runs import Job, Outcome, Runs
from tinytrain.selection.search import best_choice
from tinytrain.selection.store import Store
from tinytrain.selection.trials import RATES, TRAININGS
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.sessions.session import Evaluation


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Job]]:
    seen: list[Job] = []

    def trained(context: Context, job: Job) -> Outcome:
        seen.append(job)
        return invented_outcome(context, job)

    monkeypatch.setattr(runs, "trained", trained)
    yield seen


# -- runs ------------------------------------------------------------------------------------------


def test_runs_are_those_of_a_session_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path))
    head = UpdateScheme({"head": 1.0})
    jobs = [Job(None, SHORT), *(Job(head, SHORT, at) for at in range(TRAININGS))]
    with pool(2) as workers:
        first = Runs(workers, Store())
        found = first.all(jobs)
        assert first.started == len(jobs)
    task = tasks_of(toys.recipe("sensor", head, SHORT), 3)[1]
    for at in range(TRAININGS):  # its own rounding, and it begins at another sample
        recipe = toys.recipe("sensor", head, replace(SHORT, seed=SHORT.seed + at))
        session = numpy_session(
            compile_recipe(recipe, load_board("host"), toys.quantized("sensor"))
        )
        for step in range(SHORT.steps):
            i = (step + at * len(task.train) // TRAININGS) % len(task.train)
            session.step(task.train.x[i], task.train.y[i])
        expected = session.evaluate(task.validation.x, task.validation.y)
        assert found[1 + at] is not None and found[1 + at].found[1] == expected
    with pool() as workers:  # another process, later
        again = Runs(workers, Store())
        assert again.all(jobs) == found and again.started == 0
        damaged = tmp_path / "select" / f"{again.key(jobs[1])}.json"
        damaged.write_text('[{"loss"')
        assert again.all(jobs) == found and again.started == 1


def test_nothing_begins_after_the_end(tmp_path: Path, invented: list[Job]) -> None:
    jobs = [Job(None, SHORT)]
    with pool() as workers:
        assert Runs(workers, Store(tmp_path)).all(jobs, end=0.0) == [None]
    assert not invented


def test_a_run_of_another_task_is_another(tmp_path: Path) -> None:
    data = toys.data("sensor")
    job = Job(None, SHORT)
    keys = set()
    for proxies in ((), (Proxy(data, data),)):
        with pool(proxies=proxies) as workers:
            keys.add(Runs(workers, Store(tmp_path)).key(job))
    assert len(keys) == 2


# -- all of it -------------------------------------------------------------------------------------


def selected(tmp_path: Path, budget: int, also: Any = (), **settings: Any) -> Any:
    settings = {"trials": 8, "jobs": 1} | settings
    return select(
        toys.recipe("sensor", "auto", SHORT), replace(load_board("host"), sram_budget_bytes=budget),
        Settings(**settings), PLAIN, toys.quantized("sensor"), Store(tmp_path), also=also,
    )  # fmt: skip


@pytest.mark.parametrize("budget", [3_000, 6_000, 20_000])
def test_select(tmp_path: Path, invented: list[Job], budget: int) -> None:
    found = selected(tmp_path, budget)
    assert found.compiled.sram.sram_bytes <= budget
    assert found.best is not None and found.candidates
    assert found.best.trainings == TRAININGS
    others = [c for c in found.candidates if c.name.startswith(("last_layers", "lora", "bias"))]
    assert others and all(found.best.rank("loss") >= c.rank("loss") for c in others)
    assert found.analysis.spearman > 0
    for c in found.front:
        made = compile_recipe(toys.recipe("sensor", c.scheme, SHORT), c.memory.board,
                              toys.quantized("sensor"), planning=PLAIN, check=False)  # fmt: skip
        assert c.need.sram_bytes == made.sram.sram_bytes
    steps = {job.optimizer.steps for job in invented}
    assert steps == {20, SHORT.steps}
    runs_before = len(invented)
    again = selected(tmp_path, budget)
    assert again.scheme == found.scheme and len(invented) == runs_before and again.trained == 0


def test_luck_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(context: Context, job: Job) -> Outcome:
        if job.scheme and list(job.scheme.biases) == ["head"] and job.optimizer.steps != 20:
            lucky = Evaluation(0.001, 10, 10) if job.at == 0 else Evaluation(9.0, 0, 10)
            return Outcome(tuple(lucky for _ in context.tasks))
        return invented_outcome(context, job)

    monkeypatch.setattr(runs, "trained", trained)
    found = selected(tmp_path, 20_000)
    lucky = [c for c in found.candidates if list(c.choice) == ["head"]]
    assert lucky and all(c.trainings == TRAININGS for c in lucky)
    assert found.best not in lucky and found.best.trainings == TRAININGS


def test_more_memory_is_worth_no_less(tmp_path: Path, invented: list[Job]) -> None:
    small, large = (selected(tmp_path, budget).best for budget in (3_000, 20_000))
    assert large.rank("loss") >= small.rank("loss")


def test_what_is_given_is_tried(tmp_path: Path, invented: list[Job]) -> None:
    odd = UpdateScheme({"head": (1,)}, (), "odd")
    found = selected(tmp_path, 20_000, also=[odd, "last_layers:2"], trials=4)
    assert {"odd", "last_layers:2"} <= {c.name for c in found.candidates}


def test_trials_go_on_around_the_next_best(
    tmp_path: Path, invented: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing near the best fits."""
    centres: list[Any] = []

    def sought(memory: Any, values: Any, within: Any, *more: Any) -> Any:
        if within.near is not None:
            centres.append(within.near)
            if within.near == centres[0]:
                return None
        return best_choice(memory, values, within, *more)

    monkeypatch.setattr(trials, "best_choice", sought)
    found = selected(tmp_path, 6_000, trials=14, front=False)
    assert len(found.candidates) == 14 and any(near != centres[0] for near in centres)
    assert any(c.name.startswith("near") for c in found.candidates)


def test_a_killed_search_goes_on(
    tmp_path: Path, invented: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runs.trained

    def interrupted(context: Context, job: Job) -> Outcome:
        if len(invented) == 20:
            raise KeyboardInterrupt
        return real(context, job)

    monkeypatch.setattr(runs, "trained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        selected(tmp_path, 6_000)
    monkeypatch.setattr(runs, "trained", real)
    selected(tmp_path, 6_000)
    assert len({repr(job) for job in invented}) == len(invented)  # none was trained twice


def test_without_time_the_estimate_decides(tmp_path: Path, invented: list[Job]) -> None:
    found = selected(tmp_path, 6_000, seconds=0.0)
    assert not invented and found.best is None and found.choice
    assert found.compiled.sram.sram_bytes <= 6_000
    assert "validation" not in found.file.provenance


def test_the_estimate_alone(tmp_path: Path, invented: list[Job]) -> None:
    found = selected(tmp_path, 6_000, contributions="estimate", trials=4)
    assert found.best is not None and len(invented) <= 4 * (len(RATES) + 3 * TRAININGS)
    assert all(row.gain is None for row in found.analysis.rows)


@pytest.mark.parametrize("channels", ["contribution", "random"])
def test_other_channels(tmp_path: Path, invented: list[Job], channels: Any) -> None:
    found = selected(tmp_path, 3_000, channels=channels, trials=4)
    assert found.file.provenance["channels"] == channels


def test_nothing_fits(tmp_path: Path, invented: list[Job]) -> None:
    with pytest.raises(BudgetError, match="nothing to select: the bias of the head alone needs"):
        selected(tmp_path, 1_024)


def test_every_layer_is_explained(tmp_path: Path, invented: list[Job]) -> None:
    found = selected(tmp_path, 3_000)
    reasons = {r.layer: r for r in explain(found)}
    assert list(reasons) == [layer.name for layer in LAYERS]
    for name, reason in reasons.items():
        assert reason.why and (reason.trains != "nothing") == (name in found.choice)
    assert any("bytes more than there are" in r.why for r in reasons.values())


def test_optuna_goes_on_where_it_was(tmp_path: Path, invented: list[Job]) -> None:
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    settings = {"method": "optuna", "storage": storage, "contributions": "estimate"}
    found = selected(tmp_path, 20_000, trials=9, **settings)
    assert found.compiled.sram.sram_bytes <= 20_000
    assert any(c.name.startswith("optuna") for c in found.candidates)
    (name,) = optuna.get_all_study_names(storage)
    first = len(optuna.load_study(study_name=name, storage=storage).trials)
    selected(tmp_path, 20_000, trials=11, **settings)
    assert len(optuna.load_study(study_name=name, storage=storage).trials) > first
    with pytest.raises(RecipeError, match="--storage nowhere:"):
        selected(tmp_path, 20_000, trials=9, **settings | {"storage": "nowhere://x"})


def test_auto_selects_once(tmp_path: Path, invented: list[Job]) -> None:
    board, settings = with_sram(load_board("host"), 6_000), Settings(trials=4, jobs=1)
    recipe = toys.recipe("sensor", "auto", SHORT)

    def made() -> Any:
        return auto(recipe, board, settings, PLAIN, toys.quantized("sensor"), Store(tmp_path))

    first = made()
    assert isinstance(first.scheme, UpdateScheme)
    count = len(invented)
    assert made().scheme == first.scheme and len(invented) == count
    own = recipe.replace(scheme="full")
    assert auto(own, board, settings) is own


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"objective": "speed"}, "objective is 'speed'; give 'accuracy' or 'loss'"),
        ({"method": "magic"}, "search is 'magic'; give 'cpsat' or 'optuna'"),
        ({"channels": "first"}, "channels is 'first'"),
        ({"contributions": "no"}, "contributions is 'no'"),
        ({"trials": 0}, "trials is 0; give at least 1"),
        ({"folds": 1}, "folds is 1; give at least 2"),
        ({"seconds": -1.0}, "seconds is -1.0"),
    ],
)
def test_settings_that_are_refused(settings: Any, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        Settings(**settings)
