"""What the tests of selection share: a toy, random choices, trainings with invented outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import toys

from tinytrain.boards import load_board, with_sram
from tinytrain.planning.fit import Planning
from tinytrain.recipe import Optimizer
from tinytrain.selection.memory import Memory
from tinytrain.selection.options import BIAS, NOTHING, Option, options_of
from tinytrain.selection.pool import Context, Pool
from tinytrain.selection.proxy import tasks_of
from tinytrain.selection.runs import Job, Outcome
from tinytrain.selection.store import Store
from tinytrain.sessions.session import Evaluation
from tinytrain.training.scheme import selections

PLAIN = Planning("off", "off", "heuristic")
SHORT = Optimizer("lsb", 2.0, steps=6)
LAYERS = toys.layers("sensor")
ORDER = {layer.name: range(layer.outputs) for layer in LAYERS}
OPTIONS = {layer.name: options_of(layer, layer is LAYERS[-1]) for layer in LAYERS}


def random_choice(rng: np.random.Generator) -> dict[str, Option]:
    found = {}
    for name, options in OPTIONS.items():
        option = options[rng.integers(len(options))]
        if option != NOTHING and rng.random() < 0.5:
            found[name] = option
    return found or {LAYERS[-1].name: BIAS}


def pool(jobs: int = 1, **changes: Any) -> Pool:
    recipe = toys.recipe("sensor", "auto", SHORT).replace(**changes)
    return Pool(Context(recipe, toys.quantized("sensor"), tasks_of(recipe, 3)), jobs)


def memory(tmp_path: Path, budget: int = 20_000) -> Memory:
    board = with_sram(load_board("host"), budget)
    return Memory(pool(), board, PLAIN, Store(tmp_path), ORDER)


def invented_outcome(context: Context, job: Job) -> Outcome:
    """A loss that falls with every layer that trains, most with the early ones."""
    loss, correct = 2.0, 2
    if job.scheme is not None:
        for s in selections(job.scheme, LAYERS):
            at = [layer.name for layer in LAYERS].index(s.layer)
            loss -= (0.3 if s.layer == "head" else 0.1 / (1 + at)) * (1 if s.weight else 0.5)
        correct += round(20 * (2.0 - loss))
    return Outcome(tuple(Evaluation(loss, correct, 20) for _ in context.tasks))
