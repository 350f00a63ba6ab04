"""A selection as tables, JSON and a picture of the Pareto front."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import RecipeError
from ..support.picture import pyplot, rendered
from .choose import Selected
from .contribution import Contribution
from .explain import Reason
from .front import Candidate
from .settings import Objective

SUFFIXES = (".svg", ".png", ".html")
MOST_ROWS = 12  # contributions that a table shows


def facts_of(found: Selected, reasons: Sequence[Reason] = ()) -> dict[str, Any]:
    """What ``select --json`` prints."""
    analysis, objective = found.analysis, found.objective
    facts = found.compiled.facts() | {
        "objective": objective,
        "learning_rate": found.learning_rate,
        "validation_before": found.before.score(objective) if found.before else None,
        "validation": found.best.score(objective) if found.best else None,
        "layers": {
            name: {"channels": option.channels, "bias": option.bias, "adapter_rank": option.rank}
            for name, option in found.choice.items()
        },
        "candidates": [c.facts(objective) for c in found.candidates],
        "front": [c.facts(objective) for c in found.front],
        "left_out": found.left_out,
        "contributions": [asdict(row) for row in analysis.rows],
        "contribution_steps": analysis.steps,
        "spearman": analysis.spearman,
        "estimate_seconds": round(analysis.estimate_seconds, 2),
        "measure_seconds": round(analysis.measure_seconds, 2),
        "seconds": round(found.seconds, 2),
        "runs": found.trained,
        "memory_facts": len(found.memory.facts),
        "memory_facts_corrected": found.memory.corrected,
    }
    return facts | ({"explanation": [asdict(r) for r in reasons]} if reasons else {})


def print_selection(console: Console, found: Selected, reasons: Sequence[Reason]) -> None:
    """What was chosen, what else was trained, what parts are worth."""
    _print_contributions(console, found)
    _print_candidates(console, found)
    if reasons:
        _print_reasons(console, reasons)
    else:
        chosen = ", ".join(f"{name} ({option})" for name, option in found.choice.items())
        console.print(f"trains: {chosen}", highlight=False)
    budget = found.compiled.board.sram_budget_bytes
    console.print(
        f"{found.compiled.sram.sram_bytes:,} of {budget:,} bytes of SRAM, "
        f"{found.compiled.trained_parameters:,} parameters trained, learning rate "
        f"{found.learning_rate:g}; {found.trained} runs and {found.memory.planned} plans in "
        f"{found.seconds:.0f} s"
    )


def _print_contributions(console: Console, found: Selected) -> None:
    analysis = found.analysis
    rows = sorted(analysis.rows, key=_worth, reverse=True)[:MOST_ROWS]
    table = Table(title=f"contributions after {analysis.steps} steps, the largest {len(rows)} of "
                        f"{len(analysis.rows)}")  # fmt: skip
    for title in ("part", "what trains"):
        table.add_column(title)
    for title in ("gain, nats", "estimate", "bytes"):
        table.add_column(title, justify="right")
    for row in rows:
        gain = "" if row.gain is None else f"{row.gain:+.3f}"
        table.add_row(row.name, row.option, gain, f"{row.fisher:.2e}", f"{row.state_bytes:,}")
    console.print(table)
    if any(row.gain is not None for row in rows):
        console.print(
            f"rank correlation of the estimate ({analysis.estimate_seconds:.1f} s) with what was "
            f"measured ({analysis.measure_seconds:.1f} s): {analysis.spearman:.2f} (Spearman)"
        )


def _worth(row: Contribution) -> tuple[float, float]:
    return (row.gain if row.gain is not None else float("-inf")), row.fisher


def _print_candidates(console: Console, found: Selected) -> None:
    title = "schemes trained at full length, on the front: *"
    if found.before is not None:
        title += f"; before: {abs(found.before.score(found.objective)):.3f}"
    table = Table(title=title)
    for name in ("scheme", ""):
        table.add_column(name)
    other: Objective = "accuracy" if found.objective == "loss" else "loss"
    for name in (f"validation {found.objective}", other, "SRAM", f"{_work(found)} a step", "rate"):
        table.add_column(name, justify="right")
    for c in sorted(found.candidates, key=lambda c: c.rank(found.objective), reverse=True):
        name = f"[bold]{escape(c.name)}[/]" if c is found.best else escape(c.name)
        score = f"{abs(c.score(found.objective)):.3f} ± {c.spread(found.objective):.3f}"
        beside = f"{abs(c.score(other)):.3f}"
        numbers = (beside, f"{c.need.sram_bytes:,}", f"{c.need.work:,}")
        front = "*" if c in found.front else ""
        table.add_row(name, front, score, *numbers, f"{c.learning_rate:g}")
    console.print(table)
    for left, size in found.left_out.items():
        console.print(f"not tried, as it needs {size:,} bytes of SRAM: {escape(left)}")


def _work(found: Selected) -> str:
    """What the work of a step is counted in."""
    return "instructions" if found.memory.twin else "MACs"


def _print_reasons(console: Console, reasons: Sequence[Reason]) -> None:
    table = Table(title="why each layer is in or out")
    for title in ("layer", "trains"):
        table.add_column(title)
    for title in ("gain, nats", "bytes"):
        table.add_column(title, justify="right")
    table.add_column("why")
    for r in reasons:
        table.add_row(r.layer, r.trains, f"{r.gain:+.3f}", f"{r.state_bytes:,}", r.why)
    console.print(table)


def plot_format(path: Path) -> str:
    """``svg``, ``png`` or ``html``. Raises RecipeError for another suffix."""
    if path.suffix not in SUFFIXES:
        raise RecipeError(f"--plot {path}: the name must end in {', '.join(SUFFIXES)}")
    return path.suffix.removeprefix(".")


def plot_front(found: Selected, path: Path) -> None:
    """SRAM and score of everything that was trained, and the front."""
    kind = plot_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind != "html":
        path.write_bytes(_picture(found, kind))
        return
    svg = _picture(found, "svg").decode()
    path.write_text(_page(found, svg[svg.index("<svg") :]), encoding="utf-8")


def _picture(found: Selected, kind: str) -> bytes:
    def points(chosen: Sequence[Candidate]) -> tuple[list[float], list[float]]:
        x = [c.need.sram_bytes / 1024 for c in chosen]
        return x, [_shown(c, found) for c in chosen]

    figure, axes = pyplot().subplots(figsize=(9, 5.5))
    work = [c.need.work / 1e6 for c in found.candidates]
    spots = axes.scatter(*points(found.candidates), c=work, cmap="viridis", s=40, zorder=3)
    figure.colorbar(spots, label=f"million {_work(found)} a step")
    front = _step_front(found)
    axes.plot(*points(front), color="#c44e52", drawstyle="steps-post", label="front", zorder=2)
    for c in front:
        axes.annotate(c.name, (c.need.sram_bytes / 1024, _shown(c, found)), fontsize=8,
                      xytext=(4, 5), textcoords="offset points")  # fmt: skip
    if found.best is not None:
        axes.scatter(*points([found.best]), s=130, facecolors="none", edgecolors="#c44e52",
                     linewidths=2, label="selected", zorder=4)  # fmt: skip
    budget = found.compiled.board.sram_budget_bytes / 1024
    axes.axvline(budget, color="grey", linestyle=":", label=f"budget {budget:g} KB")
    if found.before is not None:
        axes.axhline(abs(found.before.score(found.objective)), color="grey", label="before")
    axes.set(xlabel="SRAM, KB", ylabel=f"validation {found.objective}",
             title=f"{found.compiled.name}: what training is worth in how much memory")  # fmt: skip
    axes.legend(loc="lower right" if found.objective == "accuracy" else "upper right")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    return rendered(figure, kind)


def _shown(candidate: Candidate, found: Selected) -> float:
    """The loss as it is read, not its negative."""
    return abs(candidate.score(found.objective))


def _step_front(found: Selected) -> list[Candidate]:
    """By rising SRAM, each better than all before; the front in two dimensions."""
    best: list[Candidate] = []
    for c in sorted(found.front, key=lambda c: (c.need.sram_bytes, -c.score(found.objective))):
        if not best or c.score(found.objective) > best[-1].score(found.objective):
            best.append(c)
    return best


def _page(found: Selected, svg: str) -> str:
    """One page that needs no other file: the picture and the schemes behind it."""
    rows = [c.facts(found.objective) | {"front": c in found.front} for c in found.candidates]
    keys = list(rows[0]) if rows else []
    cells = "".join(
        f"<tr>{''.join(f'<td>{html.escape(_cell(row[key]))}</td>' for key in keys)}</tr>"
        for row in sorted(rows, key=lambda row: -row["score"])
    )
    heads = "".join(f"<th>{html.escape(key.replace('_', ' '))}</th>" for key in keys)
    title = html.escape(f"{found.compiled.name} on {found.compiled.board.name}")
    style = "body{font-family:sans-serif;margin:2em}td,th{padding:2px 10px;text-align:right}"
    return (f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{style}</style>"
            f"<h1>{title}</h1>{svg}<table><tr>{heads}</tr>{cells}</table>\n")  # fmt: skip


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
