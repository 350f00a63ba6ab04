"""Scratch widened into what is free: never into anything alive, never past the arena."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import toys

from tinytrain.emit.c_source import Emitter, arena_bytes, symbols_of
from tinytrain.ir import Graph, Node
from tinytrain.planning.lifetimes import plan, scratch_name
from tinytrain.planning.placement import WHOLE, Region
from tinytrain.planning.spare_scratch import with_room

SPLIT = (Region("fast", 4096), Region("small", 999), Region("arena"))


def wishing(graph: Graph, room: Callable[[Any, Any], int]) -> Graph:
    """The graph whose operators all have use for so much scratch."""
    nodes = [n if n.op.alias else replace(n, op=replace(n.op, room=room)) for n in graph.nodes]
    return replace(graph, nodes=tuple(nodes))


def wish(types: Any, attrs: Any) -> int:
    return 501


@pytest.mark.parametrize("kind", ["sensor", "lm", "cct"])
@pytest.mark.parametrize("form", [None, 0, 1])
@pytest.mark.parametrize("regions", [WHOLE, SPLIT], ids=["whole", "split"])
def test_room_is_free(kind: str, form: int | None, regions: Any) -> None:
    made = toys.compiled(kind)
    graph = wishing((made if form is None else toys.shaped(made, form)).train, wish)
    tight = plan(graph, regions)
    arenas = arena_bytes(tight)
    found = with_room(graph, tight, arenas)
    where = {b.name: (found.region[key], found.offset[key], found.offset[key] + b.bytes)
             for b in found.buffers for key in [(b.values or (b.name,))[0]]}  # fmt: skip
    assert {n for n, b in tight.scratch.items() if found.scratch[n] < b} == set()
    wider = {n: size for n, size in found.scratch.items() if size > tight.scratch.get(n, 0)}
    assert wider and max(wider.values()) == 501
    for b in found.buffers:
        if not b.scratch:
            name = b.values[0]
            assert (found.offset[name], found.region[name]) == (
                tight.offset[name], tight.region[name])  # fmt: skip
            continue
        place, start, end = where[b.name]
        assert start >= 0 and end <= arenas[place] and start % 8 == 0
        for other in found.buffers:
            if other is not b and other.overlaps(b) and where[other.name][0] == place:
                assert where[other.name][2] <= start or end <= where[other.name][1], (b, other)


def test_nothing_is_free_where_the_arena_is_full() -> None:
    graph = wishing(toys.compiled("sensor").train, lambda types, attrs: 1 << 20)
    tight = plan(graph)
    found = with_room(graph, tight, arena_bytes(tight))
    peak: Node = graph.nodes[tight.peak_node]
    free = tight.arena_bytes - sum(b.bytes for b in tight.live_at(tight.peak_node) if not b.scratch)
    assert found.scratch.get(peak.name, 0) <= free < 1 << 20
    assert max(found.scratch.values()) > 1024


def test_room_is_an_argument_before_the_dims() -> None:
    made = toys.compiled("sensor")
    graph = wishing(made.train, wish)
    found = with_room(graph, plan(graph), arena_bytes(plan(graph)))
    node = next(n for n in graph.nodes if n.op.name == "add_s8")
    call = Emitter(graph, found, symbols_of(list(graph.params), "p")).call(0, node)
    text = " ".join(call.code({}).split())
    size, name = found.scratch[node.name], scratch_name(node)
    assert f"AT(void, {found.offset[name]}), {size}, {node.outputs[0].type.size}, " in text  # type: ignore[union-attr]
