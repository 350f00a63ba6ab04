"""Learning rates: of a grid of powers of two, the one with the lowest validation loss.

The grid goes on for as long as the best rate is at its edge, so that none is limited by where it
began. The best and its neighbours are then told apart by the mean of three trainings, as a selected
scheme's are. Only proxies are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tinytrain.baseline import Rule, finetune_fp32
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.selection.runs import TRAININGS, Job, Runs
from tinytrain.selection.store import graph_digest

from .cells import begun, kept, key_of
from .tasks import quantized

STEP = 2.0
WIDEST = 8  # rates on either side of the first
START: dict[str, float] = {"lsb": 1.5, "sgd": 0.1, "sgd without": 1e4,
                           "fp32 adam": 1e-3, "fp32 sgd": 0.03}  # fmt: skip


def lowest(losses: Callable[[Sequence[float], int], Sequence[float]], start: float) -> float:
    """The rate of the lowest loss; a loss that is not a number is the highest. ``losses``: of
    rates, in one of ``TRAININGS`` trainings."""
    known: dict[int, float] = {}

    def asked(exponents: Sequence[int], at: int) -> list[float]:
        found = losses([start * STEP**e for e in exponents], at)
        return [loss if math.isfinite(loss) else math.inf for loss in found]

    todo = [-1, 0, 1]
    while todo:
        known |= zip(todo, asked(todo, 0), strict=True)
        best = min(known, key=lambda e: known[e])
        near = [e for e in (best - 1, best, best + 1) if abs(e) <= WIDEST]
        todo = [e for e in near if e not in known]
    means = np.mean([[known[e] for e in near], *(asked(near, at) for at in range(1, TRAININGS))], 0)
    return start * STEP ** near[int(np.argmin(means))]


def of_int8(runs: Runs, scheme: UpdateScheme, optimizer: Optimizer, start: float) -> float:
    """``optimizer``: its rule and steps."""

    def losses(rates: Sequence[float], at: int) -> list[float]:
        found = runs.all([Job(scheme, replace(optimizer, learning_rate=r), at) for r in rates])
        return [math.inf if outcome is None else outcome.loss for outcome in found]

    return lowest(losses, start)


def of_fp32(recipe: Recipe, digest: str, rule: Rule, start: float) -> float:
    """``recipe``: with proxies, ``digest`` theirs. All parameters train."""
    steps, graph = recipe.optimizer.steps, graph_digest(quantized(recipe).graph)

    def loss(rate: float, at: int) -> float:
        total = 0.0
        for task in recipe.proxies:
            train = begun(task.train, at)
            done = finetune_fp32(recipe.model, train, {"validation": task.validation},
                                 steps=steps, optimizer=rule, learning_rate=rate)  # fmt: skip
            total += done.after["validation"].loss
        return total / len(recipe.proxies)

    def losses(rates: Sequence[float], at: int) -> list[float]:
        parts = [at] if at else []
        return [float(kept(key_of("rate", graph, digest, rule, r, steps, *parts),
                           lambda r=r: loss(r, at))) for r in rates]  # fmt: skip

    return lowest(losses, start)
