"""Lifetimes and addresses: where each value lives in the one static arena.

A value lives from the node that makes it to the last that reads it; scratch lives at one node.
Values that may share bytes (in-place operators, views) form one buffer. Placement is first fit over
several orders and a short seeded search; the lower bound is the largest sum of live bytes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from .ir import Graph, Node

ALIGN = 8


def aligned(size: int, to: int = ALIGN) -> int:
    return -(-size // to) * to


@dataclass(frozen=True)
class Buffer:
    """Arena bytes that one or more values share: alive at nodes ``born`` to ``dies``, inclusive."""

    name: str
    bytes: int
    born: int
    dies: int
    values: tuple[str, ...]
    layer: str = ""
    scratch: bool = False

    def overlaps(self, other: Buffer) -> bool:
        return self.born <= other.dies and other.born <= self.dies


@dataclass(frozen=True)
class Plan:
    """Addresses of a graph. ``offset[name]``: arena offset of a value, or of ``scratch@node``."""

    buffers: tuple[Buffer, ...]
    offset: dict[str, int] = field(repr=False)
    arena_bytes: int = 0
    lower_bound_bytes: int = 0
    peak_node: int = 0

    def live_at(self, node: int) -> list[Buffer]:
        """Buffers alive at a node, largest first."""
        return sorted((b for b in self.buffers if b.born <= node <= b.dies), key=lambda b: -b.bytes)


def scratch_name(node: Node) -> str:
    return f"scratch@{node.name}"


@dataclass(frozen=True)
class Life:
    """Arena bytes of one value; the nodes where it is born, read last, and dies."""

    bytes: int
    born: int
    read: int
    dies: int


def value_lives(graph: Graph) -> dict[str, Life]:
    """Life of each value that a node makes.

    In a loop over rows, what is made and read inside only needs the rows of one pass, between its
    making and its last reading; whatever comes from before the loop or is read after it is there
    as a whole during all passes.
    """
    read: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for value in (*node.outputs, *node.inputs):
            if value is not None:
                read[value.name] = i
    for value in graph.outputs:
        read[value.name] = len(graph.nodes)
    lives: dict[str, Life] = {}
    inner = graph.inner()
    for first, end in graph.runs():
        for i in range(first, end):
            for seen in graph.nodes[i].inputs:
                known = lives.get(seen.name) if seen is not None else None
                if seen is not None and known is not None and known.born < first:
                    lives[seen.name] = replace(known, dies=max(known.dies, end - 1))
            node = graph.nodes[i]
            for made in node.outputs:
                if made is None:
                    continue
                last, size = read[made.name], made.type.bytes
                if made.name in inner and node.loop is not None:
                    part = size // node.tokens * node.loop.rows
                    lives[made.name] = Life(part, i, last, last)
                else:
                    lives[made.name] = Life(size, first, last, max(last, end - 1))
    return lives


def lifetimes(graph: Graph) -> list[Buffer]:
    """Buffers of the arena: everything but inputs, parameters and updated states."""
    home = graph.updated()
    fixed = {v.name for v in graph.inputs} | set(graph.params) | set(home)
    lives = value_lives(graph)
    groups: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    layer: dict[str, str] = {}
    found: list[Buffer] = []
    for i, node in enumerate(graph.nodes):
        if size := node.scratch_bytes():
            found.append(Buffer(scratch_name(node), aligned(size), i, i, (), node.layer, True))
        taken: set[str] = set()
        for index, value in enumerate(node.outputs):
            if value is None or value.name in fixed:
                continue
            shared = _shared(node, index, i, owner, groups, lives, taken)
            if shared is None and node.op.alias:
                fixed.add(value.name)  # a view of an input or a parameter has no arena bytes
                continue
            name = shared or value.name
            owner[value.name] = name
            groups.setdefault(name, []).append(value.name)
            layer.setdefault(name, node.layer)
    for name, members in groups.items():
        size = aligned(lives[name].bytes)
        born, dies = min(lives[m].born for m in members), max(lives[m].dies for m in members)
        found.append(Buffer(name, size, born, dies, tuple(members), layer[name]))
    return found


def _shared(
    node: Node, index: int, now: int, owner: dict[str, str], groups: dict[str, list[str]],
    lives: dict[str, Life], taken: set[str],
) -> str | None:  # fmt: skip
    """The buffer of an input that output ``index`` may overwrite, or must see (a view)."""
    output = node.outputs[index]
    assert output is not None
    for out, inp in [(0, 0)] if node.op.alias else node.op.inplace:
        source = node.inputs[inp] if out == index else None
        if source is None or source.name not in owner:
            continue
        buffer = owner[source.name]
        if node.op.alias:
            return buffer
        alive = any(lives[m].read > now for m in groups[buffer])
        read_twice = sum(v is not None and owner.get(v.name) == buffer for v in node.inputs) > 1
        same = lives[output.name].bytes == lives[buffer].bytes
        if same and not alive and not read_twice and buffer not in taken:
            taken.add(buffer)
            return buffer
    return None


def live_bytes(buffers: Sequence[Buffer], nodes: int) -> list[int]:
    """Bytes alive at each node, and behind the last."""
    change = [0] * (nodes + 2)
    for b in buffers:
        change[b.born] += b.bytes
        change[b.dies + 1] -= b.bytes
    return list(accumulate(change[: nodes + 1]))


def lower_bound(buffers: Sequence[Buffer], nodes: int) -> tuple[int, int]:
    """(largest sum of live bytes, the first node where)."""
    curve = live_bytes(buffers, nodes)
    return max(curve), curve.index(max(curve))


def first_fit(order: Sequence[Buffer]) -> tuple[dict[str, int], int]:
    """Each buffer in turn at the lowest address that is free during its life."""
    placed: list[tuple[int, Buffer]] = []
    offset: dict[str, int] = {}
    top = 0
    for buffer in order:
        at = 0
        for start, other in placed:  # sorted by address
            if buffer.overlaps(other):
                if at + buffer.bytes <= start:
                    break
                at = max(at, start + other.bytes)
        placed.append((at, buffer))
        placed.sort(key=lambda pair: pair[0])
        offset[buffer.name] = at
        top = max(top, at + buffer.bytes)
    return offset, top


def place(buffers: Sequence[Buffer], bound: int, tries: int = 300) -> tuple[dict[str, int], int]:
    """(offsets, top): the best first fit over several orders and a seeded search, which ends when
    ``bound`` is reached. Never higher than first fit in program order."""
    orders = [
        sorted(buffers, key=lambda b: b.born),
        sorted(buffers, key=lambda b: (-b.bytes, b.born)),
        sorted(buffers, key=lambda b: (-(b.dies - b.born), -b.bytes)),
        sorted(buffers, key=lambda b: (-b.bytes * (b.dies - b.born + 1), b.born)),
        sorted(buffers, key=lambda b: (b.born, -b.bytes)),
    ]
    best_order, (offset, top) = min(
        ((order, first_fit(order)) for order in orders), key=lambda found: found[1][1]
    )
    rng = random.Random(0)
    for _ in range(tries if len(buffers) > 1 else 0):
        if top == bound:
            break
        order = list(best_order)
        i, j = rng.randrange(len(order)), rng.randrange(len(order))
        order.insert(j, order.pop(i))
        trial, height = first_fit(order)
        if height <= top:
            best_order, offset, top = order, trial, height
    return offset, top


def plan(graph: Graph, tries: int = 300) -> Plan:
    """Addresses for all arena values of a graph; deterministic."""
    buffers = lifetimes(graph)
    bound, where = lower_bound(buffers, len(graph.nodes))
    offset, top = place(buffers, bound, tries)
    address = {m: offset[b.name] for b in buffers for m in (b.values or (b.name,))}
    return Plan(tuple(buffers), address, top, bound, where)
