"""The toy model of ``qemu/fake``: one linear layer in hand-written C, behind the real runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FAKE = Path(__file__).resolve().parent / "qemu" / "fake"
FILES = {name: (FAKE / name).read_text() for name in ("model.c", "model.h")}
HASH = 0x1234ABCD


class FakeCodec:
    schemes = ("fake",)

    def encode_input(self, x: Any) -> bytes:
        return np.asarray(x, np.int8).tobytes()

    def encode_labels(self, y: Any) -> Any:
        return np.atleast_1d(np.asarray(y, np.int16))

    def decode_logits(self, logits: Any) -> Any:
        return logits.astype(np.float32) / 256

    def split_state(self, state: bytes) -> dict[str, Any]:
        return {
            "weights": np.frombuffer(state[:264], np.int8),
            "bias": np.frombuffer(state[264:280], np.int32),
        }


def samples(count: int) -> list[Any]:
    return list(np.random.default_rng(3).integers(-100, 100, (count, 64)))
