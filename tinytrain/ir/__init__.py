"""The graph: values, nodes, their numpy meaning."""

from .build import Build
from .graph import (
    DTYPES,
    Again,
    Array,
    Attrs,
    Case,
    Graph,
    Kind,
    Loop,
    Node,
    Op,
    Param,
    Role,
    Step,
    Type,
    Types,
    Value,
)
from .verify import verify

__all__ = [
    "DTYPES",
    "Again",
    "Array",
    "Attrs",
    "Build",
    "Case",
    "Graph",
    "Kind",
    "Loop",
    "Node",
    "Op",
    "Param",
    "Role",
    "Step",
    "Type",
    "Types",
    "Value",
    "verify",
]
