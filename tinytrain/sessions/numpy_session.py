"""The meaning of a compiled model: its integer graphs run node by node in numpy.

Slow, plain and exact: the C gives the same bits, which tests hold over whole training runs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler.compiled import Compiled
from ..emit.program import choice_name, parameters
from ..errors import LinkError
from ..ir import Graph, Step
from ..ir.execute import execute
from ..quantize.codec import Codec
from ..training.fisher import Term, worth_q24
from ..training.learning_rate import beta_at, rate_at
from .session import Array, Session, StepResult

NONE: Mapping[str, Graph] = {}


class NumpySession(Session):
    """A ``Session`` over the integer graphs, a training step each scheme. ``knots``: the
    learning-rate schedule; ``terms``: of the worth of each scheme."""

    def __init__(
        self, steps: Sequence[Graph], evaluate: Graph, codec: Codec, knots: Any, seed: int,
        terms: Sequence[tuple[Term, ...]], asked: Mapping[str, Graph] = NONE,
    ) -> None:  # fmt: skip
        self.trains, self.graph, self.codec, self.knots = steps, evaluate, codec, knots
        self.terms, self.schemes = terms, codec.schemes
        self.asked, self.queries = asked, tuple(asked)
        states = parameters([*steps, evaluate, *asked.values()], len(steps))[1]
        self.state: dict[str, Any] = {p.value.name: p.data.copy() for p in states}
        self._choice = choice_name(states)
        self.clock = Step(seed=seed)

    def _inputs(self, graph: Graph, x: Array, y: Array | int) -> dict[str, Any]:
        given = {"input": self.codec.quantize_input(x), "labels": self.codec.encode_labels(y)}
        return {v.name: given[v.role] for v in graph.inputs}

    def step(self, x: Array, y: Array | int) -> StepResult:
        done = self.clock.step
        self.clock = replace(
            self.clock, learning_rate=rate_at(self.knots, done), beta=beta_at(done)
        )
        train = self.trains[self._in_use()]
        values = execute(train, self._inputs(train, x, y), self.state, self.clock)
        self.clock = replace(self.clock, step=done + 1)
        return _result(values[train.outputs[0].name], done + 1)

    def _in_use(self) -> int:
        index = int(self.state[self._choice][0]) if len(self.trains) > 1 else 0
        return index if index < len(self.trains) else 0

    def _use(self, index: int) -> None:
        if len(self.trains) > 1:
            self.state[self._choice][0] = index

    def _probe(self, x: Array, y: Array | int) -> StepResult:
        choice = self.state[self._choice]
        seen = np.float32(choice[1])
        mean = np.float32(seen / np.float32(seen + np.float32(1)))
        clock = replace(self.clock, step=self.clock.step + int(choice[1]),
                        learning_rate=np.float32(0), beta=mean)  # fmt: skip
        for train in self.trains:
            values = execute(train, self._inputs(train, x, y), self.state, clock)
        choice[1] += 1
        return _result(values[train.outputs[0].name], self.clock.step)

    def _choose(self) -> tuple[int, int, list[int]]:
        choice, worth = (
            self.state[self._choice],
            [worth_q24(t, self.state) for t in self.terms],
        )
        best, seen = self._in_use(), int(choice[1])
        if seen and max(worth) > worth[best]:
            best = worth.index(max(worth))
        for term in (term for terms in self.terms if seen for term in terms):
            self.state[term.moment][0] = 0
        choice[:] = best, 0
        return best, seen, worth

    def score(self, x: Array, y: Array | int) -> StepResult:
        values = execute(self.graph, self._inputs(self.graph, x, y), dict(self.state), self.clock)
        return _result(values[self.graph.outputs[0].name], self.clock.step)

    def predict(self, x: Array) -> npt.NDArray[np.float32]:
        ignored = np.full(self.codec.labels, -1)
        values = execute(
            self.graph, self._inputs(self.graph, x, ignored), dict(self.state), self.clock
        )
        return self.codec.decode_logits(values[self.graph.outputs[1].name])

    def _query(self, name: str, x: Array) -> Array:
        graph = self.asked[name]
        given = self._inputs(graph, x, np.full(self.codec.labels, -1))
        values = execute(graph, given, dict(self.state), self.clock)
        return self.codec.decode_answer(name, values[graph.outputs[0].name])

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


def numpy_session(compiled: Compiled) -> NumpySession:
    """The interpreter of a compiled model (the meaning of the firmware). It runs the step as it was
    before it was made to fit, so that it checks all that was done for that, too."""
    steps, terms = [t.plain for t in compiled.trainings], [t.terms for t in compiled.trainings]
    return NumpySession(
        steps, compiled.evaluate, compiled.codec, compiled.knots, compiled.optimizer.seed, terms,
        {query.name: query.plain for query in compiled.program.queries},
    )  # fmt: skip
