"""What the commands share: options, consoles, progress bars, what the options make of a recipe."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..boards import Board
from ..compiler.samples import InputWarning
from ..errors import RecipeError
from ..planning.fit import Planning
from ..recipe import Recipe, UpdateScheme, load_recipe
from ..selection import auto, is_auto
from ..selection.resolve import with_file
from ..training.scheme_file import SUFFIX, read_scheme

out, err = Console(), Console(stderr=True)

Source = Annotated[Path, typer.Argument(help="Python file that defines recipe()")]
BoardName = Annotated[str, typer.Option("--board", help="board; see tinytrain boards")]
Schemes = Annotated[
    list[str] | None,
    typer.Option("--scheme", help="full, head_only, bias_only, last_k:N, last_layers:N, lora:R, "
                 "lora:R+head, auto, or a scheme file (.toml); several: the firmware holds all "
                 "(default: the recipe's)"),
]  # fmt: skip
Rule = Annotated[str | None, typer.Option("--optimizer", help="lsb, sgd or sgd-noqas")]
Weights = Annotated[str | None, typer.Option(help="storage of trained weights: int8 or int16")]
Steps = Annotated[int | None, typer.Option(help="training steps (default: the recipe's)")]
Seed = Annotated[int | None, typer.Option(help="seed of the stochastic rounding")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="see docs/numerics.md")]
Recompute = Annotated[
    str, typer.Option(help="make forward values again: off, auto (when it must fit) or min-memory")
]
Planner = Annotated[
    str, typer.Option(help="addresses: heuristic, auto (some seconds of solver) or exact (longer)")
]
Tile = Annotated[str, typer.Option(help="loops over rows, attention by heads: auto or off")]
SramBudget = Annotated[
    int | None, typer.Option("--sram", help="bytes of SRAM that may be used (default: the board's)")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, nothing else")]

Track = Callable[[Iterable[Any]], Iterable[Any]]
Stage = Callable[[str, int], Callable[[], None]]


def _bars(quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    return Progress(*columns, console=err, disable=quiet, transient=True)


@contextmanager
def progress(title: str, quiet: bool) -> Iterator[tuple[Track, Callable[[str], None]]]:
    """On stderr: a bar for anything that iterates over a sized collection, and a moving one beside
    what is said, for work whose length nobody knows."""
    with _bars(quiet) as bar:
        waiting = bar.add_task("", total=None, visible=False)
        yield (
            lambda items: bar.track(items, description=title),
            lambda text: bar.update(waiting, description=text, visible=True),
        )


@contextmanager
def stages(quiet: bool) -> Iterator[tuple[Stage, Callable[[str], None]]]:
    """On stderr: a bar for each stage of a search, a moving one beside what is said."""
    with _bars(quiet) as bar:
        waiting = bar.add_task("", total=None, visible=False)

        def stage(title: str, total: int) -> Callable[[], None]:
            task = bar.add_task(title, total=total)
            return lambda: bar.advance(task)

        yield stage, lambda text: bar.update(waiting, description=text, visible=True)


def overridden(
    source: Path, schemes: Sequence[str] | None, rule: str | None, weights: str | None,
    steps: int | None, seed: int | None, rate: float | None,
) -> Recipe:  # fmt: skip
    """The recipe with what the command line says otherwise. Raises RecipeError."""
    recipe = load_recipe(source)
    changes: dict[str, Any] = {}
    if rule is not None:
        if rule not in ("lsb", "sgd", "sgd-noqas"):
            raise RecipeError(f"--optimizer {rule}: use lsb, sgd or sgd-noqas")
        changes |= {"rule": rule.partition("-")[0], "qas": rule != "sgd-noqas"}
        if rate is None and changes["rule"] != recipe.optimizer.rule:
            raise RecipeError(
                f"--optimizer {rule} needs --learning-rate: the recipe's "
                f"{recipe.optimizer.learning_rate:g} is for {recipe.optimizer.rule}"
            )
    if weights is not None:
        if weights not in ("int8", "int16"):
            raise RecipeError(f"--weights {weights}: use int8 or int16")
        changes["weights"] = weights
    for name, value in (("steps", steps), ("seed", seed), ("learning_rate", rate)):
        if value is not None:
            if value < 0 or (name == "steps" and value < 1):
                raise RecipeError(f"--{name.replace('_', '-')} {value}: must be positive")
            changes[name] = value
    recipe = recipe.replace(optimizer=replace(recipe.optimizer, **changes))
    return with_schemes(recipe, schemes, rate is None) if schemes else recipe


def named_schemes(names: Sequence[str]) -> list[UpdateScheme | str]:
    """Schemes by name; what a file holds is called as the file is."""
    return [
        replace(read_scheme(name).scheme, name=Path(name).stem) if name.endswith(SUFFIX) else name
        for name in names
    ]


def with_schemes(recipe: Recipe, names: Sequence[str], rated: bool) -> Recipe:
    """The recipe with schemes by name or by file; if ``rated``, with the first file's rate."""
    files = {name: read_scheme(name) for name in names if name.endswith(SUFFIX)}
    first, *others = (files[name].scheme if name in files else name for name in names)
    recipe = recipe.replace(scheme=first, alternatives=tuple(others))
    return with_file(recipe, files[names[0]]) if rated and names[0] in files else recipe


def automatic(recipe: Recipe, board: Board, planning: Planning, quiet: bool) -> Recipe:
    """The recipe; where its scheme is ``auto``, with the one that is selected for the board."""
    if not is_auto(recipe):
        return recipe
    with stages(quiet) as (stage, say):
        return auto(recipe, board, planning=planning, stage=stage, say=say)


def planned(recompute: str, tile: str, planner: str) -> Planning:
    """Raises RecipeError for a word that is not known."""
    return Planning(recompute, tile, planner)  # type: ignore[arg-type]


def writable(*paths: Path | None) -> None:
    """Make the files that are absent. Raises RecipeError for one that cannot be written."""
    for path in paths:
        try:
            if path is not None:
                path.open("ab").close()
        except OSError as error:
            raise RecipeError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def writing(path: Path | None) -> Iterator[None]:
    """Raises RecipeError, with the path, where what is written inside does not reach the disk."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save raises the second
        why = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise RecipeError(f"{path}: cannot be written: {why}") from error


def told(error: Exception) -> str:
    """An error as one message; of the system's with the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings about the user's samples on stderr as sentences, without a place in this package."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show_one(
            message: Warning | str, category: type[Warning], *rest: Any, **more: Any
        ) -> None:
            if not issubclass(category, InputWarning):
                others(message, category, *rest, **more)
                return
            err.print("[bold yellow]warning[/]: ", end="")
            err.print(str(message), markup=False, highlight=False)

        warnings.showwarning = show_one
        yield


def show(data: Any) -> None:
    print(json.dumps(data, indent=2))
