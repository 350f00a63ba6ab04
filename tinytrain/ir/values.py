"""Typed values and parameters: what the nodes of a graph read and make."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError

Array = npt.NDArray[Any]

DTYPES = {
    "f32": np.float32, "i8": np.int8, "u8": np.uint8, "i16": np.int16, "u16": np.uint16,
    "i32": np.int32, "u32": np.uint32,
}  # fmt: skip
NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}
# What a code of each type may be. int8 is symmetric: -128 is no code.
RANGES = {
    "i8": (-127, 127), "u8": (0, 255), "i16": (-(2**15), 2**15 - 1), "u16": (0, 2**16 - 1),
    "i32": (-(2**31), 2**31 - 1), "u32": (0, 2**32 - 1),
}  # fmt: skip

# What a value is to the program that reads it from outside; "" for all that nodes make.
ValueRole = Literal["", "input", "labels"]
# Where a parameter lives: in flash; in SRAM, as what training changes; in SRAM, for the optimizer.
Kind = Literal["const", "trained", "optimizer"]
# What a parameter is: of a layer its weight, its bias, the multipliers and shifts of its output,
# the table of where its trained rows are, the two matrices of its adapter; the low bits of a stored
# weight; the second moment of its step; which of several schemes is in use. "" for all others.
Role = Literal[
    "", "weight", "bias", "multiplier", "rows", "down", "up", "fraction", "moment", "choice",
]  # fmt: skip


@dataclass(frozen=True)
class Type:
    """Shape, element type and quantization of a value.

    ``scale``: real value of one integer step (a tuple has one for each channel of the last axis of
    an activation, of the first axis of a weight). None where the integers are the meaning. The real
    value of a gradient is ``integer * 2**exponent * scale``; its exponent is a value of its own.
    ``zero``: the code that stands for 0. ``limits``: the least and the largest code, where they are
    not those of the dtype.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | tuple[float, ...] | None = None
    zero: int = 0
    limits: tuple[int, int] | None = None

    @property
    def lo(self) -> int:
        """The least code. Raises ShapeError for floats, which have no codes."""
        return self._limits[0]

    @property
    def hi(self) -> int:
        """The largest code; see ``lo``."""
        return self._limits[1]

    @property
    def _limits(self) -> tuple[int, int]:
        if self.limits is None and self.dtype not in RANGES:
            raise ShapeError(f"{self.dtype} has no range of codes")
        return self.limits or RANGES[self.dtype]

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
    """A named tensor. Values are equal when their names are; names are unique in a graph, and mean
    nothing: what a value is for, its ``role`` says."""

    name: str
    type: Type = field(compare=False)
    role: ValueRole = field(default="", compare=False)

    def __str__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(frozen=True)
class Param:
    """A value with content. ``kind``: where it lives; ``role``: what it is; ``layer``: the user's
    name of the layer that it belongs to, "" for none."""

    value: Value
    data: Array = field(compare=False)
    kind: Kind = "const"
    role: Role = ""
    layer: str = ""
