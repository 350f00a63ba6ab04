"""How each aten operator is lowered: one function an operator, the table at the end.

A rule takes the lowering and the operator's arguments, with records in place of tensors, and gives
the records of its results. Operators whose arguments are all constants never come here.
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
from .lowering import Lowering
from .records import Act, Const, Projection, Record, Scores, counted, in_order, move

Operand = Record | int | float


def const(x: object) -> Const | None:
    """Numbers and constants as Const, None for what depends on the input."""
    if isinstance(x, (int, float)):
        return Const(torch.tensor(float(x)))
    return x if isinstance(x, Const) else None


def uniform(x: Const | None) -> float | None:
    """The number that all elements are; None when they differ."""
    if x is None or x.tensor.numel() == 0:
        return None
    first = x.tensor.reshape(-1)[0]
    return float(first) if bool((x.tensor == first).all()) else None


def same_shape(lo: Lowering, x: Act, other: Tensor) -> Tensor:
    """The index of ``x`` in the shape that the operator gives; no activation is broadcast."""
    shape = (x.index + torch.empty(other.shape)).shape
    if shape.numel() != x.index.numel():
        lo.refuse(f"repeats an activation {list(x.index.shape)} to {list(shape)}",
                  "activations of equal shapes; parameters may be broadcast")  # fmt: skip
    return x.index.reshape(shape)


def add(lo: Lowering, a: Operand, b: Operand, alpha: float = 1) -> Record:
    """``a + alpha * b``; a constant is written out in the full shape of the activation."""
    if alpha != 1:
        b = mul(lo, b, float(alpha))
    fixed = const(b)
    if fixed is None and const(a) is not None:
        return add(lo, b, a)
    if isinstance(a, Scores) and fixed is not None:
        return attention.masked(lo, a, fixed.tensor)
    a = lo.act(a)
    if fixed is None:
        return _add_activations(lo, a, lo.act(b))
    a = replace(a, index=same_shape(lo, a, fixed.tensor))
    if uniform(fixed) == 0.0:
        return a
    if (biased := _with_bias(lo, a, fixed.tensor)) is not None:
        return biased
    value, index = lo.flat(a)
    spread = fixed.tensor.to(torch.float32).expand(index.shape).reshape(-1)
    data = spread[index.reshape(-1).argsort()].reshape(value.type.shape)
    dot = f"{lo.path}." if lo.path else ""
    param = lo.param(fixed.name or f"{dot}constant", data)
    return Act(lo.emit(floating.add, [value, param], lo.path), index)


def _add_activations(lo: Lowering, a: Act, b: Act) -> Act:
    """Both in the order of ``a``'s source, so that what moves, if anything, is ``b``."""
    index_a, index_b = same_shape(lo, a, b.index), same_shape(lo, b, a.index)
    left, index = lo.flat(replace(a, index=index_a))
    order = index_b.reshape(-1)[index.reshape(-1).argsort()]
    right = lo.gather(b, order.reshape(left.type.shape))
    return Act(lo.emit(floating.add, [left, right], lo.path), index)


def _with_bias(lo: Lowering, a: Act, bias: Tensor) -> Act | None:
    """``x @ w + b`` written out: the bias goes into a linear layer that nothing else has read."""
    source = a.source
    if not isinstance(source, Projection) or source.bias is not None or source.made:
        return None
    outs, spread = source.shape[1], bias.expand(a.index.shape)
    readers = [x for x in lo.current.all_input_nodes if len(x.users) > 1] if lo.current else []
    if a.factor != 1.0 or not in_order(a.index) or a.index.shape[-1] != outs or readers:
        return None
    if bias.numel() != outs or bias.shape[-1] != outs:
        return None
    return Act(replace(source, bias=spread.reshape(-1, outs)[0], made={}), a.index)


def sub(lo: Lowering, a: Operand, b: Operand, alpha: float = 1) -> Record:
    return add(lo, a, b, -alpha)


def rsub(lo: Lowering, a: Operand, b: Operand, alpha: float = 1) -> Record:
    return add(lo, b, a, -alpha)


def mul(lo: Lowering, a: Operand, b: Operand) -> Record:
    """Scaling by a number; ``x * sigmoid(x)`` is SiLU."""
    fixed_a, fixed = const(a), const(b)
    if fixed_a is not None and fixed is not None:
        return Const(fixed_a.tensor * fixed.tensor, fixed_a.name or fixed.name)
    if fixed_a is not None:
        return mul(lo, b, a)
    factor = uniform(fixed)
    if factor == 1.0:
        assert isinstance(a, Act | Scores)
        return a
    if isinstance(a, Scores) and factor is not None:
        return attention.scaled(lo, a, factor)
    a = lo.act(a)
    if fixed is None:
        return _silu(lo, a, lo.act(b))
    if factor is None:
        lo.refuse("scales channels or tokens by different numbers",
                  "one number for all, or factors folded into a linear layer")  # fmt: skip
    index = same_shape(lo, a, fixed.tensor)
    return replace(a, index=index, factor=a.factor * factor, place=lo.path)


def _silu(lo: Lowering, a: Act, b: Act) -> Act:
    for x, gate in ((a, b), (b, a)):
        made = [n for n in lo.build.nodes if n.outputs[0] == gate.source]
        if not made or made[0].op is not floating.unary or made[0].attrs["fn"] != "sigmoid":
            continue
        value, index = lo.flat(x)
        if made[0].inputs[0] == value and torch.equal(index, gate.index) and gate.factor == 1.0:
            name = _named(lo, "silu")
            return Act(lo.emit(floating.unary, [value], lo.path, name, fn="silu"), index)
    lo.refuse("multiplies two activations (a gated feed-forward, or a written-out activation "
              "function)", "nn.GELU, nn.SiLU or nn.ReLU between two linear layers")  # fmt: skip


def div(lo: Lowering, a: Operand, b: Operand, rounding_mode: str | None = None) -> Record:
    number = uniform(const(b))
    if number is None or number == 0 or rounding_mode is not None:
        lo.refuse("divides by what is not one number", "x / number, or nn.LayerNorm to normalise")
    return mul(lo, a, 1.0 / number)


def neg(lo: Lowering, x: Record) -> Record:
    return mul(lo, x, -1.0)


def _named(lo: Lowering, name: str) -> str:
    return f"{lo.path}.{name}" if lo.path else name


def unary(fn: str) -> Callable[..., Act]:
    def rule(lo: Lowering, x: Record, approximate: str = "none") -> Act:
        kind = "gelu_tanh" if fn == "gelu" and approximate == "tanh" else fn
        value, index = lo.flat(lo.act(x))
        return Act(lo.emit(floating.unary, [value], lo.path, _named(lo, fn), fn=kind), index)

    return rule


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


def convolution(
    lo: Lowering, x: Record, weight: Record, bias: Record | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, *rest: Any,
) -> Act:  # fmt: skip
    """``x[1, C, *space]`` -> ``[1, O, *grid]``: patches of the kernel's size, then linear."""
    x, w = lo.act(x), lo.const(weight, "a convolution's weight")
    b = lo.const(bias, "a convolution's bias") if bias is not None else None
    kernel = list(w.tensor.shape[2:])
    patches = "a patch embedding: stride = kernel, no padding, dilation 1, groups 1"
    plain = list(stride) == kernel and not any(padding) and max(dilation) == 1 and rest[1] == 1
    if transposed or not plain:
        lo.refuse(f"a convolution with kernel {kernel}, stride {list(stride)}, padding "
                  f"{list(padding)}, dilation {list(dilation)} and {rest[1]} groups is no patch "
                  "embedding", patches)  # fmt: skip
    space, index = list(x.index.shape[2:]), x.index[0]
    if any(s % k for s, k in zip(space, kernel, strict=True)):
        lo.refuse(f"the size {space} is no multiple of the kernel {kernel}", patches)
    for axis, k in enumerate(kernel):  # [C, a, b] -> [C, a/k, k, b/k, k]
        spot = 1 + 2 * axis
        index = index.reshape(*index.shape[:spot], -1, k, *index.shape[spot + 1 :])
    spots = [1 + 2 * axis for axis in range(len(kernel))]
    index = index.permute(*spots, 0, *(spot + 1 for spot in spots))
    grid = index.shape[: len(kernel)]
    flat = Const(w.tensor.flatten(1), w.name)
    y = attention.project(lo, replace(x, index=index.reshape(grid.numel(), -1)), flat, b)
    return replace(y, index=y.index.T.reshape(1, -1, *grid))


def embedding(lo: Lowering, table: Record, ids: Record, *rest: Any) -> Act:
    """``ids[1, T]`` -> ``[1, T, C]``."""
    w, x = lo.const(table, "an embedding's table"), lo.act(ids)
    if not isinstance(x.source, Value) or x.source.type.dtype == "f32":
        lo.refuse("looks up what is not the model's input", "integer tokens as the input")
    if not in_order(x.index) or x.index.numel() != x.source.type.size or x.factor != 1.0:
        lo.refuse("the tokens are changed before the embedding", "the tokens as they come")
    layer = lo.claim(lo.layer_of(w))
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
    layer = lo.claim(lo.layer_of(g)) if gamma is not None else lo.path
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
            values.append(lo.param(part.name or _named(lo, "token"), part.tensor.flatten(1)))
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


def where(lo: Lowering, choice: Record, a: Operand, b: Operand) -> Operand:
    """A constant choice: all of one side, or a mask over scores."""
    chosen = lo.const(choice, "the condition").tensor
    if bool(chosen.all()) or not bool(chosen.any()):
        return a if bool(chosen.all()) else b
    if isinstance(a, Scores):
        return where(lo, Const(~chosen), b, a)
    value = uniform(const(a))
    if not isinstance(b, Scores) or value is None:
        lo.refuse("replaces a part of an activation", attention.MASKS)
    return attention.replaced(lo, b, chosen, value)


def masked_fill(lo: Lowering, x: Record, mask: Record, value: Operand) -> Operand:
    return where(lo, mask, value, x)


def eq(lo: Lowering, x: Record, value: Operand) -> Const:
    number = uniform(const(value))
    return attention.compared(lo, x, number if number is not None else 0.0)


def full_like(lo: Lowering, x: Act | Scores, value: float = 0.0, **_: Any) -> Const:
    return Const(torch.full(x.index.shape, float(value)))


def moved(lo: Lowering, x: Record, *args: Any, **kwargs: Any) -> Any:
    """An operator that only moves elements: torch runs it on the index."""
    if not isinstance(x, Act | Scores) or lo.current is None:
        lo.refuse("takes its places from the input", "places that do not depend on the input")
    assert callable(lo.current.target)
    args = tuple(a.tensor if isinstance(a, Const) else a for a in args)
    index = x.index.contiguous()
    if any(isinstance(a, list) and any(isinstance(i, Record) for i in a) for a in args):
        args = tuple([getattr(i, "tensor", i) for i in a] if isinstance(a, list) else a
                     for a in args)  # fmt: skip
    result = lo.current.target(index, *args, **kwargs)
    if isinstance(result, Tensor):
        return replace(x, index=result)
    return tuple(replace(x, index=part) for part in result)


MOVES = (
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "unsqueeze", "squeeze",
    "expand", "clone", "alias", "detach", "lift_fresh_copy", "slice", "select", "split",
    "split_with_sizes", "unbind", "flip", "roll", "repeat", "index", "index_select", "unfold",
    "as_strided", "contiguous", "_reshape_copy", "squeeze_copy",
)  # fmt: skip

RULES: dict[str, Callable[..., Any]] = {
    **{name: moved for name in MOVES},
    **{name: unary(name) for name in ("gelu", "relu", "tanh", "sigmoid", "silu")},
    "add": add, "sub": sub, "rsub": rsub, "mul": mul, "div": div, "neg": neg,
    "mm": attention.mm, "bmm": attention.bmm, "addmm": addmm, "baddbmm": baddbmm,
    "_softmax": attention.softmax, "_log_softmax": attention.softmax, "where": where,
    "masked_fill": masked_fill, "eq": eq, "full_like": full_like, "convolution": convolution,
    "embedding": embedding, "native_layer_norm": layer_norm, "mean": mean, "cat": cat,
    "_to_copy": copied,
}  # fmt: skip
