"""Learning rates: of a grid of powers of two, the one with the lowest validation loss.

The grid goes on for as long as the best rate is at its edge, so that none is limited by where it
began. Only proxies are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from tinytrain.baseline import Rule, finetune_fp32
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.selection.runs import Job, Runs
from tinytrain.selection.store import graph_digest

from .cells import kept, key_of
from .tasks import quantized

STEP = 2.0
WIDEST = 8  # rates on either side of the first
START: dict[str, float] = {"lsb": 1.5, "sgd": 0.1, "sgd without": 1e4,
                           "fp32 adam": 1e-3, "fp32 sgd": 0.03}  # fmt: skip


def lowest(losses: Callable[[Sequence[float]], Sequence[float]], start: float) -> float:
    """The rate of the lowest loss; a loss that is not a number is the highest."""
    known: dict[int, float] = {}

    def ask(exponents: Sequence[int]) -> None:
        todo = [e for e in exponents if e not in known]
        for e, loss in zip(todo, losses([start * STEP**e for e in todo]), strict=True):
            known[e] = loss if math.isfinite(loss) else math.inf

    ask([-1, 0, 1])
    while True:
        best = min(known, key=lambda e: known[e])
        if abs(best) >= WIDEST or {best - 1, best + 1} <= known.keys():
            return start * STEP**best
        ask([best - 1, best + 1])


def of_int8(runs: Runs, scheme: UpdateScheme, optimizer: Optimizer, start: float) -> float:
    """``optimizer``: its rule and steps."""

    def losses(rates: Sequence[float]) -> list[float]:
        found = runs.all([Job(scheme, replace(optimizer, learning_rate=r)) for r in rates])
        return [math.inf if outcome is None else outcome.loss for outcome in found]

    return lowest(losses, start)


def of_fp32(recipe: Recipe, digest: str, rule: Rule, start: float) -> float:
    """``recipe``: with proxies, ``digest`` theirs. All parameters train."""
    steps, graph = recipe.optimizer.steps, graph_digest(quantized(recipe).graph)

    def loss(rate: float) -> float:
        total = 0.0
        for task in recipe.proxies:
            done = finetune_fp32(recipe.model, task.train, {"validation": task.validation},
                                 steps=steps, optimizer=rule, learning_rate=rate)  # fmt: skip
            total += done.after["validation"].loss
        return total / len(recipe.proxies)

    def losses(rates: Sequence[float]) -> list[float]:
        return [float(kept(key_of("rate", graph, digest, rule, r, steps), lambda r=r: loss(r)))
                for r in rates]  # fmt: skip

    return lowest(losses, start)
