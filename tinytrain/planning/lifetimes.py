"""Lifetimes and addresses: where each value lives in the static arena.

A value lives from the node that makes it to the last that reads it; scratch lives at one node.
Values that may share bytes (in-place operators, views) form one buffer. ``placement`` gives the
buffers their addresses; the lower bound is the largest sum of live bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from typing import NamedTuple

from ..ir import Graph, Node
from .placement import OPEN, WHOLE, Buffer, Method, Placement, Region, aligned, lower_bound, place


@dataclass(frozen=True)
class Plan:
    """Addresses of a graph. ``offset[name]``, ``region[name]``: where a value, or ``scratch@node``,
    lies: bytes from the start of its region's arena. ``scratch``: bytes by name of
    the node."""

    buffers: tuple[Buffer, ...]
    placement: Placement
    offset: dict[str, int] = field(repr=False)
    region: dict[str, str] = field(repr=False)
    lower_bound_bytes: int = 0
    peak_node: int = 0
    scratch: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def arena_bytes(self) -> int:
        """Bytes of all regions."""
        return self.placement.height

    @property
    def fits(self) -> bool:
        """Within the capacities of the regions."""
        return self.placement.over_bytes == 0

    def live_at(self, node: int) -> list[Buffer]:
        """Buffers alive at a node, largest first."""
        return sorted((b for b in self.buffers if b.born <= node <= b.dies), key=lambda b: -b.bytes)


def scratch_name(node: Node) -> str:
    return f"scratch@{node.name}.."  # no value is called so: a user's name has no empty part


class Life(NamedTuple):
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
    read = {name: i for i, node in enumerate(graph.nodes) for name in node.reads}
    read |= {value.name: len(graph.nodes) for value in graph.outputs}
    lives: dict[str, Life] = {}
    inner = graph.inner()
    for first, end in graph.runs():
        for i in range(first, end):
            node = graph.nodes[i]
            for name in node.reads if end - first > 1 else ():
                known = lives.get(name)
                if known and known.born < first and known.dies < end - 1:
                    lives[name] = Life(known.bytes, known.born, known.read, end - 1)
            for made in node.outputs:
                if made is None:
                    continue
                last, size = read.get(made.name, i), made.type.bytes
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
    maker: dict[str, Node] = {}
    found: list[Buffer] = []
    for i, node in enumerate(graph.nodes):
        if size := node.scratch_bytes():
            found.append(Buffer(scratch_name(node), aligned(size), i, i, (), node.layer, True))
        may_share = node.op.alias or node.op.inplace
        taken: set[str] = set()
        for index, value in enumerate(node.outputs):
            if value is None or value.name in fixed:
                continue
            shared = _shared(node, index, i, owner, groups, lives, taken) if may_share else None
            if shared is not None:
                groups[shared].append(value.name)
            elif node.op.alias:
                fixed.add(value.name)  # a view of an input or a parameter has no arena bytes
                continue
            else:
                groups[value.name] = [value.name]
                maker[value.name] = node
            owner[value.name] = shared or value.name
    for name, members in groups.items():
        size, layer = aligned(lives[name].bytes), maker[name].layer
        born, dies = min(lives[m].born for m in members), max(lives[m].dies for m in members)
        found.append(Buffer(name, size, born, dies, tuple(members), layer))
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


def plan(
    graph: Graph, regions: Sequence[Region] = WHOLE, method: Method = "heuristic",
    watch: Callable[[int, int], None] | None = None,
) -> Plan:  # fmt: skip
    """Addresses for all arena values of a graph; deterministic. The arguments are those of
    ``placement.place``."""
    buffers = lifetimes(graph)
    bound, where = lower_bound(buffers, len(graph.nodes))
    found = place(buffers, regions, method=method, watch=watch)
    names = {name: b.name for b in buffers for name in (b.values or (b.name,))}
    return Plan(
        tuple(buffers), found,
        {name: found.offset[b] for name, b in names.items()},
        {name: found.region[b] for name, b in names.items()},
        bound, where,
        {n.name: size for n in graph.nodes if (size := n.scratch_bytes())},
    )  # fmt: skip


def at_places_of(graph: Graph, own: Plan, other: Plan) -> Plan | None:
    """``own`` with the addresses that ``other`` gave to values and scratch of the same names, so
    that calls which both graphs have are alike; None where they are not all free here."""
    owner = {name: b.name for b in other.buffers for name in b.values}
    layer = {name: b.layer for b in own.buffers for name in b.values}
    groups: dict[str, list[tuple[str, Life]]] = {}
    for name, life in value_lives(graph).items():
        if name in own.offset:
            groups.setdefault(owner.get(name, ""), []).append((name, life))
    scratch = {n.name: other.scratch[n.name] for n in graph.nodes if n.name in other.scratch}
    if "" in groups or any(scratch.get(node, 0) < size for node, size in own.scratch.items()):
        return None
    buffers = [
        Buffer(scratch_name(n), aligned(scratch[n.name]), i, i, (), n.layer, True)
        for i, n in enumerate(graph.nodes) if n.name in scratch
    ]  # fmt: skip
    for group in groups.values():
        lives = [life for _, life in group]
        if any(a.read > b.born for a, b in pairwise(lives)):
            return None
        names = tuple(name for name, _ in group)
        born, dies = min(life.born for life in lives), max(life.dies for life in lives)
        size = aligned(max(life.bytes for life in lives))
        buffers.append(Buffer(names[0], size, born, dies, names, layer[names[0]]))
    spans = [(b, other.region[b.name], other.offset[b.name]) for b in buffers]
    for (a, region, x), (b, beside, y) in combinations(spans, 2):
        if a.overlaps(b) and region == beside and x < y + b.bytes and y < x + a.bytes:
            return None
    used = tuple(
        max((at + b.bytes for b, region, at in spans if region == r.name), default=0)
        for r in own.placement.regions
    )
    if any(mine > there for mine, there in zip(used, other.placement.used, strict=True)):
        return None
    home = {name: b.name for b in buffers for name in (b.values or (b.name,))}
    places = {name: other.offset[b] for name, b in home.items()}
    regions = {name: other.region[b] for name, b in home.items()}
    placement = replace(own.placement, offset=places, region=regions, used=used, proof=OPEN)
    return replace(own, buffers=tuple(buffers), placement=placement, offset=places, region=regions,
                   scratch=scratch)  # fmt: skip
