"""A training step made to fit the arena that a board has, by means that keep the bits."""

from __future__ import annotations

from dataclasses import replace

from .ir import Graph, verify
from .memory import Plan, lifetimes, lower_bound, plan
from .ops.elementwise import lut_s8
from .ops.linear import linear_dx_s8
from .schedule import look_up_again

FEW_ROWS = 1  # accumulator rows that an input gradient holds when memory is short
LATEST = 16  # places that an update may wait


def fit(graph: Graph, arena_bytes: int) -> tuple[Graph, Plan]:
    """A graph of the same bits whose arena is at most ``arena_bytes``, if three means get there:
    table functions are looked up again for the backward pass instead of kept; an input gradient
    that holds the peak makes its accumulators twice instead of holding them all; an update that
    holds the peak waits until more is free. The first plan that fits wins; otherwise the smallest
    that was found."""
    found = plan(graph)
    if found.arena_bytes <= arena_bytes:
        return graph, found
    graph = look_up_again(graph)
    found = plan(graph)
    while found.arena_bytes > arena_bytes:
        relieved = _relieve(graph, min(found.peak_node, len(graph.nodes) - 1))
        if relieved is None:
            break
        graph, found = relieved, plan(relieved)
    return graph, found


def _relieve(graph: Graph, peak: int) -> Graph | None:
    """The graph with less alive at its peak node, or None when nothing is known that helps."""
    node, nodes = graph.nodes[peak], list(graph.nodes)
    if node.op is linear_dx_s8 and "scratch_rows" not in node.attrs:
        nodes[peak] = replace(node, attrs={**node.attrs, "scratch_rows": FEW_ROWS})
        return verify(graph.with_nodes(nodes))
    update = next((i for i in (peak, peak + 1) if i < len(nodes) and nodes[i].op.updates), None)
    if update is None:
        return None
    return _delay(graph, update)


def _delay(graph: Graph, update: int) -> Graph | None:
    """The update later, with the table function that is looked up for it alone, where the peak is
    lowest; None when that is no lower. Nothing reads a weight after its update, so any later place
    gives the same bits."""
    nodes = graph.nodes
    first = update - (update > 0 and nodes[update - 1].op is lut_s8)
    moved, rest = nodes[first : update + 1], nodes[:first] + nodes[update + 1 :]
    best = lower_bound(lifetimes(graph), len(nodes))[0]
    found: Graph | None = None
    for at in range(first + 1, min(first + LATEST, len(rest)) + 1):
        trial = graph.with_nodes(rest[:at] + moved + rest[at:])
        height = lower_bound(lifetimes(trial), len(nodes))[0]
        if height < best:
            best, found = height, verify(trial)
    return found
