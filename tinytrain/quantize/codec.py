"""Between real units and the integers that kernels read: inputs, labels, logits, state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError
from ..ir import DTYPES, Kind, Role, Type
from ..ops.loss import LOGIT_SCALE

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """A persistent tensor: its name, type, kind (``trained`` or ``optimizer``), role and padded
    bytes."""

    name: str
    type: Type
    kind: Kind
    bytes: int
    role: Role = ""


@dataclass(frozen=True)
class Codec:
    """``input``: type of one sample on the device; ``labels`` and ``logits`` their shapes.
    ``tokens``: how many token ids the model knows, None when its input is not tokens.
    ``schemes``: names of those that the firmware holds; ``queries``: what its further entries
    give."""

    input: Type
    labels: int
    logits: tuple[int, ...]
    classes: bool
    state: tuple[Tensor, ...]
    tokens: int | None = None
    schemes: tuple[str, ...] = ()
    queries: Mapping[str, Type] = field(default_factory=dict)

    def quantize_input(self, x: Any) -> Array:
        """One sample as the kernels read it. Raises ShapeError for a wrong shape, NaN or a token
        that is not in the vocabulary's range."""
        array = np.asarray(x)
        if array.shape != self.input.shape:
            raise ShapeError(f"sample has shape {array.shape}, the model takes {self.input.shape}")
        return self._codes(array)

    def _codes(self, array: Array) -> Array:
        if array.dtype.kind not in "iuf":
            raise ShapeError(f"sample is {array.dtype}, numbers are needed")
        if self.input.dtype == "i8":
            if not np.isfinite(array).all():
                raise ShapeError("sample holds NaN or infinity")
            steps = np.rint(array.astype(np.float64) / self.input.tensor_scale)
            return np.clip(steps, self.input.lo, self.input.hi).astype(np.int8)
        if array.dtype.kind not in "iu":
            raise ShapeError(f"the model takes integer tokens, the sample is {array.dtype}")
        kind = DTYPES[self.input.dtype]
        known = self.tokens or 1 << 8 * np.dtype(kind).itemsize
        if array.size and (array.min() < 0 or array.max() >= known):
            raise ShapeError(
                f"tokens {array.min()}..{array.max()} are not within 0..{known - 1}, which the "
                "model knows"
            )
        return array.astype(kind)

    def encode_input(self, x: Any) -> bytes:
        return self.quantize_input(x).tobytes()

    def encode_labels(self, y: Any) -> npt.NDArray[np.int16]:
        """int16 labels ``[T]``; -1 does not count. Raises ShapeError."""
        return self._labels(np.atleast_1d(np.asarray(y)), (self.labels,))

    def _labels(self, labels: Array, shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
        if labels.shape != shape or labels.dtype.kind not in "iu":
            raise ShapeError(
                f"labels are {labels.dtype}{list(labels.shape)}, the model takes {self.labels} "
                "integers a sample"
            )
        known = self.logits[-1]
        if labels.size and (labels.min() < -1 or labels.max() >= known):
            wrong = labels[(labels < -1) | (labels >= known)]
            raise ShapeError(f"label {wrong[0]} is not within 0..{known - 1} (-1: not counted)")
        return labels.astype(np.int16)

    def encode_samples(self, xs: Any, ys: Any) -> tuple[Array, npt.NDArray[np.int16]]:
        """Many samples: inputs ``[N, ...]`` as the kernels read them, labels ``[N, T]``, both in C
        order whatever that of the samples is."""
        x, y = np.asarray(xs), np.asarray(ys)
        if x.shape[1:] != self.input.shape or len(x) != len(y):
            raise ShapeError(
                f"samples have shape {x.shape} and there are labels for {len(y)}, the model takes "
                f"{self.input.shape} a sample"
            )
        count = (len(y),)
        labels = self._labels(y.reshape(*count, -1), (*count, self.labels))
        return np.ascontiguousarray(self._codes(x)), np.ascontiguousarray(labels)

    def decode_logits(self, raw: Array) -> npt.NDArray[np.float32]:
        """Logits in nats: ``[K]`` for classes, ``[T, V]`` for tokens."""
        shape = self.logits[-1:] if self.classes else self.logits
        return (np.asarray(raw, np.float32) * np.float32(LOGIT_SCALE)).reshape(shape)

    def decode_answer(self, query: str, raw: Array) -> Array:
        """What a query gave in real units, float32 of its shape; integers where those are the
        meaning."""
        kind = self.queries[query]
        shaped: Array = np.asarray(raw).reshape(kind.shape)
        if kind.scale is None:
            return shaped
        real = (shaped.astype(np.float64) - kind.zero) * np.asarray(kind.scale)
        return np.asarray(real, np.float32)

    @property
    def state_bytes(self) -> int:
        return sum(t.bytes for t in self.state)

    def split_state(self, blob: bytes, kinds: tuple[str, ...] = ("trained",)) -> dict[str, Array]:
        """The named tensors of a state read from the device (or made by ``join_state``)."""
        tensors, at = {}, 0
        for t in self.state:
            if t.kind in kinds:
                data = np.frombuffer(blob, DTYPES[t.type.dtype], t.type.size, at)
                tensors[t.name] = data.reshape(t.type.shape).copy()
            at += t.bytes
        return tensors

    def join_state(self, tensors: dict[str, Array]) -> bytes:
        """All persistent tensors in their order, each padded as in memory."""
        parts = [np.ascontiguousarray(tensors[t.name]).tobytes().ljust(t.bytes, b"\0")
                 for t in self.state]  # fmt: skip
        return b"".join(parts)
