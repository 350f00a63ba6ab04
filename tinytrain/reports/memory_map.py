"""Pictures of a plan, as SVG: the arena over the schedule, and live bytes over the work of a step.

Both are 1000 units wide. Moving the mouse over a rectangle of the map shows what it holds. With the
tables of what holds the peak and of what is made again they make a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..compiler import Compiled
from ..errors import RecipeError
from ..ir import Graph, Node
from ..planning.lifetimes import Plan, lifetimes
from ..planning.placement import Buffer, live_bytes
from ..planning.recompute import backward_start, origin
from ..support.templates import environment
from .occupancy import groups, holders, kind_of, kinds, loops, place_of, work

COLORS = {
    "activation": "#6d9dc9", "kept mask": "#a884c4", "gradient": "#f0a04b",
    "made again": "#74b266", "scratch": "#b9b9b9",
}  # fmt: skip
LETTER = 5.6  # width of a letter of 10 units' height
LABEL_HEIGHT = 11


@dataclass(frozen=True)
class Axis:
    """Numbers from ``low`` to ``high``, drawn from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        scale = (self.end - self.start) / (self.high - self.low)
        return round(self.start + (value - self.low) * scale, 2)

    def ticks(self, most: int, steps: Sequence[float]) -> list[float]:
        """At most ``most`` + 1 multiples of the first of ``steps`` that gives so few."""
        span = self.high - self.low
        step = next((s for s in steps if span / s <= most), steps[-1])
        return [i * step for i in range(int(-(-self.low // step)), int(self.high // step) + 1)]


BINARY = [float(8 << i) for i in range(24)]
DECIMAL = [m * 10.0**e for e in range(-3, 10) for m in (1, 2, 5)]


@dataclass(frozen=True)
class Box:
    """A rectangle with the text that the mouse finds, and a label where one has room."""

    x: float
    y: float
    width: float
    height: float
    title: str
    color: str = ""
    label: str = ""

    @property
    def line(self) -> float:
        """Width of the line around it."""
        return min(0.4, self.height / 10)


def size(count: float) -> str:
    """Bytes for an axis."""
    return f"{count / 1024:g} KB" if count >= 1024 or count == 0 else f"{count:g} B"


def fitting(width: float, *texts: str) -> str:
    """The first of ``texts`` that there is room for, or the last shortened, or nothing."""
    room = int((width - 4) / LETTER)
    found = next((text for text in texts if len(text) <= room), None)
    if found is None:
        return f"{texts[-1][: room - 1]}…" if room >= 8 else ""
    return found


def memory_map(compiled: Compiled) -> str:
    """The arena over the nodes of a training step: a rectangle a buffer."""
    plan, graph = compiled.train_plan, compiled.train
    count, top = len(graph.nodes), max(plan.arena_bytes, 8)
    x = Axis(-0.5, count - 0.5, 68, 988)
    y = Axis(0, top * 1.05, 522, 82)
    known, addresses = kinds(graph), stacked(plan)
    peak = {
        k: sum(b.bytes for b in plan.live_at(plan.peak_node) if kind_of(b, known) == k)
        for k in COLORS
    }
    node = graph.nodes[min(plan.peak_node, count - 1)]
    return (
        environment().get_template("memory_map.svg.j2").render(
            x=x, y=y, compiled=compiled, plan=plan, count=count,
            boxes=[_box(b, addresses, graph, known, x, y) for b in plan.buffers],
            walls=walls(plan),
            loops=[_shade(*loop, x, y) for loop in loops(graph)],
            places=_places(graph, x), backward=backward_start(graph) - 0.5,
            legend=_legend(peak, x.start),
            peak_of=f"{node.op.name} of {node.layer or node.name}",
            x_ticks=x.ticks(12, [s for s in DECIMAL if s >= 1]),
            y_ticks=[(at, size(at)) for at in y.ticks(10, BINARY)],
        )
    )  # fmt: skip


def walls(plan: Plan) -> list[tuple[int, str]]:
    """(where it begins, its name) of each memory of the arena, drawn one above another."""
    found, start = [], 0
    for region, used in zip(plan.placement.regions, plan.placement.used, strict=True):
        found.append((start, region.name))
        start += used
    return found


def stacked(plan: Plan) -> dict[str, int]:
    """Addresses as if the memories of the arena lay one above another."""
    start = {name: at for at, name in walls(plan)}
    return {name: start[plan.region[name]] + at for name, at in plan.offset.items()}


def _legend(peak: dict[str, int], x: float) -> list[Box]:
    """A small square a kind, with its bytes at the peak."""
    found = []
    for kind, color in COLORS.items():
        text = f"{kind} {peak[kind]:,}"
        found.append(Box(x, 0, 12, 12, "", color, text))
        x += 40 + 1.25 * LETTER * len(text)
    return found


def _box(
    b: Buffer, offset: dict[str, int], graph: Graph, known: dict[str, str], x: Axis, y: Axis
) -> Box:
    at, kind = offset[b.values[0] if b.values else b.name], kind_of(b, known)
    width = round(x.at(b.dies + 0.5) - x.at(b.born - 0.5), 2)
    high, low = y.at(at + b.bytes), y.at(at)
    width = min(width, round(x.end - x.at(b.born - 0.5), 2))

    def named(i: int) -> str:
        return f"node {i}, {graph.nodes[i].op.name}" if i < len(graph.nodes) else "the end"

    title = "\n".join([
        ", ".join(b.values) or b.name,
        f"{kind}{f' of {b.layer}' if b.layer else ''}: {b.bytes:,} bytes at {at:,}",
        f"from {named(b.born)}", f"to {named(b.dies)}",
    ])  # fmt: skip
    label = fitting(width, f"{b.name} {b.bytes / 1024:.1f} KB", b.name)
    label = label if low - high >= LABEL_HEIGHT else ""
    return Box(x.at(b.born - 0.5), high, width, round(low - high, 2), title, COLORS[kind], label)


def _shade(first: int, end: int, node: Node, x: Axis, y: Axis) -> Box:
    assert node.loop is not None
    rows = f"{node.loop.rows} of {node.tokens} rows at a time"
    title = f"loop over rows: nodes {first} to {end - 1}, {rows}"
    left, right = x.at(first - 0.5), x.at(end - 0.5)
    return Box(left, y.end, round(right - left, 2), y.start - y.end, title)


def _places(graph: Graph, x: Axis) -> list[Box]:
    """A strip below the map: the part of the model that the nodes come from."""
    found, at = [], 0
    for place, nodes in groupby(graph.nodes, key=lambda n: place_of(n.layer or n.name)):
        end = at + len(list(nodes))
        left, width = x.at(at - 0.5), round(x.at(end - 0.5) - x.at(at - 0.5), 2)
        title = f"{place}: nodes {at} to {end - 1}"
        found.append(Box(left, 0, width, 0, title, label=fitting(width, place)))
        at = end
    return found


def live_curves(compiled: Compiled) -> str:
    """Bytes alive over the work of a step: as it was before it was made to fit, and as it is."""
    plain, step = compiled.plain, compiled.train
    before = live_bytes(lifetimes(plain), len(plain.nodes))[:-1]
    after = live_bytes(compiled.train_plan.buffers, len(step.nodes))[:-1]
    done_before, done = work(plain), work(step)
    room = compiled.board.sram_budget_bytes - compiled.sram.sram_bytes + compiled.sram.arena_bytes
    top = max([*before, *after, 8])
    x = Axis(0, max(done[-1], done_before[-1]) / 1e6, 68, 988)
    y = Axis(0, 1.08 * max(top, room if room < 1.25 * top else 0), 380, 50)
    again = [i for i, n in enumerate(step.nodes) if origin(n) is not None]
    return (
        environment().get_template("live_bytes.svg.j2").render(
            x=x, y=y, room=room, peaks=(max(before), max(after)), same=step is plain,
            before=_stairs(before, done_before, x, y), after=_stairs(after, done, x, y),
            again=[Box(x.at(done[i] / 1e6), y.end,
                       round(x.at(done[i + 1] / 1e6) - x.at(done[i] / 1e6), 2), y.start - y.end,
                       f"{step.nodes[i].name}, {step.nodes[i].macs():,} MACs") for i in again],
            x_ticks=x.ticks(12, DECIMAL), y_ticks=[(at, size(at)) for at in y.ticks(8, BINARY)],
        )
    )  # fmt: skip


def _stairs(live: Sequence[int], done: Sequence[int], x: Axis, y: Axis) -> str:
    """The path of a curve that holds its value over each node."""
    path = [f"M{x.at(0)},{y.at(0)}"]
    for i, count in enumerate(live):
        path.append(f"V{y.at(count)}H{x.at(done[i + 1] / 1e6)}")
    return "".join([*path, f"V{y.at(0)}"])


FORMATS = (".svg", ".html")


def map_format(path: Path) -> Path:
    """Raises RecipeError for a file name that does not say a known format."""
    if path.suffix not in FORMATS:
        raise RecipeError(
            f"--map {path}: give a name that ends in .svg (the map) or .html (the map, what holds "
            "the peak, what is made again)"
        )
    return path


def section(compiled: Compiled) -> dict[str, Any]:
    """What the templates of pages need to tell of memory."""
    return {
        "map": memory_map(compiled), "curves": live_curves(compiled),
        "peak": holders(compiled.train_plan, compiled.train), "groups": groups(compiled),
        "plain_macs": compiled.plain.macs(), "step_macs": compiled.train.macs(),
        "loops": len(loops(compiled.train)), "same": compiled.train is compiled.plain,
    }  # fmt: skip


def write_map(compiled: Compiled, path: Path) -> None:
    """The map as .svg, or the page of it as .html. Raises RecipeError as ``map_format`` does, and
    where the file cannot be written."""
    if map_format(path).suffix == ".svg":
        text = memory_map(compiled)
    else:
        template = environment().get_template("memory.html.j2")
        text = template.render(compiled=compiled, memory=section(compiled))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"--map {path}: cannot be written: {error.strerror}") from error
