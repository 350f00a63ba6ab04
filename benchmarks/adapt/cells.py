"""What is measured once and kept: one training from the model as it was, tested on a case."""

from __future__ import annotations

import hashlib
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import common
import numpy as np
from rich.console import Console
from rich.progress import track

from tinytrain.baseline import Rule, finetune_fp32
from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe
from tinytrain.datasets import cache_root
from tinytrain.datasets.common import fingerprint
from tinytrain.recipe import Dataset, Optimizer, Recipe, UpdateScheme
from tinytrain.selection.runs import PLAIN, begun_at
from tinytrain.selection.store import Store, graph_digest
from tinytrain.sessions import runner
from tinytrain.sessions.session import Evaluation
from tinytrain.training.scheme import layers_of, selections

from .tasks import Task, chosen, quantized

FORMAT = 1  # raise it when what a setting means changes
SCHEMES = 5  # raise it when other schemes fit a budget, or are selected
Kind = Literal["int8", "fp32"]
Job = TypeVar("Job")


def store() -> Store:
    return Store(cache_root() / "adaptation")


def key_of(*parts: object) -> str:
    text = "\n".join(map(str, (FORMAT, *parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def kept(key: str, make: Callable[[], Any]) -> Any:
    """From the store, or made now and stored."""
    shelf = store()
    found = shelf.get(key)
    if found is None:
        found = make()
        shelf.put(key, found)
    return found


def asked(description: str | None, tasks: str) -> tuple[list[Task], Namespace]:
    """The tasks that a script is asked for, ``tasks`` unless any, and its options."""
    parser = common.parser(description)
    parser.add_argument("--tasks", default=tasks, help="parts of names, between commas")
    parser.add_argument("--collect", action="store_true", help="measure nothing")
    options = parser.parse_args()
    return chosen(options.tasks.split(",")), options


def show(
    jobs: Sequence[Job], key: Callable[[Job], str], measure: Callable[[Job], Any], title: str,
    options: Namespace,
) -> None:  # fmt: skip
    """Measure a row for each job, if ``options.collect`` is not set, and show what is kept."""
    if not options.collect:
        for job in track(jobs, "training", console=Console(stderr=True)):
            kept(key(job), lambda job=job: measure(job))
    rows = [row for job in jobs if (row := store().get(key(job))) is not None]
    common.finish(rows, title, options)


@dataclass(frozen=True)
class Tested:
    """Of the first test set and of the second: what the model is for now, and what it was for."""

    target: Evaluation
    source: Evaluation

    @classmethod
    def together(cls, parts: Sequence[Tested]) -> Tested:
        """Of several trainings, tested on the same."""
        return cls(*(_together([getattr(p, name) for p in parts]) for name in ("target", "source")))

    @classmethod
    def of(cls, found: dict[str, Evaluation]) -> Tested:
        return cls(*list(found.values())[:2])

    @classmethod
    def read(cls, data: Any) -> Tested:
        return cls(*(Evaluation(**data[name]) for name in ("target", "source")))


def _together(parts: Sequence[Evaluation]) -> Evaluation:
    return Evaluation(
        sum(p.loss for p in parts) / len(parts),
        sum(p.correct for p in parts),
        sum(p.count for p in parts),
    )


def begun(data: Dataset, at: int) -> Dataset:
    """The stream of one of several trainings: it begins at another sample."""
    order = begun_at(at, len(data), len(data))
    return Dataset(data.x[order], data.y[order]) if at else data


def data_digest(recipe: Recipe) -> str:
    parts = [recipe.train, *recipe.tests.values()]
    return fingerprint(*(array for part in parts for array in (part.x, part.y)))


def int8(recipe: Recipe, scheme: UpdateScheme | None, optimizer: Optimizer) -> Tested:
    """Trained in the host emulator on the recipe's stream; None trains nothing."""
    model = quantized(recipe)
    what = selections(scheme, layers_of(model.graph)) if scheme else None
    key = key_of("int8", graph_digest(model.graph), data_digest(recipe), what,
                 optimizer if what else None)  # fmt: skip

    def run() -> Any:
        made = recipe.replace(scheme=scheme or "bias_only", optimizer=optimizer)
        board = load_board("host")
        compiled = compile_recipe(made, board, model, check=False, planning=PLAIN)
        with tempfile.TemporaryDirectory(prefix="tinytrain-") as folder:
            session, _ = runner.open_session(compiled, "host", Path(folder) / "host")
            with session:
                order = np.arange(optimizer.steps if scheme else 0) % len(recipe.train)
                session.steps(recipe.train.x[order], recipe.train.y[order])
                found = runner.evaluate(session, recipe.tests)
        return asdict(Tested.of(found))

    return Tested.read(kept(key, run))


def fp32(recipe: Recipe, rule: Rule, rate: float) -> Tested:
    """All parameters in PyTorch, on the same stream."""
    steps = recipe.optimizer.steps
    key = key_of("fp32", graph_digest(quantized(recipe).graph), data_digest(recipe), rule, rate,
                 steps)  # fmt: skip

    def run() -> Any:
        done = finetune_fp32(recipe.model, recipe.train, recipe.tests, steps=steps, optimizer=rule,
                             learning_rate=rate)  # fmt: skip
        return asdict(Tested.of(done.after))

    return Tested.read(kept(key, run))


def seeded(optimizer: Optimizer, seed: int) -> Optimizer:
    """With the rounding of a case."""
    return replace(optimizer, seed=seed)
