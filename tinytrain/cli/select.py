"""``tinytrain select``: the scheme that is worth most within a board's SRAM, written to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..boards import load_board, with_sram
from ..compiler import prepare
from ..selection import Settings
from ..selection import select as search_scheme
from ..selection.explain import explain as explained
from ..selection.report import facts_of, plot_format, plot_front, print_selection
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
    named_schemes,
    out,
    overridden,
    planned,
    progress,
    show,
    stages,
    writable,
)


def select(
    source: Source, board: BoardName = "host", sram: SramBudget = None,
    path: Annotated[Path, typer.Option("--out", help="scheme file to write")] = Path("scheme.toml"),
    plot: Annotated[
        Path | None, typer.Option(help="write the Pareto front as .svg, .png or .html")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="a scheme that is tried as well: a file, such as that of a smaller "
                     "budget, or a name; several may be given"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="why each layer is in or out")] = False,
    objective: Annotated[
        str, typer.Option(help="loss or accuracy, on the validation samples")
    ] = "loss",
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
    ] = "magnitude",
    folds: Annotated[int, typer.Option(help="parts of the adaptation samples, if no proxies")] = 3,
    storage: Annotated[
        str | None, typer.Option(help="URL of the Optuna study (default: in memory)")
    ] = None,
    count: Annotated[
        bool, typer.Option("--count", help="count the instructions of steps in the emulator")
    ] = False,
    jobs: Annotated[int, typer.Option(help="processes; 0: one a core")] = 0,
    scheme: Schemes = None, optimizer: Rule = None, weights: Weights = None, steps: Steps = None,
    seed: Seed = None, learning_rate: Rate = None, recompute: Recompute = "auto",
    tile: Tile = "auto", planner: Planner = "auto", json_: Json = False,
) -> None:  # fmt: skip
    """Search for the scheme that is worth most within a board's SRAM; write it to a file."""
    recipe = overridden(source, scheme, optimizer, weights, steps, seed, learning_rate)
    target, planning = with_sram(load_board(board), sram), planned(recompute, tile, planner)
    settings = Settings(
        objective, search, trials, contribution_steps, seconds, contributions,  # type: ignore[arg-type]
        channels, folds, storage=storage, jobs=jobs, count=count,  # type: ignore[arg-type]
    )  # fmt: skip
    if plot:
        plot_format(plot)
    others = named_schemes(also or [])
    with progress("calibrating", json_) as (track, _):
        quantized = prepare(recipe, track)
    with stages(json_) as (stage, say):
        found = search_scheme(
            recipe, target, settings, planning, quantized, stage=stage, say=say, also=others
        )  # fmt: skip
        reasons = explained(found, say) if explain else []
    writable(path, plot)
    found.file.write(path)
    if plot:
        plot_front(found, plot)
    if json_:
        show(facts_of(found, reasons) | {"path": str(path)})
    else:
        print_selection(out, found, reasons)
        out.print(f"wrote {path}")
