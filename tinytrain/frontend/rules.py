"""How each aten operator is lowered: one function an operator, the table at the end.

A rule takes the lowering and the operator's arguments, with records in place of tensors, and gives
the records of its results; more of them are in arithmetic.py and attention.py. Operators whose
arguments are all constants never come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..ir import Value
from ..ops import floating
from . import attention
from .arithmetic import add, div, eq, full_like, masked_fill, mul, neg, rsub, sub, where
from .convolution import convolution, max_pool, with_relu
from .explain import short_name
from .lowering import Lowering
from .records import Act, Const, Record, Scores, Weights, counted, in_order, move


def unary(fn: str) -> Callable[..., Act]:
    def rule(lo: Lowering, x: Record, approximate: str = "none") -> Act:
        kind = "gelu_tanh" if fn == "gelu" and approximate == "tanh" else fn
        value, index = lo.flat(lo.act(x))
        return Act(lo.emit(floating.unary, [value], lo.path, lo.named(fn), fn=kind), index)

    return rule


def relu(lo: Lowering, x: Record) -> Act:
    """A part of the convolution that it reads, or a table."""
    return with_relu(lo, lo.act(x)) or unary("relu")(lo, x)


def addmm(
    lo: Lowering, bias: Record, a: Record, b: Record, beta: float = 1, alpha: float = 1
) -> Record:
    """``bias + a @ b``."""
    plain = isinstance(a, Act) and isinstance(b, Const) and isinstance(bias, Const)
    if plain and beta == alpha == 1 and bias.tensor.dim() == 1:  # type: ignore[union-attr]
        return attention.project(lo, a, move(b, lambda t: t.T), bias)  # type: ignore[arg-type]
    return add(lo, mul(lo, attention.mm(lo, a, b), alpha), mul(lo, bias, beta))


def baddbmm(
    lo: Lowering, bias: Record, a: Record, b: Record, beta: float = 1, alpha: float = 1
) -> Record:
    return add(lo, mul(lo, attention.bmm(lo, a, b), alpha), mul(lo, bias, beta))


def embedding(lo: Lowering, table: Record, ids: Record, *rest: Any) -> Act:
    """``ids[1, T]`` -> ``[1, T, C]``."""
    w, x = lo.const(table, "an embedding's table"), lo.act(ids)
    if not isinstance(x.source, Value) or x.source.type.dtype == "f32":
        lo.refuse("looks up what is not the model's input", "integer tokens as the input")
    if not in_order(x.index) or x.index.numel() != x.source.type.size or x.factor != 1.0:
        lo.refuse("the tokens are changed before the embedding", "the tokens as they come")
    layer = lo.claim(lo.layer_of(w), floating.embedding)
    value = lo.layer(floating.embedding, [x.source], layer, weight=w.tensor)
    return Act(value, counted(*x.index.shape, w.tensor.shape[1]))


def layer_norm(
    lo: Lowering, x: Record, shape: Sequence[int], gamma: Record | None, beta: Record | None,
    eps: float,
) -> tuple[Act, None, None]:  # fmt: skip
    """Over the last axis; absent factors are ones, absent offsets zeros."""
    x = lo.act(x)
    if len(shape) != 1:
        lo.refuse(f"normalises over {list(shape)}", "nn.LayerNorm over the channels alone")
    g = lo.const(gamma, "gamma") if gamma is not None else Const(torch.ones(shape[0]))
    b = lo.const(beta, "beta") if beta is not None else Const(torch.zeros(shape[0]))
    layer = lo.claim(lo.layer_of(g), floating.layer_norm) if gamma is not None else lo.path
    tensors = {"weight": g.tensor, "bias": b.tensor}
    value = lo.layer(floating.layer_norm, [lo.rows(x)], layer, eps=eps, **tensors)
    return Act(value, counted(*x.index.shape)), None, None


def mean(
    lo: Lowering, x: Record, dims: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> Act:
    """Over the tokens."""
    x = lo.act(x)
    rank = x.index.dim()
    over = sorted(d % rank for d in dims) if dims else list(range(rank))
    rest = [d for d in range(rank) if d not in over]
    shape = [1 if d in over else x.index.shape[d] for d in range(rank) if keepdim or d in rest]
    tokens = torch.Size(x.index.shape[d] for d in over).numel()
    rows = x.index.permute(*over, *rest).reshape(tokens, -1)
    if tokens == 1:
        return replace(x, index=rows.reshape(shape))
    value = lo.emit(floating.mean_tokens, [lo.gather(x, rows, scaled=False)], lo.path)
    return Act(value, counted(*shape), x.factor, x.place)


def cat(lo: Lowering, parts: Sequence[Record], dim: int = 0) -> Act:
    """Along the tokens; constants (a class token) become parameters."""
    acts = [p for p in parts if isinstance(p, Act)]
    if len(acts) == len(parts) and all(
        p.source is acts[0].source and p.factor == acts[0].factor for p in acts
    ):
        return replace(acts[0], index=torch.cat([p.index for p in acts], dim))
    rows = [move(p, lambda t: t.movedim(dim, 0)) for p in parts]  # tokens first
    shape = next(r.index.shape for r in rows if isinstance(r, Act))
    values = []
    for part in rows:
        if isinstance(part, Const):
            values.append(lo.param(part.name or lo.named("token"), part.tensor.flatten(1)))
        else:
            part = lo.act(part)
            if part.index[:1].numel() not in part.source_shape[-1:]:
                lo.refuse("joins activations along another axis than the tokens",
                          "torch.cat(dim=1) of [1, T, C]")  # fmt: skip
            values.append(lo.gather(part, part.index.flatten(1)))
    value = values[0]
    for other in values[1:]:
        value = lo.emit(floating.concat_tokens, [value, other], lo.path)
    return Act(value, counted(value.type.shape[0], *shape[1:]).movedim(0, dim))


def copied(lo: Lowering, x: Record, dtype: torch.dtype | None = None, **_: Any) -> Record:
    """A copy of the same kind of numbers."""
    tokens = isinstance(x, Act) and isinstance(x.source, Value) and x.source.type.dtype != "f32"
    wanted = (torch.int64, torch.int32) if tokens else (torch.float32,)
    if dtype is not None and dtype not in wanted:
        lo.refuse(f"converts to {dtype}", "float32 throughout (model.float())")
    return x


def moved(lo: Lowering, x: Record, *args: Any, **kwargs: Any) -> Any:
    """An operator that only moves elements: torch runs it on the index."""
    if not isinstance(x, Act | Scores | Weights) or lo.current is None:
        lo.refuse("takes its places from the input", "places that do not depend on the input")
    assert callable(lo.current.target)
    args = tuple(a.tensor if isinstance(a, Const) else a for a in args)
    index = x.index.contiguous()
    if any(isinstance(a, list) and any(isinstance(i, Record) for i in a) for a in args):
        args = tuple([getattr(i, "tensor", i) for i in a] if isinstance(a, list) else a
                     for a in args)  # fmt: skip
    result = lo.current.target(index, *args, **kwargs)
    earlier = x.node if isinstance(x, Act) and short_name(lo.current) in QUIET else None
    blamed = earlier or lo.current
    parts = [result] if isinstance(result, Tensor) else result
    records = tuple(
        replace(x, index=part, node=blamed) if isinstance(x, Act) else replace(x, index=part)
        for part in parts
    )
    return records[0] if isinstance(result, Tensor) else records


# What messages do not point at when an operator before it moved the elements, too.
QUIET = ("view", "_unsafe_view", "reshape", "clone", "alias", "detach", "expand")

MOVES = (
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "unsqueeze", "squeeze",
    "expand", "clone", "alias", "detach", "lift_fresh_copy", "slice", "select", "split",
    "split_with_sizes", "unbind", "flip", "roll", "repeat", "index", "index_select", "unfold",
    "as_strided", "contiguous", "_reshape_copy", "squeeze_copy",
)  # fmt: skip

RULES: dict[str, Callable[..., Any]] = {
    **{name: moved for name in MOVES},
    **{name: unary(name) for name in ("gelu", "tanh", "sigmoid", "silu")}, "relu": relu,
    "add": add, "sub": sub, "rsub": rsub, "mul": mul, "div": div, "neg": neg,
    "mm": attention.mm, "bmm": attention.bmm, "addmm": addmm, "baddbmm": baddbmm,
    "_softmax": attention.softmax, "_log_softmax": attention.softmax, "where": where,
    "masked_fill": masked_fill, "eq": eq, "full_like": full_like, "convolution": convolution,
    "max_pool2d_with_indices": max_pool, "embedding": embedding,
    "native_layer_norm": layer_norm, "mean": mean, "cat": cat,
    "_to_copy": copied, "_assert_tensor_metadata": lambda *_, **__: None,
}  # fmt: skip
