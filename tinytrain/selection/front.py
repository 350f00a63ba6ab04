"""Schemes that were really trained, and which of them no other one beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..recipe import UpdateScheme
from .memory import Memory, Need
from .options import Choice
from .runs import Outcome, value
from .settings import Objective


@dataclass(frozen=True)
class Candidate:
    """``name``: where it comes from; ``memory``: that it is planned in; ``outcome``: of validation
    after ``trainings`` runs of full length, which differ in rounding and order; ``settled``:
    whether rates on both sides of its own were tried as often."""

    name: str
    scheme: UpdateScheme
    choice: Choice
    need: Need
    memory: Memory
    outcome: Outcome
    learning_rate: float
    trainings: int = 1
    settled: bool = False

    def score(self, objective: Objective) -> float:
        return self.outcome.score(objective)

    def spread(self, objective: Objective) -> float:
        """Standard deviation of the score over the trainings, 0 for one."""
        found = np.array([value(e, objective) for e in self.outcome.found])
        return float(found.reshape(self.trainings, -1).mean(axis=1).std())

    def rank(self, objective: Objective) -> tuple[float, float, int]:
        """The better the larger: score, then loss, then memory."""
        return self.score(objective), -self.outcome.loss, -self.need.sram_bytes

    def facts(self, objective: Objective) -> dict[str, Any]:
        return {
            "name": self.name, "score": self.score(objective),
            "score_spread": self.spread(objective), "loss": self.outcome.loss,
            "accuracy": self.outcome.score("accuracy"), "sram_bytes": self.need.sram_bytes,
            "macs_per_step": self.need.macs,
            "instructions_per_step": self.need.instructions, "learning_rate": self.learning_rate,
            "trained_parameters": self.need.trained_parameters, "trainings": self.trainings,
        }  # fmt: skip


def replanned(
    found: Sequence[Candidate], plan: Callable[[Memory, list[UpdateScheme]], list[Need]]
) -> list[Candidate]:
    """These with other plans, each for the memory that it is planned in."""
    needs: dict[int, Need] = {}
    for memory in {id(c.memory): c.memory for c in found}.values():
        own = [c for c in found if c.memory is memory]
        made = plan(memory, [c.scheme for c in own])
        needs |= {id(c): need for c, need in zip(own, made, strict=True)}
    return [replace(c, need=needs[id(c)]) for c in found]


def pareto(found: Sequence[Candidate], objective: Objective) -> list[Candidate]:
    """Those that no other one beats in score, SRAM and work at once, by rising SRAM."""

    def key(c: Candidate) -> tuple[float, int, int]:
        return -c.score(objective), c.need.sram_bytes, c.need.work

    keys = [key(c) for c in found]
    best = [
        c
        for i, c in enumerate(found)
        if not any(
            all(a <= b for a, b in zip(other, keys[i], strict=True)) and (other != keys[i] or j < i)
            for j, other in enumerate(keys)
            if j != i
        )
    ]
    return sorted(best, key=lambda c: (c.need.sram_bytes, key(c)))
