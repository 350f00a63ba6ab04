"""What a firmware can be asked to do: named entries over one arena, with states that they share.

An entry is a graph with a plan. ``train`` entries (one a scheme) change states and give metrics;
``evaluate`` gives metrics and logits; a ``query`` gives one value of the sample, such as the
features before the head. All parameters that any of them reads exist once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..ir import Graph, Param, Type, Value
from ..planning.fit import Fitted
from ..planning.lifetimes import Plan
from ..training.fisher import Term


@dataclass(frozen=True)
class Entry:
    """A graph as it was (``plain``) and made to fit (``step``). ``name``: of a training step that
    of its scheme; ``terms``: of what that is worth."""

    name: str
    kind: Literal["train", "evaluate", "query"]
    plain: Graph
    step: Fitted
    terms: tuple[Term, ...] = ()

    @property
    def scheme(self) -> str:
        return self.name

    @property
    def graph(self) -> Graph:
        return self.step.graph

    @property
    def plan(self) -> Plan:
        return self.step.plan

    @property
    def answer(self) -> Type:
        """The type of what a query gives."""
        return self.graph.outputs[0].type


@dataclass(frozen=True)
class Program:
    """The entries of a firmware: training steps, then the evaluation, then queries."""

    entries: tuple[Entry, ...]

    @property
    def trainings(self) -> tuple[Entry, ...]:
        return self.of("train")

    @property
    def evaluation(self) -> Fitted:
        return self.of("evaluate")[0].step

    @property
    def queries(self) -> tuple[Entry, ...]:
        return self.of("query")

    @property
    def plans(self) -> list[Plan]:
        return [entry.plan for entry in self.entries]

    @property
    def graphs(self) -> list[Graph]:
        return [entry.graph for entry in self.entries]

    @property
    def largest(self) -> Entry:
        """The entry that sets the arena."""
        return max(self.entries, key=lambda entry: entry.plan.placement.key)

    def of(self, kind: str) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.kind == kind)

    def parameters(self) -> tuple[list[Param], list[Param]]:
        """(constants, states), see ``parameters``."""
        return parameters(self.graphs, len(self.trainings))

    def with_training(self, training: Entry) -> Program:
        """The program with this training step as its only one."""
        others = (entry for entry in self.entries if entry.kind != "train")
        return replace(self, entries=(training, *others))


def choice_of(taken: Collection[str]) -> Param:
    """State of a firmware that holds several schemes: the one in use, samples that were looked
    at. ``taken``: names of all other parameters."""
    name = "choice"
    while name in taken:
        name += "."
    return Param(Value(name, Type((2,), "u32")), np.zeros(2, np.uint32), "optimizer", "choice")


def parameters(graphs: Iterable[Graph], schemes: int) -> tuple[list[Param], list[Param]]:
    """(constants, states) of all graphs of a firmware that holds so many schemes, each once, in the
    order of their first use."""
    merged: dict[str, Param] = {}
    for graph in graphs:
        for name, param in graph.params.items():
            known = merged.setdefault(name, param)
            assert known is param or np.array_equal(known.data, param.data), name
    if schemes > 1:
        choice = choice_of(merged)
        merged[choice.value.name] = choice
    const = [p for p in merged.values() if p.kind == "const"]
    return const, [p for p in merged.values() if p.kind != "const"]


def choice_name(states: Sequence[Param]) -> str:
    """The name of the state that says which scheme is in use; "" where there is one scheme."""
    return next((p.value.name for p in states if p.role == "choice"), "")
