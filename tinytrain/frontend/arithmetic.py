"""The rules of what combines elements one by one: sums, scaling, choices by a constant mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..ops import floating
from . import attention
from .lowering import Lowering
from .records import Act, Const, Projection, Record, Scores, counted, in_order

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


def number(lo: Lowering, x: Const | None) -> float | None:
    """The number that a constant is by ``uniform``; a parameter of several elements is none, even
    while its elements are equal, as training makes them differ."""
    several = x is not None and x.tensor.numel() > 1
    if several and x is not None and x.name in dict(lo.model.named_parameters()):
        return None
    return uniform(x)


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
    param = lo.param(fixed.name or lo.named("constant"), data)
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
    plain = a.factor == 1.0 and in_order(a.index) and a.index.shape[-1] == outs
    if not plain or not lo.read_once():
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
    factor = number(lo, fixed)
    if factor == 1.0:
        assert isinstance(a, Act | Scores)
        return a
    if isinstance(a, Scores) and factor is not None:
        return attention.scaled(lo, a, factor)
    if isinstance(a, Scores):
        lo.refuse("scales attention scores by different numbers", "one number for all heads")
    a = lo.act(a)
    if fixed is None:
        return _silu(lo, a, lo.act(b))
    if factor is None:
        return _gain(lo, a, fixed)
    index = same_shape(lo, a, fixed.tensor)
    return replace(a, index=index, factor=a.factor * factor, place=lo.path)


def _gain(lo: Lowering, a: Act, factors: Const) -> Act:
    """A factor for each channel (LayerScale): one axis of the factors is not of length 1."""
    shape = same_shape(lo, a, factors.tensor).shape
    sizes = (1,) * (len(shape) - factors.tensor.dim()) + tuple(factors.tensor.shape)
    axes = [axis for axis, size in enumerate(sizes) if size > 1]
    if len(axes) != 1 or sizes[axes[0]] != shape[axes[0]]:
        lo.refuse(f"scales elements {list(shape)} by different numbers {list(sizes)}",
                  "one number for all, or one for each channel")  # fmt: skip
    (axis,) = axes
    index = a.index.reshape(shape).movedim(axis, -1)
    x = lo.rows(replace(a, index=index))
    if x.type.shape != (index.numel() // index.shape[-1], index.shape[-1]):
        lo.refuse("scales what is no row of channels", "factors for the channels of [1, T, C]")
    gain = lo.param(factors.name or lo.named("gain"), factors.tensor.reshape(-1))
    zero = lo.param(lo.named("no_offset"), torch.zeros(factors.tensor.numel()))
    value = lo.emit(floating.affine, [x, gain, zero], lo.path, lo.named("gain.scaled"))
    return Act(value, counted(*index.shape).movedim(-1, axis))


def _silu(lo: Lowering, a: Act, b: Act) -> Act:
    for x, gate in ((a, b), (b, a)):
        made = [n for n in lo.build.nodes if n.outputs[0] == gate.source]
        if not made or made[0].op is not floating.unary or made[0].attrs["fn"] != "sigmoid":
            continue
        value, index = lo.flat(x)
        if made[0].inputs[0] == value and torch.equal(index, gate.index) and gate.factor == 1.0:
            name = lo.named("silu")
            return Act(lo.emit(floating.unary, [value], lo.path, name, fn="silu"), index)
    lo.refuse("multiplies two activations (a gated feed-forward, or a written-out activation "
              "function)", "nn.GELU, nn.SiLU or nn.ReLU between two linear layers")  # fmt: skip


def div(lo: Lowering, a: Operand, b: Operand, rounding_mode: str | None = None) -> Record:
    divisor = const(b)
    if divisor is None or not bool(divisor.tensor.all()) or rounding_mode is not None:
        lo.refuse("divides by what is not one number", "x / number, or nn.LayerNorm to normalise")
    if (one := number(lo, divisor)) is not None:
        return mul(lo, a, 1.0 / one)
    return mul(lo, a, Const(1.0 / divisor.tensor, divisor.name))


def neg(lo: Lowering, x: Record) -> Record:
    return mul(lo, x, -1.0)


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
    wanted = uniform(const(value))
    return attention.compared(lo, x, wanted if wanted is not None else 0.0)


def full_like(lo: Lowering, x: Act | Scores, value: float = 0.0, **_: Any) -> Const:
    return Const(torch.full(x.index.shape, float(value)))
