"""Pictures and tables of a plan say what the plan says."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import toys

from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import RecipeError
from tinytrain.ir import Graph
from tinytrain.planning.fit import Fitted, Planning
from tinytrain.planning.lifetimes import lifetimes, plan, value_lives
from tinytrain.planning.placement import lower_bound
from tinytrain.planning.recompute import bottlenecks, forward_nodes, origin, recompute
from tinytrain.reports import tables as report
from tinytrain.reports.memory_map import Axis, fitting, live_curves, memory_map, section, write_map
from tinytrain.reports.occupancy import KINDS, groups, holders, kinds, remade
from tinytrain.support.templates import environment

SVG = "{http://www.w3.org/2000/svg}"
MADE = ("plain", "again", "tiled")


@lru_cache
def made(name: str) -> Compiled:
    """The toy sensor model as it is, with values made again, and with loops over rows, too."""
    if name == "plain":
        return toys.compiled("sensor", "full")
    planning = Planning("min-memory", "auto" if name == "tiled" else "off")
    board = with_sram(load_board("host"), 1 << 16)
    return compile_recipe(toys.recipe("sensor"), board, toys.quantized("sensor"),
                          planning=planning)  # fmt: skip


def rectangles(svg: str) -> list[tuple[float, float, float, float, str]]:
    """(left, top, right, bottom, title) of each buffer's rectangle."""
    found = []
    for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        if rect.get("class") == "mm-b":
            x, y, width, height = (float(rect.get(k, "")) for k in ("x", "y", "width", "height"))
            title = rect.find(f"{SVG}title")
            assert title is not None and title.text is not None
            found.append((x, y, x + width, y + height, title.text))
    return found


# -- occupancy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_holders_are_all_of_the_peak(name: str) -> None:
    found_plan, graph = made(name).train_plan, made(name).train
    found = holders(found_plan, graph)
    assert sum(h.bytes for h in found) == found_plan.lower_bound_bytes
    assert sum(h.share for h in found) == pytest.approx(1)
    assert all(h.born <= found_plan.peak_node <= h.dies and h.layer for h in found)
    assert [h.bytes for h in found] == sorted((h.bytes for h in found), reverse=True)


def test_kinds() -> None:
    found = kinds(made("again").train)
    assert set(found.values()) == set(KINDS) - {"scratch"}
    assert found["blocks.1.f1"] == "activation"
    assert found["blocks.1.f2.dx"] == "gradient"
    for name, kind in found.items():
        assert (kind == "made again") == ("..again" in name)
        assert (kind == "kept mask") == name.endswith(".clipped")


@pytest.mark.parametrize("name", MADE)
def test_remade(name: str) -> None:
    compiled = made(name)
    found, lives = remade(compiled.train), value_lives(compiled.train)
    assert {n.name for n in found} == set(compiled.step.again)
    assert bool(found) == (name != "plain")
    assert sum(n.macs for n in found) == compiled.step.extra_macs
    for node in found:
        for value in lives:
            if value == node.name or value.startswith(node.name + "..again"):
                busy = range(lives[value].born, lives[value].dies + 1)
                assert not set(busy) & set(range(*node.freed)), value


def test_groups_save_what_keeping_them_would_cost() -> None:
    """Against the real step in which a block is kept. Some values may then not share bytes, so the
    estimate is close, not equal."""
    plain = made("plain").plain
    again = {n.name for n in forward_nodes(plain)} - bottlenecks(plain)
    graph = recompute(plain, again)
    assert graph is not None
    whole = made("plain")
    training = replace(whole.trainings[0], step=Fitted(graph, plan(graph)))
    found = groups(replace(whole, program=whole.program.with_training(training)))
    assert {"blocks.0", "blocks.1"} <= {g.name for g in found}
    assert sum(g.macs for g in found) == graph.macs() - plain.macs()
    for group in (g for g in found if g.name.startswith("blocks.")):
        other = recompute(plain, again - {n.name for n in group.nodes})
        assert other is not None
        more = peak(other) - peak(graph)
        assert abs(group.saved_bytes - more) <= 0.15 * more + 64, group.name


def peak(graph: Graph) -> int:
    return lower_bound(lifetimes(graph), len(graph.nodes))[0]


# -- the map ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_the_map_draws_every_buffer_apart_from_others(name: str) -> None:
    buffers = made(name).train_plan.buffers
    found = rectangles(memory_map(made(name)))
    assert len(found) == len(buffers)
    for a, b in itertools.combinations(found, 2):
        wide = min(a[2], b[2]) - max(a[0], b[0])
        high = min(a[3], b[3]) - max(a[1], b[1])
        assert wide < 0.05 or high < 0.05, (a, b)
    for buffer, (left, top, right, bottom, title) in zip(buffers, found, strict=True):
        first = title.splitlines()[0]
        assert first == (", ".join(buffer.values) or buffer.name)
        assert f"{buffer.bytes:,} bytes at " in title
        assert f"from node {buffer.born}, " in title
        assert f"to node {buffer.dies}, " in title or "to the end" in title
        assert left < right <= 1000 and top < bottom


@pytest.mark.parametrize("name", MADE)
def test_the_map_marks_peak_bound_and_loops(name: str) -> None:
    compiled = made(name)
    svg, where = memory_map(compiled), compiled.train_plan
    assert f"peak at node {where.peak_node}, " in svg
    assert f"lower bound {where.lower_bound_bytes:,} bytes" in svg
    assert f"arena {where.arena_bytes:,} bytes" in svg
    runs = [graph_run for graph_run in compiled.train.runs()
            if compiled.train.nodes[graph_run[0]].loop is not None]  # fmt: skip
    assert svg.count("loop over rows: ") == len(runs)
    assert bool(runs) == (name == "tiled")
    held = dict.fromkeys(KINDS, 0)
    for holder in holders(where, compiled.train):
        held[holder.kind] += holder.bytes
    assert all(f">{kind} {count:,}<" in svg for kind, count in held.items())


def test_curves() -> None:
    tiled, plain = made("tiled"), made("plain")
    svg = live_curves(tiled)
    before = lower_bound(lifetimes(tiled.plain), len(tiled.plain.nodes))[0]
    assert f"plain step, peak {before:,} bytes" in svg
    assert f"planned step, peak {tiled.train_plan.lower_bound_bytes:,} bytes" in svg
    again = sum(origin(n) is not None for n in tiled.train.nodes)
    assert svg.count(" MACs</title>") == again > 0
    assert "planned step" not in live_curves(plain)
    ElementTree.fromstring(svg)


def test_names_are_escaped() -> None:
    plain = made("plain")
    training = replace(plain.trainings[0], name="c&d")
    odd = replace(plain, name="a<b", program=plain.program.with_training(training))
    for svg in (memory_map(odd), live_curves(odd)):
        ElementTree.fromstring(svg)
    assert "a&lt;b, scheme c&amp;d" in memory_map(odd)


def test_axis() -> None:
    axis = Axis(0, 100, 50, 250)
    assert axis.at(0) == 50 and axis.at(100) == 250 and axis.at(25) == 100
    assert axis.ticks(5, [1.0, 10.0, 20.0, 50.0]) == [0, 20, 40, 60, 80, 100]
    assert Axis(-0.5, 3.5, 0, 1).ticks(9, [1.0]) == [0, 1, 2, 3]


def test_labels_fit() -> None:
    assert fitting(1000, "long name 2.0 KB", "long name") == "long name 2.0 KB"
    assert fitting(60, "long name 2.0 KB", "long name") == "long name"
    assert fitting(60, "a longer name 2.0 KB", "a longer name") == "a longer …"
    assert fitting(20, "a longer name") == ""


# -- pages -----------------------------------------------------------------------------------------


def test_a_page_of_its_own(tmp_path: Path) -> None:
    for name in MADE:
        page = tmp_path / "new" / f"{name}.html"
        write_map(made(name), page)
        text = page.read_text()
        assert text.count("<svg") == 2 and "What holds the peak" in text
        assert ("Nowhere" in text) == (name == "plain")
        saved = [f"{g.saved_bytes:,}" for g in groups(made(name))]
        assert all(f'<td class="n">{s}</td>' in text for s in saved)
    svg = tmp_path / "a.svg"
    write_map(made("plain"), svg)
    assert svg.read_text() == memory_map(made("plain"))


def test_small_holders_are_one_row() -> None:
    memory = section(made("plain"))
    template = environment().get_template("memory_section.html.j2")
    text = template.render(memory=memory).split("Where recomputation helped")[0]
    small = [h for h in memory["peak"] if h.share < 0.01]
    large = len(memory["peak"]) - len(small)
    rows = re.findall("<tr><td>", text)
    assert len(rows) == large and large > 0
    assert (f"{len(small)} smaller ones" in text) == bool(small)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"\.svg .* or \.html"):
        write_map(made("plain"), tmp_path / "map.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="cannot be written"):
        write_map(made("plain"), tmp_path / "file" / "map.svg")


def test_the_report_of_the_demo(tmp_path: Path) -> None:
    compiled = made("tiled")
    (tmp_path / "learning.svg").write_text("<svg>curve</svg>")
    facts = compiled.facts() | {"flash_bytes": 1}
    device = {"target": "board", "weights_sha256": "0", "sram_measured_bytes": 2,
              "instructions_per_step": 3}  # fmt: skip
    rows = [{"method": "int8", "before": {"test": 0.1}, "after": {"test": 0.2}}]
    result = {"model": "toy", "steps": 1, "same_bits": True, "rows": rows, "plan": facts,
              "device": device}  # fmt: skip
    report.html(result, compiled, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.count("<svg") == 3 and memory_map(compiled) in text
    assert "What holds the peak" in text and "Every node that is made again" in text
