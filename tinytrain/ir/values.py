"""Typed values and parameters: what the nodes of a graph read and make."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError

Array = npt.NDArray[Any]

DTYPES = {
    "f32": np.float32, "i8": np.int8, "u8": np.uint8, "i16": np.int16, "u16": np.uint16,
    "i32": np.int32, "u32": np.uint32,
}  # fmt: skip
NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}


@dataclass(frozen=True)
class Type:
    """Shape, element type and quantization of a value.

    ``scale``: real value of one integer step (a tuple has one for each channel of the last axis of
    an activation, of the first axis of a weight). None where the integers are the meaning. The real
    value of a gradient is ``integer * 2**exponent * scale``; its exponent is a value of its own.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | tuple[float, ...] | None = None

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def bytes(self) -> int:
        return self.size * np.dtype(DTYPES[self.dtype]).itemsize

    @property
    def tensor_scale(self) -> float:
        """The scale of a per-tensor quantized value."""
        if not isinstance(self.scale, float):
            raise ShapeError(f"a per-tensor scale is needed here, got {self.scale!r}")
        return self.scale

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        if self.scale is None:
            return f"{self.dtype}[{shape}]"
        scale = f"{self.scale:.4g}" if isinstance(self.scale, float) else f"x{len(self.scale)}"
        return f"{self.dtype}[{shape}] scale {scale}"


@dataclass(frozen=True)
class Value:
    """A named tensor. Values are equal when their names are; names are unique in a graph."""

    name: str
    type: Type = field(compare=False)

    def __str__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(frozen=True)
class Param:
    """A value with content: ``const`` stays in flash, ``state`` lives in SRAM and persists."""

    value: Value
    data: Array = field(compare=False)
    kind: str = "const"
