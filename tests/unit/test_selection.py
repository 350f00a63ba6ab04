"""Selection: what may train, what it is worth, what memory it takes, what is chosen of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys

from tinytrain.autodiff import differentiate
from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import compile_recipe
from tinytrain.errors import BudgetError, RecipeError
from tinytrain.fit import Planning
from tinytrain.recipe import Dataset, Optimizer, Proxy, UpdateScheme
from tinytrain.select import Layer, apply_scheme, selections
from tinytrain.selection import Settings, auto, runs, select
from tinytrain.selection.contribution import Values, channel_order, parts_of, values_of
from tinytrain.selection.estimate import Estimate, estimate, spearman
from tinytrain.selection.explain import explain
from tinytrain.selection.front import Candidate, pareto
from tinytrain.selection.memory import Memory, Need
from tinytrain.selection.options import (
    BIAS,
    NOTHING,
    Choice,
    Option,
    choice_of,
    covers,
    explicit,
    full,
    options_of,
    scheme_of,
    state_bytes,
)
from tinytrain.selection.pool import Context, Pool
from tinytrain.selection.proxy import assigned, tasks_of
from tinytrain.selection.runs import Job, Outcome, Runs
from tinytrain.selection.search import Within, best_choice
from tinytrain.selection.store import Store
from tinytrain.selection.trials import RATES
from tinytrain.session import Evaluation

PLAIN = Planning("off", "off", "heuristic")
SHORT = Optimizer("lsb", 2.0, steps=6)
LAYERS = toys.layers("sensor")
ORDER = {layer.name: range(layer.outputs) for layer in LAYERS}
OPTIONS = {layer.name: options_of(layer, layer is LAYERS[-1]) for layer in LAYERS}


def random_choice(rng: np.random.Generator) -> dict[str, Option]:
    found = {}
    for name, options in OPTIONS.items():
        option = options[rng.integers(len(options))]
        if option != NOTHING and rng.random() < 0.5:
            found[name] = option
    return found or {LAYERS[-1].name: BIAS}


def pool(jobs: int = 1, **changes: Any) -> Pool:
    recipe = toys.recipe("sensor", "auto", SHORT).replace(**changes)
    return Pool(Context(recipe, toys.quantized("sensor"), tasks_of(recipe, 3)), jobs)


def memory(tmp_path: Path, budget: int = 20_000) -> Memory:
    board = with_sram(load_board("host"), budget)
    return Memory(pool(), board, PLAIN, Store(tmp_path), ORDER)


# -- options ---------------------------------------------------------------------------------------


def test_options_of_layers() -> None:
    assert options_of(Layer("f", 16, 8), head=False) == [
        NOTHING, BIAS, *(Option(n, bias=True) for n in (2, 4, 8, 16)),
        *(Option(rank=r, bias=True) for r in (2, 4)),
    ]  # fmt: skip
    for layer, head in ((Layer("head", 3, 16), True), (Layer("conv", 8, 27, True), False)):
        assert not any(option.rank for option in options_of(layer, head))
    assert [o.channels for o in options_of(Layer("head", 3, 16), True)] == [0, 0, 1, 2, 3]


def test_one_choice_covers_another() -> None:
    assert covers({"a": Option(4, bias=True), "b": BIAS}, {"a": Option(2, bias=True)})
    assert not covers({"a": Option(4)}, {"a": Option(2, bias=True)})
    assert not covers({"a": Option(rank=4)}, {"a": Option(2)})
    assert not covers({}, {"a": BIAS}) and covers({}, {"a": NOTHING})


def test_a_scheme_trains_the_first_channels_of_the_order() -> None:
    order = {name: tuple(reversed(channels)) for name, channels in ORDER.items()}
    choice = {"blocks.0.o": Option(4, bias=True), "blocks.1.v": Option(rank=2), "head": BIAS}
    scheme = scheme_of(choice, LAYERS, order)
    assert scheme.weights == {"blocks.0.o": (12, 13, 14, 15)}
    assert scheme.biases == ("blocks.0.o", "head") and scheme.adapters == {"blocks.1.v": 2}
    assert choice_of(scheme, LAYERS) == choice


def test_an_explicit_scheme_is_the_same_without_patterns() -> None:
    scheme = UpdateScheme({"blocks.*.o": 0.25, "head": 1.0}, ("blocks.0.*",), "x",
                          {"blocks.?.q": 2})  # fmt: skip
    made = explicit(scheme, LAYERS, "y")
    assert made.name == "y" and made.weights["blocks.1.o"] == (0, 1, 2, 3)
    assert selections(made, LAYERS) == selections(scheme, LAYERS)


@pytest.mark.parametrize("weights", ["int8", "int16"])
def test_states_add_up(weights: Any) -> None:
    optimizer = replace(SHORT, weights=weights)
    quantized = toys.quantized("sensor")
    sizes = state_bytes(quantized, LAYERS, OPTIONS, optimizer)
    rng = np.random.default_rng(0)
    for _ in range(5):
        choice = random_choice(rng)
        scheme = scheme_of(choice, LAYERS, ORDER)
        graph = differentiate(apply_scheme(quantized.graph, scheme, quantized.samples[:1]),
                              optimizer)  # fmt: skip
        real = sum(-(-p.data.nbytes // 8) * 8 for p in graph.params.values() if p.kind != "const")
        assert real == sum(sizes[name][option] for name, option in choice.items())


# -- proxies ---------------------------------------------------------------------------------------


def test_folds_have_every_class_in_each() -> None:
    labels = np.repeat(np.arange(4), (9, 6, 3, 12))
    fold = assigned(labels, 3, 0)
    for part in range(3):
        assert list(np.bincount(labels[fold == part])) == [3, 2, 1, 4]
    assert not np.array_equal(fold, assigned(labels, 3, 1))


def test_tasks_are_parts_of_the_adaptation_samples_only() -> None:
    recipe = toys.recipe("sensor")
    tasks = tasks_of(recipe, 4)
    found = np.sort(np.concatenate([t.validation.x for t in tasks]).ravel())
    assert np.array_equal(found, np.sort(recipe.train.x.ravel()))
    for task in tasks:
        assert len(task.train) + len(task.validation) == len(recipe.train)
        seen = {x.tobytes() for x in task.train.x}
        assert not any(x.tobytes() in seen for x in task.validation.x)


def test_proxies_of_the_recipe_come_first() -> None:
    data = toys.data("sensor")
    proxy = Proxy(data, data)
    assert tasks_of(toys.recipe("sensor").replace(proxies=(proxy,)), 3) == (proxy,)
    with pytest.raises(RecipeError, match="proxy 0 has 0 samples"):
        tasks_of(toys.recipe("sensor").replace(proxies=(Proxy(Dataset(data.x[:0], data.y[:0]),
                                                              data),)), 3)  # fmt: skip
    with pytest.raises(RecipeError, match="too few for 20 folds"):
        tasks_of(toys.recipe("sensor"), 20)


# -- the estimate ----------------------------------------------------------------------------------


def test_rank_correlation() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 25]) == pytest.approx(0.8)
    assert spearman([3, 2, 1], [1, 5, 9]) == pytest.approx(-1)
    assert spearman([1, 1, 2], [1, 1, 5]) == pytest.approx(1)
    assert spearman([1, 2], [7, 7]) == 0 and spearman([], []) == 0


def test_the_estimate_is_the_mean_squared_gradient() -> None:
    recipe = toys.recipe("sensor")
    graph, tasks = toys.quantized("sensor").graph, tasks_of(recipe, 2)[:1]
    found = estimate(recipe, graph, LAYERS, tasks)
    assert set(found.weight) == {layer.name for layer in LAYERS}
    model = toys.model("sensor")
    assert all(p.grad is None for p in model.parameters())
    head = model.head
    step = next(n for n in graph.nodes if n.layer == "head").inputs[1].type.tensor_scale
    total = np.zeros(5)
    for x, y in zip(tasks[0].train.x, tasks[0].train.y, strict=True):
        logits = model(torch.tensor(x[None]))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([y]))
        total += (torch.autograd.grad(loss, head.bias)[0].numpy() * step) ** 2
    np.testing.assert_allclose(found.bias["head"], total / len(tasks[0].train), rtol=1e-4)


def test_the_estimate_does_not_depend_on_the_scale_of_a_layer() -> None:
    """f1 is not linear in its output, but v and o are: v times 4, o by 4."""
    recipe = toys.recipe("sensor")
    before = estimate(recipe, toys.quantized("sensor").graph, LAYERS, tasks_of(recipe, 2))
    model = toys.model.__wrapped__("sensor")
    with torch.no_grad():
        model.blocks[0].v.weight.mul_(4), model.blocks[0].v.bias.mul_(4)
        model.blocks[0].o.weight.div_(4)
    from tinytrain.compiler import prepare

    other = recipe.replace(model=model)
    after = estimate(other, prepare(other).graph, LAYERS, tasks_of(recipe, 2))
    for name in ("blocks.0.v", "blocks.0.o", "blocks.1.f1"):
        np.testing.assert_allclose(before.weight[name], after.weight[name], rtol=0.02)


def test_channels_by_contribution_magnitude_or_chance() -> None:
    layers = [Layer("a", 3, 2)]
    guess = Estimate({"a": np.array([1.0, 3.0, 2.0])}, {"a": np.zeros(3)})
    sizes = {"a": np.array([5, 1, 9])}

    def order(kind: str, seed: int = 0) -> list[int]:
        return channel_order(kind, layers, guess, sizes, seed)["a"]

    assert order("contribution") == [1, 2, 0] and order("magnitude") == [2, 0, 1]
    assert order("random") == order("random")
    assert len({tuple(order("random", seed)) for seed in range(9)}) > 1


# -- values ----------------------------------------------------------------------------------------


def test_parts_are_measured_beside_the_head() -> None:
    parts = parts_of(LAYERS, full(LAYERS[-1]))
    kinds = {kind: sum(p.kind == kind for p in parts) for kind in {p.kind for p in parts}}
    assert kinds == {"tensor": 14, "channels": 13, "bias": 13, "adapter": 13, "block": 2}
    assert all("head" in part.choice for part in parts)


def test_values_lie_between_what_was_measured() -> None:
    layers = [Layer("a", 16, 16), Layer("b", 16, 16), Layer("head", 4, 16)]
    guess = Estimate({n.name: np.ones(n.outputs) for n in layers},
                     {n.name: np.zeros(n.outputs) for n in layers})  # fmt: skip
    order = {n.name: range(n.outputs) for n in layers}
    gains = {("a", Option(4, bias=True)): 0.2, ("a", Option(16, bias=True)): 0.6}
    found = values_of(layers, gains, {"blocks.0": -0.1}, guess, order)
    a = [found.gain["a"][Option(n, bias=True)] for n in (2, 4, 8, 16)]
    assert a[1] == 0.2 and a[3] == 0.6 and 0 < a[0] < a[1] < a[2] < a[3]
    b = [found.gain["b"][Option(n, bias=True)] for n in (2, 4, 8, 16)]
    assert b == sorted(b) and b[0] > 0 and b[3] == pytest.approx(0.6, rel=0.3)
    assert found.most == {"blocks.0": 0.0} and found.gain["a"][NOTHING] == 0


# -- memory and search -----------------------------------------------------------------------------


def test_more_training_needs_no_less_memory(tmp_path: Path) -> None:
    """What facts rest on, of plans without a search."""
    known, rng = memory(tmp_path), np.random.default_rng(1)
    for _ in range(12):
        small = random_choice(rng)
        more = {name: max((o for o in OPTIONS[name] if o.covers(option)), key=lambda o: o.channels)
                for name, option in small.items()}  # fmt: skip
        large = random_choice(rng) | more
        assert covers(large, small)
        a, b = (known.need(known.scheme(c)) for c in (small, large))
        assert a.arena_bytes <= b.arena_bytes
        assert a.state_bytes == known.states(small)


def test_a_need_is_what_the_compiler_says(tmp_path: Path) -> None:
    known = memory(tmp_path)
    scheme = known.scheme({"blocks.0.o": Option(4, bias=True), "head": full(LAYERS[-1])})
    made = compile_recipe(toys.recipe("sensor", scheme, SHORT), known.board,
                          toys.quantized("sensor"), planning=PLAIN)  # fmt: skip
    (exact,) = known.exact([scheme])
    assert exact == known.need(scheme)
    assert exact.sram_bytes == made.sram.sram_bytes and exact.macs == made.train.macs()
    again = memory(tmp_path)
    assert again.need(scheme) == exact and again.planned == 0


class Invented(Memory):
    """Three layers, an arena that grows with the lowest one and with pairs."""

    def __init__(self, budget: int) -> None:
        names = ("low", "mid", "top")
        self.layers = [Layer(name, 8, 8) for name in names]
        self.options = {part.name: options_of(part, part.name == "top") for part in self.layers}
        self.bytes = {n: {o: 8 * o.channels + 16 * o.rank + 4 * o.bias for o in options}
                      for n, options in self.options.items()}  # fmt: skip
        self.board = with_sram(load_board("host"), budget)
        self.final = self.planning = PLAIN
        self.order = {name: range(8) for name in names}
        self.facts, self.corrected, self.planned, self._singles = [], 0, 0, False

    def arena(self, choice: Choice) -> int:
        depth = max({"low": 1000, "mid": 500, "top": 100}[name] for name in choice)
        return depth + 90 * len(choice) + sum(o.channels for o in choice.values())

    def needs(self, schemes: Any, planning: Planning) -> list[Need]:
        found = []
        for scheme in schemes:
            self.planned += 1
            choice = choice_of(scheme, self.layers)
            arena, states = self.arena(choice), self.states(choice)
            total = 2048 + arena + states
            fits = total <= self.board.sram_budget_bytes
            found.append(Need(total, arena, states, 2048, fits, 0, 0))
        return found


def invented_values(seed: int, options: dict[str, list[Option]]) -> Values:
    rng = np.random.default_rng(seed)
    return Values({n: {o: 0.0 if o == NOTHING else float(rng.normal(0.5, 0.5)) for o in known}
                   for n, known in options.items()}, {})  # fmt: skip


@pytest.mark.parametrize("budget", [2208, 2400, 2760, 3000, 3200, 3400, 6000])
def test_the_search_finds_the_best_that_fits(budget: int) -> None:
    for seed in range(4):
        known = Invented(budget)
        values = invented_values(seed, known.options)
        found = best_choice(known, values)
        best = -np.inf
        for combination in itertools.product(*known.options.values()):
            choice = {n: o for n, o in zip(known.options, combination, strict=True) if o != NOTHING}
            if choice and 2048 + known.states(choice) + known.arena(choice) <= budget:
                best = max(best, sum(values.gain[n][o] for n, o in choice.items()))
        if found is None:
            assert best == -np.inf
            continue
        best_found, need, _ = found
        worth = sum(values.gain[n][o] for n, o in best_found.items())
        most = max(v for gains in values.gain.values() for v in gains.values())
        assert need.fits and worth >= best - 0.03 * most  # thrift may cost 0.02 of the largest gain
        assert known.corrected == 0 and known.planned < 60


def test_proposals_keep_apart_and_near() -> None:
    known = Invented(6000)
    values = invented_values(0, known.options)
    first = best_choice(known, values)
    assert first is not None
    other = best_choice(known, values, Within([first[0]], 2))
    close = best_choice(known, values, Within([first[0]], 1, first[0], 1))
    assert other is not None and close is not None

    def differ(a: Choice, b: Choice) -> int:
        return sum(a.get(n, NOTHING) != b.get(n, NOTHING) for n in known.options)

    assert differ(first[0], other[0]) >= 2 and differ(first[0], close[0]) == 1


def test_a_wrong_fact_is_corrected() -> None:
    known = Invented(6000)
    small, large = {"top": BIAS}, {"top": BIAS, "mid": BIAS}
    known.learn(small, Need(0, 5000, 0, 0, False, 0, 0))
    known.learn(large, Need(0, 700, 0, 0, False, 0, 0))
    assert known.corrected >= 1
    assert all(f.arena_bytes <= 1000 for f in known.facts if covers(large, f.choice))


# -- runs ------------------------------------------------------------------------------------------


def invented_outcome(context: Context, job: Job) -> Outcome:
    """A loss that falls with every layer that trains, most with the early ones."""
    loss, correct = 2.0, 2
    if job.scheme is not None:
        for s in selections(job.scheme, LAYERS):
            at = [layer.name for layer in LAYERS].index(s.layer)
            loss -= (0.3 if s.layer == "head" else 0.1 / (1 + at)) * (1 if s.weight else 0.5)
        correct += round(20 * (2.0 - loss))
    return Outcome(tuple(Evaluation(loss, correct, 20) for _ in context.tasks))


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Job]]:
    seen: list[Job] = []

    def trained(context: Context, job: Job) -> Outcome:
        seen.append(job)
        return invented_outcome(context, job)

    monkeypatch.setattr(runs, "trained", trained)
    yield seen


def test_runs_are_those_of_a_session_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path))
    jobs = [Job(None, SHORT), Job(UpdateScheme({"head": 1.0}), SHORT)]
    with pool(2) as workers:
        first = Runs(workers, Store())
        found = first.all(jobs)
        assert first.started == 2
    recipe = toys.recipe("sensor", jobs[1].scheme, SHORT)
    task = tasks_of(recipe, 3)[1]
    made = compile_recipe(recipe, load_board("host"), toys.quantized("sensor"))
    session = made.session()
    for at in range(SHORT.steps):
        session.step(task.train.x[at], task.train.y[at])
    expected = session.evaluate(task.validation.x, task.validation.y)
    assert found[1] is not None and found[1].found[1] == expected
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


# -- the front -------------------------------------------------------------------------------------


def candidate(score: int, sram: int, macs: int) -> Candidate:
    need = Need(sram, 0, 0, 0, True, macs, 0)
    outcome = Outcome((Evaluation(1.0, score, 100),))
    return Candidate(f"{score}", UpdateScheme(), {}, need, outcome, 1.0)


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(2)
    found = [candidate(*(int(v) for v in rng.integers(0, 6, 3))) for _ in range(60)]
    front = pareto(found, "accuracy")

    def beats(a: Candidate, b: Candidate) -> bool:
        x, y = ((-c.score("accuracy"), c.need.sram_bytes, c.need.macs) for c in (a, b))
        return x != y and all(i <= j for i, j in zip(x, y, strict=True))

    for c in found:
        inside = any(f.need == c.need and f.outcome == c.outcome for f in front)
        assert inside != any(beats(other, c) for other in found)
    keys = [(c.name, c.need) for c in front]
    assert len(keys) == len(set(keys))
    assert [c.need.sram_bytes for c in front] == sorted(c.need.sram_bytes for c in front)


# -- all of it -------------------------------------------------------------------------------------


def selected(tmp_path: Path, budget: int, **settings: Any) -> Any:
    settings = {"trials": 8, "jobs": 1} | settings
    return select(
        toys.recipe("sensor", "auto", SHORT), with_sram(load_board("host"), budget),
        Settings(**settings), PLAIN, toys.quantized("sensor"), Store(tmp_path),
    )  # fmt: skip


@pytest.mark.parametrize("budget", [3_000, 6_000, 20_000])
def test_select(tmp_path: Path, invented: list[Job], budget: int) -> None:
    found = selected(tmp_path, budget)
    assert found.compiled.sram.sram_bytes <= budget
    assert found.best is not None and found.candidates
    named = [c for c in found.candidates if c.name in ("head_only", "bias_only", "full")]
    assert named and all(found.best.rank("accuracy") >= c.rank("accuracy") for c in named)
    assert found.analysis.spearman > 0
    for c in found.front:
        made = compile_recipe(toys.recipe("sensor", c.scheme, SHORT), found.compiled.board,
                              toys.quantized("sensor"), planning=PLAIN, check=False)  # fmt: skip
        assert c.need.sram_bytes == made.sram.sram_bytes
    steps = {job.optimizer.steps for job in invented}
    assert steps == {20, SHORT.steps}
    runs_before = len(invented)
    again = selected(tmp_path, budget)
    assert again.scheme == found.scheme and len(invented) == runs_before and again.trained == 0


def test_more_memory_is_worth_no_less(tmp_path: Path, invented: list[Job]) -> None:
    small, large = (selected(tmp_path, budget).best for budget in (3_000, 20_000))
    assert large.rank("accuracy") >= small.rank("accuracy")


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
    assert found.best is not None and len(invented) <= 4 * len(RATES)
    assert all(row.gain is None for row in found.analysis.rows)


@pytest.mark.parametrize("channels", ["magnitude", "random"])
def test_other_channels(tmp_path: Path, invented: list[Job], channels: Any) -> None:
    found = selected(tmp_path, 3_000, channels=channels, trials=4)
    assert found.file.provenance["channels"] == channels


def test_nothing_fits(tmp_path: Path, invented: list[Job]) -> None:
    with pytest.raises(BudgetError, match="nothing to select: the bias of the head alone needs"):
        selected(tmp_path, 1_800)


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
