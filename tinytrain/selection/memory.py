"""What a choice needs, by the real planner, and what the search may conclude from that.

SRAM = fixed + states + arena. The first two add up over layers. The arena does not: it follows from
which values are alive together. So the search begins without knowledge of it and learns facts:

    a choice that trains all that S trains needs an arena of at least a(S) bytes

a(S) is the smallest arena that the planner found for S. More training never needs less memory, but
the planner is a heuristic: where a larger choice was planned with less, the fact is corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from ..boards import Board
from ..compiler import compile_recipe, silent
from ..planning.fit import Planning
from ..recipe import UpdateScheme
from ..training.scheme import layers_of, selections
from .options import (
    BIAS,
    NOTHING,
    Choice,
    Option,
    Order,
    choice_of,
    covers,
    options_of,
    scheme_of,
    state_bytes,
)
from .pool import Context, Pool
from .steps import instructions
from .store import Store, graph_digest, key_of


@dataclass(frozen=True)
class Need:
    """What a scheme needs on a board. ``fixed_bytes``: what is neither arena nor state;
    ``instructions``: of a step, where these are counted."""

    sram_bytes: int
    arena_bytes: int
    state_bytes: int
    fixed_bytes: int
    fits: bool
    macs: int
    trained_parameters: int
    instructions: int | None = None

    @property
    def work(self) -> int:
        """Of a step: instructions, or MACs where these are not counted."""
        return self.macs if self.instructions is None else self.instructions


@dataclass
class Fact:
    """Choices that cover ``choice`` need at least ``arena_bytes``."""

    choice: Choice
    arena_bytes: int


class Memory:
    """Asks the planner, once a scheme: quickly, for the search; ``final``: how a build would plan.
    ``planned``: how often it had to run; ``other``: of the same recipe with another budget, whose
    facts hold here, too. ``twin``: the emulated board that steps are counted on, None: they are
    not."""

    def __init__(
        self, pool: Pool, board: Board, planning: Planning, store: Store, order: Order,
        other: Memory | None = None, twin: Board | None = None,
    ) -> None:  # fmt: skip
        self.twin = twin
        self.pool, self.board, self.store, self.order = pool, board, store, order
        self.final = planning
        self.planning = replace(planning, planner="heuristic", quick=True)
        recipe, quantized = pool.context.recipe, pool.context.quantized
        self.layers = layers_of(quantized.graph)
        self.options = {
            layer.name: options_of(layer, layer is self.layers[-1]) for layer in self.layers
        }
        self.bytes: dict[str, dict[Option, int]] = other.bytes if other else state_bytes(
            quantized, self.layers, self.options, recipe.optimizer)  # fmt: skip
        self.facts: list[Fact] = other.facts if other else []
        self.corrected = self.planned = 0
        self._singles: bool = other._singles if other else False
        self._needs: dict[str, Need] = {}
        optimizer = recipe.optimizer.rule, recipe.optimizer.qas, recipe.optimizer.weights
        regions = [(m.name, m.length_bytes) for m in board.beside]
        self.digest = key_of(
            "memory", graph_digest(quantized.graph), optimizer, regions, board.sram_budget_bytes,
            board.stack_bytes, recipe.loss,
        )  # fmt: skip

    def states(self, choice: Choice) -> int:
        """Bytes of trained weights and optimizer."""
        return sum(self.bytes[name][option] for name, option in choice.items())

    def least_bytes(self, choice: Choice) -> int:
        """SRAM that a choice needs as far as the facts tell, without a plan."""
        arena = max((f.arena_bytes for f in self.facts if covers(choice, f.choice)), default=0)
        return self.states(choice) + arena + self.fixed_bytes()

    def least_states(self, scheme: UpdateScheme) -> int:
        """Bytes of states that a scheme has at least."""
        choice = choice_of(scheme, self.layers)
        return sum(
            max(size for o, size in self.bytes[name].items() if option.covers(o))
            for name, option in choice.items()
        )

    def scheme(self, choice: Choice, name: str = "selected") -> UpdateScheme:
        return scheme_of(choice, self.layers, self.order, name)

    def need(self, scheme: UpdateScheme) -> Need:
        """What a scheme needs: planned now, before, or by another search."""
        return self.needs([scheme], self.planning)[0]

    def needs(
        self, schemes: Sequence[UpdateScheme], planning: Planning, twin: Board | None = None
    ) -> list[Need]:
        """The same of several, over processes; with the instructions on ``twin``."""
        more = [twin] if twin else []
        keys = [key_of("need", self.digest, planning, selections(s, self.layers), *more)
                for s in schemes]  # fmt: skip
        for key in keys:
            if key not in self._needs and (data := self.store.get(key)) is not None:
                self._needs[key] = Need(**data)
        todo = [i for i, key in enumerate(keys) if key not in self._needs]
        asked = [(schemes[i], self.board, planning, twin) for i in todo]
        for at, need in self.pool.results(planned, asked):
            self.planned += 1
            self._needs[keys[todo[at]]] = need
            self.store.put(keys[todo[at]], asdict(need))
        return [self._needs[key] for key in keys]

    def counted(self, schemes: Sequence[UpdateScheme]) -> list[Need]:
        """Of the search's plans, with instructions where steps are counted."""
        return self.needs(schemes, self.planning, self.twin)

    def fitting(self, scheme: UpdateScheme) -> Need | None:
        """What a scheme needs, where that fits."""
        if self.least_states(scheme) + self.fixed_bytes() > self.board.sram_budget_bytes:
            return None
        need = self.need(scheme)
        return need if need.fits else None

    def largest(self, schemes: Sequence[UpdateScheme]) -> UpdateScheme | None:
        """The first that fits of schemes that each train part of what the one before does, found
        by halving."""
        low, high = 0, len(schemes)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fitting(schemes[middle]) else (middle + 1, high)
        return schemes[low] if low < len(schemes) else None

    def exact(self, schemes: Sequence[UpdateScheme]) -> list[Need]:
        """What a build of these plans, to the byte."""
        return self.needs(schemes, self.final, self.twin)

    def learn(self, choice: Choice, need: Need, say: Callable[[str], None] = silent) -> None:
        """Facts of a choice that does not fit: of itself, and of the least that trains in the same
        layers in the same way; before the first such, of the least that trains in each layer."""
        smallest = self.planning
        if smallest.recompute != "off":
            smallest = replace(smallest, recompute="min-memory")
        least = {name: self.least(name, option) for name, option in choice.items()}
        cores: list[Choice] = [least] if least != dict(choice) else []
        if not self._singles:
            say(f"planning each of {len(self.layers)} layers alone")
            cores += [{layer.name: BIAS} for layer in self.layers]
            self._singles = True
        self.note(choice, need)
        made = self.needs([self.scheme(core) for core in cores], smallest)
        for core, small in zip(cores, made, strict=True):
            self.note(core, small)

    def note(self, choice: Choice, need: Need) -> None:
        """The fact that a plan tells; facts that it refutes are corrected."""
        for fact in self.facts:
            if covers(choice, fact.choice) and need.arena_bytes < fact.arena_bytes:
                fact.arena_bytes = need.arena_bytes
                self.corrected += 1
        choice = {name: option for name, option in choice.items() if option != NOTHING}
        if all(f.arena_bytes < need.arena_bytes or not covers(choice, f.choice)
               for f in self.facts):  # fmt: skip
            self.facts[:] = [f for f in self.facts if f.arena_bytes > need.arena_bytes
                             or not covers(f.choice, choice)]  # fmt: skip
            self.facts.append(Fact(choice, need.arena_bytes))

    def least(self, name: str, option: Option) -> Option:
        """The smallest option of a layer that trains the same kind of thing."""
        kinds = [o for o in self.options[name] if bool(o.channels) == bool(option.channels)
                 and bool(o.rank) == bool(option.rank) and o.bias == option.bias]  # fmt: skip
        return min(kinds)

    def smallest(self) -> Need:
        """What the bias of the head alone needs."""
        return self.need(self.scheme({self.layers[-1].name: BIAS}))

    def fixed_bytes(self) -> int:
        """What every scheme needs beside states and arena."""
        return self.smallest().fixed_bytes


def planned(context: Context, asked: tuple[UpdateScheme, Board, Planning, Board | None]) -> Need:
    """Compile, without samples for adapters, which memory does not depend on."""
    scheme, board, planning, twin = asked
    recipe = context.recipe.replace(scheme=scheme)
    few = replace(context.quantized, samples=context.quantized.samples[:1])
    made = compile_recipe(recipe, board, few, check=False, planning=planning)
    sram = made.sram
    states = sram.trained_weight_bytes + sram.optimizer_bytes
    counted = instructions(recipe, few, twin, planning, context.tasks[0], made) if twin else None
    return Need(
        sram.sram_bytes, sram.arena_bytes, states, sram.sram_bytes - sram.arena_bytes - states,
        sram.sram_bytes <= board.sram_budget_bytes, made.train.macs(), made.trained_parameters,
        counted,
    )  # fmt: skip
