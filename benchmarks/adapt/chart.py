"""The kept rows as a picture: what is learned by SRAM budget, one panel a task."""

from __future__ import annotations

import hashlib
from typing import Any

from tinytrain.support.picture import pyplot, rendered

from .page import KB, Rows

ADAM = "fp32 full, Adam"
LINES = {"selected": "#c44e52", "last k layers": "#4c72b0", "LoRA + head": "#55a868",
         "hand-picked": "#dd8452", "head only": "#8c8c8c"}  # fmt: skip


def digest(rows: Rows) -> str:
    """Of all that is drawn, so that a stale picture can be told."""
    drawn = [(r["task"], r["method"], r["sram_budget_bytes"], r["metric"], r["target_mean"])
             for r in rows if r["method"] in (*LINES, ADAM)]  # fmt: skip
    return hashlib.sha256(repr(drawn).encode()).hexdigest()


def chart(rows: Rows) -> bytes:
    """SVG. Accuracy, or bits downwards, so that higher is better in every panel."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, panels = pyplot().subplots(-(-len(tasks) // 3), 3, figsize=(11, 6.4), squeeze=False)
    for axes in panels.flat[len(tasks) :]:
        axes.set_axis_off()
    for task, axes in zip(tasks, panels.flat, strict=False):
        _panel(axes, task, [row for row in rows if row["task"] == task])
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return rendered(figure, "svg", Description=digest(rows))


def _panel(axes: Any, task: str, rows: Rows) -> None:
    found = {
        (row["method"], row["sram_budget_bytes"]): row["target_mean"]
        for row in rows
        if row["target_mean"] is not None
    }
    budgets = sorted({budget for _, budget in found if budget})
    places = {budget: at for at, budget in enumerate(budgets)}
    for method, colour in LINES.items():
        points = [(places[b], found[method, b]) for b in budgets if (method, b) in found]
        axes.plot(*zip(*points, strict=True), color=colour, label=method, marker="o",
                  markersize=4, linewidth=2.2 if method == "selected" else 1.2,
                  zorder=3 if method == "selected" else 2)  # fmt: skip
    axes.axhline(found[ADAM, None], color="black", linestyle="--", linewidth=1, label=ADAM)
    accuracy = rows[0]["metric"] == "accuracy"
    if not accuracy:
        axes.invert_yaxis()
    axes.set_xticks(range(len(budgets)), [str(budget // KB) for budget in budgets])
    axes.set(title=task, xlabel="SRAM budget, KB",
             ylabel="accuracy" if accuracy else "bits a character")  # fmt: skip
    axes.grid(alpha=0.3)
