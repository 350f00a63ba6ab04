"""The contributions of one recipe: which runs there are, and what their outcomes say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..recipe import Optimizer, Recipe
from ..training.scheme import LAYERS, Layer
from .contribution import (
    Contribution,
    Part,
    Values,
    channel_order,
    correlation,
    parts_of,
    values_of,
)
from .estimate import Estimate, estimate
from .memory import Memory
from .options import Option, full, scheme_of
from .runs import Job, Outcome, Runs
from .settings import Settings

SHORT = 3  # a contribution is measured in one of so many of the recipe's steps
LEAST_STEPS = 20

Stage = Callable[[str, int], Callable[[], None]]  # a title and a count: what to call after each


@dataclass(frozen=True)
class Analysis:
    """``values``: for the search. ``guess``: the same without what was measured. ``spearman``: rank
    correlation of estimate and measurement; the seconds that each took."""

    rows: tuple[Contribution, ...]
    values: Values
    guess: Values
    spearman: float
    estimate_seconds: float
    measure_seconds: float
    steps: int


def first_look(
    recipe: Recipe, runs: Runs, layers: Sequence[Layer], settings: Settings
) -> tuple[Estimate, dict[str, list[int]], float]:
    """The first-order estimate, the channels in the order in which they train, seconds."""
    began = time.monotonic()
    context = runs.pool.context
    graph = context.quantized.graph
    guess = estimate(recipe, graph, layers, context.tasks)
    magnitudes = {
        n.layer: np.abs(graph.params[n.inputs[1].name].data.astype(np.int64)).sum(axis=1)
        for n in graph.nodes
        if n.op in LAYERS and n.inputs[1] is not None
    }
    order = channel_order(settings.channels, layers, guess, magnitudes, settings.seed)
    return guess, order, time.monotonic() - began


def analyse(
    recipe: Recipe, runs: Runs, memory: Memory, guess: Estimate, seconds: float,
    settings: Settings, end: float | None, stage: Stage,
) -> Analysis:  # fmt: skip
    """Measure every part, those first of which the estimate expects most; what has not begun at
    ``end`` is taken from the estimate. ``seconds``: that the estimate took."""
    layers, began = memory.layers, time.monotonic()
    steps = settings.steps or max(LEAST_STEPS, recipe.optimizer.steps // SHORT)
    optimizer = replace(recipe.optimizer, steps=steps)
    parts = parts_of(layers, full(layers[-1]))
    fisher = [_fisher(part, layers, guess, memory) for part in parts]
    by_estimate = sorted(range(1, len(parts)), key=lambda i: -fisher[i])
    gains: list[float | None] = [None] * len(parts)
    if settings.contributions == "measured":
        ranks = [0, *by_estimate]
        outcomes = _outcomes([parts[i] for i in ranks], runs, memory, optimizer, end, stage)
        for i, outcome in zip(ranks, outcomes[1:], strict=True):
            base = outcomes[0] if i == 0 else outcomes[1]
            if outcome is not None and base is not None:
                gains[i] = base.loss - outcome.loss
    rows = tuple(
        Contribution(p.kind, p.name, _option(p, memory), gain, f, memory.states(_own(p, layers)))
        for p, gain, f in zip(parts, gains, fisher, strict=True)
    )
    measured = {
        (p.name, p.choice[p.name]): gain
        for p, gain in zip(parts, gains, strict=True)
        if gain is not None and p.kind != "block"
    }
    blocks = {p.name: gain for p, gain in zip(parts, gains, strict=True)
              if gain is not None and p.kind == "block"}  # fmt: skip
    values = values_of(layers, measured, blocks, guess, memory.order)
    rough = values_of(layers, {}, {}, guess, memory.order)
    return Analysis(rows, values, rough, correlation(rows), seconds,
                    time.monotonic() - began, steps)  # fmt: skip


def _outcomes(
    parts: Sequence[Part], runs: Runs, memory: Memory, optimizer: Optimizer, end: float | None,
    stage: Stage,
) -> list[Outcome | None]:  # fmt: skip
    """Of the model as it was, and of each part."""
    jobs = [Job(None, optimizer)]
    jobs += [Job(scheme_of(p.choice, memory.layers, memory.order), optimizer) for p in parts]
    return runs.all(jobs, end, stage("contributions", len(jobs)))


def _own(part: Part, layers: Sequence[Layer]) -> dict[str, Option]:
    """What trains of a part itself, without the head beside it."""
    head = layers[-1].name
    return {name: o for name, o in part.choice.items() if name != head or part.name == head}


def _fisher(part: Part, layers: Sequence[Layer], guess: Estimate, memory: Memory) -> float:
    by_name = {layer.name: layer for layer in layers}
    own = _own(part, layers).items()
    return sum(guess.of(by_name[name], option, memory.order[name]) for name, option in own)


def _option(part: Part, memory: Memory) -> str:
    return "all" if part.kind == "block" else str(part.choice[part.name])
