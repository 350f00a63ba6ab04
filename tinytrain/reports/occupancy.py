"""What lives in the arena and when: kinds of values, live bytes, what holds the peak, and what
making values again saves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate

from ..compiler import Compiled
from ..ir import Graph, Node
from ..ops.gradient import clip_mask_u8
from ..planning.lifetimes import Plan, value_lives
from ..planning.placement import Buffer, live_bytes
from ..planning.recompute import backward_start, cost, origin
from ..training.scheme import block_of

KINDS = ("activation", "kept mask", "gradient", "made again", "scratch")


@dataclass(frozen=True)
class Holder:
    """A buffer that is alive at the peak; ``share`` of the bytes that are alive there."""

    names: tuple[str, ...]
    kind: str
    layer: str
    bytes: int
    share: float
    born: int
    dies: int


@dataclass(frozen=True)
class Remade:
    """A forward node that is made again: where (index of the copy), its bytes, its work in MACs;
    ``freed``: nodes of the schedule before it, [first, end), during which its outputs need no
    bytes."""

    name: str
    layer: str
    op: str
    at: int
    bytes: int
    macs: int
    freed: tuple[int, int]


@dataclass(frozen=True)
class Group:
    """Nodes of one block that are made again. ``saved_bytes``: what the peak would have more of if
    those that others read were kept; groups overlap, so these do not add up."""

    name: str
    nodes: tuple[Remade, ...]
    saved_bytes: int

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.nodes)


def kinds(graph: Graph) -> dict[str, str]:
    """The kind of every value that a node makes."""
    start, found = backward_start(graph), dict[str, str]()
    for i, node in enumerate(graph.nodes):
        for value in node.outputs:
            if value is None:
                continue
            if origin(node) is not None:
                kind = "made again"
            elif node.op is clip_mask_u8:
                kind = "kept mask"
            else:
                kind = "activation" if i < start else "gradient"
            found[value.name] = kind
    return found


def kind_of(buffer: Buffer, known: dict[str, str]) -> str:
    """The kind of a buffer's first value; ``known``: see ``kinds``."""
    return "scratch" if buffer.scratch else known[buffer.values[0]]


def holders(plan: Plan, graph: Graph) -> list[Holder]:
    """What is alive at the peak, largest first."""
    known, live = kinds(graph), plan.live_at(plan.peak_node)
    total = sum(b.bytes for b in live)
    return [
        Holder(b.values or (b.name,), kind_of(b, known), b.layer or place_of(b.name), b.bytes,
               b.bytes / total, b.born, b.dies)
        for b in live
    ]  # fmt: skip


def remade(graph: Graph) -> list[Remade]:
    """The nodes of a step that make something again, in running order."""
    lives, found = value_lives(graph), list[Remade]()
    first: dict[str, str] = {}  # copy -> its name in the forward pass
    gone = {name: life.dies + 1 for name, life in lives.items()}  # and with later copies
    born = {name: life.born for name, life in lives.items()}
    for i, node in enumerate(graph.nodes):
        name = origin(node)
        if name is None:
            continue
        outs = [v for v in node.outputs if v is not None]
        assert node.again is not None
        made = zip(node.outputs, node.again.makes, strict=True)
        first |= {v.name: of for v, of in made if v is not None and of is not None}
        # What nothing reads in the forward pass is not made there. It could be with its inputs.
        read = [first.get(name, name) for name in node.reads]
        ready = max((born.get(source, 0) for source in read), default=0)
        for v in outs:
            born.setdefault(first[v.name], ready)
        if node.op.alias:
            continue
        free = max(gone.get(first[v.name], ready) for v in outs)
        until = min(lives[v.name].born for v in outs)
        gone |= {first[v.name]: lives[v.name].dies + 1 for v in outs}
        size = sum(v.type.bytes for v in outs)
        found.append(
            Remade(name, node.layer, node.op.name, i, size, node.macs(), (min(free, until), until))
        )
    return found


def groups(compiled: Compiled) -> list[Group]:
    """What is made again, by block of the model."""
    plan, graph = compiled.train_plan, compiled.train
    live = live_bytes(plan.buffers, len(graph.nodes))
    readers: dict[str, set[int]] = defaultdict(set)
    for i, reader in enumerate(graph.nodes):
        for value in reader.inputs:
            if value is not None:
                readers[value.name].add(i)
    by_block: dict[str, list[Remade]] = {}
    for node in remade(graph):
        by_block.setdefault(place_of(node.layer or node.name), []).append(node)
    found = []
    for name, nodes in by_block.items():
        copies, kept = {node.at for node in nodes}, list(live)
        for node in nodes:
            outs = [v for v in graph.nodes[node.at].outputs if v is not None]
            wanted = sum(v.type.bytes for v in outs if readers[v.name] - copies)
            for i in range(*node.freed):
                kept[i] += wanted
        found.append(Group(name, tuple(nodes), max(kept) - max(live)))
    return found


def place_of(name: str) -> str:
    """The block that a layer or a value is in, or its own first name."""
    return block_of(name) or name.partition(".")[0]


def work(graph: Graph) -> list[int]:
    """Work done before each node and after the last, in MACs as recomputation counts them."""
    return [0, *accumulate(map(cost, graph.nodes))]


def loops(graph: Graph) -> list[tuple[int, int, Node]]:
    """[first, end) of each loop over rows, with its first node."""
    return [(i, end, graph.nodes[i]) for i, end in graph.runs() if graph.nodes[i].loop is not None]
