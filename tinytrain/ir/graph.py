"""The graph: typed values, and nodes in the order they run.

Node order is the schedule. A pass is ``Graph -> Graph``; ``verify`` runs after each. One IR holds
the float graph that the frontend makes, the int8 graph, and the training step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..errors import ShapeError
from .values import DTYPES, NAMES, Array, Kind, Param, Role, Type, Value, ValueRole

__all__ = [
    "DTYPES", "NAMES", "Again", "Array", "Attrs", "Case", "Graph", "Kind", "Loop", "Node",
    "Op", "Param", "Role", "Step", "Type", "Types", "Value",
]  # fmt: skip

Attrs = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What a kernel may know of the running step; C has the same struct, ``tt_step`` (and there the
    row at which a tile begins)."""

    seed: int = 1
    step: int = 0
    learning_rate: np.float32 = np.float32(0)
    beta: np.float32 = np.float32(0.95)


Types = tuple["Type | None", ...]


@dataclass(frozen=True, eq=False)
class Op:
    """An operator, defined once. Its C function is ``tt_<name>``.

    ``infer(in_types, attrs)`` gives the output types (None for an absent optional output).
    ``ref(in_arrays, attrs, step)`` is its bit-exact numpy meaning.
    ``dims(in_types, out_types, attrs)`` are the ``int32_t`` arguments, in order.
    ``floats`` names the attributes passed as ``float`` after them.
    ``scratch(in_types, attrs)`` bytes of working memory that the kernel needs (0: not passed).
    ``room(in_types, attrs)`` bytes of it, those included, with which the fastest kernel is at its
    fastest; what results does not depend on it. Such an op is always passed its scratch (NULL for
    none) and, before its dims, ``int32_t room``: the bytes there.
    ``uses_step``: the kernel takes ``const tt_step *``; ops that draw random numbers have the
    attribute ``stream`` (no two nodes share one) and pass it among their dims.
    ``inplace`` pairs (output, input) may share their bytes, ``updates`` pairs must: the input is a
    state that the node overwrites, passed once, as output. ``alias``: no call at all, output 0 is
    input 0 seen with another type.
    ``grad(b, node, grads, wanted)`` builds the gradient of the inputs that are wanted.
    ``real(in_arrays, attrs)`` is the float meaning on real values, for finite differences.
    ``bound(in_types, attrs)``: largest absolute int32 accumulator; must stay below 2**31.
    ``rowwise``: every output row t (first axis) comes from row t of these inputs and from the other
    inputs as a whole; None: not so. Such nodes may run in a loop over blocks of rows. Kernels that
    draw random numbers add ``st->row`` to their row index. ``sums``: the outputs are whole, sums
    over those rows; the kernel begins them anew where ``st->row`` is 0.
    ``examples(rng)`` gives cases that every test of operators runs.

    Argument order in C: outputs, inputs (absent ones NULL), scratch, step, room, dims, floats.
    """

    name: str
    infer: Callable[[Types, Attrs], tuple[Type | None, ...]]
    ref: Callable[[Sequence[Any], Attrs, Step], tuple[Any, ...]]
    dims: Callable[[Types, Types, Attrs], dict[str, int]] | None = None
    floats: tuple[str, ...] = ()
    scratch: Callable[[Types, Attrs], int] | None = None
    room: Callable[[Types, Attrs], int] | None = None
    uses_step: bool = False
    inplace: tuple[tuple[int, int], ...] = ()
    updates: tuple[tuple[int, int], ...] = ()
    alias: bool = False
    grad: Callable[..., tuple[Any, ...]] | None = None
    real: Callable[[Sequence[Any], Attrs], Any] | None = None
    macs: Callable[[Types, Attrs], int] | None = None
    bound: Callable[[Types, Attrs], int] | None = None
    rowwise: tuple[int, ...] | None = None
    sums: bool = False
    examples: Callable[[np.random.Generator], list[Case]] | None = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"


@dataclass(frozen=True)
class Case:
    """One test case of an op: input arrays (None where absent) with their scales, attributes."""

    inputs: tuple[Array | None, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    scales: tuple[float | tuple[float, ...] | None, ...] = ()
    label: str = ""

    def types(self) -> Types:
        scales = self.scales or (None,) * len(self.inputs)
        return tuple(
            None if a is None else Type(a.shape, NAMES[a.dtype], s)
            for a, s in zip(self.inputs, scales, strict=True)
        )


@dataclass(frozen=True)
class Loop:
    """Neighbouring nodes with the same loop run together, ``rows`` of their rows at a time."""

    name: str
    rows: int


# What a node is of a training step. ``update`` overwrites a state.
Phase = Literal["forward", "loss", "backward", "update", "recomputed"]


@dataclass(frozen=True)
class Again:
    """What a recomputed node repeats: the forward node's name and outputs, and the number of the
    update for which alone it does so (0: for all readers)."""

    of: str
    makes: tuple[str | None, ...]
    update: int = 0

    @property
    def suffix(self) -> str:
        """What stands behind the names of its outputs. Two dots occur in no name of a user's."""
        return f"..again.{self.update}" if self.update else "..again"


@dataclass(frozen=True)
class Node:
    """A call of an operator. ``layer``: the user's name of the place in the model that it comes
    from; ``phase``: what it is of the step; ``again``: of a recomputed node, what it repeats."""

    op: Op
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value | None, ...]
    attrs: Attrs = field(default_factory=dict)
    loop: Loop | None = None
    layer: str = ""
    phase: Phase = "forward"
    again: Again | None = None

    @cached_property
    def name(self) -> str:
        return self.makes[0]

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(v.name for v in self.inputs if v is not None)

    @cached_property
    def makes(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(v.name for v in self.outputs if v is not None)

    def in_types(self) -> Types:
        return tuple(None if v is None else v.type for v in self.inputs)

    def out_types(self) -> Types:
        return tuple(None if v is None else v.type for v in self.outputs)

    @cached_property
    def tokens(self) -> int:
        """Rows of the outputs (their first axis); of what is summed over its rows."""
        if self.op.sums and self.op.rowwise:
            return next(v.type.shape[0] for i in self.op.rowwise if (v := self.inputs[i]))
        return next(v.type.shape[0] for v in self.outputs if v is not None)

    def body(self) -> Node:
        """The node as one pass of its loop runs it: what goes row by row has ``loop.rows`` rows."""
        if self.loop is None or self.op.rowwise is None:
            return self
        rows, by_row = self.loop.rows, self.op.rowwise
        ins = tuple(_rows_of(v, rows) if i in by_row else v for i, v in enumerate(self.inputs))
        outs = self.outputs if self.op.sums else tuple(_rows_of(v, rows) for v in self.outputs)
        return replace(self, inputs=ins, outputs=outs)

    def overwrites(self) -> list[tuple[Value, Value]]:
        """(state, its new value) of what the node overwrites."""
        pairs = [(self.inputs[i], self.outputs[o]) for o, i in self.op.updates]
        return [(old, new) for old, new in pairs if old is not None and new is not None]

    def in_loop(self, loop: Loop | None) -> Node:
        """The same in a loop."""
        return self._variant(loop, lambda: replace(self, loop=loop))

    def reading(self, inputs: tuple[Value | None, ...]) -> Node:
        """The same of other inputs."""
        if inputs == self.inputs:
            return self
        return self._variant(inputs, lambda: replace(self, inputs=inputs))

    def repeated(self, inputs: tuple[Value | None, ...], update: int = 0) -> Node:
        """The same of other inputs, as a recomputed node, of the update of this number alone."""

        def make() -> Node:
            again = Again(
                self.name, tuple(None if v is None else v.name for v in self.outputs), update
            )
            outs = tuple(v and Value(v.name + again.suffix, v.type) for v in self.outputs)
            return Node(
                self.op, inputs, outs, self.attrs, layer=self.layer, phase="recomputed", again=again
            )

        return self._variant((inputs, update), make)

    def _variant(self, key: object, make: Callable[[], Node]) -> Node:
        """Made once: a search of the planner asks for the same ones thousands of times."""
        known: dict[object, Node] = self.__dict__.setdefault("_variants", {})
        if key not in known:
            known[key] = make()
        return known[key]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_variants"}

    def scratch_bytes(self) -> int:
        return self._scratch_bytes

    @cached_property
    def _scratch_bytes(self) -> int:
        return self.op.scratch(self.body().in_types(), self.attrs) if self.op.scratch else 0

    def room_bytes(self) -> int:
        """The most scratch that is of use; not below ``scratch_bytes``."""
        most = self.op.room(self.body().in_types(), self.attrs) if self.op.room else 0
        return max(most, self.scratch_bytes())

    def macs(self) -> int:
        return self.op.macs(self.in_types(), self.attrs) if self.op.macs else 0

    def __str__(self) -> str:
        outs = ", ".join("-" if v is None else str(v) for v in self.outputs)
        ins = ", ".join("-" if v is None else f"%{v.name}" for v in self.inputs)
        return f"{outs} = {self.op.name}({ins})"


def _rows_of(value: Value | None, rows: int) -> Value | None:
    if value is None:
        return None
    kind = value.type
    return replace(value, type=replace(kind, shape=(rows, *kind.shape[1:])))


@dataclass(frozen=True)
class Graph:
    """Inputs, parameters by name, nodes in running order, outputs."""

    inputs: tuple[Value, ...]
    params: Mapping[str, Param]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]

    def outside(self, role: ValueRole) -> Value:
        """The input of this role. Raises ShapeError when there is none."""
        for value in self.inputs:
            if value.role == role:
                return value
        raise ShapeError(f"the graph has no input of the role {role!r}")

    def with_nodes(self, nodes: Sequence[Node]) -> Graph:
        """The same graph over other nodes, without the parameters that none of them reads."""
        used = {name for n in nodes for name in n.reads}
        used |= {v.name for v in self.outputs}
        params = {k: p for k, p in self.params.items() if k in used}
        return replace(self, nodes=tuple(nodes), params=params)

    def macs(self) -> int:
        return sum(node.macs() for node in self.nodes)

    def runs(self) -> list[tuple[int, int]]:
        """[first, end) of what runs as one: single nodes and loops."""
        found: list[tuple[int, int]] = []
        for i, node in enumerate(self.nodes):
            if i and node.loop is not None and node.loop == self.nodes[i - 1].loop:
                found[-1] = (found[-1][0], i + 1)
            else:
                found.append((i, i + 1))
        return found

    def inner(self) -> set[str]:
        """Names of the values that a loop makes and only it reads: of these only the rows of one
        pass exist."""
        outside = {v.name for v in self.outputs}
        made: dict[str, tuple[int, int]] = {}
        for run in self.runs():
            for node in self.nodes[slice(*run)]:
                for name in node.reads:
                    if made.get(name, run) != run:
                        outside.add(name)
                if node.loop is not None:
                    made |= dict.fromkeys(node.makes, run)
        return set(made) - outside

    def updated(self) -> dict[str, str]:
        """New value -> the state that holds it: what nodes with ``updates`` overwrite."""
        home: dict[str, str] = {}
        for node in self.nodes:
            for old, new in node.overwrites() if node.op.updates else ():
                home[new.name] = home.get(old.name, old.name)
        return home

    def __str__(self) -> str:
        lines = [f"input {v}" for v in self.inputs]
        lines += [f"{p.kind} {p.value}" for p in self.params.values()]
        lines += [str(n) for n in self.nodes]
        return "\n".join([*lines, "return " + ", ".join(f"%{v.name}" for v in self.outputs)])
