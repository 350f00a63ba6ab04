"""The order of nodes: dead ones pruned, table functions made again instead of kept."""

from __future__ import annotations

from dataclasses import replace

from .ir import Build, Graph, Node, Value, verify
from .ops.elementwise import lut_s8


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


def look_up_again(graph: Graph) -> Graph:
    """Each ``lut_s8`` whose input is kept for the backward pass anyway is repeated there, right
    before its output is read again."""
    loss = next(i for i, node in enumerate(graph.nodes) if node.outputs[0] in graph.outputs)
    build = Build(graph)
    build.nodes = []
    again: dict[str, Value] = {}
    luts = {
        node.outputs[0].name: node
        for node in graph.nodes[:loss]
        if node.op is lut_s8 and node.outputs[0] is not None
    }
    for i, node in enumerate(graph.nodes):
        inputs = list(node.inputs)
        for j, value in enumerate(inputs):
            source = luts.get(value.name) if value is not None and i > loss else None
            if source is None or value is None or not _read_after(graph, source.inputs[0], i):
                continue
            if value.name not in again:
                name = f"{value.name}.again"
                (again[value.name],) = build.node(lut_s8, source.inputs, name, **source.attrs)
            inputs[j] = again[value.name]
        build.append(replace(node, inputs=tuple(inputs)))
    return build.graph(graph.outputs)


def _read_after(graph: Graph, value: Value | None, index: int) -> bool:
    return any(value in node.inputs for node in graph.nodes[index:])
