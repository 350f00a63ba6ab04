"""What every graph is checked for, after each pass."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ShapeError
from .graph import Graph, Node


def verify(graph: Graph) -> Graph:
    """Check order, names, types, state updates and accumulator bounds; give the graph back.

    Raises ShapeError naming the node.
    """
    known = {v.name: v.type for v in graph.inputs}
    known |= {name: p.value.type for name, p in graph.params.items()}
    stale: set[str] = set()
    for node in graph.nodes:
        for value in node.inputs:
            if value is None:
                continue
            if value.name not in known:
                raise ShapeError(f"{node}: reads %{value.name} before it is made")
            if value.name in stale:
                raise ShapeError(f"{node}: reads %{value.name} after it was overwritten")
            if known[value.name] != value.type:
                raise ShapeError(f"{node}: %{value.name} is {known[value.name]}")
        if node.op.infer(node.in_types(), node.attrs) != node.out_types():
            raise ShapeError(f"{node}: its types are not those that {node.op.name} infers")
        if node.op.bound and (worst := node.op.bound(node.in_types(), node.attrs)) >= 2**31:
            raise ShapeError(
                f"{node.layer or node.name}: {node.op.name} could reach {worst} in its int32 "
                f"accumulator (limit {2**31 - 1}); use fewer input channels or tokens"
            )
        stale |= {old.name for old, _ in node.overwrites()}
        for value in node.outputs:
            if value is None:
                continue
            if value.name in known:
                raise ShapeError(f"{node}: %{value.name} is made twice")
            known[value.name] = value.type
    for value in graph.outputs:
        if value.name not in known:
            raise ShapeError(f"output %{value.name} is never made")
    for first, end in graph.runs():
        if graph.nodes[first].loop is not None:
            _verify_loop(graph.nodes[first:end], set(graph.params))
    return graph


def _verify_loop(nodes: Sequence[Node], params: set[str]) -> None:
    """All go row by row over the same rows; only parameters are read as a whole."""
    for node in nodes:
        assert node.loop is not None
        if node.op.rowwise is None or node.op.updates or node.op.alias:
            raise ShapeError(f"{node}: {node.op.name} cannot run by rows, so not in a loop")
        if node.tokens != nodes[0].tokens or node.tokens % node.loop.rows:
            raise ShapeError(f"{node}: {node.tokens} rows in loop {node.loop}")
        for i, value in enumerate(node.inputs):
            if value is not None and i not in node.op.rowwise and value.name not in params:
                raise ShapeError(f"{node}: reads all rows of %{value.name} in a loop over rows")
