"""Loops over rows: operators that go token by token run a few rows at a time, one after another, so
that what only they exchange (the hidden layer of a feed-forward, all logits) never exists whole.

A loop changes neither numbers nor MACs: every element draws the random number of its place in the
whole tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from ..ir import Graph, Loop, Node
from .recompute import backward_start, own


def divisors(tokens: int) -> list[int]:
    """Rows that a loop over ``tokens`` may take at a time, falling."""
    return [n for n in range(tokens, 0, -1) if tokens % n == 0]


def largest_divisor(tokens: int, most: int) -> int:
    """The largest divisor of ``tokens`` that is at most ``most``."""
    return next(n for n in range(min(tokens, most), 0, -1) if tokens % n == 0)


def gather(graph: Graph, cuts: Set[str] = frozenset(), rows: int | None = None) -> Graph:
    """Neighbours that go row by row put into loops of at most ``rows`` rows at a time, or all.

    A loop ends at the first node that needs whole tensors and that the rest waits for. What leads
    to nothing but updates moves behind the loop, unless it goes row by row; what is made for one
    update alone has loops of its own. A node named in ``cuts`` is the last of its loop.
    """
    waits = _may_wait(graph)
    params = set(graph.params) - {v.name for v in graph.inputs}
    rest, done = list(graph.nodes), list[Node]()
    while rest:
        node = rest.pop(0)
        if not _by_row(node, params):
            done.append(node)
            continue
        run, rest = _run(node, rest, waits, params, cuts)
        if len(run) == 1:
            done.append(node)
            continue
        loop = Loop(f"loop of {node.name}", largest_divisor(node.tokens, rows or node.tokens))
        done += [n.in_loop(loop) for n in run]
    return replace(graph, nodes=tuple(done))


def cut_points(graph: Graph) -> list[str]:
    """Nodes of the backward pass through which all gradients go, and that go row by row: places
    where a loop may end without keeping more than one gradient whole."""
    waits = _may_wait(graph)
    nodes = [n for n in graph.nodes[backward_start(graph) :] if n.name not in waits]
    last = {name: i for i, n in enumerate(nodes) for name in n.reads}
    found: list[str] = []
    alive: set[str] = set()
    for i, node in enumerate(nodes):
        alive = {name for name in alive if last[name] > i}
        later = {name for name in node.makes if last.get(name, -1) > i}
        if not alive and later and node.op.rowwise is not None:
            found.append(node.name)
        alive |= later
    return found


def with_rows(graph: Graph, rows: int | Mapping[str, int]) -> Graph:
    """Each loop with at most ``rows`` rows at a time (all loops, or by the loop's name)."""
    nodes, loops = [], dict[str, Loop]()
    for node in graph.nodes:
        if node.loop is not None:
            name = node.loop.name
            if name not in loops:
                most = rows if isinstance(rows, int) else rows.get(name, node.tokens)
                loops[name] = Loop(name, largest_divisor(node.tokens, most))
            if node.loop != loops[name]:
                node = node.in_loop(loops[name])
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _by_row(node: Node, params: set[str]) -> bool:
    by_row = node.op.rowwise
    if by_row is None or node.op.updates or node.op.alias or node.tokens < 2:
        return False
    return all(v is None or i in by_row or v.name in params for i, v in enumerate(node.inputs))


def _may_wait(graph: Graph) -> set[str]:
    """Names of updates, of sums for them, of what is made for one update alone, and of nodes that
    only these, or outputs of the graph, wait for."""
    others = [n for n in graph.nodes if not n.op.updates and not n.op.sums]
    needed = {name for n in others for name in n.reads}
    return {
        n.name
        for n in graph.nodes
        if n.op.updates or n.op.sums or own(n) or needed.isdisjoint(n.makes)
    }


def _run(
    first: Node, rest: Sequence[Node], waits: set[str], params: set[str], cuts: Set[str]
) -> tuple[list[Node], list[Node]]:
    """(the loop that begins with ``first``, what is left of ``rest``)."""
    run, left = [first], list[Node]()
    late: set[str] = set()
    for i, node in enumerate(rest):
        reads_late = not late.isdisjoint(node.reads)
        alike = node.tokens == first.tokens and own(node) == own(first)
        if run[-1].name in cuts:
            left += rest[i:]
            break
        if _by_row(node, params) and alike and not reads_late:
            run.append(node)
        elif node.name in waits:
            left.append(node)
            late.update(node.makes)
        else:
            left += rest[i:]
            break
    return run, left
