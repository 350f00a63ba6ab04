"""Work over processes: they have the recipe and its int8 model by fork."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from ..quantize import Quantized
from ..recipe import Proxy, Recipe

WATCH_PARENT_S = 2.0
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Context:
    """What all work is about. ``recipe`` has no float model where the work is done."""

    recipe: Recipe
    quantized: Quantized
    tasks: tuple[Proxy, ...]


class Pool:
    """``jobs``: processes, 0 for one a core. A context manager; with one job or without fork,
    everything runs in this process."""

    def __init__(self, context: Context, jobs: int = 0) -> None:
        from torch import nn  # workers have the quantized model; the recipe's stays here

        self.context = Context(
            context.recipe.replace(model=nn.Identity()), context.quantized, context.tasks
        )  # fmt: skip
        self.jobs = jobs or os.cpu_count() or 1
        self._workers: ProcessPoolExecutor | None = None

    def results(
        self, work: Callable[[Context, Item], Result], items: Sequence[Item],
        end: float | None = None,
    ) -> Iterator[tuple[int, Result]]:  # fmt: skip
        """(index, result) of each item as it is done; ``work`` is a function of a module. Nothing
        begins after ``end`` (``time.monotonic``), so that no more is in hand than can run."""
        running: dict[Future[Result], int] = {}
        waiting = iter(range(len(items)))
        while True:
            while len(running) < self.jobs and (end is None or time.monotonic() < end):
                i = next(waiting, None)
                if i is None:
                    break
                if self._workers is None:
                    yield i, work(self.context, items[i])
                else:
                    running[self._workers.submit(_in_worker, work, items[i])] = i
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()

    def __enter__(self) -> Pool:
        if self.jobs > 1 and "fork" in multiprocessing.get_all_start_methods():
            method = multiprocessing.get_context("fork")
            self._workers = ProcessPoolExecutor(
                self.jobs, method, _begin, (os.getpid(), self.context)
            )  # fmt: skip
            self._workers.submit(os.getpid).result()  # forks now, before other threads begin
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers.shutdown(cancel_futures=True)
            self._workers = None


_context: Context | None = None


def _begin(parent: int, context: Context) -> None:
    """In a worker. It ends when its parent is gone, however that ended."""
    global _context
    _context = context

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_PARENT_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_worker(work: Callable[[Context, Item], Result], item: Item) -> Result:
    assert _context is not None
    return work(_context, item)
