"""What a choice needs, by the real planner, and what the search may conclude from that.

SRAM = fixed + states + arena. The first two add up over layers. The arena does not: it follows from
which values are alive together. So the search begins without knowledge of it and learns facts:

    a choice that trains all that S trains needs an arena of at least a(S) bytes

a(S) is the smallest arena that the planner found for S. More training never needs less memory, but
the planner is a heuristic: where a larger choice was planned with less, the fact is corrected.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from ..boards import Board
from ..compiler import compile_recipe
from ..fit import Planning
from ..quantize import Quantized
from ..recipe import Recipe, UpdateScheme
from ..select import layers_of, selections
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
from .store import Store, graph_digest, key_of


@dataclass(frozen=True)
class Need:
    """What a scheme needs on a board. ``fixed_bytes``: what is neither arena nor state."""

    sram_bytes: int
    arena_bytes: int
    state_bytes: int
    fixed_bytes: int
    fits: bool
    macs: int
    trained_parameters: int


@dataclass
class Fact:
    """Choices that cover ``choice`` need at least ``arena_bytes``."""

    choice: Choice
    arena_bytes: int


class Memory:
    """Asks the planner, once a scheme. ``planned``: how often it had to run; ``other``: of the
    same recipe with another budget, whose facts hold here, too."""

    def __init__(
        self, recipe: Recipe, quantized: Quantized, board: Board, planning: Planning, store: Store,
        order: Order, other: Memory | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.board, self.store, self.order = recipe, board, store, order
        # Addresses are those of the heuristic, and adapters need no samples to be planned.
        self.planning = replace(planning, planner="heuristic")
        self.quantized = replace(quantized, samples=quantized.samples[:1])
        self.layers = layers_of(quantized.graph)
        self.options = {
            layer.name: options_of(layer, layer is self.layers[-1]) for layer in self.layers
        }
        self.bytes: dict[str, dict[Option, int]] = other.bytes if other else state_bytes(
            self.quantized, self.layers, self.options, recipe.optimizer)  # fmt: skip
        self.facts: list[Fact] = other.facts if other else []
        self.corrected = self.planned = 0
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

    def least_states(self, scheme: UpdateScheme) -> int:
        """Bytes of states that a scheme has at least."""
        choice = choice_of(scheme, self.layers)
        return sum(
            max(size for o, size in self.bytes[name].items() if option.covers(o))
            for name, option in choice.items()
        )

    def scheme(self, choice: Choice, name: str = "selected") -> UpdateScheme:
        return scheme_of(choice, self.layers, self.order, name)

    def need(self, scheme: UpdateScheme, planning: Planning | None = None) -> Need:
        """What a scheme needs: planned now, before, or by another search."""
        planning = planning or self.planning
        key = key_of("need", self.digest, planning, selections(scheme, self.layers))
        if key not in self._needs:
            data = self.store.get(key)
            if data is None:
                data = asdict(self._planned(scheme, planning))
                self.store.put(key, data)
            self._needs[key] = Need(**data)
        return self._needs[key]

    def _planned(self, scheme: UpdateScheme, planning: Planning) -> Need:
        self.planned += 1
        made = compile_recipe(
            self.recipe.replace(scheme=scheme), self.board, self.quantized, check=False,
            planning=planning,
        )  # fmt: skip
        sram = made.sram
        states = sram.trained_weight_bytes + sram.optimizer_bytes
        return Need(
            sram.sram_bytes, sram.arena_bytes, states, sram.sram_bytes - sram.arena_bytes - states,
            sram.sram_bytes <= self.board.sram_budget_bytes, made.train.macs(),
            made.trained_parameters,
        )  # fmt: skip

    def learn(self, choice: Choice, need: Need) -> None:
        """Facts of a choice that does not fit: of itself, and of the least that trains in the same
        layers in the same way, which says more."""
        self._correct(choice, need)
        self._add(choice, need.arena_bytes)
        core = {name: self.least(name, option) for name, option in choice.items()}
        if core != dict(choice):
            small = self.need(self.scheme(core), replace(self.planning, recompute="min-memory"))
            self._correct(core, small)
            self._add(core, small.arena_bytes)

    def least(self, name: str, option: Option) -> Option:
        """The smallest option of a layer that trains the same kind of thing."""
        kinds = [o for o in self.options[name] if bool(o.channels) == bool(option.channels)
                 and bool(o.rank) == bool(option.rank) and o.bias == option.bias]  # fmt: skip
        return min(kinds)

    def _add(self, choice: Choice, arena_bytes: int) -> None:
        choice = {name: option for name, option in choice.items() if option != NOTHING}
        if all(f.arena_bytes < arena_bytes or not covers(choice, f.choice) for f in self.facts):
            self.facts.append(Fact(choice, arena_bytes))

    def _correct(self, choice: Choice, need: Need) -> None:
        for fact in self.facts:
            if covers(choice, fact.choice) and need.arena_bytes < fact.arena_bytes:
                fact.arena_bytes = need.arena_bytes
                self.corrected += 1

    def smallest(self) -> Need:
        """What the bias of the head alone needs."""
        return self.need(self.scheme({self.layers[-1].name: BIAS}))

    def fixed_bytes(self) -> int:
        """What every scheme needs beside states and arena."""
        return self.smallest().fixed_bytes
