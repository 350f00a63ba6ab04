"""A recipe on every board: what it needs there, whether it fits, and why not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..boards import Board, port_bytes
from ..compiler import Compiled, arena_peak, compile_recipe
from ..errors import BudgetError, ToolchainError
from ..planning.fit import Planning
from ..quantize import Quantized
from ..recipe import Recipe
from ..toolchain.build import build

NOT_LINKED = "not linked"
LINKS = 2  # firmware images that are made at once


@dataclass(frozen=True)
class Verdict:
    """A recipe on a board. ``beside_bytes`` of ``beside_capacity_bytes``: arena in the memories
    beside the first. ``flash_bytes``: of the linked firmware; None where it was not linked, with
    the reason in ``why``. ``fits``: SRAM and flash; None where only the SRAM is known to fit.
    ``fast_code_bytes``: of the SRAM, reserved for kernels that share it; ``psram_bytes``: frozen
    weights there."""

    board: str
    sram_bytes: int
    sram_budget_bytes: int
    beside_bytes: int
    beside_capacity_bytes: int
    flash_bytes: int | None
    flash_capacity_bytes: int | None
    fits: bool | None
    why: str = ""
    fast_code_bytes: int = 0
    psram_bytes: int = 0


def across(
    recipe: Recipe, boards: Sequence[Board], quantized: Quantized, planning: Planning | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[Verdict]:  # fmt: skip
    """Plan for each board, once for all with the same memories, and link what fits. The solver
    is only asked for addresses where these decide. Raises what the passes raise."""
    planning = planning or Planning()
    plans: dict[object, Compiled] = {}
    links: list[tuple[Compiled, Future[tuple[int | None, str]] | None]] = []
    with ThreadPoolExecutor(LINKS) as pool:
        for board in progress(boards):
            alike = (board.sram_budget_bytes, board.stack_bytes, board.beside, port_bytes(board),
                     board.fast_sram_bytes, board.weights_section, board.names_hot)  # fmt: skip
            if alike not in plans:
                plans[alike] = _planned(recipe, board, quantized, planning)
            compiled = replace(plans[alike], board=board)
            fits = compiled.sram.sram_bytes <= board.sram_budget_bytes
            links.append((compiled, pool.submit(_link, compiled) if fits else None))
        return [_verdict(compiled, link) for compiled, link in links]


def _planned(recipe: Recipe, board: Board, quantized: Quantized, planning: Planning) -> Compiled:
    quick = planning
    if planning.planner == "auto":
        quick = replace(planning, planner="heuristic")
    compiled = compile_recipe(recipe, board, quantized, check=False, planning=quick)
    placement = compiled.dominant_plan.placement
    gap = placement.height - compiled.dominant_plan.lower_bound_bytes
    if quick != planning and 0 < placement.over_bytes <= gap:
        compiled = compile_recipe(recipe, board, quantized, check=False, planning=planning)
    return compiled


def _link(compiled: Compiled) -> tuple[int | None, str]:
    """(bytes of flash, nothing), or None and what went wrong."""
    if compiled.board.on_framework:
        return None, f"{NOT_LINKED}: its framework does that"
    with tempfile.TemporaryDirectory(prefix="tinytrain-") as folder:
        try:
            return build(compiled.files, compiled.board, Path(folder) / "link").flash_bytes, ""
        except BudgetError as error:  # only the flash can be too small here
            return None, str(error).removeprefix(f"{compiled.board.name}: ").partition(";")[0]
        except ToolchainError as error:
            return None, f"{NOT_LINKED}: {' '.join(str(error).split())[:200]}"


def _verdict(compiled: Compiled, link: Future[tuple[int | None, str]] | None) -> Verdict:
    board, sram = compiled.board, compiled.sram
    fits: bool | None = False
    if link is None:
        over = sram.sram_bytes - board.sram_budget_bytes
        flash, why = None, f"SRAM: {over:,} bytes too many; {_most(compiled)}"
    else:
        flash, why = link.result()
        fits = None if why.startswith(NOT_LINKED) else flash is not None
    return Verdict(
        board.name, sram.sram_bytes, board.sram_budget_bytes, sum(sram.beside.values()),
        sum(memory.length_bytes for memory in board.beside), flash,
        board.code.length_bytes if board.code else None, fits, why, sram.fast_code_bytes,
        compiled.psram_bytes,
    )  # fmt: skip


def _most(compiled: Compiled) -> str:
    """What a plan that does not fit is made of."""
    sram = compiled.sram
    fixed = sram.sram_bytes - sram.arena_bytes
    if fixed > compiled.board.sram_budget_bytes:
        return f"what is not arena takes {fixed:,} alone"
    return f"the arena of {sram.arena_bytes:,} peaks at {arena_peak(compiled)}"
