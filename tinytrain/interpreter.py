"""The meaning of a compiled model: its integer graphs run node by node in numpy.

Slow, plain and exact: the C gives the same bits, which tests hold over whole training runs.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .codec import Codec
from .errors import LinkError
from .execute import execute
from .ir import Graph, Step
from .schedule_rate import beta_at, rate_at
from .session import Array, Session, StepResult


class NumpySession(Session):
    """A ``Session`` over the integer graphs. ``knots``: the learning-rate schedule."""

    def __init__(self, train: Graph, evaluate: Graph, codec: Codec, knots: Any, seed: int) -> None:
        self.train, self.graph, self.codec, self.knots = train, evaluate, codec, knots
        self.state: dict[str, Any] = {
            name: p.data.copy() for name, p in train.params.items() if p.kind != "const"
        }
        self.clock = Step(seed=seed)

    def _inputs(self, x: Array, y: Array | int) -> dict[str, Any]:
        sample = self.codec.quantize_input(x)
        return {self.graph.inputs[0].name: sample, "labels": self.codec.encode_labels(y)}

    def step(self, x: Array, y: Array | int) -> StepResult:
        done = self.clock.step
        self.clock = replace(
            self.clock, learning_rate=rate_at(self.knots, done), beta=beta_at(done)
        )
        values = execute(self.train, self._inputs(x, y), self.state, self.clock)
        self.clock = replace(self.clock, step=done + 1)
        return _result(values["metrics"], done + 1)

    def score(self, x: Array, y: Array | int) -> StepResult:
        values = execute(self.graph, self._inputs(x, y), dict(self.state), self.clock)
        return _result(values["metrics"], self.clock.step)

    def predict(self, x: Array) -> npt.NDArray[np.float32]:
        ignored = np.full(self.codec.labels, -1)
        values = execute(self.graph, self._inputs(x, ignored), dict(self.state), self.clock)
        return self.codec.decode_logits(values[self.graph.outputs[1].name])

    def weights(self) -> dict[str, npt.NDArray[np.generic]]:
        return {t.name: self.state[t.name].copy() for t in self.codec.state if t.kind == "trained"}

    def snapshot(self) -> bytes:
        clock = struct.pack("<II", self.clock.seed, self.clock.step)
        return self.codec.join_state(self.state) + clock

    def restore(self, blob: bytes) -> None:
        expected = self.codec.state_bytes + 8
        if len(blob) != expected:
            raise LinkError(f"snapshot has {len(blob)} bytes, this model's has {expected}")
        self.state = self.codec.split_state(blob, ("trained", "optimizer"))
        seed, step = struct.unpack("<II", blob[-8:])
        self.clock = Step(seed=seed, step=step)


def _result(metrics: Any, step: int) -> StepResult:
    return StepResult.of_sums(step, *(int(v) for v in metrics))
