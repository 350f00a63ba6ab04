"""Schemes that are trained at full length: standard ones that fit, and what a search proposes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ..boards import with_sram
from ..compiler import silent
from ..recipe import UpdateScheme
from ..training.scheme import Layer, bias_only, head_only, last_layers, lora, selections
from .analysis import Analysis, Stage
from .contribution import Values
from .front import Candidate, replanned
from .memory import Memory, Need
from .options import PARTS, RANKS, Choice, choice_of, scheme_of, spread
from .runs import TRAININGS, Job, Runs, mean
from .search import Within, best_choice
from .settings import Objective

SMALLER = (0.75, 0.5)  # of the budget, for the front
RATES = (1.0, 0.5, 0.25)  # times the recipe's learning rate; the more trains, the less is best
HIGHER = 2.0  # tried as well where the first of these is the best
FAR = 3  # layers at least in which proposals of one kind differ
NEAR = 2  # layers at most in which one that is close to the best differs from it
CENTRES = 3  # of the best, near which is looked in turn
NEAR_RATES = (1.0, 0.5, 2.0)  # times the rate of the best, that it is trained again with


class Wanted(NamedTuple):
    """A scheme that is to be trained, and the memory that it was planned in."""

    name: str
    scheme: UpdateScheme
    choice: Choice
    need: Need
    memory: Memory


@dataclass
class Trials:
    """What was trained so far. ``rest``: how many more may be; ``end``: when none begins any
    more; ``left_out``: given schemes that do not fit, and the bytes of SRAM that they need."""

    runs: Runs
    memory: Memory
    objective: Objective
    rest: int
    end: float | None
    stage: Stage
    say: Callable[[str], None] = silent
    found: list[Candidate] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.rest <= 0 or (self.end is not None and time.monotonic() > self.end)

    def train(self, wanted: Sequence[Wanted]) -> None:
        """Train these, as many as may be, with each learning rate, and a higher one where the
        highest is the best; the best one counts, by the mean of its trainings."""
        wanted = wanted[: max(0, self.rest)]
        tried = self._with_rates(wanted, RATES)
        top = RATES[0] * self.runs.pool.context.recipe.optimizer.learning_rate
        edge = [at for at, found in enumerate(tried)
                if found and self._best_of(found).learning_rate == top]  # fmt: skip
        higher = self._with_rates([wanted[at] for at in edge], [HIGHER * RATES[0]])
        for at, more in zip(edge, higher, strict=True):
            tried[at] += more
        done = self._again([self._best_of(found) for found in tried if found])
        self.rest -= len(done)
        self.found += replanned(done, Memory.counted) if self.memory.twin else done

    def _with_rates(
        self, wanted: Sequence[Wanted], factors: Sequence[float]
    ) -> list[list[Candidate]]:
        """Each trained with each rate, as far as there was time."""
        optimizer = self.runs.pool.context.recipe.optimizer
        rates = [factor * optimizer.learning_rate for factor in factors]
        jobs = [Job(w.scheme, replace(optimizer, learning_rate=r)) for w in wanted for r in rates]
        title = wanted[0].name if len(wanted) == 1 else "schemes at full length"
        outcomes = self.runs.all(jobs, self.end, self.stage(title, len(jobs))) if jobs else []
        return [
            [
                Candidate(w.name, w.scheme, w.choice, w.need, w.memory, outcome, rate)
                for rate, outcome in zip(rates, outcomes[at * len(rates) :], strict=False)
                if outcome is not None
            ]
            for at, w in enumerate(wanted)
        ]

    def _best_of(self, found: Sequence[Candidate]) -> Candidate:
        return max(found, key=lambda c: c.rank(self.objective))

    def ranked(self) -> list[Candidate]:
        """Those that fit the board, the best first."""
        budget = self.memory.board.sram_budget_bytes
        fitting = [c for c in self.found if c.need.sram_bytes <= budget]
        return sorted(fitting, key=lambda c: c.rank(self.objective), reverse=True)

    def best(self) -> Candidate | None:
        """The best that fits the board."""
        return next(iter(self.ranked()), None)

    def confirmed(self) -> Candidate | None:
        """The best, once half and twice its rate were tried as well: until that is so of the one
        that is best then."""
        while (best := self.best()) and not best.settled:
            rates = [factor * best.learning_rate for factor in NEAR_RATES]
            near = self._again([replace(best, learning_rate=rate, trainings=1) for rate in rates])
            if any(c.trainings < TRAININGS for c in near):
                break
            settled = replace(self._best_of(near), settled=True)
            self.found[self.found.index(best)] = settled
        return best

    def _again(self, found: Sequence[Candidate]) -> list[Candidate]:
        """The same by the mean of all trainings; as they were where there was no time for these."""
        optimizer = self.runs.pool.context.recipe.optimizer
        jobs = [Job(c.scheme, replace(optimizer, learning_rate=c.learning_rate), at)
                for c in found for at in range(TRAININGS)]  # fmt: skip
        title = f"{found[0].name} again" if len({c.name for c in found}) == 1 else "schemes again"
        outcomes = self.runs.all(jobs, self.end, self.stage(title, len(jobs))) if jobs else []
        means: list[Candidate] = []
        for at, c in enumerate(found):
            own = outcomes[at * TRAININGS : (at + 1) * TRAININGS]
            known = [outcome for outcome in own if outcome is not None]
            whole = len(known) == TRAININGS
            means.append(replace(c, outcome=mean(known), trainings=TRAININGS) if whole else c)
        return means


def standard(trials: Trials, given: Sequence[UpdateScheme], front: bool = True) -> None:
    """Train the given schemes that fit and the named ones, of each kind the largest that fits;
    those of little memory for the ``front``."""
    memory, layers = trials.memory, trials.memory.layers
    families = [
        *([scheme] for scheme in given),
        [last_layers(layers, k) for k in range(len(layers), 0, -1)],
        [lora(layers, rank, head=True) for rank in ranks_of(layers)],
        *_spread(memory),
    ]
    if front:
        families += [[bias_only(layers)], [head_only(layers)]]
    wanted: list[Wanted] = []
    trials.say("planning schemes with names")
    for scheme in given:
        if not memory.fitting(scheme):
            trials.left_out[scheme.name] = memory.need(scheme).sram_bytes
    for family in families:
        largest = memory.largest(family)
        if largest is not None:
            known = [selections(w.scheme, layers) for w in wanted]
            if selections(largest, layers) not in known:
                choice = choice_of(largest, layers)
                wanted.append(Wanted(largest.name, largest, choice, memory.need(largest), memory))
    trials.train(wanted)


def _spread(memory: Memory) -> list[list[UpdateScheme]]:
    """Shares of the channels of every layer: those that train first elsewhere, and random ones."""
    rng = np.random.default_rng(0)
    anyhow = {part.name: rng.permutation(part.outputs).tolist() for part in memory.layers}
    return [
        [
            scheme_of(spread(memory.layers, share), memory.layers, order, f"{share:g} of {what}")
            for share in reversed(PARTS)
        ]
        for order, what in ((memory.order, "all + head"), (anyhow, "all at random + head"))
    ]


def ranks_of(layers: Sequence[Layer]) -> list[int]:
    """Ranks of adapters that some layer has, the largest first."""
    sides = [min(part.outputs, part.inputs) for part in layers[:-1] if not part.convolution]
    return [rank for rank in reversed(RANKS) if rank <= max(sides, default=0)]


def proposed(trials: Trials, analysis: Analysis, front: bool = True) -> None:
    """Train what the search proposes: under the measured values and under the estimate, some that
    differ from these, for the ``front`` some for less memory, and then those near the best, for as
    long as may be."""
    few = max(1, trials.rest // 4)
    wanted: list[Wanted] = []
    for kind, values, count in (
        ("selected", analysis.values, few),
        ("estimate", analysis.guess, 1),
    ):
        wanted += _proposals(trials, values, kind, count, [w.choice for w in wanted])
    for share in SMALLER if front else ():
        wanted += _smaller(trials, analysis.values, share)
    trials.train(list({(repr(w.choice), w.need.sram_bytes): w for w in wanted}.values()))
    while not trials.over:
        more = _near(trials, analysis.values)
        if not more:
            break
        trials.train(more)


def _proposals(
    trials: Trials, values: Values, kind: str, count: int, apart: Sequence[Choice],
    memory: Memory | None = None,
) -> list[Wanted]:  # fmt: skip
    memory = memory or trials.memory
    found: list[Wanted] = []
    for at in range(count):
        known = [*apart, *(w.choice for w in found)]
        made = best_choice(memory, values, Within(known, FAR), trials.say, trials.end)
        if made is None:
            break
        name = f"{kind} {at + 1}" if count > 1 else kind
        scheme = memory.scheme(made.choice, name)
        found.append(Wanted(name, scheme, made.choice, made.need, memory))
    return found


def _smaller(trials: Trials, values: Values, share: float) -> list[Wanted]:
    """The best of a part of the budget; what it needs is planned for that part."""
    memory = trials.memory
    budget = int(share * memory.board.sram_budget_bytes) // 8 * 8
    if budget <= 2 * memory.board.stack_bytes:
        return []
    board = with_sram(memory.board, budget)
    small = Memory(
        memory.pool, board, memory.final, memory.store, memory.order, memory, memory.twin
    )
    return _proposals(trials, values, f"selected, {budget:,} bytes", 1, [], small)


def _near(trials: Trials, values: Values) -> list[Wanted]:
    """The most valuable that differ little from the best so far, one a process; where none of
    those fits, from the next best."""
    trials.confirmed()
    for centre in trials.ranked()[:CENTRES]:
        found: list[Wanted] = []
        known = [c.choice for c in trials.found]
        for _ in range(min(trials.runs.pool.jobs, trials.rest)):
            within = Within([*known, *(w.choice for w in found)], 1, centre.choice, NEAR)
            made = best_choice(trials.memory, values, within, trials.say, trials.end)
            if made is None:
                break
            name = f"near {len(trials.found) + len(found) + 1}"
            scheme = trials.memory.scheme(made.choice, name)
            found.append(Wanted(name, scheme, made.choice, made.need, trials.memory))
        if found:
            return found
    return []
