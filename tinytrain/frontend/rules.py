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

from ..ops import floating
from . import attention
from .lowering import Lowering
from .records import Act, Const, Projection, Record, Scores, counted, in_order, move

Number = int | float


def addmm(lo: Lowering, bias: Record, a: Record, b: Record, beta: Number = 1, alpha: Number = 1) -> Record:
    """``bias + a @ b``."""
    if beta == alpha == 1 and isinstance(a, Act) and isinstance(b, Const) and isinstance(bias, Const):
        if bias.tensor.dim() == 1:
            return attention.project(lo, a, move(b, lambda t: t.T), bias)
    return add(lo, mul(lo, attention.mm(lo, a, b), alpha), mul(lo, bias, beta))


def baddbmm(lo: Lowering, bias: Record, a: Record, b: Record, beta: Number = 1, alpha: Number = 1) -> Record:
    return add(lo, mul(lo, attention.bmm(lo, a, b), alpha), mul(lo, bias, beta))


def convolution(
    lo: Lowering, x: Record, weight: Record, bias: Record | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, *rest: Any,
) -> Act:  # fmt: skip
    """``x[1, C, *space]``: patches of the kernel's size, then a linear layer -> ``[1, O, *grid]``."""
    x, w = lo.act(x), lo.const(weight, "a convolution's weight")
    b = lo.const(bias, "a convolution's bias") if bias is not None else None
    kernel = list(w.tensor.shape[2:])
    patches = "a patch embedding: stride = kernel, no padding, dilation 1, groups 1"
    if transposed or any(padding) or list(stride) != kernel or rest[1] != 1 or max(dilation) > 1:
        lo.refuse(f"a convolution with kernel {kernel}, stride {list(stride)}, padding "
                  f"{list(padding)}, groups {rest[1]} overlaps or mixes", patches)  # fmt: skip
    space = x.index.shape[2:]
    if any(s % k for s, k in zip(space, kernel, strict=True)):
        lo.refuse(f"{list(space)} is no multiple of the kernel {kernel}", patches)
    index, grid = x.index[0], []
    for axis, k in enumerate(kernel):  # [C, a, b] -> [C, a/k, k, b/k, k]
        index = index.unflatten(1 + 2 * axis, (-1, k))
        grid.append(space[axis] // k)
    spots = [1 + 2 * axis for axis in range(len(kernel))]
    inner = [0, *(spot + 1 for spot in spots)]
    rows = index.permute(*spots, *inner).reshape(torch.Size(grid).numel(), -1)
    flat = Const(w.tensor.reshape(len(w.tensor), -1), w.name)
    y = attention.project(lo, replace(x, index=rows), flat, b)
    return replace(y, index=y.index.T.reshape(1, -1, *grid))


def embedding(lo: Lowering, table: Record, ids: Record, *rest: Any) -> Act:
    """``ids[1, T]`` -> ``[1, T, C]``."""
    w, x = lo.const(table, "an embedding's table"), lo.act(ids)
    if not isinstance(x.source, floating_value) or x.source.type.dtype == "f32":
        lo.refuse("tokens of an embedding must be the model's input", "integer tokens [T]")
    if not in_order(x.index) or x.index.numel() != x.source.type.size:
        lo.refuse("tokens are sliced or moved before the embedding", "the tokens as they come")
    layer = lo.claim(lo.layer_of(w))
    value = lo.layer(floating.embedding, [x.source], layer, weight=w.tensor)
    return Act(value, counted(*x.index.shape, w.tensor.shape[1]))
