"""What a search should choose by: does accuracy or the loss tell more about accuracy elsewhere?

    python benchmarks/objective.py [--json] [--save] [--tasks watch,fashion,digits] [--collect]

A pool of schemes, with three learning rates each, is trained on the validation tasks of
``adaptation.py``. Each objective ranks the pool by one half of the validation; in the other half,
after another training of the same, it is seen what accuracy this promised. Halves are of the people
where there are several, otherwise of the samples; the mean is over all ways to halve. No test
sample is looked at. Cells that are done are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from adapt.cells import asked, key_of, show
from adapt.picks import opened
from adapt.tasks import Group, Task

from tinytrain.recipe import Dataset, Proxy, UpdateScheme
from tinytrain.selection.estimate import spearman
from tinytrain.selection.options import PARTS, full, options_of, scheme_of, spread
from tinytrain.selection.runs import Job, value
from tinytrain.selection.settings import Objective
from tinytrain.selection.trials import RATES
from tinytrain.training.scheme import Layer, bias_only, head_only, last_layers, lora

RANDOM = 6
OBJECTIVES: tuple[Objective, ...] = ("accuracy", "loss")
Asked = tuple[Task, Objective]
Table = npt.NDArray[np.float64]


def pool(layers: Sequence[Layer]) -> Iterator[UpdateScheme]:
    """Standard schemes, and some that take at random what a layer may train."""
    order = {layer.name: range(layer.outputs) for layer in layers}
    yield from (head_only(layers), bias_only(layers))
    yield from (last_layers(layers, part * len(layers) // 4) for part in (1, 2, 3))
    yield from (lora(layers, rank, head=True) for rank in (4, 16))
    yield from (scheme_of(spread(layers, s), layers, order, f"{s:g} of all") for s in PARTS)
    rng = np.random.default_rng(0)
    for at in range(RANDOM):
        choice = {layers[-1].name: full(layers[-1])}
        density = rng.uniform(0.3, 0.9)
        for layer in layers[:-1]:
            options = options_of(layer, head=False)[1:]
            if rng.random() < density:
                choice[layer.name] = options[rng.integers(len(options))]
        yield scheme_of(choice, layers, order, f"random {at}")


def halved(proxies: Sequence[Proxy]) -> tuple[Proxy, ...]:
    """At least two: one is cut into every other sample to validate."""
    if len(proxies) > 1:
        return tuple(proxies)
    (one,) = proxies
    part = one.validation
    return tuple(Proxy(one.train, Dataset(part.x[at::2], part.y[at::2])) for at in (0, 1))


def trained(group: Group, objective: Objective) -> tuple[Table, Table]:
    """``[pool, proxy]``: the objective after one training, the accuracy after another."""
    recipe = group.posed()
    recipe = recipe.replace(proxies=halved(recipe.proxies))
    base = recipe.optimizer
    with opened(recipe, None) as (runs, memory):
        jobs = [
            Job(scheme, replace(base, learning_rate=factor * base.learning_rate), at)
            for at in (0, 1)
            for scheme in pool(memory.layers)
            for factor in RATES
        ]
        found = [outcome.found for outcome in runs.all(jobs) if outcome is not None]
    first, second = found[: len(found) // 2], found[len(found) // 2 :]
    score = [[value(e, objective) for e in row] for row in first]
    return np.array(score), np.array([[e.accuracy for e in row] for row in second])


def measure(job: Asked) -> dict[str, Any]:
    task, objective = job
    rank, taken, best = [], [], []
    for group in task.groups:
        score, accuracy = trained(group, objective)
        count = score.shape[1]
        for half in combinations(range(count), count // 2):
            other = [at for at in range(count) if at not in half]
            known, promised = score[:, half].mean(axis=1), accuracy[:, other].mean(axis=1)
            rank.append(spearman(known.tolist(), promised.tolist()))
            taken.append(promised[np.argmax(known)])
            best.append(promised.max())
    return {
        "task": task.name, "objective": objective, "rank_correlation": float(np.mean(rank)),
        "accuracy_of_choice": float(np.mean(taken)), "accuracy_of_best": float(np.mean(best)),
    }  # fmt: skip


def main() -> None:
    tasks, options = asked(__doc__, "watch,fashion,digits")
    jobs = [(task, objective) for task in tasks for objective in OBJECTIVES]
    show(jobs, lambda job: key_of("objective", job[0].name, job[1]), measure,
         "ranked by half of the validation, accuracy in the other half", options)  # fmt: skip


if __name__ == "__main__":
    main()
