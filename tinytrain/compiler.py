"""The passes by name, top to bottom: a recipe and a board in, C files and their plan out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .adapters import DOWN, UP
from .autodiff import differentiate, with_loss
from .boards import Board, port_bytes, runtime_bytes
from .codec import Codec, Tensor
from .emit import (
    CONST_ALIGN,
    MAIN,
    arena_bytes,
    emit,
    padded_bytes,
    parameters,
    table_bytes,
    vocabulary,
)  # fmt: skip
from .errors import BudgetError, RecipeError
from .fit import Fitted, Planning, fit
from .frontend.torch_export import from_torch
from .ir import Graph
from .memory import Plan, at_places_of, plan
from .packing import packs, with_packed
from .placement import OPEN, Method, Region, aligned
from .quantize import Quantized, quantize
from .recipe import Optimizer, Recipe
from .room import with_room
from .schedule import prune
from .schedule_rate import knots
from .select import apply_scheme, layers_of, resolve


@dataclass(frozen=True)
class Sram:
    """Every byte of the first memory that the firmware has. Planned: all but the stack's use are
    exact. ``runtime_bytes``: with the port's. ``beside``: bytes of the arena in each of the other
    memories."""

    arena_bytes: int
    trained_weight_bytes: int
    optimizer_bytes: int
    io_bytes: int
    runtime_bytes: int
    stack_bytes: int
    beside: Mapping[str, int] = field(default_factory=dict)

    @property
    def sram_bytes(self) -> int:
        return (
            self.arena_bytes + self.trained_weight_bytes + self.optimizer_bytes + self.io_bytes
            + self.runtime_bytes + self.stack_bytes
        )  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """A model that can be built, run by the interpreter, or only looked at. ``forward`` is
    the model with what trains in it, ``plain`` the training step before it was made to fit; its
    numbers are those of ``step``."""

    name: str
    board: Board
    optimizer: Optimizer
    scheme: str
    quantized: Quantized
    forward: Graph
    plain: Graph
    step: Fitted
    evaluation: Fitted
    sram: Sram
    const_bytes: int
    codec: Codec
    files: dict[str, str]
    planning: Planning = field(default_factory=Planning)

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
        return _count(self.quantized.graph, ("i8", "i32"), skip=(".mult", ".shift"))

    @property
    def table_bytes(self) -> int:
        """Flash of the tables of the state and the schedule, beside ``const_bytes``."""
        state = parameters(self.train, self.evaluate)[1]
        return table_bytes(state, len(self.knots), 0 if self.board.is_host else 4)

    @property
    def trained_parameters(self) -> int:
        graph = self.evaluate
        return sum(p.data.size for p in graph.params.values() if p.kind == "trained")

    @property
    def adapter_parameters(self) -> int:
        """Of the trained parameters, those of adapters."""
        ends = tuple(f".{part}.weight.trained" for part in (DOWN, UP))
        return sum(p.data.size for n, p in self.forward.params.items() if n.endswith(ends))

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
            "model_const_bytes": self.const_bytes + self.table_bytes,
            "parameters": self.parameters,
            "trained_parameters": self.trained_parameters,
            "adapter_parameters": self.adapter_parameters,
            "macs_forward": self.evaluate.macs(),
            "macs_backward": self.train.macs() - self.evaluate.macs(),
            "macs_recomputed": self.step.extra_macs,
            "tiled": self.step.tiled, "recomputed": list(self.step.again),
        }  # fmt: skip

    @property
    def dominant_plan(self) -> Plan:
        """The plan that sets the arena."""
        return max(self.train_plan, self.evaluate_plan, key=lambda plan: plan.placement.key)

    def session(self) -> Any:
        """The numpy interpreter of this model (the meaning of the firmware). It runs the step as it
        was before it was made to fit, so that it checks all that was done for that, too."""
        from .interpreter import NumpySession

        return NumpySession(self.plain, self.evaluate, self.codec, self.knots, self.optimizer.seed)


def silent(_: str) -> None:
    """Tells nobody."""


def _count(graph: Graph, dtypes: Sequence[str], skip: tuple[str, ...]) -> int:
    return sum(
        p.data.size
        for name, p in graph.params.items()
        if p.value.type.dtype in dtypes and not name.endswith(skip)
    )


def prepare(recipe: Recipe, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> Quantized:
    """Frontend and quantization: what does not depend on scheme, optimizer or board."""
    if len(recipe.calibration) == 0:
        raise RecipeError(f"recipe {recipe.name}: calibration is empty; give at least one sample")
    samples = list(recipe.calibration)
    graph = from_torch(recipe.model, samples[0])
    if graph.inputs[0].type.dtype != "f32":
        samples = [np.asarray(s).astype(np.int64) for s in samples]
    return quantize(
        graph, samples, weight_scales=recipe.weight_scales, calibrator=recipe.calibrator,
        progress=progress,
    )  # fmt: skip


def compile_recipe(
    recipe: Recipe, board: Board, quantized: Quantized | None = None, *, check: bool = True,
    planning: Planning | None = None, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    say: Callable[[str], None] = silent,
) -> Compiled:  # fmt: skip
    """All passes. ``check=False`` lets a plan exceed the board, to look at it; ``planning``: the
    means by which the step is made to fit; ``say`` is told what begins that may take long.

    Raises what the passes raise; BudgetError when the plan does not fit, with the largest live
    values named.
    """
    quantized = quantized or prepare(recipe, progress)
    forward = apply_scheme(quantized.graph, recipe.scheme, quantized.samples)
    train = prune(differentiate(forward, recipe.optimizer))
    evaluate = prune(with_loss(forward))
    if packs(board.arch):
        train, evaluate = with_packed(train, evaluate)
    const, state = parameters(train, evaluate)
    tensors = tuple(Tensor(p.value.name, p.value.type, p.kind, padded_bytes(p, 8)) for p in state)
    logits = evaluate.outputs[1].type.shape
    source = train.inputs[0].type
    sram = Sram(
        arena_bytes=0,
        trained_weight_bytes=sum(t.bytes for t in tensors if t.kind == "trained"),
        optimizer_bytes=sum(t.bytes for t in tensors if t.kind == "optimizer"),
        io_bytes=aligned(source.bytes) + aligned(2 * logits[0]),
        runtime_bytes=runtime_bytes() + port_bytes(board),
        stack_bytes=board.stack_bytes,
    )
    planning = planning or Planning()
    beside = [Region(memory.name, memory.length_bytes) for memory in board.beside]
    say("planning memory")
    room = board.sram_budget_bytes - sram.sram_bytes
    step = fit(train, room, planning, beside=beside)
    forward_only = replace(planning, recompute="off")
    check_run = fit(evaluate, step.plan.placement.used[-1], forward_only, beside=beside)
    step, check_run = settled(step, check_run, planning.planner, say)
    arenas = arena_bytes(step.plan, check_run.plan)
    step = replace(step, plan=with_room(step.graph, step.plan, arenas))
    alike = at_places_of(check_run.graph, check_run.plan, step.plan)
    check_run = replace(check_run, plan=alike or with_room(check_run.graph, check_run.plan, arenas))
    sram = replace(sram, arena_bytes=arenas.pop(MAIN), beside=arenas)
    compiled = Compiled(
        name=recipe.name, board=board, optimizer=recipe.optimizer,
        scheme=resolve(recipe.scheme, layers_of(quantized.graph)).name, quantized=quantized,
        forward=forward, plain=train, step=step, evaluation=check_run, sram=sram,
        const_bytes=sum(padded_bytes(p, CONST_ALIGN) for p in const),
        codec=Codec(source, logits[0], logits, recipe.loss == "classes", tensors,
                    vocabulary(train)),
        files=emit(recipe.name, step.graph, check_run.graph, step.plan, check_run.plan,
                   recipe.optimizer, knots(recipe.optimizer)),
        planning=planning,
    )  # fmt: skip
    if check:
        check_budget(compiled)
    return compiled


def settled(
    step: Fitted, check_run: Fitted, method: Method, say: Callable[[str], None] = silent
) -> tuple[Fitted, Fitted]:
    """The two with better addresses, or a proof, for the one that sets the arena."""
    found, seen = [step, check_run], set[int]()

    def watch(used: int, bound: int) -> None:
        say(f"placing {used:,} bytes, at least {bound:,}")

    while method != "heuristic":
        i = max((0, 1), key=lambda i: found[i].plan.placement.key)
        placement = found[i].plan.placement
        if i in seen or placement.proof != OPEN:
            break
        seen.add(i)
        made = plan(found[i].graph, placement.regions, method, watch)
        found[i] = replace(found[i], plan=made)
    return found[0], found[1]


def check_budget(compiled: Compiled) -> None:
    """Raises BudgetError when the board's SRAM budget is exceeded."""
    sram, budget = compiled.sram, compiled.board.sram_budget_bytes
    if sram.sram_bytes <= budget:
        return
    live = ", ".join(
        f"{b.name} {b.bytes} B"
        for b in compiled.dominant_plan.live_at(compiled.dominant_plan.peak_node)[:5]
    )
    raise BudgetError(
        f"{compiled.name} with scheme {compiled.scheme} needs {sram.sram_bytes} bytes of SRAM "
        f"{_form(compiled.planning)}; {compiled.board.name} has {budget} "
        f"({sram.sram_bytes - budget} too many).\n"
        f"arena {sram.arena_bytes}, trained weights {sram.trained_weight_bytes}, optimizer "
        f"{sram.optimizer_bytes}, I/O {sram.io_bytes}, runtime {sram.runtime_bytes}, stack "
        f"{sram.stack_bytes} bytes.\n"
        f"The arena peaks at {arena_peak(compiled)}; largest live values: "
        f"{live}.\nNext: {_advice(compiled)}."
    )


def arena_peak(compiled: Compiled) -> str:
    """Operator and layer where the most bytes are alive."""
    found = compiled.dominant_plan
    graph = compiled.train if found is compiled.train_plan else compiled.evaluate
    node = graph.nodes[min(found.peak_node, len(graph.nodes) - 1)]
    return f"{node.op.name} of {node.layer or node.name}"


def _form(planning: Planning) -> str:
    """What the number of bytes is the least of."""
    off = [name for name, way in (("recompute", planning.recompute), ("tile", planning.tile))
           if way == "off"]  # fmt: skip
    switched = " and ".join(f"--{name} off" for name in off)
    return f"with {switched}" if off else "in the smallest form that was found"


def _advice(compiled: Compiled) -> str:
    ways = []
    fixed = compiled.sram.sram_bytes - compiled.sram.arena_bytes
    if fixed > compiled.board.sram_budget_bytes:
        ways.append(
            f"what is not arena takes {fixed} bytes alone, so nothing fits before that does"
        )
    if "off" in (compiled.planning.recompute, compiled.planning.tile):
        ways.append("let the step be made to fit (--recompute auto --tile auto)")
    if compiled.scheme != "head_only":
        ways.append("train fewer layers or channels (--scheme last_k:1, --scheme head_only)")
    if compiled.optimizer.weights == "int16":
        ways.append("store trained weights as int8 (--weights int8)")
    return ", ".join([*ways, "a larger board (tinytrain boards)"])
