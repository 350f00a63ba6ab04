"""The most valuable choice within a budget: CP-SAT, which learns what the arena needs as it goes.

    maximise   sum over blocks of min(sum, most) + 0.3 max(0, sum - most),
               sum of the gains in a block, most what the whole block gave
    subject to states(choice) + arena <= budget - fixed,   arena >= a(S) for each fact S covered

The solver proposes, the planner checks. A proposal that does not fit becomes a fact; a part of it
that fits is kept, and the solver is asked for something better. A proposal that fits is the best
under the values given, as far as the facts hold; so is what is kept when there is nothing better.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ortools.sat.python import cp_model

from ..compiler import silent
from ..training.scheme import block_of
from .contribution import Values
from .memory import Memory, Need
from .options import NOTHING, Choice, Option

SCALE = 100_000  # integers a unit of value
ROUNDS = 12  # proposals, at most
CLOSE = 0.01  # of its worth: what a proposal must be worth more than what is known to fit
BEYOND = 0.3  # what a gain counts beyond that of the whole block, in tenths
SECONDS = 10.0  # of one proposal; such a model takes a hundredth of that
THRIFT = 0.02  # of the best value: what the use of the whole budget must be worth

Literals = dict[str, dict[Option, cp_model.IntVar]]


@dataclass(frozen=True)
class Within:
    """Where to look: at least ``least`` layers from each of ``apart``, at most ``most`` from
    ``near``."""

    apart: Sequence[Choice] = ()
    least: int = 2
    near: Choice | None = None
    most: int = 2


@dataclass(frozen=True)
class Bounds:
    """More about a proposal: it is covered by ``inside``, its arena has at least ``arena_bytes``,
    it is worth at least ``worth``, and it is none of ``refused``."""

    inside: Choice | None = None
    arena_bytes: int = 0
    worth: int | None = None
    refused: Sequence[Choice] = ()


class Found(NamedTuple):
    """A choice that fits, what it needs, and what it is worth in integers of the search."""

    choice: Choice
    need: Need
    worth: int


def best_choice(
    memory: Memory,
    values: Values,
    within: Within | None = None,
    say: Callable[[str], None] = silent,
    end: float | None = None,
) -> Found | None:
    """The best choice that fits the board, as far as was looked until ``end``
    (``time.monotonic``). None when nothing fits."""
    search = _Search(memory, values, within or Within())
    best: Found | None = None
    refused: list[Choice] = []
    for at in range(ROUNDS):
        say(f"proposal {at + 1}, {len(memory.facts)} facts about memory")
        floor = None if best is None else best.worth + max(1, round(CLOSE * abs(best.worth)))
        proposal = search.propose(Bounds(worth=floor, refused=refused))
        if proposal is None:
            break
        choice, worth = proposal
        need = memory.need(memory.scheme(choice))
        if need.fits:
            return Found(choice, need, worth)
        memory.learn(choice, need, say)
        refused.append(choice)
        smaller = search.shrunk(choice, need)
        if smaller is not None and (best is None or smaller.worth > best.worth):
            best = smaller
        if end is not None and time.monotonic() > end:
            break
    return best


class _Search:
    """One search: what is asked of the solver again and again."""

    def __init__(self, memory: Memory, values: Values, within: Within) -> None:
        self.memory, self.values, self.within = memory, values, within
        self.room = memory.board.sram_budget_bytes - memory.fixed_bytes()

    def shrunk(self, choice: Choice, need: Need) -> Found | None:
        """A part of a choice that is too large which fits: less of it with the same arena, for
        which there may be too little; then without its lowest layer, and so on."""
        while choice:
            proposal = self.propose(Bounds(choice, need.arena_bytes))
            if proposal is not None:
                less = self.memory.need(self.memory.scheme(proposal[0]))
                if less.fits:
                    return Found(proposal[0], less, proposal[1])
                self.memory.note(proposal[0], less)
            if self.within.near is not None:
                return None
            lowest = next(layer.name for layer in self.memory.layers if layer.name in choice)
            choice = {name: option for name, option in choice.items() if name != lowest}
            if choice:
                need = self.memory.need(self.memory.scheme(choice))
                self.memory.note(choice, need)
        return None

    def propose(self, bounds: Bounds) -> tuple[Choice, int] | None:
        """The best choice as far as is known, and its worth."""
        if bounds.arena_bytes > self.room:
            return None
        model = cp_model.CpModel()
        taken: Literals = {}
        for name, options in self.memory.options.items():
            taken[name] = {o: model.new_bool_var(f"{name}: {o}") for o in options}
            model.add_exactly_one(taken[name].values())
        model.add_bool_or([v for x in taken.values() for o, v in x.items() if o != NOTHING])
        states = self._fitting(model, taken, bounds.arena_bytes)
        self._somewhere(model, taken, bounds)
        worth, most = _value(model, taken, self.values)
        if bounds.worth is not None:
            model.add(worth >= bounds.worth)
        thrift = max(1, round(1000 * THRIFT * most / max(1, self.room)))
        model.maximize(cp_model.LinearExpr.weighted_sum([worth, states], [1000, -thrift]))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 0
        solver.parameters.max_time_in_seconds = SECONDS
        if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None
        choice = {
            name: option
            for name, x in taken.items()
            for option, v in x.items()
            if option != NOTHING and solver.boolean_value(v)
        }
        return choice, solver.value(worth)

    def _fitting(
        self, model: cp_model.CpModel, taken: Literals, least: int
    ) -> cp_model.LinearExprT:
        """States and arena within the room, the arena as the facts say. Gives the states."""
        sizes = self.memory.bytes
        states = cp_model.LinearExpr.sum(
            [sizes[name][o] * v for name, x in taken.items() for o, v in x.items()]
        )
        arena = model.new_int_var(least, max(0, self.room), "arena")
        model.add(states + arena <= self.room)
        covering = {
            (name, option): _covering(model, taken[name], option)
            for name, option in dict.fromkeys(
                at for fact in self.memory.facts for at in fact.choice.items()
            )
        }
        for fact in self.memory.facts:
            inside = [covering[at] for at in fact.choice.items()]
            if fact.arena_bytes > self.room:
                model.add_bool_or([v.negated() for v in inside])
            else:
                model.add(arena >= fact.arena_bytes).only_enforce_if(inside)
        return states

    def _somewhere(self, model: cp_model.CpModel, taken: Literals, bounds: Bounds) -> None:
        """Apart from some choices, near one, inside one."""
        within = self.within
        for other in within.apart:
            model.add(_distance(taken, other) >= within.least)
        for other in bounds.refused:
            model.add(_distance(taken, other) >= 1)
        if within.near is not None:
            model.add(_distance(taken, within.near) <= within.most)
        if bounds.inside is not None:
            for name, x in taken.items():
                outer = bounds.inside.get(name, NOTHING)
                model.add_bool_or([v for o, v in x.items() if outer.covers(o)])


def _distance(taken: Literals, other: Choice) -> cp_model.LinearExprT:
    """The number of layers in which a choice differs from ``other``, whose options may be none of
    ours."""
    same = [x[o] for name, x in taken.items() if (o := other.get(name, NOTHING)) in x]
    return len(taken) - cp_model.LinearExpr.sum(same)


def _covering(
    model: cp_model.CpModel, options: dict[Option, cp_model.IntVar], least: Option
) -> cp_model.IntVar:
    """Whether the option taken trains all of ``least``."""
    inside = model.new_bool_var("covers")
    model.add(sum(v for o, v in options.items() if o.covers(least)) == inside)
    return inside


def _value(
    model: cp_model.CpModel, taken: Literals, values: Values
) -> tuple[cp_model.LinearExprT, int]:
    """The objective, and the largest gain of a layer, in integers."""
    blocks: dict[str, list[cp_model.LinearExprT]] = {}
    most = 1
    for name, options in taken.items():
        gains = {o: round(SCALE * values.gain[name][o]) for o in options}
        most = max(most, *gains.values())
        parts = blocks.setdefault(block_of(name) or name, [])
        parts.extend(g * options[o] for o, g in gains.items())
    total: list[cp_model.LinearExprT] = []
    for block, parts in blocks.items():
        if block not in values.most:
            total.extend(10 * part for part in parts)
            continue
        limit = max(0, round(SCALE * values.most[block]))
        capped = model.new_int_var(-(2**40), limit, block)
        model.add(capped <= cp_model.LinearExpr.sum(parts))
        total.append(round(10 * (1 - BEYOND)) * capped)
        total.extend(round(10 * BEYOND) * part for part in parts)
    return cp_model.LinearExpr.sum(total), 10 * most
