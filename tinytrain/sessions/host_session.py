"""The host emulator: the generated C as a shared library behind a ``Session``."""

from __future__ import annotations

import ctypes
import shutil
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..emit.c_source import query_symbols
from ..errors import LinkError
from ..ir import DTYPES
from ..quantize.codec import Codec
from .session import Array, Session, StepResult

GUARD_BYTES = 64
GUARD_FILL = 0xA5
STATUS = {1: "a label is not a class of the model", 2: "a token is not in the vocabulary"}


class _Region(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("bytes", ctypes.c_uint32))


class _Metrics(ctypes.Structure):
    _fields_ = (
        ("loss_q16", ctypes.c_int32), ("correct", ctypes.c_int32), ("count", ctypes.c_int32),
    )  # fmt: skip


class _Clock(ctypes.Structure):
    _fields_ = (
        ("seed", ctypes.c_uint32), ("step", ctypes.c_uint32),
        ("learning_rate", ctypes.c_float), ("beta", ctypes.c_float),
    )  # fmt: skip


class HostSession(Session):
    """Loads its own copy of the library, so that sessions do not share weights.

    ``guard``: the library was built with guard zones around each arena; each call checks them and
    raises LinkError when a kernel wrote outside.
    """

    def __init__(self, library: Path, codec: Codec, *, guard: bool = False) -> None:
        self.codec, self.guard, self.schemes = codec, guard, codec.schemes
        self.queries = tuple(codec.queries)
        self._folder = tempfile.TemporaryDirectory(prefix="tinytrain-")
        own = Path(self._folder.name) / library.name
        shutil.copy(library, own)
        self._lib = ctypes.CDLL(str(own))
        self._clock = _Clock.in_dll(self._lib, "tt_run")  # tt_runtime begins with its tt_step
        count = ctypes.c_uint32.in_dll(self._lib, "tt_model_region_count").value
        self._regions = (_Region * count).in_dll(self._lib, "tt_model_regions")
        size = codec.input.bytes
        self._input = (ctypes.c_uint8 * size).in_dll(self._lib, "tt_model_input")
        self._labels = (ctypes.c_int16 * codec.labels).in_dll(self._lib, "tt_model_labels")
        self._lib.tt_init()
        if guard:
            self._zones = self._guard_zones()
            for zone, _ in self._zones:
                ctypes.memset(zone, GUARD_FILL, GUARD_BYTES)

    def _guard_zones(self) -> list[tuple[int, str]]:
        """(address, where it is) of the bytes before and behind each arena."""
        count = ctypes.c_uint32.in_dll(self._lib, "tt_model_arena_count").value
        zones = []
        for arena in (_Region * count).in_dll(self._lib, "tt_model_arenas"):
            zones.append((arena.data - GUARD_BYTES, f"below the {arena.name.decode()}"))
            zones.append((arena.data + arena.bytes, f"above the {arena.name.decode()}"))
        return zones

    def _load(self, x: Array, y: Array | int) -> None:
        data = self.codec.encode_input(x)
        ctypes.memmove(self._input, data, len(data))
        labels = self.codec.encode_labels(y)
        ctypes.memmove(self._labels, labels.tobytes(), labels.nbytes)

    def step(self, x: Array, y: Array | int) -> StepResult:
        self._load(x, y)
        metrics = _Metrics()
        self._check(self._lib.tt_train_step(ctypes.byref(metrics)))
        return self._result(metrics)

    def steps(
        self, xs: Sequence[Array] | Array, ys: Sequence[Array | int] | Array
    ) -> list[StepResult]:
        """All samples are encoded at once, then trained on in one call of C."""
        if self.guard or len(xs) == 0:
            return super().steps(xs, ys)
        inputs, labels = self.codec.encode_samples(xs, ys)
        found, done = (_Metrics * len(labels))(), int(self._clock.step)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (inputs, labels))
        self._check(self._lib.tt_train_samples(*pointers, len(labels), found))
        return [
            StepResult.of_sums(done + 1 + i, m.loss_q16, m.correct, m.count)
            for i, m in enumerate(found)
        ]

    def _use(self, index: int) -> None:
        if len(self.schemes) > 1:
            self._check(self._lib.tt_use(index))

    def _probe(self, x: Array, y: Array | int) -> StepResult:
        self._load(x, y)
        metrics = _Metrics()
        self._check(self._lib.tt_probe(ctypes.byref(metrics)))
        return self._result(metrics)

    def _choose(self) -> tuple[int, int, list[int]]:
        seen = ctypes.POINTER(ctypes.c_uint32).in_dll(self._lib, "tt_model_choice")[1]
        self._lib.tt_worth_q24.restype = ctypes.c_uint32
        worth = [self._lib.tt_worth_q24(i) for i in range(len(self.schemes))]
        return self._lib.tt_choose(), seen, worth

    def score(self, x: Array, y: Array | int) -> StepResult:
        self._load(x, y)
        return self._result(self._evaluate()[0])

    def _evaluate(self) -> tuple[_Metrics, ctypes._Pointer[ctypes.c_int16]]:
        metrics, logits = _Metrics(), ctypes.POINTER(ctypes.c_int16)()
        self._check(self._lib.tt_evaluate(ctypes.byref(metrics), ctypes.byref(logits)))
        return metrics, logits

    def _check(self, status: int) -> None:
        """The runtime's refusal as an error; the guard zones, where there are any."""
        if status != 0:
            raise LinkError(f"the runtime refused the sample: {STATUS.get(status, status)}")
        if not self.guard:
            return
        for zone, where in self._zones:
            if ctypes.string_at(zone, GUARD_BYTES) != bytes([GUARD_FILL]) * GUARD_BYTES:
                raise LinkError(f"a kernel wrote {where} (guard zone is damaged)")

    def _result(self, m: _Metrics) -> StepResult:
        return StepResult.of_sums(int(self._clock.step), m.loss_q16, m.correct, m.count)

    def predict(self, x: Array) -> npt.NDArray[np.float32]:
        self._load(x, np.full(self.codec.labels, -1))
        logits = self._evaluate()[1]
        count = int(np.prod(self.codec.logits))
        return self.codec.decode_logits(np.ctypeslib.as_array(logits, (count,)).copy())

    def _query(self, name: str, x: Array) -> Array:
        self._load(x, np.full(self.codec.labels, -1))
        self._check(self._lib.tt_check_sample())
        kind = self.codec.queries[name]
        entry = self._lib[f"tt_model_{query_symbols(self.queries)[name]}"]
        entry.restype = ctypes.c_void_p
        answer = np.frombuffer(ctypes.string_at(entry(), kind.bytes), DTYPES[kind.dtype])
        self._check(0)
        return self.codec.decode_answer(name, answer)

    def _state(self) -> bytes:
        return b"".join(ctypes.string_at(r.data, r.bytes) for r in self._regions)

    def weights(self) -> dict[str, npt.NDArray[np.generic]]:
        return dict(self.codec.split_state(self._state()))

    def snapshot(self) -> bytes:
        clock = self._clock
        return self._state() + struct.pack("<II", clock.seed, clock.step)

    def restore(self, blob: bytes) -> None:
        expected = self.codec.state_bytes + 8
        if len(blob) != expected:
            raise LinkError(f"snapshot has {len(blob)} bytes, this model's has {expected}")
        at = 0
        for region in self._regions:
            ctypes.memmove(region.data, blob[at : at + region.bytes], region.bytes)
            at += region.bytes
        self._clock.seed, self._clock.step = struct.unpack("<II", blob[at:])

    def close(self) -> None:
        self._folder.cleanup()
