"""``tinytrain plan | build | run | export | boards | doctor``, and those of ``board_cli`` and
``select_cli``: thin commands over the library."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..boards import Board, all_boards, load_board, with_sram
from ..compiler import Compiled, check_budget, compile_recipe, prepare
from ..deploy import footprint, project
from ..deploy.float_model import Exporter, trained_of
from ..deploy.snapshot import write_snapshot
from ..errors import RecipeError, TinytrainError
from ..planning.fit import Planning
from ..recipe import Recipe, scheme_name
from ..reports import tables as report
from ..reports.all_boards import across
from ..reports.memory_map import map_format, write_map
from ..reports.what_if import what_if
from ..sessions import runner
from ..sessions.serial_session import SerialSession
from ..sessions.session import StepResult
from ..support import check
from ..support.folder import folder_name
from . import board as board_cli
from . import select as select_cli
from .doctor import checks, print_checks
from .options import (
    BoardName,
    Json,
    Planner,
    Rate,
    Recompute,
    Rule,
    Schemes,
    Seed,
    Source,
    SramBudget,
    Steps,
    Tile,
    Weights,
    automatic,
    err,
    out,
    overridden,
    plain_warnings,
    planned,
    progress,
    show,
    told,
    writable,
    writing,
)

app = typer.Typer(
    help="Train small transformers in int8 on microcontrollers.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
NOT_LINKED = {"flash_bytes": None, "flash_note": "not linked: it does not fit"}


@app.command()
def plan(
    source: Source, board: BoardName = "host", scheme: Schemes = None, optimizer: Rule = None,
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
    everywhere: Annotated[
        bool, typer.Option("--all-boards", help="on which boards it fits, only")
    ] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """What a training step costs on a board: SRAM by part, flash, MACs. Links the firmware."""
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    target, planning = with_sram(load_board(board), sram), planned(recompute, tile, planner)
    if not everywhere:
        recipe = automatic(recipe, target, planning, json_)
    if everywhere:
        if sram is not None or compare or map_file or layers:
            raise RecipeError("--all-boards goes without --sram, --what-if, --map and --layers")
        show_across(recipe, planning, json_)
        return
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
    facts |= footprint.flash_facts(compiled) if facts["fits"] else NOT_LINKED
    if map_file:
        write_map(compiled, map_file)
    if json_:
        show(facts | {"noise": [asdict(row) for row in compiled.quantized.report]})
    else:
        if layers:
            report.print_noise(out, compiled)
        report.print_plan(out, compiled, facts)
    check_budget(compiled)


def show_across(recipe: Recipe, planning: Planning, json_: bool) -> None:
    """Plan and link for every board but the host, whose memory is no limit."""
    boards = [board for board in all_boards() if not board.is_host]
    with progress("calibrating", json_) as (track, _):
        quantized = prepare(recipe, track)
    with progress("planning and linking", json_) as (track, _):
        found = across(recipe, boards, quantized, planning, track)
    scheme = ", ".join(map(scheme_name, recipe.schemes))
    if json_:
        show({"model": recipe.name, "scheme": scheme, "boards": [asdict(v) for v in found]})
    else:
        report.print_across(out, recipe.name, scheme, found)


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
    folder: Annotated[
        Path | None, typer.Option("--out", help="folder to write (default: build/ and the form)")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(help="firmware, project (PlatformIO) or library (default: by the board)"),
    ] = None,
    framework: Annotated[
        str | None, typer.Option(help="of a project: none, arduino or espidf (default: by board)")
    ] = None,
    scheme: Schemes = None, optimizer: Rule = None, weights: Weights = None, steps: Steps = None,
    seed: Seed = None, learning_rate: Rate = None, recompute: Recompute = "auto",
    tile: Tile = "auto", planner: Planner = "auto", sram: SramBudget = None, json_: Json = False,
) -> None:  # fmt: skip
    """Generate the C of a board and link it; a PlatformIO project for boards that it knows, or a
    library for a firmware of your own."""
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    target, planning = with_sram(load_board(board), sram), planned(recompute, tile, planner)
    form = project.form_of(target, form, framework)
    check.folder("--out", folder or Path("build") / form)
    recipe = automatic(recipe, target, planning, json_)
    with progress("calibrating", json_) as (track, say):
        compiled = compile_recipe(recipe, target, planning=planning, progress=track, say=say)
    facts, kept = project.write_form(
        compiled, form, framework, source.name, folder or Path("build") / form
    )
    if json_:
        show(facts)
        return
    report.print_plan(out, compiled, facts)
    for name in kept:
        out.print(f"left as you changed it: {name}")
    out.print(f"built {facts['path']}")


@app.command()
def run(
    source: Source,
    target: Annotated[str, typer.Option(help="numpy, host or an emulated board")] = "host",
    scheme: Schemes = None, optimizer: Rule = None, weights: Weights = None, steps: Steps = None,
    seed: Seed = None, learning_rate: Rate = None, recompute: Recompute = "auto",
    tile: Tile = "auto", planner: Planner = "auto", sram: SramBudget = None,
    port: Annotated[
        str | None,
        typer.Option(help="serial port of the board that runs this model; auto: look for it"),
    ] = None,
    use: Annotated[str | None, typer.Option(help="of several schemes the one that trains")] = None,
    probe: Annotated[
        int | None, typer.Option(help="samples that the target looks at to choose a scheme itself")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="samples of each test set to measure")] = None,
    lines: Annotated[Path | None, typer.Option("--jsonl", help="one JSON line a step")] = None,
    state: Annotated[
        Path | None, typer.Option("--snapshot", help="write the state after training to this file")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="write the float model's state dict with what was learned")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--save-on-device", help="the board keeps what it learned in its flash")
    ] = False,
    flash: Annotated[
        Path | None, typer.Option(help="file for the flash of an emulated board")
    ] = None,
    json_: Json = False,
) -> None:  # fmt: skip
    """Train on a target: measure, train, measure again."""
    if keep and port is None and flash is None:
        raise RecipeError(
            "--save-on-device needs a board with flash: name its --port, or with --flash the file "
            "for that of an emulated board; elsewhere --snapshot keeps the state"
        )
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    runner.check_run(recipe, limit, probe)
    board = with_sram(load_board("host" if target == "numpy" else target), sram)
    planning = planned(recompute, tile, planner)
    recipe = automatic(recipe, board, planning, json_)
    with progress("calibrating", json_) as (track, say):
        compiled = compile_recipe(recipe, board, planning=planning, progress=track, say=say)
    url = board_cli.chosen_port(port, board) if port else None
    facts = run_facts(
        recipe, compiled, target, limit, lines, state, export, url, json_, keep, flash, use, probe
    )
    if json_:
        show(facts)
    else:
        report.print_run(out, facts)


def run_facts(
    recipe: Recipe, compiled: Compiled, target: str, limit: int | None = None,
    lines: Path | None = None, state: Path | None = None, export: Path | None = None,
    port: str | None = None, quiet: bool = False, keep: bool = False, flash: Path | None = None,
    use: str | None = None, probe: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Open the target, train under live bars, close, give what ``run --json`` prints."""
    folder = Path("build/run") / f"{folder_name(recipe.name)}-{target}"
    exporter = Exporter(recipe, compiled) if export else None  # what it refuses, it refuses early
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))  # fmt: skip
    writable(lines, state, export)
    with ExitStack() as stack:
        # Without a buffer, which a full disk would leave full for the file's close to fail on.
        log = stack.enter_context(lines.open("wb", buffering=0)) if lines else None
        session, artifact = runner.open_session(compiled, target, folder, port, flash)
        stack.enter_context(session)
        device = session if keep and isinstance(session, SerialSession) else None
        if device:
            device.expect_room()
        bar = stack.enter_context(Progress(*columns, console=err, disable=quiet))

        def watch(items: Sequence[int], title: str) -> Iterator[int]:
            task = bar.add_task(title, total=len(items), loss="")
            for item in items:
                yield item
                bar.advance(task)

        def on_step(result: StepResult) -> None:
            bar.update(bar.task_ids[-1], loss=f"loss {result.loss:.3f}")
            if log:
                with writing(lines):
                    log.write((json.dumps(asdict(result)) + "\n").encode())

        choice = runner.choose(session, recipe, use, probe, watch)
        steps = recipe.optimizer.steps
        done = runner.train(
            session, recipe, steps, target, limit=limit, watch=watch, on_step=on_step
        )
        if state:
            write_snapshot(compiled, session.snapshot(), state)
        if export and exporter:
            learned = session.weights()
            with writing(export):
                exporter.save(learned, export)
        kept = device.save() if device else {}
    done.measured = runner.measurements(session, artifact)
    if isinstance(session, SerialSession):
        done.measured |= {"kept_at_start": session.facts.get("kept", "none"),
                          "step_at_start": session.facts["step"]}  # fmt: skip
    if kept:
        done.measured |= {"kept_step": kept["step"], "kept_bytes": kept["bytes"]}
    facts = {"model": recipe.name, "scheme": choice.scheme if choice else use or compiled.scheme}
    return facts | done.facts(recipe.metric) | ({"choice": asdict(choice)} if choice else {})


@app.command()
def export(
    source: Source,
    snapshot: Annotated[Path, typer.Argument(help="state of a session (run --snapshot)")],
    path: Annotated[Path, typer.Option("--out", help="file to write")] = Path("learned.pt"),
    scheme: Schemes = None, optimizer: Rule = None, weights: Weights = None,
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
    with writing(path):
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
        print_checks(out, found)


for _command in (select_cli.select, board_cli.init, board_cli.flash, board_cli.monitor,
                 board_cli.forget):  # fmt: skip
    app.command()(_command)


def _kind(error: Exception) -> str:
    """The first name of an error's classes that is public."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next(name for name in names if not name.startswith("_"))


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr and exit code 2."""
    try:
        with plain_warnings():
            app()
    except (TinytrainError, OSError) as error:
        err.print(f"[bold red]{_kind(error)}[/]: ", end="")
        err.print(told(error), markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
