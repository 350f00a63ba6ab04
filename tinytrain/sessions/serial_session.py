"""A session over a serial link: real boards, and emulated ones by a socket."""

from __future__ import annotations

import struct
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import LinkError
from ..link.protocol import (
    CHOOSE,
    FORGET,
    PREDICT,
    PROBE,
    QUIT,
    READ,
    RESET,
    SAVE,
    SCORE,
    TRAIN,
    USE,
    WRITE,
    Frame,
    Line,
    Link,
)
from ..link.schema import checked, command
from ..link.wire import SerialWire
from .session import Array, Session, StepResult

READ_CHUNK_BYTES = 4096
TAIL_BYTES = 8  # seed and step behind the regions


class Codec(Protocol):
    """How a compiled model's samples, logits and state look on the wire; its schemes."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """Names of those that the firmware holds."""

    def encode_input(self, x: Array) -> bytes:
        """One sample as the kernels read it."""

    def encode_labels(self, y: Array | int) -> npt.NDArray[np.int16]:
        """The labels of a sample."""

    def decode_logits(self, logits: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """Logits in real units, in the shape of the model's output."""

    def split_state(self, state: bytes) -> dict[str, npt.NDArray[np.generic]]:
        """The trained tensors by name."""


class SerialSession(Session):
    """Trains a model that runs behind a serial port.

    ``model_hash`` (TT_MODEL_HASH) makes sure that the firmware is this model's. ``timeout_s`` is
    how long one request may take. Raises LinkError when the device is not there, is another
    model's, or stops answering; the session can be used again afterwards if it comes back.
    """

    def __init__(
        self,
        url: str,
        codec: Codec,
        *,
        baud: int = 115200,
        timeout_s: float = 30.0,
        model_hash: int | None = None,
    ) -> None:
        self.codec, self.schemes = codec, codec.schemes
        self._wire: SerialWire | None = SerialWire(url, baud)
        self.link = Link(self._wire, url, timeout_s)
        try:
            self.facts = self.info()
            if model_hash is not None and self.facts["hash"] != model_hash:
                raise LinkError(
                    f"the firmware on {url} is model {self.facts['model']!r} "
                    f"{self.facts['hash']:08x}, not {model_hash:08x}; build and flash it again"
                )
        except BaseException:
            self._wire.close()
            raise

    def info(self) -> Line:
        """What the device says of itself, now."""
        return checked(self.link.find(), "info", self.link.name)

    def step(self, x: Array, y: Array | int) -> StepResult:
        return _result(self._line(TRAIN, self._sample(x, y)))

    def _use(self, index: int) -> None:
        if len(self.schemes) > 1:
            self._line(USE, struct.pack("<I", index))

    def _probe(self, x: Array, y: Array | int) -> StepResult:
        return _result(self._line(PROBE, self._sample(x, y)))

    def _choose(self) -> tuple[int, int, list[int]]:
        line = self._line(CHOOSE, b"")
        return line["scheme"], line["probed"], line["worth_q24"]

    def score(self, x: Array, y: Array | int) -> StepResult:
        return _result(self._line(SCORE, self._sample(x, y)))

    def predict(self, x: Array) -> npt.NDArray[np.float32]:
        logits = self._frame(PREDICT, self.codec.encode_input(x))
        return self.codec.decode_logits(np.frombuffer(logits, "<i2").astype(np.int16))

    def weights(self) -> dict[str, npt.NDArray[np.generic]]:
        return self.codec.split_state(self.snapshot()[:-TAIL_BYTES])

    def snapshot(self) -> bytes:
        """All regions in order, then seed and step (uint32, little-endian)."""
        total, parts = self.facts["state_bytes"], []
        for offset in range(0, total, READ_CHUNK_BYTES):
            count = min(READ_CHUNK_BYTES, total - offset)
            part = self._frame(READ, struct.pack("<II", offset, count))
            if len(part) != count:
                raise LinkError(f"asked {self.link.name} for {count} bytes, got {len(part)}")
            parts.append(part)
        return b"".join(parts)

    def restore(self, blob: bytes) -> None:
        total, chunk = self.facts["state_bytes"], self.facts["input_bytes"]
        if len(blob) != total:
            raise LinkError(
                f"a state of {self.facts['model']!r} has {total} bytes, not {len(blob)}"
            )
        for offset in range(0, total, chunk):
            self._line(WRITE, struct.pack("<I", offset) + blob[offset : offset + chunk])

    def reset(self, seed: int, step: int = 0) -> None:
        """Set the seed and the step; the weights stay as they are."""
        self._line(RESET, struct.pack("<II", seed, step))

    def save(self) -> Line:
        """Keep the state in the board's flash: its next start goes on from there. Raises LinkError
        where the board keeps none, or its flash fails."""
        return self._line(SAVE, b"")

    def expect_room(self) -> None:
        """Raises LinkError, before the training, where ``save`` would find too little flash."""
        least, slot = self.facts["state_bytes"], self.facts.get("slot_bytes", 0)
        if slot < least:
            raise LinkError(
                f"{self.link.name} cannot keep the state: that has {least} bytes, and each of the "
                f"board's two slots of flash {slot}; see docs/boards.md, storage"
            )

    def forget(self) -> None:
        """Empty the flash that keeps the state: the next start has the weights of the build. What
        is in RAM stays. Raises LinkError as ``save`` does."""
        self._line(FORGET, b"")

    def quit(self) -> None:
        """End the program on the device: an emulator exits, a board starts again."""
        self._line(QUIT, b"")

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _sample(self, x: Array, y: Array | int) -> bytes:
        labels = np.asarray(self.codec.encode_labels(y), np.dtype("<i2"))
        return self.codec.encode_input(x) + labels.tobytes()

    def _ask(self, kind: int, payload: bytes) -> Line | Frame:
        if self._wire is None:
            raise LinkError(f"the session with {self.link.name} is closed")
        return self.link.request(kind, payload)

    def _line(self, kind: int, payload: bytes) -> Line:
        answer = self._ask(kind, payload)
        if isinstance(answer, Frame):
            raise LinkError(f"{self.link.name} answered with a frame where a line was due")
        return checked(answer, command(kind).answer, self.link.name)

    def _frame(self, kind: int, payload: bytes) -> bytes:
        answer = self._ask(kind, payload)
        if not isinstance(answer, Frame) or answer.kind != kind:
            raise LinkError(f"{self.link.name} answered {answer} where a frame was due")
        return answer.payload


def _result(line: Line) -> StepResult:
    return StepResult.of_sums(line["step"], line["loss_q16"], line["correct"], line["count"])
