"""The passes by name, top to bottom: a recipe and a board in, C files and their plan out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..boards import Board, port_bytes, runtime_bytes
from ..emit.c_source import CONST_ALIGN, arena_bytes, emit, padded_bytes, vocabulary
from ..emit.call_table import MAIN
from ..emit.program import Entry, Program, parameters
from ..errors import BoardError, BudgetError
from ..ir import Graph
from ..ir.prune import prune
from ..planning.fit import Fitted, Planning, fit
from ..planning.lifetimes import at_places_of, plan
from ..planning.pack_weights import packs, with_packed
from ..planning.placement import OPEN, Method, Region, aligned
from ..planning.spare_scratch import with_room
from ..quantize import Quantized, quantize
from ..quantize.codec import Codec, Tensor
from ..recipe import Recipe
from ..training.autodiff import with_loss
from ..training.learning_rate import knots
from ..training.objective import objective_of
from ..training.scheme import apply_schemes
from ..training.steps import steps_of, terms_by_scheme
from .compiled import Compiled, Sram
from .samples import check_samples, float_graph, warn_of_channels

__all__ = ["Compiled", "Sram", "arena_peak", "check_budget", "compile_recipe", "prepare", "silent"]


NONE: Mapping[str, Callable[[Graph], Graph]] = {}


def silent(_: str) -> None:
    """Tells nobody."""


def prepare(recipe: Recipe, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> Quantized:
    """Frontend and quantization: what does not depend on scheme, optimizer or board."""
    graph = float_graph(recipe)
    samples = list(recipe.calibration)
    if graph.inputs[0].type.dtype != "f32":
        samples = [np.asarray(s).astype(np.int64) for s in samples]
    found = quantize(
        graph, samples, weight_scales=recipe.weight_scales, calibrator=recipe.calibrator,
        progress=progress,
    )  # fmt: skip
    warn_of_channels(recipe, found.graph.inputs[0].type)
    return found


def compile_recipe(
    recipe: Recipe, board: Board, quantized: Quantized | None = None, *, check: bool = True,
    planning: Planning | None = None, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    say: Callable[[str], None] = silent, queries: Mapping[str, Callable[[Graph], Graph]] = NONE,
) -> Compiled:  # fmt: skip
    """All passes. ``check=False`` lets a plan exceed the board, to look at it; ``planning``: the
    means by which the step is made to fit; ``say`` is told what begins that may take long.
    ``queries``: further entries by name, each made of the forward graph, such as
    ``queries.features``.

    Raises what the passes raise; BoardError when frozen weights exceed the PSRAM that the board
    has for them; BudgetError when the plan does not fit, with the largest live
    values named.
    """
    objective = objective_of(recipe.loss)
    given = quantized is not None  # then its maker has seen the samples
    quantized = quantized or prepare(recipe, progress)
    forward, trained = apply_schemes(quantized.graph, recipe.schemes, quantized.samples)
    steps = steps_of(forward, recipe.optimizer, trained, objective)
    asked = {name: prune(make(forward)) for name, make in queries.items()}
    graphs = [*steps.values(), prune(with_loss(forward, objective)), *asked.values()]
    if packs(board.arch):
        graphs = list(with_packed(*graphs))
    count = len(steps)
    steps = dict(zip(steps, graphs[:count], strict=True))
    evaluate, asked = graphs[count], dict(zip(asked, graphs[count + 1 :], strict=True))
    const, state = parameters(graphs, count)
    tensors = tuple(
        Tensor(p.value.name, p.value.type, p.kind, padded_bytes(p, 8), p.role) for p in state
    )
    logits = evaluate.outputs[1].type.shape
    source = evaluate.outside("input").type
    sram = Sram(
        arena_bytes=0,
        trained_weight_bytes=sum(t.bytes for t in tensors if t.kind == "trained"),
        optimizer_bytes=sum(t.bytes for t in tensors if t.kind == "optimizer"),
        io_bytes=aligned(source.bytes) + aligned(2 * logits[0]),
        runtime_bytes=runtime_bytes() + port_bytes(board),
        stack_bytes=board.stack_bytes,
        fast_code_bytes=board.fast_sram_bytes,
    )
    planning = planning or Planning()
    beside = [Region(memory.name, memory.length_bytes) for memory in board.beside]
    say("planning memory")
    room = board.sram_budget_bytes - sram.sram_bytes
    fitted = [fit(step, room, planning, beside=beside) for step in steps.values()]
    most = max(f.plan.placement.used[-1] for f in fitted)
    kept = replace(planning, recompute="off")
    fitted += [fit(graph, most, kept, beside=beside) for graph in graphs[count:]]
    fitted = settled(fitted, planning.planner, say)
    arenas = arena_bytes(*(f.plan for f in fitted))
    fitted = _in_free_bytes(fitted, count, arenas)
    terms = terms_by_scheme(steps, recipe.worth)
    trains = zip(steps.items(), fitted[:count], strict=True)
    queried = zip(asked.items(), fitted[count + 1 :], strict=True)
    program = Program((
        *(Entry(name, "train", graph, found, terms[name]) for (name, graph), found in trains),
        Entry("evaluate", "evaluate", evaluate, fitted[count]),
        *(Entry(name, "query", graph, found) for (name, graph), found in queried),
    ))  # fmt: skip
    sram = replace(sram, arena_bytes=arenas.pop(MAIN), beside=arenas)
    compiled = Compiled(
        name=recipe.name, board=board, optimizer=recipe.optimizer, quantized=quantized,
        forward=forward, program=program, sram=sram,
        const_bytes=sum(padded_bytes(p, CONST_ALIGN) for p in const),
        codec=Codec(source, logits[0], logits, not objective.per_row, tensors,
                    vocabulary(evaluate), tuple(steps),
                    {q.name: q.answer for q in program.queries}),
        files=emit(recipe.name, program, recipe.optimizer, knots(recipe.optimizer),
                   board.weights_section, board.names_hot),
        planning=planning,
    )  # fmt: skip
    if not given:
        check_samples(recipe, compiled.codec)
    if board.psram and compiled.psram_bytes > board.psram.length_bytes:
        raise BoardError(
            f"{recipe.name} has {compiled.psram_bytes} bytes of frozen weights, and the PSRAM of "
            f'{board.name} {board.psram.length_bytes}; set weights = "flash" in its board.toml'
        )
    if check:
        check_budget(compiled)
    return compiled


def _in_free_bytes(
    fitted: Sequence[Fitted], trainings: int, arenas: Mapping[str, int]
) -> list[Fitted]:
    """All with scratch widened into what is free; what does not train at the addresses of a
    training step where it can, so that the calls that both have are the same."""
    steps = [replace(f, plan=with_room(f.graph, f.plan, arenas)) for f in fitted[:trainings]]
    by_size = sorted(steps, key=lambda f: f.plan.placement.key)
    others = []
    for f in fitted[trainings:]:
        alike = (at_places_of(f.graph, f.plan, step.plan) for step in by_size)
        others.append(
            replace(f, plan=next(filter(None, alike), with_room(f.graph, f.plan, arenas)))
        )
    return [*steps, *others]


def settled(
    fitted: Sequence[Fitted], method: Method, say: Callable[[str], None] = silent
) -> list[Fitted]:
    """All with better addresses, or a proof, for the one that sets the arena."""
    found, seen = list(fitted), set[int]()

    def watch(used: int, bound: int) -> None:
        say(f"placing {used:,} bytes, at least {bound:,}")

    while method != "heuristic":
        i = max(range(len(found)), key=lambda i: found[i].plan.placement.key)
        placement = found[i].plan.placement
        if i in seen or placement.proof != OPEN:
            break
        seen.add(i)
        made = plan(found[i].graph, placement.regions, method, watch)
        found[i] = replace(found[i], plan=made)
    return found


def check_budget(compiled: Compiled) -> None:
    """Raises BudgetError when the board's SRAM budget is exceeded."""
    sram, budget = compiled.sram, compiled.board.sram_budget_bytes
    if sram.sram_bytes <= budget:
        return
    fast = f", fast code {sram.fast_code_bytes}" if sram.fast_code_bytes else ""
    live = ", ".join(
        f"{b.name} {b.bytes} B"
        for b in compiled.dominant_plan.live_at(compiled.dominant_plan.peak_node)[:5]
    )
    raise BudgetError(
        f"{compiled.name} with scheme{_which(compiled)} needs {sram.sram_bytes} bytes of SRAM "
        f"{_form(compiled.planning)}; {compiled.board.name} has {budget} "
        f"({sram.sram_bytes - budget} too many).\n"
        f"arena {sram.arena_bytes}, trained weights {sram.trained_weight_bytes}, optimizer "
        f"{sram.optimizer_bytes}, I/O {sram.io_bytes}, runtime {sram.runtime_bytes}, stack "
        f"{sram.stack_bytes}{fast} bytes.\n"
        f"The arena peaks at {arena_peak(compiled)}; largest live values: "
        f"{live}.\nNext: {_advice(compiled)}."
    )


def _which(compiled: Compiled) -> str:
    """The scheme; of several those whose arena is too large."""
    room = compiled.board.sram_budget_bytes - compiled.sram.sram_bytes + compiled.sram.arena_bytes
    arenas = {t.scheme: t.plan.placement.used[-1] for t in compiled.trainings}
    over = [f"{name} (arena {size})" for name, size in arenas.items() if size > room]
    if len(arenas) == 1 or not over:
        return f"{'s' if len(arenas) > 1 else ''} {compiled.scheme}"
    others = len(arenas) - len(over)
    beside = f" beside {others} that fit{'s' if others == 1 else ''}" if others else ""
    return f"{'s' if len(over) > 1 else ''} {', '.join(over)}{beside}"


def arena_peak(compiled: Compiled) -> str:
    """Operator and layer where the most bytes are alive."""
    entry = compiled.program.largest
    node = entry.graph.nodes[min(entry.plan.peak_node, len(entry.graph.nodes) - 1)]
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
