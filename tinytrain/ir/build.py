"""The only maker of nodes: each is typed at birth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .graph import Graph, Node, Op, Phase
from .values import NAMES, Array, Kind, Param, Role, Type, Value, ValueRole
from .verify import verify


class Build:
    """The only maker of nodes: each is typed at birth, and of the current ``phase``."""

    phase: Phase = "forward"

    def __init__(self, graph: Graph | None = None) -> None:
        self.inputs: list[Value] = list(graph.inputs) if graph else []
        self.params: dict[str, Param] = dict(graph.params) if graph else {}
        self.nodes: list[Node] = list(graph.nodes) if graph else []
        self._names = {v.name for v in self.inputs} | set(self.params)
        self._names |= {name for n in self.nodes for name in n.makes}

    def fresh(self, wish: str) -> str:
        name, count = wish, 1
        while name in self._names:
            count += 1
            name = f"{wish}.{count}"
        self._names.add(name)
        return name

    def input(self, name: str, kind: Type, role: ValueRole = "input") -> Value:
        value = Value(self.fresh(name), kind, role)
        self.inputs.append(value)
        return value

    def param(
        self, name: str, data: Array, kind: Kind = "const",
        scale: float | tuple[float, ...] | None = None, *, role: Role = "", layer: str = "",
    ) -> Value:  # fmt: skip
        """A parameter with content; its dtype is the array's. A name that is taken gets a number;
        nothing may be read out of names."""
        value = Value(self.fresh(name), Type(tuple(data.shape), NAMES[data.dtype], scale))
        self.params[value.name] = Param(value, data, kind, role, layer)
        return value

    def node(
        self, op: Op, inputs: Sequence[Value | None], name: str, *, layer: str = "", **attrs: Any
    ) -> tuple[Value, ...]:
        """Append a node; its outputs are called ``name``, ``name.1`` ... (absent ones are None)."""
        types = op.infer(tuple(None if v is None else v.type for v in inputs), attrs)
        outs: list[Value | None] = []
        for i, kind in enumerate(types):
            wish = name if i == 0 else f"{name}:{i}"
            outs.append(None if kind is None else Value(self.fresh(wish), kind))
        phase: Phase = "update" if op.updates else self.phase
        self.append(Node(op, tuple(inputs), tuple(outs), attrs, layer=layer, phase=phase))
        return tuple(outs)  # type: ignore[arg-type]

    def append(self, node: Node) -> None:
        self.nodes.append(node)

    def graph(self, outputs: Sequence[Value]) -> Graph:
        graph = Graph(tuple(self.inputs), self.params, tuple(self.nodes), tuple(outputs))
        return verify(graph.with_nodes(graph.nodes))
