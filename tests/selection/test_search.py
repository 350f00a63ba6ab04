"""Selection: memory by the planner, the search, the front."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from selection_cases import (
    LAYERS,
    OPTIONS,
    PLAIN,
    SHORT,
    memory,
    random_choice,
)

from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import compile_recipe
from tinytrain.planning.fit import Planning
from tinytrain.recipe import UpdateScheme
from tinytrain.selection.contribution import Values
from tinytrain.selection.front import Candidate, pareto
from tinytrain.selection.memory import Memory, Need
from tinytrain.selection.options import (
    BIAS,
    NOTHING,
    Choice,
    Option,
    choice_of,
    covers,
    full,
    options_of,
)
from tinytrain.selection.runs import Outcome, mean
from tinytrain.selection.search import Within, best_choice
from tinytrain.sessions.session import Evaluation
from tinytrain.training.scheme import Layer

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


# -- the front -------------------------------------------------------------------------------------


def candidate(score: int, sram: int, macs: int) -> Candidate:
    need = Need(sram, 0, 0, 0, True, macs, 0)
    outcome = Outcome((Evaluation(1.0, score, 100),))
    return Candidate(f"{score}", UpdateScheme(), {}, need, None, outcome, 1.0)


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


def test_the_spread_is_that_of_trainings_not_of_tasks() -> None:
    def one(*accuracies: int) -> Outcome:
        return Outcome(tuple(Evaluation(1.0, correct, 100) for correct in accuracies))

    twice = replace(candidate(0, 0, 0), outcome=mean([one(10, 90), one(30, 90)]), trainings=2)
    assert twice.score("accuracy") == pytest.approx(0.55)
    assert twice.spread("accuracy") == pytest.approx(0.05) and twice.spread("loss") == 0
    assert candidate(5, 0, 0).spread("accuracy") == 0
