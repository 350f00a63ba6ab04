"""Short int8 trainings of schemes in the host emulator, over processes, each kept on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..boards import load_board
from ..compiler import compile_recipe
from ..planning.fit import Planning
from ..recipe import Optimizer, UpdateScheme
from ..sessions.host_session import HostSession
from ..sessions.session import Evaluation
from ..toolchain.build import build
from ..training.scheme import layers_of, selections
from .pool import Context, Pool
from .proxy import digest_of
from .settings import Objective
from .store import Store, graph_digest, key_of

PLAIN = Planning("off", "off", "heuristic")  # the emulator has room; the bits are the same
TRAININGS = 3  # of the same that are told apart


@dataclass(frozen=True)
class Job:
    """A scheme and the optimizer, with its steps, that it is trained with on every task. None: the
    model as it was before. ``at``: which of several trainings of the same; each has its own
    rounding and begins at another sample."""

    scheme: UpdateScheme | None
    optimizer: Optimizer
    at: int = 0


@dataclass(frozen=True)
class Outcome:
    """Validation of each task after training."""

    found: tuple[Evaluation, ...]

    def score(self, objective: Objective) -> float:
        """Higher is better: accuracy in [0, 1] or minus the loss in nats, mean over the tasks."""
        return sum(value(e, objective) for e in self.found) / len(self.found)

    @property
    def loss(self) -> float:
        return -self.score("loss")


def mean(outcomes: Sequence[Outcome]) -> Outcome:
    """Of trainings of the same: its scores are their means."""
    return Outcome(tuple(found for outcome in outcomes for found in outcome.found))


def value(found: Evaluation, objective: Objective) -> float:
    return found.accuracy if objective == "accuracy" else -found.loss


class Runs:
    """Trains schemes on the tasks. ``started``: trainings that were not known yet."""

    def __init__(self, pool: Pool, store: Store) -> None:
        self.pool, self.store = pool, store
        self.started = 0

    @cached_property
    def digest(self) -> str:
        """Of the int8 model, its calibration samples and the tasks."""
        context = self.pool.context
        samples = [sample.tobytes() for sample in context.quantized.samples]
        return key_of("runs", graph_digest(context.quantized.graph), samples,
                      digest_of(context.tasks), context.recipe.loss)  # fmt: skip

    def key(self, job: Job) -> str:
        if job.scheme is None:
            return key_of("run", self.digest)
        chosen = selections(job.scheme, layers_of(self.pool.context.quantized.graph))
        return key_of("run", self.digest, chosen, job.optimizer, *([job.at] if job.at else []))

    def known(self, job: Job) -> Outcome | None:
        """From the store."""
        data = self.store.get(self.key(job))
        return None if data is None else Outcome(tuple(Evaluation(**e) for e in data))

    def all(
        self, jobs: Sequence[Job], end: float | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> list[Outcome | None]:  # fmt: skip
        """The outcomes in the order of ``jobs``; ``done`` is called after each. None for those that
        had not begun at ``end`` (``time.monotonic``)."""
        found = [self.known(job) for job in jobs]
        for outcome in found:
            if outcome is not None:
                done()
        todo = [i for i, outcome in enumerate(found) if outcome is None]
        for at, outcome in self.pool.results(trained, [jobs[i] for i in todo], end):
            i = todo[at]
            found[i] = outcome
            self.started += 1
            self.store.put(self.key(jobs[i]), [asdict(e) for e in outcome.found])
            done()
        return found


def begun_at(at: int, samples: int, steps: int) -> npt.NDArray[np.int64]:
    """Indices of the samples in the order of one of the trainings: round and round."""
    return (np.arange(steps) + at * samples // TRAININGS) % samples


def trained(context: Context, job: Job) -> Outcome:
    """Train on each task from the model as it was, and validate."""
    optimizer, board = job.optimizer, load_board("host")
    optimizer = replace(optimizer, seed=(optimizer.seed + job.at) % 2**32)
    made = context.recipe.replace(scheme=job.scheme or "bias_only", optimizer=optimizer)
    compiled = compile_recipe(made, board, context.quantized, check=False, planning=PLAIN)
    found = []
    with tempfile.TemporaryDirectory(prefix="tinytrain-") as folder:
        library = build(compiled.files, board, Path(folder) / "host").path
        for task in context.tasks:
            with HostSession(library, compiled.codec) as session:
                order = begun_at(job.at, len(task.train), optimizer.steps if job.scheme else 0)
                session.steps(task.train.x[order], task.train.y[order])
                found.append(session.evaluate(task.validation.x, task.validation.y))
    return Outcome(tuple(found))
