"""Short int8 trainings of schemes in the host emulator, over processes, each kept on disk."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from ..boards import load_board
from ..build import build
from ..compiler import compile_recipe
from ..emulator import HostSession
from ..fit import Planning
from ..quantize import Quantized
from ..recipe import Optimizer, Proxy, Recipe, UpdateScheme
from ..select import layers_of, selections
from ..session import Evaluation
from .proxy import digest_of
from .settings import Objective
from .store import Store, graph_digest, key_of

PLAIN = Planning("off", "off", "heuristic")  # the emulator has room; the bits are the same
WATCH_PARENT_S = 2.0


@dataclass(frozen=True)
class Job:
    """A scheme and the optimizer, with its steps, that it is trained with on every task. None: the
    model as it was before."""

    scheme: UpdateScheme | None
    optimizer: Optimizer


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


def value(found: Evaluation, objective: Objective) -> float:
    return found.accuracy if objective == "accuracy" else -found.loss


class Runs:
    """Trains schemes on the tasks. ``jobs``: processes. ``started``: trainings that were not known
    yet. Use it as a context manager; without fork, everything runs in this process."""

    def __init__(
        self, recipe: Recipe, quantized: Quantized, tasks: tuple[Proxy, ...], store: Store,
        jobs: int = 0,
    ) -> None:  # fmt: skip
        self.recipe, self.quantized, self.tasks, self.store = recipe, quantized, tasks, store
        self.jobs = jobs or os.cpu_count() or 1
        self.started = 0
        self._pool: ProcessPoolExecutor | None = None

    @cached_property
    def digest(self) -> str:
        """Of the int8 model, its calibration samples and the tasks."""
        samples = [sample.tobytes() for sample in self.quantized.samples]
        return key_of("runs", graph_digest(self.quantized.graph), samples, digest_of(self.tasks),
                      self.recipe.loss)  # fmt: skip

    def key(self, job: Job) -> str:
        chosen: object = None
        if job.scheme is not None:
            chosen = selections(job.scheme, layers_of(self.quantized.graph))
        optimizer = job.optimizer if job.scheme is not None else None
        return key_of("run", self.digest, chosen, optimizer)

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
        for i, outcome in self._trained(jobs, todo, end):
            found[i] = outcome
            self.started += 1
            self.store.put(self.key(jobs[i]), [asdict(e) for e in outcome.found])
            done()
        return found

    def _trained(
        self, jobs: Sequence[Job], todo: list[int], end: float | None
    ) -> Iterator[tuple[int, Outcome]]:
        """As they are done; never more in hand than there are processes, so that ``end`` holds."""
        running: dict[Future[Outcome], int] = {}
        waiting = iter(todo)
        while True:
            while len(running) < self.jobs and (end is None or time.monotonic() < end):
                i = next(waiting, None)
                if i is None:
                    break
                if self._pool is None:
                    yield i, trained(self.recipe, self.quantized, self.tasks, jobs[i])
                else:
                    running[self._pool.submit(_in_worker, jobs[i])] = i
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()

    def __enter__(self) -> Runs:
        if self.jobs > 1 and "fork" in multiprocessing.get_all_start_methods():
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(
                self.jobs, context, _begin,
                (os.getpid(), self.recipe.replace(model=None), self.quantized, self.tasks),
            )  # fmt: skip
            self._pool.submit(os.getpid).result()  # forks now, before other threads begin
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


_context: tuple[Recipe, Quantized, tuple[Proxy, ...]] | None = None


def _begin(parent: int, recipe: Recipe, quantized: Quantized, tasks: tuple[Proxy, ...]) -> None:
    """In a worker. It ends when its parent is gone, however that ended."""
    global _context
    _context = recipe, quantized, tasks

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_PARENT_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_worker(job: Job) -> Outcome:
    assert _context is not None
    return trained(*_context, job)


def trained(recipe: Recipe, quantized: Quantized, tasks: Sequence[Proxy], job: Job) -> Outcome:
    """Train on each task from the model as it was, and validate."""
    optimizer, board = job.optimizer, load_board("host")
    made = recipe.replace(scheme=job.scheme or "bias_only", optimizer=optimizer)
    compiled = compile_recipe(made, board, quantized, check=False, planning=PLAIN)
    found = []
    with tempfile.TemporaryDirectory(prefix="tinytrain-") as folder:
        library = build(compiled.files, board, Path(folder) / "host").path
        for task in tasks:
            with HostSession(library, compiled.codec) as session:
                for step in range(optimizer.steps if job.scheme else 0):
                    at = step % len(task.train)
                    session.step(task.train.x[at], task.train.y[at])
                found.append(session.evaluate(task.validation.x, task.validation.y))
    return Outcome(tuple(found))
