"""A plan changes addresses, loops and what is made again, but never a bit of the training."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import pytest
import toys

from tinytrain.boards import Board, load_board
from tinytrain.boards.memories import Memory
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.planning import fit, recompute
from tinytrain.planning import recompute_exact as keep
from tinytrain.planning.fit import Planning
from tinytrain.sessions.host_session import GUARD_BYTES, HostSession
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.toolchain.build import build

STEPS = 4


def board_of(arena: int, seed: int) -> Board:
    """The host with two more memories, each some random part of an arena."""
    rng = random.Random(seed)
    sizes = [rng.randint(64, arena // 2) for _ in range(2)]
    memories = [Memory("sram", 0, 2**20)]
    memories += [Memory(f"m{i}", 2**20 * (i + 1), size) for i, size in enumerate(sizes)]
    return replace(load_board("host"), ram=tuple(memories))


def planned(kind: str, board: Board, planning: Planning) -> Compiled:
    recipe = toys.recipe(kind, toys.scheme(kind, "some"))
    return compile_recipe(recipe, board, toys.quantized(kind), planning=planning, check=False)


@lru_cache
def plain(kind: str) -> Compiled:
    """The step as it is, by the heuristic."""
    return planned(kind, load_board("host"), Planning("off", "off", "heuristic"))


def tight(kind: str) -> int:
    """A budget that forces loops and recomputation."""
    smallest = planned(kind, load_board("host"), Planning("min-memory", planner="heuristic"))
    return (plain(kind).sram.sram_bytes + 3 * smallest.sram.sram_bytes) // 4 // 8 * 8


@pytest.mark.parametrize("kind", ["sensor", "lm"])
@pytest.mark.parametrize("seed", [1, 3])
def test_the_same_bits_in_several_memories(tmp_path: Path, kind: str, seed: int) -> None:
    """Memories of random size, each to the byte as planned and with guard zones."""
    whole = plain(kind)
    board = board_of(whole.sram.arena_bytes, seed)
    planning = Planning("min-memory" if seed == 3 else "auto", planner="heuristic")
    made = planned(kind, board, planning)
    assert made.sram.arena_bytes < whole.sram.arena_bytes
    source = made.files["model.c"]
    for memory in board.beside:
        size = made.sram.beside[memory.name]
        assert 0 < size <= memory.length_bytes and f", {size} in {memory.name}" in source
        assert re.search(rf"IN\({memory.name}, \w+, \d+\)", source)
    artifact = build(made.files, board, tmp_path / "b", guard=True)
    sizes = {n: s - 2 * GUARD_BYTES for n, s in artifact.symbols.items()
             if re.fullmatch("tt_model_arena(_m.)?", n)}  # fmt: skip
    assert sizes == {
        "tt_model_arena": made.sram.arena_bytes,
        **{f"tt_model_arena_{name}": size for name, size in made.sram.beside.items()},
    }
    host = HostSession(artifact.path, made.codec, guard=True)
    with host:
        assert [where for _, where in host._zones] == [
            f"{side} the {name}" for name in ("arena", "m0", "m1") for side in ("below", "above")
        ]
        toys.assert_same(host, numpy_session(whole), toys.data(kind), STEPS)


def test_the_same_bits_with_the_exact_planner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a budget that forces loops and recomputation; never dearer than the search."""
    kind = "lm"
    monkeypatch.setattr(fit, "EXACT_ROUNDS", 1)
    monkeypatch.setattr(fit, "solve", partial(keep.solve, time_limit_s=1.0))
    board = replace(load_board("host"), sram_budget_bytes=tight(kind))
    quick, made = (planned(kind, board, Planning(planner=p)) for p in ("heuristic", "exact"))
    assert made.step.again and made.sram.sram_bytes <= board.sram_budget_bytes
    assert cost(made) <= cost(quick) < 2 * cost(plain(kind))
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(plain(kind)), toys.data(kind), STEPS)


def cost(made: Compiled) -> int:
    return sum(map(recompute.cost, made.train.nodes))
