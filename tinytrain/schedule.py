"""The order of nodes: that of the builder, without the dead ones."""

from __future__ import annotations

from .ir import Graph, Node, verify


def prune(graph: Graph) -> Graph:
    """Without the nodes that neither an output nor an update of a state needs."""
    needed = {v.name for v in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        outs = {v.name for v in node.outputs if v is not None}
        if node.op.updates or outs & needed:
            kept.append(node)
            needed |= {v.name for v in node.inputs if v is not None}
    return verify(graph.with_nodes(kept[::-1]))
