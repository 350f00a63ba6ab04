"""Tables and pages: plans, runs, learning curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..boards import Board
from ..compiler import Compiled
from ..deploy.footprint import sram_parts
from ..support.picture import pyplot, rendered
from ..support.templates import environment
from .all_boards import Verdict
from .memory_map import section
from .what_if import Cell


def print_plan(console: Console, compiled: Compiled, facts: Mapping[str, Any]) -> None:
    table = Table(title=f"{facts['model']} on {facts['board']}, scheme {facts['scheme']}, "
                        f"{facts['optimizer']}, {facts['weights']} weights")  # fmt: skip
    table.add_column("SRAM")
    table.add_column("bytes", justify="right")
    for title, size in sram_parts(facts):
        table.add_row(title, f"{size:,}")
    table.add_section()
    fits = "fits" if facts["sram_bytes"] <= facts["sram_budget_bytes"] else "DOES NOT FIT"
    table.add_row("total", f"{facts['sram_bytes']:,}")
    table.add_row(f"budget ({fits})", f"{facts['sram_budget_bytes']:,}")
    if facts["regions"] or facts["psram_bytes"]:
        table.add_section()
    for memory in facts["regions"]:
        title = f"arena in {memory['name']} (of {memory['capacity_bytes']:,})"
        table.add_row(title, f"{memory['arena_bytes']:,}")
    if facts["psram_bytes"]:
        title = f"frozen weights in PSRAM (of {facts['psram_capacity_bytes']:,})"
        table.add_row(title, f"{facts['psram_bytes']:,}")
    console.print(table)
    flash = facts.get("flash_bytes")
    console.print(
        f"{arena_text(facts)}; "
        f"flash {f'{flash:,} bytes' if flash else facts.get('flash_note', 'unknown')} "
        f"(of it model constants {facts['model_const_bytes']:,}){stack_text(facts)}"
    )
    adapters = facts["adapter_parameters"]
    of = f" of {compiled.largest.scheme}" if len(facts["schemes"]) > 1 else ""
    console.print(
        f"{facts['parameters']:,} parameters, {facts['trained_parameters']:,} trained"
        f"{f' ({adapters:,} of adapters)' if adapters else ''}; "
        f"MACs a step{of}: forward {facts['macs_forward']:,}, backward {facts['macs_backward']:,}"
        f"{fitting_text(facts)}"
    )
    if len(facts["schemes"]) > 1:
        print_schemes(console, compiled, facts)
    report = sorted(compiled.quantized.report, key=lambda row: row.sqnr_db)[:3]
    worst = ", ".join(f"{row.layer or row.op} {row.sqnr_db:.1f} dB" for row in report)
    console.print(f"lowest signal-to-quantization-noise ratios: {worst}")


def stack_text(facts: Mapping[str, Any]) -> str:
    """What of the reserved stack is ever used, where the firmware was linked."""
    most = facts.get("stack_most_bytes")
    return f"; at most {most:,} bytes of stack are used" if most else ""


def print_schemes(console: Console, compiled: Compiled, facts: Mapping[str, Any]) -> None:
    """What each scheme of a firmware needs, and what it costs to hold them all."""
    table = Table(title=f"{len(facts['schemes'])} schemes over one arena; it begins with the first")
    table.add_column("scheme")
    code = "code_bytes" in facts["schemes"][0]
    titles = ["arena", "weights, optimizer", "SRAM alone", "trained", "MACs a step"]
    for title in (*titles, *(["code"] if code else [])):
        table.add_column(title, justify="right")
    keys = ["arena_bytes", "state_bytes", "alone_bytes", "trained_parameters", "macs"]
    for row in facts["schemes"]:
        cells = (row[key] for key in (*keys, *(["code_bytes"] if code else [])))
        table.add_row(escape(row["scheme"]), *(f"{n:,}" for n in cells))
    console.print(table)
    chooser = facts.get("chooser_code_bytes")
    console.print(
        f"beyond the largest alone: {compiled.others_bytes:,} bytes of SRAM"
        f"{f'; code that chooses: {chooser:,} bytes' if chooser else ''}"
    )


def fitting_text(facts: Mapping[str, Any]) -> str:
    """What was done for the step to fit, and the MACs that it costs."""
    again, count = facts["macs_recomputed"], len(facts["recomputed"])
    plain = facts["macs_forward"] + facts["macs_backward"] - again
    found = f", {again:,} of them ({again / plain:.0%} more) to make {count} values again"
    loops = "; loops over rows and attention by heads" if facts["tiled"] else ""
    return (found if count else "") + loops


def arena_text(facts: Mapping[str, Any]) -> str:
    """How good the addresses are: against the largest sum of live bytes, and what is proved."""
    bound, gap = facts["arena_lower_bound_bytes"], facts["arena_gap_bytes"]
    whole = facts["arena_bytes"] + sum(memory["arena_bytes"] for memory in facts["regions"])
    proof = f"at most {gap:,} bytes too many" if gap else facts["arena_proof"]
    return f"arena / lower bound {whole / max(1, bound):.3f} ({bound:,} bytes; {proof})"


def print_noise(console: Console, compiled: Compiled) -> None:
    """The quantization report, one line a layer."""
    table = Table(title="signal-to-quantization-noise ratio, calibration samples")
    for title in ("layer", "operator", "SQNR dB", "saturated"):
        table.add_column(title, justify="left" if title in ("layer", "operator") else "right")
    for row in compiled.quantized.report:
        table.add_row(row.layer, row.op, f"{row.sqnr_db:.1f}", f"{row.saturated:.2%}")
    console.print(table)


def print_what_if(console: Console, model: str, board: Board, cells: Sequence[Cell]) -> None:
    """SRAM of every cell, one section a scheme."""
    budget = board.sram_budget_bytes
    table = Table(title=f"{model} on {board.name}: SRAM of a step, budget {budget:,} bytes")
    for title in ("scheme", "recompute", "tile"):
        table.add_column(title)
    for title in ("SRAM", "arena", "extra MACs"):
        table.add_column(title, justify="right")
    table.add_column("fits")
    for scheme, found in groupby(cells, key=lambda cell: cell.scheme):
        for i, cell in enumerate(found):
            numbers = ["", "", ""]
            if cell.extra_macs is not None:
                numbers = [
                    f"{cell.sram_bytes:,}",
                    f"{cell.arena_bytes:,}",
                    f"{cell.extra_macs:.1%}",
                ]
            fits = "[green]yes[/]" if cell.fits else escape(cell.why) or "[red]no[/]"
            name = "" if i else escape(scheme)
            table.add_row(name, cell.recompute, cell.tile, *numbers, fits)
        table.add_section()
    console.print(table)


FITS = {True: "[green]yes[/]", False: "[red]no[/]", None: "SRAM"}


def print_across(console: Console, recipe: str, scheme: str, found: Sequence[Verdict]) -> None:
    """One line a board; below, why those do not fit that do not."""
    table = Table(title=f"{recipe}, scheme {scheme}")
    table.add_column("board", no_wrap=True)
    for title in ("SRAM", "budget", "beside", "flash"):
        table.add_column(title, justify="right")
    table.add_column("fits")
    reasons: dict[str, list[str]] = {}
    for v in found:
        beside = v.beside_bytes if v.beside_capacity_bytes else None
        numbers = (v.sram_bytes, v.sram_budget_bytes, beside, v.flash_bytes)
        cells = ["" if n is None else f"{n:,}" for n in numbers]
        table.add_row(v.board, *cells, FITS[v.fits])
        if v.why:
            reasons.setdefault(v.why, []).append(v.board)
        if v.fast_code_bytes:
            what = f"{v.fast_code_bytes:,} bytes of SRAM are for code"
            reasons.setdefault(what, []).append(v.board)
        if v.psram_bytes:
            reasons.setdefault(f"{v.psram_bytes:,} bytes of PSRAM", []).append(v.board)
    console.print(table)
    for why, boards in reasons.items():
        console.print(f"{', '.join(boards)}: {why}", markup=False, highlight=False)


def print_run(console: Console, facts: Mapping[str, Any]) -> None:
    table = Table(title=f"{facts['model']} on {facts['target']}: {facts['steps']} steps, "
                        f"scheme {facts['scheme']}")  # fmt: skip
    for title in (facts["metric"], "before", "after"):
        table.add_column(title, justify="left" if title == facts["metric"] else "right")
    for name, before in facts["before"].items():
        both = (before, facts["after"][name])
        table.add_row(name, *("–" if value is None else f"{value:.3f}" for value in both))
    console.print(table)
    console.print(f"loss {facts['loss_first']:.3f} -> {facts['loss_last']:.3f}")
    if choice := facts.get("choice"):
        most = max(choice["worth"].values())
        worth = ", ".join(f"{escape(n)} {value / most:.3f}" for n, value in choice["worth"].items())
        console.print(f"chosen on {choice['probed']} samples; worth beside the best: {worth}")
    for key in ("instructions_per_step", "sram_measured_bytes", "stack_used_bytes"):
        if facts.get(key) is not None:
            console.print(f"{key}: {facts[key]:,}")
    for name, size in (facts.get("regions_measured_bytes") or {}).items():
        console.print(f"arena in {name}, measured: {size:,}")
    console.print(f"weights_sha256 {facts['weights_sha256']}")
    if facts.get("step_at_start"):
        console.print(f"began at step {facts['step_at_start']}, where the device was")
    if facts.get("kept_at_start") in ("other", "damaged"):
        what = {"other": "of another model", "damaged": "damaged"}[facts["kept_at_start"]]
        console.print(f"the state in the device's flash is {what}; it was left alone")
    if "kept_step" in facts:
        console.print(
            f"step {facts['kept_step']} kept on the device: {facts['kept_bytes']:,} bytes"
        )


def print_boards(console: Console, boards: Sequence[Board]) -> None:
    """What there is to build for; KB of the first memory and of those beside it, and of flash."""
    table = Table(title="boards")
    for title in ("board", "what", "SRAM KB", "flash KB", "support"):
        table.add_column(
            title, no_wrap=title != "what", justify="right" if "KB" in title else "left"
        )
    for b in boards:
        beside = sum(memory.length_bytes for memory in b.beside) // 1024
        sram = f"{b.sram_budget_bytes // 1024}{f' + {beside}' if beside else ''}"
        flash = f"{b.flash.length_bytes // 1024}" if b.flash else ""
        table.add_row(b.name, b.title, sram, flash, b.support)
    console.print(table)


def learning_curve(curves: Mapping[str, Sequence[float]], path: Path, title: str) -> None:
    """Training loss by step, each curve a running mean of 20 steps."""
    import numpy as np

    figure, axes = pyplot().subplots(figsize=(9, 5))
    for name, losses in curves.items():
        window = min(20, len(losses))
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(np.arange(len(smooth)) + window, smooth, label=name)
    axes.set(xlabel="step (batch 1)", ylabel="loss, nats (mean of 20 steps)", title=title)
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    path.write_bytes(rendered(figure, path.suffix.removeprefix(".")))


def html(result: Mapping[str, Any], compiled: Compiled, folder: Path) -> None:
    """``report.html`` beside ``learning.svg`` of ``folder``: one page that needs no other file."""
    page = environment().get_template("report.html.j2").render(
        result=result, parts=sram_parts(result["plan"]),
        learning=(folder / "learning.svg").read_text(),
        compiled=compiled, memory=section(compiled), arena=arena_text(result["plan"]),
        noise=compiled.quantized.report,
    )  # fmt: skip
    (folder / "report.html").write_text(page)


def print_rows(rows: Sequence[Mapping[str, Any]], title: str, as_json: bool) -> None:
    """Rows with the same keys: a table for people, or JSON with full precision."""
    if as_json:
        print(json.dumps(list(rows), indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    table = Table(title=title)
    for key, value in rows[0].items():
        table.add_column(
            key.replace("_", " "), justify="left" if isinstance(value, str) else "right"
        )
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str("" if value is None else value)
