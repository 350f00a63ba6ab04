"""What is learned within a budget: selected schemes beside others, int8 in C beside fp32.

    python benchmarks/adaptation.py [--json] [--save] [--tasks watch] [--budgets 131072,262144]
                                    [--methods selected,last] [--count] [--collect]

Rates, and the selected schemes, are chosen by the loss on a validation split that holds no test
sample of what is reported (``adapt/tasks.py`` says which); the grid of rates is the same for all,
powers of two around a first guess, and goes on while the best is at its edge. Steps are those of
the examples, for every method. int8 rows run in the host emulator, whose bits are the firmware's.

A cell that is done is kept in the cache, so that a run that was stopped goes on, and several may
run at once. ``--count`` also emulates each row's firmware for two steps: instructions, and the SRAM
that was measured. ``--collect`` measures nothing and shows what is kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import common
from adapt.methods import BUDGETS, METHODS, Method, named
from adapt.rows import count, known, measure
from adapt.tasks import Task, chosen
from rich.console import Console
from rich.progress import Progress

from tinytrain.errors import DataError

KB = 1024
SHOWN = ("task", "method", "sram_budget_bytes", "metric", "target_mean", "target_std",
         "source_after", "sram_bytes", "trained_parameters", "instructions_per_step",
         "seeds")  # fmt: skip
Job = tuple[Task, Method, int | None]


def jobs_of(tasks: Sequence[Task], methods: Sequence[Method], budgets: Sequence[int]) -> list[Job]:
    """Every row, in the order in which they are measured."""
    found: dict[tuple[str, str, int | None], Job] = {}
    for budget in budgets:
        for task in tasks:
            for method in methods:
                at = budget if method.schemes or method.selected else None
                found.setdefault((task.name, method.name, at), (task, method, at))
    return list(found.values())


def run(jobs: Sequence[Job], counting: bool) -> None:
    with Progress(console=Console(stderr=True)) as bar:
        for task, method, budget in bar.track(jobs):
            size = f", {budget // KB} KB" if budget else ""
            bar.console.print(f"{task.name}: {method.name}{size}", highlight=False)
            try:
                measure(task, method, budget)
                if counting:
                    count(task, method, budget)
            except DataError as error:
                bar.console.print(f"left out: {error}", markup=False)


def rows_of(jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
    """What is kept, by task and budget."""
    order = [method.name for method in METHODS]
    for task, method, budget in sorted(
        jobs, key=lambda j: (j[0].name, j[2] or 0, order.index(j[1].name))
    ):
        if (row := known(task, method, budget)) is not None:
            yield row


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--tasks", type=_words, default=[], help="parts of names, between commas")
    parser.add_argument("--methods", type=_words, default=[], help="parts of names")
    parser.add_argument("--budgets", type=_numbers, default=BUDGETS, help="bytes, between commas")
    parser.add_argument("--count", action="store_true", help="emulate each row's firmware as well")
    parser.add_argument("--collect", action="store_true", help="measure nothing")
    options = parser.parse_args()
    jobs = jobs_of(chosen(options.tasks), named(options.methods), options.budgets)
    if not options.collect:
        run(jobs, options.count)
    rows = list(rows_of(jobs))
    if not rows:
        sys.exit("nothing is kept for these tasks, methods and budgets")
    common.finish(rows, f"{len(rows)} of {len(jobs)} rows", options, SHOWN)


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: give bytes between commas") from error


if __name__ == "__main__":
    main()
