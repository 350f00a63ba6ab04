"""Which channels of a layer train: those that contribute most, the largest, or random ones.

    python benchmarks/channels.py [--json] [--save] [--tasks watch,turned,addresses] [--collect]

A share of the output channels of every layer trains, with their biases, and all of the head; this
needs the same memory whichever channels these are. *Contribution*: the first-order estimate on the
validation tasks, as ``tinytrain select`` has it. *Magnitude*: the sum of the absolute weights.
*Random*: others for each case. Rates are chosen as in ``adaptation.py``, for each share and kind.
Cells that are done are kept.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, get_args

import numpy as np
from adapt import rates
from adapt.cells import asked, int8, kept, key_of, seeded, show
from adapt.picks import opened
from adapt.rows import summary
from adapt.tasks import Group, Task

from tinytrain.recipe import UpdateScheme
from tinytrain.selection import Settings
from tinytrain.selection.analysis import first_look
from tinytrain.selection.options import PARTS, scheme_of, spread
from tinytrain.selection.runs import Job
from tinytrain.selection.settings import Channels

KINDS: tuple[Channels, ...] = get_args(Channels)
Asked = tuple[Task, float, Channels]


@lru_cache(maxsize=16)
def scheme_for(group: Group, share: float, kind: Channels, seed: int) -> UpdateScheme:
    """``seed``: of a random order."""
    with opened(group.posed(), None) as (runs, memory):
        layers = memory.layers
        settings = Settings(channels=kind, seed=seed)
        _, order, _ = first_look(group.posed(), runs, layers, settings)
    return scheme_of(spread(layers, share), layers, order, f"{share:g} of all + head")


def rate_of(group: Group, share: float, kind: Channels) -> tuple[float, float]:
    """The rate with the lowest validation loss, and that loss in nats."""

    def choose() -> tuple[float, float]:
        recipe = group.posed()
        scheme = scheme_for(group, share, kind, seed=0)
        with opened(recipe, None) as (runs, _):
            rate = rates.of_int8(runs, scheme, recipe.optimizer, rates.START["lsb"])
            outcome = runs.known(Job(scheme, replace(recipe.optimizer, learning_rate=rate)))
        assert outcome is not None
        return rate, outcome.loss

    rate, loss = kept(key_of("channels rate", group.name, share, kind, "loss"), choose)
    return rate, loss


def measure(job: Asked) -> dict[str, Any]:
    task, share, kind = job
    found, used, losses = [], [], []
    for group in task.groups:
        rate, loss = rate_of(group, share, kind)
        used.append(rate)
        losses.append(loss)
        for at, case in enumerate(group.cases, 1):
            recipe = case.recipe()
            scheme = scheme_for(group, share, kind, at if kind == "random" else 0)
            optimizer = replace(seeded(recipe.optimizer, case.seed), learning_rate=rate)
            found.append(int8(recipe, scheme, optimizer))
    return {
        "task": task.name, "share": share, "channels": kind,
        "validation_loss": float(np.mean(losses)), **summary(task, found),
        "learning_rate": ", ".join(f"{rate:g}" for rate in used),
    }  # fmt: skip


def row_key(job: Asked) -> str:
    task, share, kind = job
    return key_of("channels", task.name, share, kind, "loss")


def main() -> None:
    tasks, options = asked(__doc__, "watch,turned,addresses")
    jobs = [(task, share, kind) for task in tasks for share in PARTS for kind in KINDS]
    title = "a share of the channels of every layer, all of the head"
    show(jobs, row_key, measure, title, options)


if __name__ == "__main__":
    main()
