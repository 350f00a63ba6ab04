"""What a method trains for a group within a budget, chosen on the group's proxies alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.planning.fit import Planning
from tinytrain.recipe import Recipe, UpdateScheme
from tinytrain.selection.memory import Memory
from tinytrain.selection.pool import Context, Pool
from tinytrain.selection.proxy import digest_of
from tinytrain.selection.runs import Runs
from tinytrain.selection.store import Store
from tinytrain.training.scheme import layers_of

from . import rates
from .cells import SCHEMES, kept, key_of
from .methods import BUDGETS, Method, selection
from .tasks import Group, quantized

BOARD = "qemu_mps2_an386"
QUICK = Planning(planner="heuristic", quick=True)


@dataclass(frozen=True)
class Pick:
    """``scheme``: None trains all in float32 (or nothing); bytes and parameters as planned."""

    scheme: UpdateScheme | None
    learning_rate: float | None
    sram_bytes: int | None
    trained_parameters: int | None
    fits: bool = True

    @classmethod
    def read(cls, data: Any) -> Pick:
        raw = data["scheme"]
        if raw is not None:
            raw["weights"] = {n: tuple(v) if isinstance(v, list) else v
                              for n, v in raw["weights"].items()}  # fmt: skip
            raw["biases"] = tuple(raw["biases"])
        return cls(**{**data, "scheme": raw and UpdateScheme(**raw)})


@contextmanager
def opened(recipe: Recipe, budget: int | None) -> Iterator[tuple[Runs, Memory]]:
    """The trainings on a posed recipe's proxies, and its memory; ``budget`` None: of any size."""
    model, store = quantized(recipe), Store()
    board = with_sram(load_board(BOARD), budget or 1 << 22)
    order = {layer.name: range(layer.outputs) for layer in layers_of(model.graph)}
    with Pool(Context(recipe, model, recipe.proxies), 1) as pool:
        yield Runs(pool, store), Memory(pool, board, QUICK, store, order)


def pick(method: Method, group: Group, budget: int | None) -> Pick:
    recipe_steps = group.posed().optimizer.steps
    key = key_of("pick", group.name, method.name, budget, recipe_steps, SCHEMES)
    return Pick.read(kept(key, lambda: asdict(_pick(method, group, budget))))


def _pick(method: Method, group: Group, budget: int | None) -> Pick:
    recipe = group.posed()
    if method.fp32:
        start = rates.START[f"fp32 {method.fp32}"]
        rate = rates.of_fp32(recipe, digest_of(recipe.proxies), method.fp32, start)
        return Pick(None, rate, None, sum(p.numel() for p in recipe.model.parameters()))
    if method.schemes is None and not method.selected:
        return Pick(None, None, None, 0)
    also = _smaller(method, group, budget or 0) if method.selected else []
    optimizer = method.optimizer(recipe)
    with opened(recipe.replace(optimizer=optimizer), budget) as (runs, memory):
        scheme: UpdateScheme | None
        rate: float | None = None
        if method.selected:
            scheme, rate = selection(recipe, memory, runs, also) or (None, None)
        else:
            assert method.schemes is not None
            scheme = memory.largest(method.schemes(memory.layers, recipe))
        if scheme is None:
            return Pick(None, None, None, None, fits=False)
        need = memory.need(scheme)
        if rate is None:
            rate = rates.of_int8(runs, scheme, optimizer, rates.START[method.rule])
    return Pick(scheme, rate, need.sram_bytes, need.trained_parameters)


def _smaller(method: Method, group: Group, budget: int) -> list[UpdateScheme]:
    """What was found for the next smaller budget: a search begins with it."""
    less = max((size for size in BUDGETS if size < budget), default=None)
    found = pick(method, group, less).scheme if less else None
    return [replace(found, name=f"of {less // 1024} KB")] if less and found else []


def planned(method: Method, group: Group, budget: int, found: Pick) -> Compiled:
    """The firmware of a pick as ``tinytrain build`` plans it, with more care than the search."""
    recipe = group.posed()
    optimizer = replace(method.optimizer(recipe), learning_rate=found.learning_rate or 0.0)
    made = recipe.replace(scheme=found.scheme, optimizer=optimizer)
    board = with_sram(load_board(BOARD), budget)
    return compile_recipe(made, board, quantized(recipe), check=False)
