"""What a value of the exported torch graph stands for while it is lowered.

The lowering evaluates the torch graph with these records in place of tensors. What does not
depend on the model's input stays a tensor (``Const``) and torch computes it. An activation is a
*source*, a 2-D value ``[T, C]``, and an **index**: an integer tensor of the shape that torch sees,
whose entries say which element of the source (counted flat) stands there. View, permute, split,
select and all other ops that only move elements are run by torch itself on the index, so no rule
has to reason about axes: how heads are split off or tokens selected is read from the index where it
matters.

Letters: T tokens, C channels in, O channels out, H heads, d channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from ..ir import Value
from ..ops.window import ONE, Pair, Window


@dataclass(frozen=True, eq=False)
class Const:
    """A tensor that does not depend on the input; ``name`` is the one parameter it comes from."""

    tensor: Tensor
    name: str = ""


@dataclass(eq=False)
class Projection:
    """A linear layer ``[T, C] -> [T, O]`` whose nodes are made when it is known what reads it.

    A fused qkv projection is read in three parts, each of which becomes a node. ``part``: the
    weight is itself a part of a larger parameter. ``made``: output channels -> value. ``node``:
    where messages point.
    """

    x: Value
    weight: Tensor  # [O, C]
    bias: Tensor | None  # [O]
    layer: str
    part: bool = False
    node: fx.Node | None = None
    made: dict[tuple[int, ...], Value] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.type.shape[0], self.weight.shape[0]


@dataclass(eq=False)
class Convolution:
    """A convolution ``[H*W, C] -> [P, O]`` whose node is made when something reads it that cannot
    join it: ReLU and max-pooling become a part of it. ``made``: its value.
    """

    x: Value
    weight: Tensor  # [O, kh*kw*C]
    bias: Tensor  # [O]
    layer: str
    image: Pair
    conv: Window
    relu: bool = False
    pool: Window = ONE
    node: fx.Node | None = None
    made: Value | None = None

    @property
    def places(self) -> Pair:
        return self.pool.places(self.conv.places(self.image))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.places[0] * self.places[1], self.weight.shape[0]

    def index(self) -> Tensor:
        """Of the image as torch has it, channels first: ``[O, rows, columns]``."""
        return counted(*self.places, self.weight.shape[0]).permute(2, 0, 1)


@dataclass(frozen=True, eq=False)
class Act:
    """``factor * source.flatten()[index]``; ``place`` is the module that the factor comes from.

    ``node``: the operator that moved the elements last, where messages point.
    """

    source: Value | Projection | Convolution
    index: Tensor
    factor: float = 1.0
    place: str = ""
    node: fx.Node | None = None

    @property
    def source_shape(self) -> tuple[int, ...]:
        return self.source.type.shape if isinstance(self.source, Value) else self.source.shape


@dataclass(frozen=True, eq=False)
class Scores:
    """``factor * q k^T + hidden`` ``[H, T, T]``, its softmax when ``done``, seen through ``index``.

    ``q``, ``k``: index ``[H, T, d]``. ``hidden``: what a mask added, -inf where it hides.
    """

    q: Act
    k: Act
    factor: float
    hidden: Tensor
    index: Tensor
    done: bool = False


@dataclass(frozen=True, eq=False)
class Weights:
    """The softmax over tokens of one score a token; ``scores``: index ``[T, 1]``."""

    scores: Act
    index: Tensor


Record = Const | Act | Scores | Weights
Moved = TypeVar("Moved", bound=Record)


def move(record: Moved, change: Callable[[Tensor], Tensor]) -> Moved:
    """The record with its elements moved: ``change`` is run on its tensor or its index."""
    slot = "tensor" if isinstance(record, Const) else "index"
    changes: dict[str, Any] = {slot: change(getattr(record, slot))}
    return replace(record, **changes)


def counted(*shape: int) -> Tensor:
    """0, 1, 2 ... in this shape: the index of a source seen as it is."""
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


def in_order(index: Tensor) -> bool:
    return bool(torch.equal(index.reshape(-1), torch.arange(index.numel())))


def columns(index: Tensor, channels: int) -> tuple[int, ...] | None:
    """The channels ``c`` with ``index[t, i] = t * channels + c[i]`` for all t; None if none."""
    first = index[0]
    if bool((first < 0).any()) or bool((first >= channels).any()):
        return None
    rows = torch.arange(index.shape[0])[:, None] * channels
    return tuple(first.tolist()) if torch.equal(index, first + rows) else None


def movement(index: Tensor, size: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(shape, axes) with ``counted(size).reshape(shape).permute(axes)`` in the index's order.

    None when the index is not such a rearrangement of all ``size`` elements.
    """
    flat, found = index.reshape(-1), []
    while len(flat) > 1:
        stride = int(flat[1] - flat[0])
        breaks = (flat.diff() != stride).nonzero()
        run = int(breaks[0]) + 1 if len(breaks) else len(flat)
        if stride < 1 or len(flat) % run:
            return None
        found.append((stride, run))
        flat = flat[::run]
    inner_last = found[::-1]
    ordered = sorted(inner_last, reverse=True)
    shape = tuple(run for _, run in ordered)
    axes = tuple(ordered.index(pair) for pair in inner_last)
    if torch.Size(shape).numel() != size:
        return None
    same = torch.equal(counted(size).reshape(shape).permute(axes).reshape(-1), index.reshape(-1))
    return (shape, axes) if same else None
