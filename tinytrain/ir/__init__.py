"""The graph: values, nodes, their numpy meaning."""

from .graph import (
    DTYPES,
    Array,
    Attrs,
    Build,
    Case,
    Graph,
    Loop,
    Node,
    Op,
    Param,
    Step,
    Type,
    Types,
    Value,
    verify,
)

__all__ = [
    "DTYPES",
    "Array",
    "Attrs",
    "Build",
    "Case",
    "Graph",
    "Loop",
    "Node",
    "Op",
    "Param",
    "Step",
    "Type",
    "Types",
    "Value",
    "verify",
]
