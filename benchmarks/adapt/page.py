"""The kept rows as tables of the results page: by budget, and all columns for one budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

KB = 1024
DETAIL = 128 * KB  # the budget whose rows are shown with all columns
ANY = ("none", "fp32 full, Adam", "fp32 full, SGD")  # of no budget
AGAINST = ("last k layers", "hand-picked", "fp32 full, Adam")
COMPARED = (
    "Points of accuracy (of bits, their fall) by which the selected schemes are better. Means are "
    "over the classification tasks where both were measured and fit."
)
Rows = Sequence[dict[str, Any]]


def tables(rows: Rows) -> str:
    """For each task its two tables, then the selected schemes beside others over the tasks."""
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        parts += [f"### {task[0].upper()}{task[1:]}", _by_budget(own), _in_detail(own)]
    return "\n\n".join([*parts, "### Selected beside others", COMPARED, _compared(rows)])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    rule = ["---"] * words + ["--:"] * (len(head) - words)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def _found(rows: Rows, method: str, budget: int | None) -> dict[str, Any] | None:
    at = None if method in ANY else budget
    same = (r for r in rows if r["method"] == method and r["sram_budget_bytes"] == at)
    return next(same, None)


def _spread(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    if row["target_mean"] is None:
        return "does not fit"
    return f"{row['target_mean']:.3f} ± {row['target_std']:.3f}"


def _by_budget(rows: Rows) -> str:
    budgets = sorted({r["sram_budget_bytes"] for r in rows if r["sram_budget_bytes"]})
    unit = "accuracy" if rows[0]["metric"] == "accuracy" else "bits per character"
    lines = []
    for method in dict.fromkeys(r["method"] for r in rows):
        if method in ANY:
            cells = [_spread(_found(rows, method, None))] + [""] * (len(budgets) - 1)
        else:
            cells = [_spread(_found(rows, method, budget)) for budget in budgets]
        lines.append([method, *cells])
    title = f"{unit[0].upper()}{unit[1:]} on the target, mean ± spread over {_cases(rows)}:"
    return f"{title}\n\n{_table(['method', *(f'{b // KB} KB' for b in budgets)], lines)}"


def _cases(rows: Rows) -> str:
    count = max(row["seeds"] for row in rows)
    names = next((row["cases"] for row in rows if row["seeds"] == count), {})
    return f"{count} {'people' if any('person' in name for name in names) else 'seeds'}"


def _in_detail(rows: Rows) -> str:
    keys = ("source_after", "sram_bytes", "trained_parameters", "instructions_per_step")
    lines = [
        [row["method"], _spread(row), *(_cell(row[key]) for key in keys)]
        for row in rows
        if row["sram_budget_bytes"] in (None, DETAIL) and row["target_mean"] is not None
    ]
    head = ["method", "target", *(key.replace("_", " ") for key in keys)]
    return f"Within {DETAIL // KB} KB:\n\n{_table(head, lines)}"


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _compared(rows: Rows) -> str:
    """Points of accuracy, or bits, that the selected schemes are better by; means over the tasks
    where both were measured and fit."""
    lines = []
    budgets = sorted({r["sram_budget_bytes"] for r in rows if r["method"] == "selected"})
    for budget in budgets:
        count = len({row["task"] for row in rows if row["metric"] == "accuracy"})
        points: dict[str, list[float]] = {method: [] for method in AGAINST}
        for task in dict.fromkeys(row["task"] for row in rows):
            own = [row for row in rows if row["task"] == task]
            gains = {method: _gain(own, method, budget) for method in AGAINST}
            if own[0]["metric"] == "accuracy":
                for method, gain in gains.items():
                    points[method] += [] if gain is None else [gain]
            digits = 2 if own[0]["metric"] == "accuracy" else 3
            cells = [_signed(gain, digits) for gain in gains.values()]
            lines.append([task, f"{budget // KB} KB", *cells])
        means = [
            f"{_signed(sum(p) / len(p))} ({len(p)} of {count})" if p else ""
            for p in points.values()
        ]
        lines.append(["mean of the classification tasks", f"{budget // KB} KB", *means])
    head = ["task", "budget", *(f"less {method}" for method in AGAINST)]
    return _table(head, lines)


def _gain(rows: Rows, method: str, budget: int) -> float | None:
    ours, other = _found(rows, "selected", budget), _found(rows, method, budget)
    if not ours or not other or None in (ours["target_mean"], other["target_mean"]):
        return None
    gain = ours["target_mean"] - other["target_mean"]
    return float(100 * gain if rows[0]["metric"] == "accuracy" else -gain)


def _signed(gain: float | None, digits: int = 2) -> str:
    return "" if gain is None else f"{gain:+.{digits}f}"
