"""What a training step would need under other choices: a grid of schemes, recomputation, loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

from ..boards import Board
from ..compiler import compile_recipe, prepare
from ..errors import TinytrainError
from ..planning.fit import Mode, Planning, Tile
from ..quantize import Quantized
from ..recipe import Recipe, scheme_name

SCHEMES = ("full", "last_k:1", "bias_only", "head_only")


@dataclass(frozen=True)
class Cell:
    """One choice and what it needs. ``extra_macs``: MACs beyond the plain step's, as a part of
    these; ``fits``: the board's budget. All None where ``why`` says that it cannot be planned."""

    scheme: str
    recompute: Mode
    tile: Tile
    sram_bytes: int | None = None
    arena_bytes: int | None = None
    extra_macs: float | None = None
    fits: bool | None = None
    why: str = ""


def grid(recipe: Recipe) -> list[Cell]:
    """The choices, not planned yet: the recipe's schemes, each alone, and the standard ones, each
    way to fit."""
    schemes = list(dict.fromkeys([*map(scheme_name, recipe.schemes), *SCHEMES]))
    return [Cell(*choice) for choice in product(schemes, get_args(Mode), get_args(Tile))]


def what_if(
    recipe: Recipe, board: Board, planning: Planning | None = None,
    quantized: Quantized | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[Cell]:  # fmt: skip
    """Every cell of the grid planned for a board; the model is quantized once. ``planning``: what
    the grid does not vary; addresses come from the heuristic unless it asks for ``exact``."""
    quantized = quantized or prepare(recipe)
    base, cells = planning or Planning(), grid(recipe)
    if base.planner == "auto":
        base = replace(base, planner="heuristic")
    found: dict[Cell, Cell] = {}
    for cell in progress(sorted(cells, key=lambda c: c.recompute != "min-memory")):
        least = found.get(replace(cell, recompute="min-memory"))
        if cell.recompute == "auto" and least is not None and least.fits is False:
            # Where the smallest does not fit either, it is what auto ends with.
            found[cell] = replace(least, recompute="auto")
        else:
            found[cell] = _planned(cell, recipe, board, base, quantized)
    return [found[cell] for cell in cells]


def _planned(
    cell: Cell, recipe: Recipe, board: Board, base: Planning, quantized: Quantized
) -> Cell:  # fmt: skip
    own = {scheme_name(scheme): scheme for scheme in recipe.schemes}
    scheme = own.get(cell.scheme, cell.scheme)
    planning = replace(base, recompute=cell.recompute, tile=cell.tile)
    try:
        made = compile_recipe(
            recipe.replace(scheme=scheme, alternatives=()),
            board,
            quantized,
            check=False,
            planning=planning,
        )
    except TinytrainError as error:
        return replace(cell, why=str(error).splitlines()[0])
    return replace(
        cell, sram_bytes=made.sram.sram_bytes, arena_bytes=made.sram.arena_bytes,
        extra_macs=made.train.macs() / made.plain.macs() - 1,
        fits=made.sram.sram_bytes <= board.sram_budget_bytes,
    )  # fmt: skip
