"""What is emitted: the training steps of a firmware as they were planned, and all parameters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Graph, Param, Type, Value
from ..planning.fit import Fitted
from ..planning.lifetimes import Plan
from ..training.fisher import Term


@dataclass(frozen=True)
class Training:
    """A scheme's training step, as it was (``plain``) and made to fit (``step``), and the terms of
    its worth."""

    scheme: str
    plain: Graph
    step: Fitted
    terms: tuple[Term, ...] = ()

    @property
    def graph(self) -> Graph:
        return self.step.graph

    @property
    def plan(self) -> Plan:
        return self.step.plan


def choice_of(taken: Collection[str]) -> Param:
    """State of a firmware that holds several schemes: the one in use, samples that were looked
    at. ``taken``: names of all other parameters."""
    name = "choice"
    while name in taken:
        name += "."
    return Param(Value(name, Type((2,), "u32")), np.zeros(2, np.uint32), "optimizer", "choice")


def parameters(steps: Sequence[Graph], evaluate: Graph) -> tuple[list[Param], list[Param]]:
    """(constants, states) of all graphs, each once, in the order of their first use."""
    merged: dict[str, Param] = {}
    for graph in (*steps, evaluate):
        for name, param in graph.params.items():
            known = merged.setdefault(name, param)
            assert known is param or np.array_equal(known.data, param.data), name
    if len(steps) > 1:
        choice = choice_of(merged)
        merged[choice.value.name] = choice
    const = [p for p in merged.values() if p.kind == "const"]
    return const, [p for p in merged.values() if p.kind != "const"]
