"""Attention by heads: the nodes around each matrix of probabilities joined into two, one of the
forward and one of the backward pass, which never hold ``[H, T, T]``. The numbers are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..ir import Graph, Node, Op, Value
from ..ops.attention import attention_mix_s8, attention_probs_u8
from ..ops.attention_fused import attention_grad_s8, attention_s8, fuse, fuse_gradient
from ..ops.attention_grad import attention_dk_s8, attention_dq_s8, attention_ds_s8, attention_dv_s8
from .row_loops import largest_divisor

FEW_KEYS = 16  # keys at once where memory is shorter still


def fused_forms(graph: Graph) -> list[Graph]:
    """The graph with attention by heads: all keys at once, and a few. Without attention, itself."""
    nodes = [node for node in graph.nodes if node.op is attention_probs_u8]
    if not nodes:
        return [graph]
    tokens = max(node.out_types()[0].shape[1] for node in nodes)  # type: ignore[union-attr]
    few = largest_divisor(tokens, FEW_KEYS)
    return [fuse_attention(graph, keys) for keys in dict.fromkeys((tokens, few))]


def fuse_attention(graph: Graph, keys: int) -> Graph:
    """Each attention as ``attention_s8`` and, where a gradient passes, ``attention_grad_s8``, with
    at most ``keys`` keys at once."""
    for probs in [node for node in graph.nodes if node.op is attention_probs_u8]:
        graph = _fuse(graph, probs, keys)
    return graph


def _fuse(graph: Graph, probs: Node, keys: int) -> Graph:
    p = probs.outputs[0]
    readers = {n.op: n for n in graph.nodes if p in n.inputs}
    mix, ds = readers.pop(attention_mix_s8, None), readers.pop(attention_ds_s8, None)
    dv = readers.pop(attention_dv_s8, None)
    if p is None or mix is None or readers:
        return graph
    s = ds.outputs[0] if ds else None
    ends = {n.op: n for n in graph.nodes if s is not None and s in n.inputs}
    parts = [ends.get(attention_dq_s8), ends.get(attention_dk_s8), dv]
    q, k, v = *probs.inputs, mix.inputs[1]
    new = {mix.name: _replaced(mix, attention_s8, (q, k, v), mix.outputs, fuse(probs, mix))}
    gone = {probs.name}
    source = ds or dv
    if source is not None:
        attrs = fuse_gradient(probs, ds, *parts)
        rows = p.type.shape[1]
        attrs["keys"] = largest_divisor(rows, keys)
        outs: list[Value | None] = []
        for part in parts:
            outs += part.outputs if part else [None, None]
        inputs = (*source.inputs[:2], q, k, v)
        new[source.name] = _replaced(source, attention_grad_s8, inputs, outs, attrs)
        gone |= {n.name for n in (ds, *parts) if n is not None} - {source.name}
    nodes = [new.get(n.name, n) for n in graph.nodes if n.name not in gone]
    return graph.with_nodes(nodes)


def _replaced(
    node: Node, op: Op, inputs: Sequence[Value | None], outputs: Sequence[Value | None],
    attrs: dict[str, object],
) -> Node:  # fmt: skip
    return replace(node, op=op, inputs=tuple(inputs), outputs=tuple(outputs), attrs=attrs)
