"""Quantization-aware scaling: int8 SGD without it, with it, and the LSB-normalised step.

    python benchmarks/scaling.py [--json] [--save] [--tasks watch,addresses] [--collect]

The hand-picked scheme of each task is trained by each rule, then the same model with other numbers
in the same function: in each block the weights and biases of ``v`` and of ``q`` times powers of two
(2**-3 to 2**3, at random), ``o`` and ``k`` divided by the same. The int8 codes stay as they are and
the scales do not. Rates are chosen as in ``adaptation.py``; *same rate* is that of the model as it
was trained. Cells that are done are kept.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from adapt import rates
from adapt.cells import asked, int8, kept, key_of, seeded, show
from adapt.methods import METHODS, Method
from adapt.picks import opened
from adapt.rows import summary
from adapt.tasks import Group, Task
from torch import nn

from tinytrain.recipe import Recipe
from tinytrain.training.scheme import resolve
from tinytrain.zoo import Block

RULES = {
    "int8 SGD without QAS": "hand-picked, SGD without QAS",
    "int8 SGD with QAS": "hand-picked, SGD with QAS",
    "LSB-normalised step": "hand-picked",
}
WEIGHTS = ("as trained", "rescaled, same rate", "rescaled, rate chosen again")
OCTAVES = 3
Job = tuple[Task, str, str]


def rescaled(model: nn.Module, seed: int = 0) -> nn.Module:
    """The same function of other numbers, exactly: factors are powers of two."""
    made = copy.deepcopy(model)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for block in (m for m in made.modules() if isinstance(m, Block)):
            for up, down in ((block.v, block.o), (block.q, block.k)):
                factor = 2.0 ** int(rng.integers(1, OCTAVES + 1) * rng.choice([-1, 1]))
                up.weight.mul_(factor)
                up.bias.mul_(factor)
                down.weight.div_(factor)
                if down is block.k:
                    down.bias.div_(factor)
    return made


@lru_cache(maxsize=16)
def _model_of(model: nn.Module) -> nn.Module:
    return rescaled(model)


def with_weights(recipe: Recipe, weights: str) -> Recipe:
    return recipe if weights == WEIGHTS[0] else recipe.replace(model=_model_of(recipe.model))


def rate_of(group: Group, method: Method, weights: str) -> float:
    """Chosen on the proxies, for the weights as they were trained or as they are."""
    own = WEIGHTS[2] if weights == WEIGHTS[2] else WEIGHTS[0]
    recipe = with_weights(group.posed(), own)

    def choose() -> float:
        optimizer = method.optimizer(recipe)
        with opened(recipe.replace(optimizer=optimizer), None) as (runs, memory):
            scheme = resolve(recipe.scheme, memory.layers)
            return rates.of_int8(runs, scheme, optimizer, rates.START[method.rule])

    return float(kept(key_of("scaling rate", group.name, method.name, own), choose))


def row_key(job: Job) -> str:
    task, rule, weights = job
    return key_of("scaling", task.name, rule, weights)


def measure(job: Job) -> dict[str, Any]:
    task, rule, weights = job
    method = next(m for m in METHODS if m.name == RULES[rule])
    found, used = [], []
    for group in task.groups:
        rate = rate_of(group, method, weights)
        used.append(rate)
        for case in group.cases:
            recipe = with_weights(case.recipe(), weights)
            optimizer = replace(seeded(method.optimizer(recipe), case.seed), learning_rate=rate)
            found.append(int8(recipe, recipe.scheme, optimizer))
    return {
        "task": task.name, "rule": rule, "weights": weights, **summary(task, found),
        "learning_rate": ", ".join(f"{rate:g}" for rate in used),
    }  # fmt: skip


def main() -> None:
    tasks, options = asked(__doc__, "watch,addresses")
    jobs = [(task, rule, weights) for task in tasks for weights in WEIGHTS for rule in RULES]
    show(jobs, row_key, measure, "hand-picked schemes", options)


if __name__ == "__main__":
    main()
