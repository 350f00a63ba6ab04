"""Recomputation: forward values that the backward pass makes again instead of keeping.

A choice is the set of forward nodes that are made again, by name. What the backward pass needs of
them is made right before its first use there, from what is kept (Chen et al. 2016). The numbers are
the same: forward operators draw no random numbers.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from ..ir import Graph, Node, Value
from ..ir.prune import live
from ..ops.gradient import clip_mask_u8

SMALL = 16  # times smaller than its input: an output that is worth keeping
ELEMENT = 4  # what an output element costs, in MACs, beside the products


def backward_start(graph: Graph) -> int:
    """Index of the first node of the backward pass (the number of nodes when there is none)."""
    for i, node in enumerate(graph.nodes):
        if node.phase in ("backward", "update"):
            return i
    return len(graph.nodes)


def forward_nodes(graph: Graph) -> list[Node]:
    """Nodes that can be made again: of the forward pass, without what only looks at bytes."""
    return [n for n in graph.nodes[: backward_start(graph)] if not n.op.alias]


def forward_makers(graph: Graph) -> dict[str, Node]:
    """The node that makes each value of the forward pass."""
    nodes = graph.nodes[: backward_start(graph)]
    return {name: n for n in nodes for name in n.makes}


def cost(node: Node) -> int:
    """Work of a node in MACs; one that multiplies nothing counts by its outputs."""
    return node.macs() + ELEMENT * sum(v.type.size for v in node.outputs if v is not None)


def recompute(graph: Graph, again: Set[str]) -> Graph | None:
    """The graph with the forward nodes named in ``again`` made again where the backward pass needs
    them; None when one would read a weight that has been updated by then.

    What is made again serves all later readers. An update whose name is in ``again``, too, has what
    it reads made for itself alone, right before it, so that nothing has to be kept until then.
    """
    start, maker = backward_start(graph), forward_makers(graph)
    masks = {n.inputs[0].name: n for n in graph.nodes[:start]
             if n.op is clip_mask_u8 and n.inputs[0] is not None}  # fmt: skip
    nodes = list(graph.nodes[:start])
    shared: dict[str, Value] = {}

    def value(v: Value | None, copies: dict[str, Value], update: int) -> Value | None:
        if v is None or v.name not in maker:
            return v
        node = maker[v.name]
        if node.name not in again and not node.op.alias:
            return v
        if v.name not in copies:
            inputs = tuple(value(i, copies, update) for i in node.inputs)
            if inputs == node.inputs and node.op.alias:
                return v
            if v.name in copies:  # a mask, made right behind its input
                return copies[v.name]
            copy = node.repeated(inputs, update)
            nodes.append(copy)
            copies.update((o.name, c) for o, c in zip(node.outputs, copy.outputs, strict=True)
                          if o is not None and c is not None)  # fmt: skip
            if (mask := masks.get(v.name)) and mask.name in again:
                value(mask.outputs[0], copies, update)  # what it looks at may then be overwritten
        return copies[v.name]

    count = 0
    for node in graph.nodes[start:]:
        copies, update = shared, 0
        if node.op.updates and node.name in again:
            count += 1
            copies, update = {}, count
        if not maker.keys().isdisjoint(node.reads):
            # value() appends what it makes again, so the inputs come first.
            node = node.reading(tuple(value(v, copies, update) for v in node.inputs))
        nodes.append(node)
    found = live(replace(graph, nodes=tuple(nodes)))
    return None if _stale(found) else found


def origin(node: Node) -> str | None:
    """The name of the forward node that a node makes again; None for all others."""
    return node.again.of if node.again else None


def own(node: Node) -> int:
    """The number of the update for which alone a node makes something again; 0: not such a node."""
    return node.again.update if node.again else 0


def own_updates(graph: Graph) -> list[Node]:
    """Updates that read forward values, and may have them made for themselves alone."""
    made = forward_makers(graph)
    return [n for n in graph.nodes[backward_start(graph) :] if n.op.updates
            and any(v is not None and v.name in made for v in n.inputs)]  # fmt: skip


def _stale(graph: Graph) -> bool:
    """Whether a node reads a state that an earlier one has overwritten."""
    gone: set[str] = set()
    for node in graph.nodes:
        if not gone.isdisjoint(node.reads):
            return True
        if node.op.updates:
            gone |= {old.name for old, _ in node.overwrites()}
    return False


def bottlenecks(graph: Graph) -> set[str]:
    """Forward nodes that everything passes through: what comes behind needs no older value. In a
    pre-LN transformer, the residual stream behind each half of a block."""
    nodes, made_by = graph.nodes[: backward_start(graph)], forward_makers(graph)
    last: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for v in node.inputs:
            if v is not None:
                last[v.name] = i
    found: set[str] = set()
    reach = -1  # the latest node that reads something made so far
    for i, node in enumerate(nodes):
        if reach <= i and any(v is not None and v.name in made_by for v in node.inputs):
            found.add(node.name)
        reach = max([reach, *(last[v.name] for v in node.outputs
                              if v is not None and v.name in last)])  # fmt: skip
    return found


def worth_keeping(graph: Graph) -> set[str]:
    """Forward nodes whose outputs are small for what they save: much smaller than their input, or
    masks of what the backward pass would not make again for another reader."""
    start, maker = backward_start(graph), forward_makers(graph)
    stop = bottlenecks(graph)
    wanted = [v.name for n in graph.nodes[start:] for v in n.inputs if v is not None
              and v.name in maker and maker[v.name].op is not clip_mask_u8]  # fmt: skip
    again: set[str] = set()
    while wanted:
        node = maker[wanted.pop()]
        if node.name not in again | stop:
            again.add(node.name)
            wanted += [name for name in node.reads if name in maker]
    found = {
        n.name
        for n in graph.nodes[:start]
        if n.op is clip_mask_u8
        and (source := n.inputs[0]) is not None
        and maker[source.name].name not in again
    }
    for node in graph.nodes[:start]:
        read = max((v.type.bytes for v in node.inputs if v is not None and v.name in maker),
                   default=0)  # fmt: skip
        if SMALL * sum(v.type.bytes for v in node.outputs if v is not None) <= read:
            found.add(node.name)
    return found


def extra_cost(graph: Graph, plain: Graph) -> int:
    """Work of a graph beyond that of another, in MACs."""
    return sum(map(cost, graph.nodes)) - sum(map(cost, plain.nodes))
