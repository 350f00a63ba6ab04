"""A compiled model: what the passes made of a recipe and a board, and what it needs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..boards import Board
from ..emit.c_source import table_bytes, weight_bytes
from ..emit.program import Entry, Program
from ..ir import Graph
from ..planning.fit import Fitted, Planning
from ..planning.lifetimes import Plan
from ..quantize import Quantized
from ..quantize.codec import Codec
from ..recipe import Optimizer
from ..training.learning_rate import knots


@dataclass(frozen=True)
class Sram:
    """Every byte of the first memory that the firmware has. Planned: all but the stack's use are
    exact. ``runtime_bytes``: with the port's. ``fast_code_bytes``: reserved for the hottest
    kernels, where they share this memory. ``beside``: bytes of the arena in each of the other
    memories."""

    arena_bytes: int
    trained_weight_bytes: int
    optimizer_bytes: int
    io_bytes: int
    runtime_bytes: int
    stack_bytes: int
    fast_code_bytes: int = 0
    beside: Mapping[str, int] = field(default_factory=dict)

    @property
    def sram_bytes(self) -> int:
        return (
            self.arena_bytes + self.trained_weight_bytes + self.optimizer_bytes + self.io_bytes
            + self.runtime_bytes + self.stack_bytes + self.fast_code_bytes
        )  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """A model that can be built, run by the interpreter, or only looked at. ``forward`` is
    the model with what trains in it; ``program`` has one training step a scheme. ``step``, the
    step before it was made to fit (``plain``), and numbers of a step are those of the scheme that
    sets the arena."""

    name: str
    board: Board
    optimizer: Optimizer
    quantized: Quantized
    forward: Graph
    program: Program
    sram: Sram
    const_bytes: int
    codec: Codec
    files: dict[str, str]
    planning: Planning = field(default_factory=Planning)

    @property
    def scheme(self) -> str:
        """Names of all schemes, the first of which the firmware begins with."""
        return ", ".join(t.scheme for t in self.trainings)

    @property
    def trainings(self) -> tuple[Entry, ...]:
        return self.program.trainings

    @property
    def evaluation(self) -> Fitted:
        return self.program.evaluation

    @property
    def largest(self) -> Entry:
        return max(self.trainings, key=lambda t: t.plan.placement.key)

    @property
    def plain(self) -> Graph:
        return self.largest.plain

    @property
    def step(self) -> Fitted:
        return self.largest.step

    @property
    def train(self) -> Graph:
        return self.step.graph

    @property
    def evaluate(self) -> Graph:
        return self.evaluation.graph

    @property
    def train_plan(self) -> Plan:
        return self.step.plan

    @property
    def evaluate_plan(self) -> Plan:
        return self.evaluation.plan

    @property
    def knots(self) -> list[tuple[int, np.float32]]:
        return knots(self.optimizer)

    @property
    def model_hash(self) -> int:
        """TT_MODEL_HASH: what the firmware says that it is."""
        return zlib.crc32(self.files["model.c"].encode())

    @property
    def parameters(self) -> int:
        """Weights and biases of the linear layers and the tables of the model."""
        params = self.quantized.graph.params.values()
        counted = [p for p in params if p.role != "multiplier"]
        return sum(p.data.size for p in counted if p.value.type.dtype in ("i8", "i32"))

    @property
    def table_bytes(self) -> int:
        """Flash of the tables of the state and the schedule, beside ``const_bytes``."""
        state = self.program.parameters()[1]
        pointer = 0 if self.board.is_host else 4
        return table_bytes(state, len(self.knots), self.trainings, pointer)

    @property
    def psram_bytes(self) -> int:
        """Frozen weights that the start copies to PSRAM."""
        if not self.board.weights_section:
            return 0
        return weight_bytes(self.program.parameters()[0])

    @property
    def trained_parameters(self) -> int:
        graph = self.evaluate
        return sum(p.data.size for p in graph.params.values() if p.kind == "trained")

    @property
    def adapter_parameters(self) -> int:
        """Of the trained parameters, those of adapters."""
        params = self.forward.params.values()
        return sum(p.data.size for p in params if p.role in ("down", "up"))

    def facts(self) -> dict[str, Any]:
        """What ``plan --json`` prints; flash needs a link and is added by the caller."""
        found = self.dominant_plan
        return {
            "model": self.name, "board": self.board.name, "scheme": self.scheme,
            "optimizer": self.optimizer.rule, "weights": self.optimizer.weights,
            "sram_budget_bytes": self.board.sram_budget_bytes,
            "sram_bytes": self.sram.sram_bytes, "arena_bytes": self.sram.arena_bytes,
            "arena_lower_bound_bytes": found.lower_bound_bytes,
            "arena_proof": found.placement.proof,
            "arena_gap_bytes": found.placement.gap_bytes,
            "regions": [
                {"name": memory.name, "arena_bytes": self.sram.beside[memory.name],
                 "capacity_bytes": memory.length_bytes} for memory in self.board.beside
            ],
            "trained_weight_bytes": self.sram.trained_weight_bytes,
            "optimizer_bytes": self.sram.optimizer_bytes, "io_bytes": self.sram.io_bytes,
            "runtime_bytes": self.sram.runtime_bytes, "stack_bytes": self.sram.stack_bytes,
            "fast_code_bytes": self.sram.fast_code_bytes,
            "psram_bytes": self.psram_bytes,
            "psram_capacity_bytes": self.board.psram.length_bytes if self.board.psram else 0,
            "model_const_bytes": self.const_bytes + self.table_bytes,
            "parameters": self.parameters,
            "trained_parameters": self.trained_parameters,
            "adapter_parameters": self.adapter_parameters,
            "macs_forward": self.evaluate.macs(),
            "macs_backward": self.train.macs() - self.evaluate.macs(),
            "macs_recomputed": self.step.extra_macs,
            "tiled": self.step.tiled, "recomputed": list(self.step.again),
            "schemes": [self._scheme_facts(t) for t in self.trainings],
            "others_bytes": self.others_bytes,
        }  # fmt: skip

    def _scheme_facts(self, training: Entry) -> dict[str, Any]:
        """What one scheme needs; ``alone_bytes``: SRAM of a firmware without the other ones."""
        updated = {old.name for n in training.graph.nodes for old, _ in n.overwrites()}
        held = [t for t in self.codec.state if t.name in updated]
        states = sum(t.bytes for t in held)
        least = 0 if self.board.beside else self.evaluate_plan.lower_bound_bytes
        arena = max(training.plan.placement.used[-1], least)
        whole = self.sram.sram_bytes - self.sram.arena_bytes - self.codec.state_bytes
        return {
            "scheme": training.scheme, "arena_bytes": arena, "state_bytes": states,
            "alone_bytes": whole + arena + states,
            "trained_parameters": sum(t.type.size for t in held if t.kind == "trained"
                                      and t.role != "fraction"),
            "macs": training.graph.macs(), "macs_recomputed": training.step.extra_macs,
        }  # fmt: skip

    @property
    def dominant_plan(self) -> Plan:
        """The plan that sets the arena."""
        return self.program.largest.plan

    @property
    def others_bytes(self) -> int:
        """SRAM that several schemes take beyond the one that would need the most alone."""
        alone: list[int] = [self._scheme_facts(t)["alone_bytes"] for t in self.trainings]
        return self.sram.sram_bytes - max(alone)
