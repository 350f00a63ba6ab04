"""``tinytrain plan | build | run | select | export | boards | doctor``: thin commands over the library."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import report, runner
from .boards import Board, all_boards, load_board, with_sram
from .build import build as build_firmware
from .compiler import Compiled, check_budget, compile_recipe, prepare
from .doctor import checks
from .errors import RecipeError, TinytrainError
from .export import Exporter, trained_of
from .fit import Planning
from .memory_map import map_format, write_map
from .recipe import Recipe, load_recipe
from .scheme_file import SUFFIX, read_scheme
from .selection import Settings, auto, is_auto
from .selection import select as select_scheme
from .selection.explain import explain as explain_scheme
from .selection.report import facts_of, plot_format, plot_front, print_selection
from .selection.resolve import with_file
from .session import StepResult
from .what_if import what_if

app = typer.Typer(
    help="Train small transformers in int8 on microcontrollers.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
NOT_LINKED = {"flash_bytes": None, "flash_note": "not linked: it does not fit"}
out, err = Console(), Console(stderr=True)

Source = Annotated[Path, typer.Argument(help="Python file that defines recipe()")]
BoardName = Annotated[str, typer.Option("--board", help="board; see tinytrain boards")]
Scheme = Annotated[
    str | None,
    typer.Option(help="full, head_only, bias_only, last_k:N, lora:R, lora:R+head, auto, or a "
                      "scheme file (.toml) (default: the recipe's)"),
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


@contextmanager
def progress(title: str, quiet: bool) -> Iterator[tuple[Track, Callable[[str], None]]]:
    """On stderr: a bar for anything that iterates over a sized collection, and a moving one beside
    what is said, for work whose length nobody knows."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=err, disable=quiet, transient=True) as bar:
        waiting = bar.add_task("", total=None, visible=False)
        yield (
            lambda items: bar.track(items, description=title),
            lambda text: bar.update(waiting, description=text, visible=True),
        )


@contextmanager
def stages(quiet: bool) -> Iterator[tuple[Stage, Callable[[str], None]]]:
    """On stderr: a bar for each stage of a search, a moving one beside what is said."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=err, disable=quiet, transient=True) as bar:
        waiting = bar.add_task("", total=None, visible=False)

        def stage(title: str, total: int) -> Callable[[], None]:
            task = bar.add_task(title, total=total)
            return lambda: bar.advance(task)

        yield stage, lambda text: bar.update(waiting, description=text, visible=True)


def overridden(
    source: Path, scheme: str | None, rule: str | None, weights: str | None, steps: int | None,
    seed: int | None, rate: float | None,
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
    if scheme is None or not scheme.endswith(SUFFIX):
        return recipe if scheme is None else recipe.replace(scheme=scheme)
    file = read_scheme(scheme)
    return with_file(recipe, file) if rate is None else recipe.replace(scheme=file.scheme)


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


def show(data: Any) -> None:
    print(json.dumps(data, indent=2))


@app.command()
def plan(
    source: Source, board: BoardName = "host", scheme: Scheme = None, optimizer: Rule = None,
    weights: Weights = None, steps: Steps = None, seed: Seed = None, learning_rate: Rate = None,
    recompute: Recompute = "auto", tile: Tile = "auto", planner: Planner = "auto",
    sram: SramBudget = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", help="write the memory map as .svg or .html")
    ] = None,
    layers: Annotated[bool, typer.Option(help="the quantization noise of every layer")] = False,
    compare: Annotated[
        bool, typer.Option("--what-if", help="SRAM under other schemes and ways to fit, only")
    ] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """What a training step costs on a board: SRAM by part, flash, MACs. Links the firmware."""
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    target, planning = with_sram(load_board(board), sram), planned(recompute, tile, planner)
    recipe = automatic(recipe, target, planning, json_)
    if compare:
        show_what_if(recipe, target, planning, json_)
        return
    if map_file:
        map_format(map_file)
    with progress("calibrating", json_) as (track, say):
        compiled = compile_recipe(
            recipe, target, planning=planning, progress=track, say=say, check=False
        )  # fmt: skip
    facts = compiled.facts()
    facts["fits"] = facts["sram_bytes"] <= facts["sram_budget_bytes"]
    facts |= report.flash_facts(compiled) if facts["fits"] else NOT_LINKED
    if map_file:
        write_map(compiled, map_file)
    if json_:
        show(facts | {"noise": [asdict(row) for row in compiled.quantized.report]})
    else:
        if layers:
            report.print_noise(out, compiled)
        report.print_plan(out, compiled, facts)
    check_budget(compiled)


def show_what_if(recipe: Recipe, board: Board, planning: Planning, json_: bool) -> None:
    """Plan the whole grid and print it."""
    with progress("calibrating", json_) as (track, _):
        quantized = prepare(recipe, track)
    with progress("planning", json_) as (track, _):
        cells = what_if(recipe, board, planning, quantized, track)
    if json_:
        facts: dict[str, Any] = {"model": recipe.name, "board": board.name}
        facts["sram_budget_bytes"] = board.sram_budget_bytes
        show(facts | {"cells": [asdict(cell) for cell in cells]})
    else:
        report.print_what_if(out, recipe.name, board, cells)


@app.command()
def build(
    source: Source, board: BoardName = "host",
    folder: Annotated[Path, typer.Option("--out", help="folder to write")] = Path("build/firmware"),
    scheme: Scheme = None, optimizer: Rule = None, weights: Weights = None, steps: Steps = None,
    seed: Seed = None, learning_rate: Rate = None, recompute: Recompute = "auto",
    tile: Tile = "auto", planner: Planner = "auto", sram: SramBudget = None, json_: Json = False,
) -> None:  # fmt: skip
    """Generate the C of a board, compile and link it."""
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    target, planning = with_sram(load_board(board), sram), planned(recompute, tile, planner)
    recipe = automatic(recipe, target, planning, json_)
    with progress("calibrating", json_) as (track, say):
        compiled = compile_recipe(recipe, target, planning=planning, progress=track, say=say)
    artifact = build_firmware(compiled.files, target, folder)
    facts = compiled.facts() | report.flash_facts(compiled, artifact)
    facts["path"] = str(artifact.path)
    if json_:
        show(facts)
    else:
        report.print_plan(out, compiled, facts)
        out.print(f"built {artifact.path}")


@app.command()
def run(
    source: Source,
    target: Annotated[str, typer.Option(help="numpy, host or an emulated board")] = "host",
    scheme: Scheme = None, optimizer: Rule = None, weights: Weights = None, steps: Steps = None,
    seed: Seed = None, learning_rate: Rate = None, recompute: Recompute = "auto",
    tile: Tile = "auto", planner: Planner = "auto", sram: SramBudget = None,
    limit: Annotated[int | None, typer.Option(help="samples of each test set to measure")] = None,
    lines: Annotated[Path | None, typer.Option("--jsonl", help="one JSON line a step")] = None,
    state: Annotated[
        Path | None, typer.Option("--snapshot", help="write the state after training to this file")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="write the float model's state dict with what was learned")
    ] = None,
    json_: Json = False,
) -> None:  # fmt: skip
    """Train on a target: measure, train, measure again."""
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    board = with_sram(load_board("host" if target == "numpy" else target), sram)
    planning = planned(recompute, tile, planner)
    recipe = automatic(recipe, board, planning, json_)
    with progress("calibrating", json_) as (track, say):
        compiled = compile_recipe(recipe, board, planning=planning, progress=track, say=say)
    facts = run_facts(recipe, compiled, target, limit, lines, state, export, quiet=json_)
    if json_:
        show(facts)
    else:
        report.print_run(out, facts)


def run_facts(
    recipe: Recipe, compiled: Compiled, target: str, limit: int | None = None,
    lines: Path | None = None, state: Path | None = None, export: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Open the target, train under live bars, close, give what ``run --json`` prints."""
    folder = Path("build/run") / f"{recipe.name}-{target}"
    exporter = Exporter(recipe, compiled) if export else None  # what it refuses, it refuses early
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))  # fmt: skip
    writable(lines, state, export)
    with ExitStack() as stack:
        log = stack.enter_context(lines.open("w")) if lines else None
        session, artifact = runner.open_session(compiled, target, folder)
        stack.enter_context(session)
        bar = stack.enter_context(Progress(*columns, console=err, disable=quiet))

        def watch(items: Sequence[int], title: str) -> Iterator[int]:
            task = bar.add_task(title, total=len(items), loss="")
            for item in items:
                yield item
                bar.advance(task)

        def on_step(result: StepResult) -> None:
            bar.update(bar.task_ids[-1], loss=f"loss {result.loss:.3f}")
            if log:
                log.write(json.dumps(asdict(result)) + "\n")

        steps = recipe.optimizer.steps
        done = runner.train(
            session, recipe, steps, target, limit=limit, watch=watch, on_step=on_step
        )
        if state:
            state.write_bytes(session.snapshot())
        if export and exporter:
            exporter.save(session.weights(), export)
    done.measured = runner.measurements(session, artifact)
    return {"model": recipe.name, "scheme": compiled.scheme} | done.facts(recipe.metric)


@app.command()
def select(
    source: Source, board: BoardName = "host", sram: SramBudget = None,
    path: Annotated[Path, typer.Option("--out", help="scheme file to write")] = Path("scheme.toml"),
    plot: Annotated[
        Path | None, typer.Option(help="write the Pareto front as .svg, .png or .html")
    ] = None,
    explain: Annotated[bool, typer.Option(help="why each layer is in or out")] = False,
    objective: Annotated[
        str | None, typer.Option(help="accuracy or loss (default: that of the recipe's metric)")
    ] = None,
    search: Annotated[str, typer.Option(help="cpsat or optuna")] = "cpsat",
    trials: Annotated[int, typer.Option(help="schemes that are trained at full length")] = 16,
    seconds: Annotated[float | None, typer.Option(help="no training begins later")] = None,
    contributions: Annotated[
        str, typer.Option(help="measured one by one, or the first-order estimate alone")
    ] = "measured",
    contribution_steps: Annotated[
        int | None, typer.Option(help="steps of each such run (default: a third of the recipe's)")
    ] = None,
    channels: Annotated[
        str, typer.Option(help="which train first: contribution, magnitude or random")
    ] = "contribution",
    folds: Annotated[int, typer.Option(help="parts of the adaptation samples, without proxies")] = 3,
    storage: Annotated[
        str | None, typer.Option(help="URL of the Optuna study (default: in memory)")
    ] = None,
    jobs: Annotated[int, typer.Option(help="processes; 0: one a core")] = 0,
    scheme: Scheme = None, optimizer: Rule = None, weights: Weights = None, steps: Steps = None,
    seed: Seed = None, learning_rate: Rate = None, recompute: Recompute = "auto",
    tile: Tile = "auto", planner: Planner = "auto", json_: Json = False,
) -> None:  # fmt: skip
    """Search for the scheme that is worth most within a board's SRAM; write it to a file."""
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    target, planning = with_sram(load_board(board), sram), planned(recompute, tile, planner)
    settings = Settings(objective, search, trials, contribution_steps, seconds, contributions,
                        channels, folds, storage=storage, jobs=jobs)  # type: ignore[arg-type]  # fmt: skip
    if plot:
        plot_format(plot)
    writable(path, plot)
    with progress("calibrating", json_) as (track, _):
        quantized = prepare(recipe, track)
    with stages(json_) as (stage, say):
        found = select_scheme(
            recipe, target, settings, planning, quantized, stage=stage, say=say
        )  # fmt: skip
        reasons = explain_scheme(found, say) if explain else []
    found.file.write(path)
    if plot:
        plot_front(found, plot)
    if json_:
        show(facts_of(found, reasons) | {"path": str(path)})
    else:
        print_selection(out, found, reasons)
        out.print(f"wrote {path}")


@app.command()
def export(
    source: Source,
    snapshot: Annotated[Path, typer.Argument(help="state of a session (run --snapshot)")],
    path: Annotated[Path, typer.Option("--out", help="file to write")] = Path("learned.pt"),
    scheme: Scheme = None, optimizer: Rule = None, weights: Weights = None,
    learning_rate: Rate = None, json_: Json = False,
) -> None:  # fmt: skip
    """Write what a session learned into the float model: a state dict for torch.load."""
    recipe = overridden(source, scheme, optimizer, weights, None, None, learning_rate)
    plain = Planning("off", "off", "heuristic")
    with progress("calibrating", json_) as (track, _):
        compiled = compile_recipe(
            recipe, load_board("host"), planning=plain, progress=track, check=False
        )  # fmt: skip
    trained = trained_of(compiled, snapshot)
    exporter = Exporter(recipe, compiled)
    writable(path)
    changed = exporter.save(trained, path)
    if json_:
        show({"model": recipe.name, "scheme": compiled.scheme, "path": str(path),
              "changed": changed})  # fmt: skip
    else:
        out.print(f"wrote {path}: {len(changed)} tensors changed: {', '.join(changed)}")


@app.command()
def boards(json_: Json = False) -> None:
    """The boards there are."""
    found = all_boards()
    if json_:
        show([asdict(b) for b in found])
    else:
        report.print_boards(out, found)


@app.command()
def doctor(json_: Json = False) -> None:
    """What is installed, and what each missing thing would enable."""
    found = checks()
    if json_:
        show([asdict(c) for c in found])
    else:
        report.print_checks(out, found)


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr and exit code 2."""
    try:
        app()
    except TinytrainError as error:
        err.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        err.print(str(error), markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
