"""A row of the table: a method on a task within a budget, over all cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinytrain.sessions.runner import emulated, metric_of
from tinytrain.training.scheme import layers_of, selections

from .cells import SCHEMES, Tested, begun, fp32, int8, kept, key_of, seeded, store
from .methods import Method
from .picks import Pick, pick, planned
from .tasks import Case, Group, Task, quantized

STEPS = 2  # that are emulated


def row_key(task: Task, method: Method, budget: int | None) -> str:
    return key_of("row", task.name, method.name, budget, [g.name for g in task.groups], SCHEMES)


def counted_key(task: Task, method: Method, budget: int | None) -> str:
    return key_of("built", row_key(task, method, budget))


def known(task: Task, method: Method, budget: int | None) -> dict[str, Any] | None:
    """A row that was measured before, with instructions if these were."""
    row: dict[str, Any] | None = store().get(row_key(task, method, budget))
    if row is not None:
        row |= store().get(counted_key(task, method, budget)) or {}
    return row


def measure(task: Task, method: Method, budget: int | None) -> None:
    """Choose, train and test; what was done before is not done again."""
    kept(row_key(task, method, budget), lambda: _measured(task, method, budget))


def _measured(task: Task, method: Method, budget: int | None) -> dict[str, Any]:
    picks = [(group, pick(method, group, budget)) for group in task.groups]
    row: dict[str, Any] = {
        "task": task.name, "method": method.name, "sram_budget_bytes": budget,
        **summary(task, []), "sram_bytes": None, "trained_parameters": None,
        "instructions_per_step": None,
    }  # fmt: skip
    if not all(found.fits for _, found in picks):
        return row
    metric = task.groups[0].posed().metric
    tested = {c.name: _tested(c, method, p) for g, p in picks for c in g.cases}
    sizes = [found.sram_bytes for _, found in picks if found.sram_bytes is not None]
    return row | summary(task, list(tested.values())) | {
        "sram_bytes": max(sizes, default=None),
        "trained_parameters": round(np.mean([p.trained_parameters or 0 for _, p in picks])),
        "learning_rate": [p.learning_rate for _, p in picks],
        "scheme": [p.scheme.name if p.scheme else None for _, p in picks],
        "cases": {name: metric_of(t.target, metric) for name, t in tested.items()},
    }  # fmt: skip


def summary(task: Task, tested: Sequence[Tested]) -> dict[str, Any]:
    """The columns of what cases of a task came to; empty without any."""
    metric = task.groups[0].posed().metric
    target = [metric_of(t.target, metric) for t in tested]
    source = [metric_of(t.source, metric) for t in tested]
    return {
        "metric": "accuracy" if metric == "accuracy" else "bits",
        "target_mean": float(np.mean(target)) if tested else None,
        "target_std": float(np.std(target)) if tested else None,
        "source_after": float(np.mean(source)) if tested else None,
        "seeds": len(tested),
    }


def _tested(case: Case, method: Method, found: Pick) -> Tested:
    count = case.trainings if found.trained_parameters else 1
    return Tested.together([_once(case, at, method, found) for at in range(count)])


def _once(case: Case, at: int, method: Method, found: Pick) -> Tested:
    recipe = case.recipe()
    recipe = recipe.replace(train=begun(recipe.train, at))
    if method.fp32:
        return fp32(recipe, method.fp32, found.learning_rate or 0.0)
    optimizer = seeded(method.optimizer(recipe), case.seed + at)
    if found.learning_rate is not None:
        optimizer = replace(optimizer, learning_rate=found.learning_rate)
    return int8(recipe, found.scheme, optimizer)


def count(task: Task, method: Method, budget: int | None) -> None:
    """Instructions of the row's steps on the emulated board, and SRAM, as it is built."""
    if budget is not None and (row := known(task, method, budget)) and row["sram_bytes"]:
        kept(counted_key(task, method, budget), lambda: _counted(task, method, budget))


def _counted(task: Task, method: Method, budget: int) -> dict[str, Any]:
    found = [_emulated(task, group, method, budget) for group in task.groups]
    return {
        "sram_bytes": max(f["sram_bytes"] for f in found),
        "instructions_per_step": round(np.mean([f["instructions_per_step"] for f in found])),
        "sram_measured_bytes": max(f["sram_measured_bytes"] for f in found),
        "difference_bytes": max((f["difference"] for f in found), key=abs),
    }


def _emulated(task: Task, group: Group, method: Method, budget: int) -> dict[str, Any]:
    """What depends on shapes alone is measured once for all groups. ``difference``: measured SRAM
    less that which was planned, both without the stack."""
    found = pick(method, group, budget)
    assert found.scheme is not None
    recipe = group.posed()
    what = selections(found.scheme, layers_of(quantized(recipe).graph))

    def run() -> dict[str, Any]:
        compiled = planned(method, group, budget, found)
        seen = emulated(compiled, recipe.train, STEPS)
        static = seen["sram_measured_bytes"] - seen["stack_used_bytes"]
        expected = compiled.sram.sram_bytes - compiled.sram.stack_bytes
        return seen | {
            "sram_bytes": compiled.sram.sram_bytes, "difference": static - expected
        }  # fmt: skip

    key = key_of("built", task.name, what, method.optimizer(recipe).rule, budget)
    return dict(kept(key, run))
