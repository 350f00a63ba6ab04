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

import common
from adapt import rates
from adapt.cells import int8, kept, kept_rows, key_of, seeded
from adapt.picks import opened
from adapt.rows import summary
from adapt.tasks import Group, Task, chosen
from rich.console import Console
from rich.progress import track

from tinytrain.recipe import UpdateScheme
from tinytrain.selection import Settings
from tinytrain.selection.analysis import first_look
from tinytrain.selection.options import Option, full, scheme_of
from tinytrain.selection.settings import Channels

SHARES = (0.125, 0.25, 0.5)
KINDS: tuple[Channels, ...] = get_args(Channels)
Job = tuple[Task, float, Channels]


@lru_cache(maxsize=16)
def scheme_for(group: Group, share: float, kind: Channels, seed: int) -> UpdateScheme:
    """``seed``: of a random order."""
    with opened(group.posed(), None) as (runs, memory):
        layers = memory.layers
        settings = Settings(channels=kind, seed=seed)
        _, order, _ = first_look(group.posed(), runs, layers, settings)
    choice = {part.name: Option(max(1, round(share * part.outputs)), bias=True) for part in layers}
    choice[layers[-1].name] = full(layers[-1])
    return scheme_of(choice, layers, order, f"{share:g} of the channels")


def rate_of(group: Group, share: float, kind: Channels) -> float:
    def choose() -> float:
        recipe = group.posed()
        scheme = scheme_for(group, share, kind, seed=0)
        with opened(recipe, None) as (runs, _):
            return rates.of_int8(runs, scheme, recipe.optimizer, rates.START["lsb"])

    return float(kept(key_of("channels rate", group.name, share, kind), choose))


def measure(job: Job) -> dict[str, Any]:
    task, share, kind = job
    found, used = [], []
    for group in task.groups:
        rate = rate_of(group, share, kind)
        used.append(rate)
        for at, case in enumerate(group.cases, 1):
            recipe = case.recipe()
            scheme = scheme_for(group, share, kind, at if kind == "random" else 0)
            optimizer = replace(seeded(recipe.optimizer, case.seed), learning_rate=rate)
            found.append(int8(recipe, scheme, optimizer))
    return {
        "task": task.name, "share": share, "channels": kind, **summary(task, found),
        "learning_rate": ", ".join(f"{rate:g}" for rate in used),
    }  # fmt: skip


def row_key(job: Job) -> str:
    task, share, kind = job
    return key_of("channels", task.name, share, kind)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--tasks", default="watch,turned,addresses", help="parts of names")
    parser.add_argument("--collect", action="store_true", help="measure nothing")
    options = parser.parse_args()
    tasks = chosen(options.tasks.split(","))
    jobs = [(task, share, kind) for task in tasks for share in SHARES for kind in KINDS]
    if not options.collect:
        for job in track(jobs, "training", console=Console(stderr=True)):
            kept(row_key(job), lambda job=job: measure(job))
    title = "a share of the channels of every layer, all of the head"
    common.finish(kept_rows(map(row_key, jobs)), title, options)


if __name__ == "__main__":
    main()
