"""Dead nodes pruned."""

from __future__ import annotations

from dataclasses import replace

from .graph import Graph, Node
from .verify import verify


def live(graph: Graph) -> Graph:
    """Without the nodes that neither an output nor an update of a state needs; all parameters."""
    needed = {v.name for v in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.op.updates or not needed.isdisjoint(node.makes):
            kept.append(node)
            needed.update(node.reads)
    return replace(graph, nodes=tuple(kept[::-1]))


def prune(graph: Graph) -> Graph:
    """The live nodes, without the parameters that none of them reads; verified."""
    kept = live(graph)
    return verify(kept.with_nodes(kept.nodes))
