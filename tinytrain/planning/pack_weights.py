"""Frozen weights of layers of one token laid out for the kernel that reads them.

An arch that has ``linear_packed.c`` takes their layout (``ops/packed.py``). It is chosen for a
weight that nothing else reads, in the training step or in the evaluation.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, Node, Param
from ..ops.linear import linear_s8
from ..ops.packed import fits, linear_packed_s8, pack_weight
from ..support.assets import firmware_dir


def packs(arch: str) -> bool:
    """Whether the kernels of an arch gain by the layout."""
    return bool(arch) and (firmware_dir() / "arch" / arch / "linear_packed.c").is_file()


def with_packed(*graphs: Graph) -> tuple[Graph, ...]:
    """The graphs of one model, with packed weights where all readers in all graphs take them."""
    nodes = [node for graph in graphs for node in graph.nodes]
    taken = {n.inputs[1].name for n in nodes if n.op is linear_s8 and n.inputs[1]}
    taken -= {v.name for n in nodes for i, v in enumerate(n.inputs)
              if v is not None and not (i == 1 and _takes(n))}  # fmt: skip
    taken -= {name for graph in graphs for name, p in graph.params.items() if p.kind != "const"}
    taken -= {v.name for graph in graphs for v in graph.outputs}
    made = {name: _packed(p) for g in graphs for name, p in g.params.items() if name in taken}
    return tuple(
        replace(
            graph, params={name: made.get(name, p) for name, p in graph.params.items()},
            nodes=tuple(_rewritten(n, made) for n in graph.nodes),
        )
        for graph in graphs
    )  # fmt: skip


def _takes(node: Node) -> bool:
    """Whether a node could read its weight packed: one token, nothing split, one multiplier."""
    if node.op is not linear_s8 or node.loop is not None:
        return False
    x, w, wt, rows, _, bt, mult, _ = node.in_types()
    assert x and w and mult
    whole = wt is None and rows is None and bt is None
    return x.shape[0] == 1 and whole and mult.shape == (1,) and fits(*w.shape)


def _packed(param: Param) -> Param:
    return replace(param, data=pack_weight(param.data))


def _rewritten(node: Node, made: dict[str, Param]) -> Node:
    if node.op is not linear_s8 or node.inputs[1] is None or node.inputs[1].name not in made:
        return node
    x, w, _, _, b, _, mult, shift = node.inputs
    return replace(node, op=linear_packed_s8, inputs=(x, w, b, mult, shift))
