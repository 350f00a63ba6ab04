"""Train a compiled recipe on a target and measure it: what command line, demo and tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..boards import load_board
from ..compiler import Compiled
from ..errors import BoardError, RecipeError
from ..recipe import Dataset, Recipe
from ..toolchain.build import Artifact, arena_section, build
from .numpy_session import numpy_session
from .serial_session import SerialSession
from .session import Choice, Evaluation, Session, StepResult

Watch = Callable[[Sequence[int], str], Iterable[int]]
WINDOW = 20  # steps that loss_first and loss_last average


def unwatched(items: Sequence[int], title: str) -> Iterable[int]:
    """No progress bar."""
    return items


@dataclass
class Run:
    """A finished run. ``before`` and ``after``: one evaluation a test set."""

    target: str
    losses: list[float]
    before: dict[str, Evaluation]
    after: dict[str, Evaluation]
    weights_sha256: str
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def loss_first(self) -> float:
        head = self.losses[:WINDOW]
        return sum(head) / max(1, len(head))

    @property
    def loss_last(self) -> float:
        tail = self.losses[-WINDOW:]
        return sum(tail) / max(1, len(tail))

    def facts(self, metric: str) -> dict[str, Any]:
        """What ``run --json`` prints."""
        return {
            "target": self.target, "steps": len(self.losses), "metric": metric,
            "loss_first": self.loss_first, "loss_last": self.loss_last,
            "before": {k: known(v, metric) for k, v in self.before.items()},
            "after": {k: known(v, metric) for k, v in self.after.items()},
            "weights_sha256": self.weights_sha256, **self.measured,
        }  # fmt: skip


def metric_of(found: Evaluation, metric: str) -> float:
    """The recipe's metric of an evaluation: accuracy in [0, 1], or bits a token."""
    return found.accuracy if metric == "accuracy" else found.bits


def known(found: Evaluation, metric: str) -> float | None:
    """``metric_of``, or None where nothing was measured."""
    return metric_of(found, metric) if found.count else None


def check_run(recipe: Recipe, limit: int | None = None, probe: int | None = None) -> None:
    """Raises RecipeError for a run that has nothing to train on, measure or look at."""
    if len(recipe.train) == 0:
        raise RecipeError(f"recipe {recipe.name}: train is empty; give at least one sample")
    for option, value in (("--limit", limit), ("--probe", probe)):
        if value is not None and value < 1:
            raise RecipeError(f"{option} {value}: must be positive")


def open_session(
    compiled: Compiled, target: str, out: Path, port: str | None = None, flash: Path | None = None
) -> tuple[Session, Artifact | None]:
    """A session on ``numpy``, ``host`` or an emulated board; builds what it needs in ``out``. With
    a serial ``port``, on the board behind it, which runs this model already. ``flash``: a file for
    the flash of an emulated board.

    Raises ToolchainError without a compiler or emulator, BoardError for an unknown target,
    LinkError when nothing, or another model, answers on the port.
    """
    if flash and (port is not None or load_board(target if target != "numpy" else "host").is_host):
        raise BoardError(
            "--flash is for an emulated board: a real one has its own, the host has none"
        )
    if port is not None:
        baud = compiled.board.uart.baud if compiled.board.uart else 115200
        return SerialSession(port, compiled.codec, baud=baud, model_hash=compiled.model_hash), None
    if target == "numpy":
        return numpy_session(compiled), None
    board = load_board(target)
    artifact = build(compiled.files, board, out)
    if target == "host":
        from .host_session import HostSession

        return HostSession(artifact.path, compiled.codec), artifact
    from .qemu_session import QemuSession

    return QemuSession(board, artifact, compiled.codec, flash=flash), artifact


def spread(data: Dataset, limit: int | None) -> list[int]:
    """Indices of at most ``limit`` samples, evenly over the data set."""
    count = len(data) if limit is None else min(limit, len(data))
    return [i * len(data) // count for i in range(count)]


def evaluate(
    session: Session, tests: dict[str, Dataset], limit: int | None = None, watch: Watch = unwatched,
    when: str = "measuring",
) -> dict[str, Evaluation]:  # fmt: skip
    """Score every test set, or ``limit`` samples of each."""
    found = {}
    for name, data in tests.items():
        chosen = spread(data, limit)
        xs = (data.x[i] for i in watch(chosen, f"{when}: {name}"))
        found[name] = session.evaluate(xs, (data.y[i] for i in chosen))
    return found


def choose(
    session: Session, recipe: Recipe, use: str | None = None, probe: int | None = None,
    watch: Watch = unwatched,
) -> Choice | None:  # fmt: skip
    """Of several schemes take ``use``, or what the target chooses after it has looked at the first
    ``probe`` samples of the stream. Raises RecipeError, and what sessions raise."""
    if use is not None and probe is not None:
        raise RecipeError("--use and --probe: name a scheme, or let the target choose")
    check_run(recipe, probe=probe)
    if use is not None:
        session.use(use)
    if probe is None:
        return None
    for i in watch(range(probe), "looking at samples"):
        at = i % len(recipe.train)
        session.probe(recipe.train.x[at], recipe.train.y[at])
    return session.choose()


def train(
    session: Session, recipe: Recipe, steps: int, target: str, *, limit: int | None = None,
    watch: Watch = unwatched, on_step: Callable[[StepResult], None] | None = None,
) -> Run:  # fmt: skip
    """Measure, train ``steps`` steps over the recipe's stream, measure again. ``limit``: samples
    of each test set that count (None: all); ``watch`` sees every loop, for progress bars."""
    check_run(recipe, limit)
    before = evaluate(session, recipe.tests, limit, watch, "before")
    losses: list[float] = []
    for i in watch(range(steps), f"{recipe.name} on {target}"):
        at = i % len(recipe.train)
        result = session.step(recipe.train.x[at], recipe.train.y[at])
        losses.append(result.loss)
        if on_step:
            on_step(result)
    after = evaluate(session, recipe.tests, limit, watch, "after")
    return Run(target, losses, before, after, session.weights_sha256())


def emulated(compiled: Compiled, data: Dataset, steps: int) -> dict[str, Any]:
    """``measurements`` of some steps on the emulated board that they are compiled for; the
    instructions are the last one's, as the first may only measure gradients.

    Raises ToolchainError without a compiler or emulator."""
    from .qemu_session import QemuSession

    with tempfile.TemporaryDirectory(prefix="tinytrain-") as folder:
        artifact = build(compiled.files, compiled.board, Path(folder) / compiled.board.name)
        session = QemuSession(compiled.board, artifact, compiled.codec, timeout_s=300.0)
        with session:
            for i in range(steps):
                session.step(data.x[i % len(data)], data.y[i % len(data)])
    found = measurements(session, artifact)
    return found | {"instructions_per_step": session.instructions_per_step[-1]}


def measurements(session: Session, artifact: Artifact | None) -> dict[str, Any]:
    """After ``close``: what an emulated board measured, and the SRAM that was really used."""
    used = getattr(session, "stack_used_bytes", None)
    if artifact is None or used is None:
        return {}
    counts = getattr(session, "instructions_per_step", [])
    static = artifact.sections.get(".data", 0) + artifact.sections.get(".bss", 0)
    return {
        "instructions_per_step": round(sum(counts) / len(counts)) if counts else None,
        "stack_used_bytes": used,
        "sram_measured_bytes": static + used,
        "regions_measured_bytes": {
            memory.name: artifact.sections[arena_section(memory)]
            for memory in artifact.board.beside
        },
    }
