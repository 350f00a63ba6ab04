"""What the op families share: type checks, exact integer products, what gradients are made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Node, Op, Type, Value


class Grad(NamedTuple):
    """A gradient: int8 ``value`` ``[T, C]`` and int16 ``exponent`` ``[T]``, one a row.

    Real gradient of the loss with respect to the real activation =
    ``value[t, c] * 2**exponent[t] * value.type.scale``. A row of zeros has ZERO_EXPONENT, or what
    it had before clipping emptied it. An aligned gradient has one exponent ``[1]`` for all rows.
    The Grad of a probability is the gradient of its scores ``[H, T, T]``, exponents ``[H, T]``: one
    a row of each head (``attention.py``).
    """

    value: Value
    exponent: Value


class Backward(Protocol):
    """What an op's ``grad`` may ask of the builder of the backward graph (``autodiff.py``)."""

    def input_gradient(
        self, op: Op, gy: Grad, more: Sequence[Value | None], factor: float, name: str, node: Node,
        **attrs: Any,
    ) -> Grad:  # fmt: skip
        """A node ``(value, exponent) = op(gy.value, gy.exponent, *more)`` whose output, as integer
        accumulators, is worth ``factor * 2**exponent`` row by row (gy's scale included). Sets the
        attributes ``stream``, ``scale`` (mantissa of factor), ``exp_add`` (exponent of factor) and
        ``layer``."""
        ...

    def aligned(self, gy: Grad) -> Grad:
        """One exponent for all rows, which what contracts over rows needs; made once a gradient."""
        ...

    def clip(self, gy: Grad, node: Node) -> Grad:
        """Zero the gradient where ``node``'s output saturated (one saved bit an element)."""
        ...

    def fold_channel_scales(self, gy: Grad, scales: tuple[float, ...], node: Node) -> Grad:
        """G'[t, o] = G[t, o] * scales[o] / max(scales), quantized again; its type's scale is per
        channel so that the real gradient stays the same."""
        ...

    def update_weight(
        self, op: Op, gy: Grad, x: Value, w: Value, rows: Value | None, node: Node,
        more: Sequence[Value] = (), **attrs: Any,
    ) -> None:  # fmt: skip
        """The node that steps a trained weight; ``gy`` is aligned, ``more`` inputs stand behind the
        rows."""
        ...

    def collect_weight(self, gy: Grad, x: Value, w: Value, node: Node) -> None:
        """The nodes that sum a weight's gradient up over rows, and step it; ``gy`` as it is."""
        ...

    def update_bias(
        self, op: Op, gy: Grad, x: Value, b: Value, rows: Value | None, node: Node
    ) -> None:
        """The node that steps a trained bias; ``gy`` is aligned."""
        ...

    def node(self, op: Op, inputs: Sequence[Value | None], name: str, **attrs: Any) -> Any:
        """A node of any other kind."""
        ...

    def param(self, name: str, data: Array) -> Value:
        """A constant."""
        ...

    def stream(self) -> int:
        """A random stream that no other node has."""
        ...


def scales_of(kind: Type) -> Array:
    """float64 [1], or one scale a channel."""
    if kind.scale is None:
        raise ShapeError(f"a scale is needed here, got {kind}")
    return np.atleast_1d(np.asarray(kind.scale, np.float64))


def need(kind: Type | None, dtype: str | None = None, rank: int | None = None) -> Type:
    """The type, checked: present, of this dtype and rank."""
    if kind is None:
        raise ShapeError("an input that is not optional is absent")
    if dtype is not None and kind.dtype != dtype:
        raise ShapeError(f"expected {dtype}, got {kind}")
    if rank is not None and len(kind.shape) != rank:
        raise ShapeError(f"expected rank {rank}, got {kind}")
    return kind


def need_gradient(value: Type | None, exponent: Type | None) -> Type:
    """The type of a gradient's codes, checked: int8, with one int16 exponent for each row."""
    g, e = need(value, "i8"), need(exponent, "i16", 1)
    if e.shape != g.shape[:1]:
        raise ShapeError(f"one exponent for each row of {g} is needed, got {e}")
    return g


def need_aligned(value: Type | None, exponent: Type | None) -> Type:
    """The type of an aligned gradient's codes, checked: int8 ``[T, C]``, one int16 exponent."""
    g, e = need(value, "i8", 2), need(exponent, "i16", 1)
    if e.shape != (1,):
        raise ShapeError(f"one exponent for all rows of {g} is needed, got {e}")
    return g


def exact_matmul(a: Array, b: Array) -> Array:
    """Integer product as int64, by float64 BLAS: exact while sums stay below 2**53."""
    product = np.matmul(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.asarray(np.rint(product), np.int64)
