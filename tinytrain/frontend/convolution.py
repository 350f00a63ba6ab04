"""The rules of images: convolutions, and what joins them (ReLU and max-pooling)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ..ops.window import ONE, Pair, Window
from . import attention
from .explain import HINTS
from .lowering import Lowering
from .records import Act, Const, Convolution, Record

PLAIN = "nn.Conv1d or nn.Conv2d with groups 1, dilation 1 and padding of zeros"
BEHIND = HINTS["max_pool"]


def with_relu(lo: Lowering, act: Act) -> Act | None:
    """ReLU as a part of the convolution that it reads; None where that cannot be."""
    if isinstance(act.source, Convolution) and act.factor == 1.0 and _may_join(lo, act.source):
        return replace(act, source=replace(act.source, relu=True))
    return None


def _may_join(lo: Lowering, source: Convolution) -> bool:
    return source.made is None and lo.read_once()


def convolution(
    lo: Lowering, x: Record, weight: Record, bias: Record | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, output: Any, groups: int,
) -> Act:  # fmt: skip
    """``x[1, C, *space]`` -> ``[1, O, *places]``, a space of one or two axes. Patches of the input
    that do not overlap, and single pixels, are a linear layer."""
    act, w = lo.act(x), lo.const(weight, "a convolution's weight")
    b = lo.const(bias, "a convolution's bias") if bias is not None else None
    kernel = tuple(w.tensor.shape[2:])
    if transposed or groups != 1 or max(dilation) > 1 or len(kernel) > 2:
        kind = "a transposed convolution" if transposed else "a convolution"
        lo.refuse(f"{kind} with kernel {list(kernel)}, dilation {list(dilation)} and {groups} "
                  "groups is not supported", PLAIN)  # fmt: skip
    space = tuple(act.index.shape[2:])
    fits = not any(padding) and all(s % k == 0 for s, k in zip(space, kernel, strict=True))
    if tuple(stride) == kernel and fits and (lo.is_input(act) or set(kernel) == {1}):
        return _patches(lo, act, w, b)
    image, window = _pair(space), Window(_pair(kernel), _pair(stride), _pair(padding, 0))
    rows = lo.gather(act, act.index[0].flatten(1).T)
    flat = w.tensor.reshape(*w.tensor.shape[:2], *window.size).permute(0, 2, 3, 1).flatten(1)
    offsets = b.tensor if b is not None else torch.zeros(len(flat))
    source = Convolution(rows, flat, offsets, lo.layer_of(w), image, window, node=lo.current)
    return Act(source, source.index().reshape(1, len(flat), *_places(source, space)))


def _pair(numbers: Sequence[int], missing: int = 1) -> Pair:
    """Of one axis: a row."""
    rows, columns = (missing, *numbers) if len(numbers) == 1 else numbers
    return rows, columns


def _places(source: Convolution, space: Sequence[int]) -> Sequence[int]:
    return source.places[-len(space) :]


def _patches(lo: Lowering, x: Act, w: Const, b: Const | None) -> Act:
    """Patches of the kernel's size side by side, then a linear layer."""
    kernel, index = w.tensor.shape[2:], x.index[0]
    for axis, k in enumerate(kernel):  # [C, a, b] -> [C, a/k, k, b/k, k]
        spot = 1 + 2 * axis
        index = index.reshape(*index.shape[:spot], -1, k, *index.shape[spot + 1 :])
    spots = [1 + 2 * axis for axis in range(len(kernel))]
    index = index.permute(*spots, 0, *(spot + 1 for spot in spots))
    grid = index.shape[: len(kernel)]
    flat = Const(w.tensor.flatten(1), w.name)
    y = attention.project(lo, replace(x, index=index.reshape(grid.numel(), -1)), flat, b)
    return replace(y, index=y.index.T.reshape(1, -1, *grid))


def max_pool(
    lo: Lowering, x: Record, size: Sequence[int], stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0), dilation: Sequence[int] = (1, 1), ceil_mode: bool = False,
) -> tuple[Act, None]:  # fmt: skip
    """A part of the convolution that it reads. The places of the maxima are not given."""
    act = lo.act(x)
    source = act.source
    if ceil_mode or max(dilation) > 1:
        lo.refuse(f"dilation {list(dilation)}, ceil_mode {ceil_mode}", BEHIND)
    if not isinstance(source, Convolution) or source.pool != ONE or not _may_join(lo, source):
        lo.refuse("pools what is no convolution, or one that is read elsewhere, too", BEHIND)
    image = source.index()
    if act.factor != 1.0 or not torch.equal(act.index.reshape(image.shape), image):
        lo.refuse("pools an image that was moved or scaled after its convolution", BEHIND)
    window = Window(_both(size), _both(stride or size), _both(padding))
    pooled = replace(source, pool=window)
    return replace(act, source=pooled, index=pooled.index()[None]), None


def _both(numbers: Sequence[int]) -> Pair:
    """torch takes one number for both axes."""
    return numbers[0], numbers[-1]
