"""The training steps of a firmware: one a scheme, over one forward graph and one arena.

All that any scheme trains lies in SRAM, so that evaluation is the same for all and what one scheme
has learned stays when another goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .autodiff import differentiate
from .fit import Fitted
from .ir import Graph, Param, Type, Value
from .memory import Plan
from .recipe import Optimizer
from .schedule import prune
from .worth import Term, terms_of

# State of a firmware that holds several schemes: the one in use, samples that were looked at.
CHOICE = Param(Value("choice", Type((2,), "u32")), np.zeros(2, np.uint32), "optimizer")


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


def steps_of(
    forward: Graph, optimizer: Optimizer, trained: Mapping[str, frozenset[str]]
) -> dict[str, Graph]:
    """The training step of each scheme by its name. ``trained``: what ``select.apply_schemes`` says
    that it trains. Several schemes have moments of their own: each trains as if it were alone."""
    owns = {name: f"{name}/" if len(trained) > 1 else "" for name in trained}
    return {
        name: prune(differentiate(forward, optimizer, chosen, owns[name]))
        for name, chosen in trained.items()
    }


def terms_by_scheme(
    steps: Mapping[str, Graph], by: Literal["step", "mac"]
) -> dict[str, tuple[Term, ...]]:
    """Of several schemes the terms of their worth, by MAC in units of the dearest step."""
    if len(steps) == 1:
        return dict.fromkeys(steps, ())
    dearest = max(step.macs() for step in steps.values())
    shares = {n: dearest / step.macs() if by == "mac" else 1.0 for n, step in steps.items()}
    return {name: terms_of(step, shares[name]) for name, step in steps.items()}


def parameters(steps: Sequence[Graph], evaluate: Graph) -> tuple[list[Param], list[Param]]:
    """(constants, states) of all graphs, each once, in the order of their first use."""
    merged: dict[str, Param] = {}
    for graph in (*steps, evaluate):
        for name, param in graph.params.items():
            known = merged.setdefault(name, param)
            assert known is param or np.array_equal(known.data, param.data), name
    if len(steps) > 1:
        merged[CHOICE.value.name] = CHOICE
    const = [p for p in merged.values() if p.kind == "const"]
    return const, [p for p in merged.values() if p.kind != "const"]
