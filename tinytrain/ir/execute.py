"""A graph run in numpy: its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graph import Graph, Step


def execute(
    graph: Graph, inputs: Mapping[str, Any], state: dict[str, Any] | None = None,
    step: Step | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run a graph in numpy; all its values by name. ``state`` holds the parameters that are not
    constant (the graph's own content where absent) and is updated."""
    state = {} if state is None else state
    values: dict[str, Any] = dict(inputs)
    values |= {name: state.get(name, p.data) for name, p in graph.params.items()}
    for node in graph.nodes:
        arrays = [None if v is None else values[v.name] for v in node.inputs]
        results = node.op.ref(arrays, node.attrs, step or Step())
        for value, array in zip(node.outputs, results, strict=True):
            if value is not None:
                values[value.name] = array
    for new, old in graph.updated().items():
        state[old] = values[new]
    return values
