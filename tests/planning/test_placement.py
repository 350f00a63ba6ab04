"""Placement: against exhaustive search where it can be tried, and against first fit everywhere."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytrain.planning.placement import (
    ALIGN,
    BOUND_MET,
    OPEN,
    SOLVED,
    WHOLE,
    Buffer,
    Placement,
    Region,
    lower_bound,
    peak_bytes,
    place,
)
from tinytrain.planning.placement.exact import cliques
from tinytrain.planning.placement.first_fit import FirstFit, program_order
from tinytrain.planning.placement.problem import bounds_of

SETS = 1000  # random sets of buffers


def random_buffers(rng: random.Random, most: int, nodes: int, largest: int) -> list[Buffer]:
    found = []
    for i in range(rng.randint(1, most)):
        born = rng.randrange(nodes)
        dies = rng.randint(born, min(nodes, born + rng.choice((0, 1, 3, nodes))))
        found.append(Buffer(f"b{i}", ALIGN * rng.randint(1, largest), born, dies, (f"b{i}",)))
    return found


def random_regions(rng: random.Random, live: int) -> tuple[Region, ...]:
    """One to three; all but the last hold some part of what is alive, not always whole words."""
    count = rng.choice((1, 1, 2, 3))
    limited = [Region(f"r{i}", int(live * rng.random()) + 4) for i in range(count - 1)]
    return (*limited, Region("last"))


def check(buffers: Sequence[Buffer], found: Placement) -> None:
    """Nothing that is alive together shares a byte, regions hold what is in them, bounds hold."""
    limits = {r.name: r.limit for r in found.regions}
    used = dict.fromkeys(limits, 0)
    assert set(found.offset) == set(found.region) == {b.name for b in buffers}
    for b in buffers:
        at, region = found.offset[b.name], found.region[b.name]
        assert at >= 0 and at % ALIGN == 0
        used[region] = max(used[region], at + b.bytes)
    assert tuple(used.values()) == found.used
    assert all(
        n <= limits[r.name] for n, r in zip(found.used[:-1], found.regions[:-1], strict=True)
    )
    for a, b in itertools.combinations(buffers, 2):
        if a.overlaps(b) and found.region[a.name] == found.region[b.name]:
            x, y = found.offset[a.name], found.offset[b.name]
            assert x + a.bytes <= y or y + b.bytes <= x, (a, b)
    assert all(low <= n for low, n in zip(found.bounds, found.used, strict=True))
    assert found.height >= peak_bytes(buffers)
    assert (found.gap_bytes == 0) == (found.proof != OPEN)


@pytest.mark.parametrize("part", range(4))
def test_random_sets(part: int) -> None:
    """No overlap, regions respected, never worse than first fit in program order."""
    for seed in range(part, SETS, 4):
        rng = random.Random(seed)
        buffers = random_buffers(rng, 24, 14, 40)
        regions = random_regions(rng, peak_bytes(buffers))
        found = place(buffers, regions, method="heuristic", tries=60)
        check(buffers, found)
        greedy = FirstFit(buffers, regions).run(program_order(buffers))
        assert greedy and found.key <= tuple(greedy.key)


def packed(rng: random.Random) -> list[Buffer]:
    """Nearly every byte in use at every node, which is where first fit leaves holes."""
    nodes, height = rng.randrange(5, 10), rng.randrange(4, 9)
    live, found = [0] * nodes, list[Buffer]()
    for _ in range(60):
        born = rng.randrange(nodes)
        dies, size = min(nodes - 1, born + rng.randrange(nodes // 2 + 1)), rng.randint(1, 3)
        if all(n + size <= height for n in live[born : dies + 1]) and len(found) < 14:
            found.append(Buffer(f"b{len(found)}", ALIGN * size, born, dies, ()))
            for t in range(born, dies + 1):
                live[t] += size
    return found


def test_the_solver_is_never_worse() -> None:
    rng, asked = random.Random(5), 0
    seen: list[tuple[int, int]] = []

    def watch(used: int, bound: int) -> None:
        seen.append((used, bound))

    while asked < 12:
        buffers = packed(rng)
        regions = random_regions(rng, peak_bytes(buffers))
        quick = place(buffers, regions, method="heuristic", tries=20)
        if quick.proof == BOUND_MET:
            continue
        asked += 1
        seen.clear()
        exact = place(buffers, regions, method="exact", time_limit_s=5, tries=20, watch=watch)
        check(buffers, exact)
        assert exact.key <= quick.key and not exact.cut_short
        assert seen and all(used > bound for used, bound in seen)
        assert exact == place(buffers, regions, method="exact", time_limit_s=5, tries=20)


def best_height(buffers: Sequence[Buffer]) -> int:
    """The least height of any placement: each is the first fit of some order."""
    fit, orders = FirstFit(buffers, WHOLE), itertools.permutations(range(len(buffers)))
    runs = (fit.run(list(order)) for order in orders)
    return min((run.used[0] for run in runs if run), default=0)


def best_uses(buffers: Sequence[Buffer], regions: Sequence[Region]) -> tuple[int, ...]:
    """The best uses of regions, every choice of them tried."""

    def uses(homes: Iterable[int]) -> tuple[int, ...]:
        pairs = list(zip(buffers, homes, strict=True))
        return tuple(best_height([b for b, h in pairs if h == r]) for r in range(len(regions)))

    every = map(uses, itertools.product(range(len(regions)), repeat=len(buffers)))
    fitting = [u for u in every if all(n <= r.limit for n, r in zip(u[:-1], regions, strict=False))]
    return min(fitting, key=lambda u: u[::-1])


@pytest.mark.parametrize("part", range(4))
def test_small_sets_against_exhaustive_search(part: int) -> None:
    for seed in range(part, 80, 4):
        rng = random.Random(seed)
        regions = random_regions(rng, 8 * ALIGN)
        buffers = random_buffers(rng, 6 - len(regions), 5, 8)
        want = best_uses(buffers, regions)
        exact = place(buffers, regions, method="exact")
        quick = place(buffers, regions, method="heuristic")
        assert exact.used == want and exact.proof != OPEN
        assert quick.key >= exact.key and all(
            a <= b for a, b in zip(quick.bounds, quick.used, strict=True)
        )
        if quick.proof == BOUND_MET:
            assert quick.used == want


def test_a_proof_above_the_lower_bound() -> None:
    """Never more than four units are alive, but all orders need five."""
    sizes = [(2, 0, 0), (2, 5, 5), (2, 4, 5), (1, 1, 4), (2, 0, 1), (1, 1, 3), (1, 3, 4)]
    buffers = [Buffer(f"b{i}", ALIGN * n, a, d, ()) for i, (n, a, d) in enumerate(sizes)]
    assert peak_bytes(buffers) == 4 * ALIGN and best_height(buffers) == 5 * ALIGN
    quick, exact = (place(buffers, method=method) for method in ("heuristic", "exact"))
    assert quick.used == exact.used == (5 * ALIGN,)
    assert (quick.proof, quick.gap_bytes) == (OPEN, ALIGN)
    assert (exact.proof, exact.gap_bytes) == (SOLVED, 0)


def test_what_no_region_holds_goes_to_the_last_and_beyond() -> None:
    large = Buffer("large", 1024, 0, 3, ())
    small = Buffer("small", 64, 1, 2, ())
    regions = (Region("fast", 512), Region("main", 800))
    found = place([large, small], regions)
    assert found.region == {"large": "main", "small": "fast"}
    assert found.used == (64, 1024) and found.over_bytes == 224
    assert found.proof == BOUND_MET


def test_nothing_to_place() -> None:
    assert lower_bound([], 0) == (0, 0) and cliques([]) == []
    found = place([], method="exact")
    assert found.used == (0,) and found.proof == BOUND_MET


@st.composite
def buffer_sets(draw: st.DrawFn) -> list[Buffer]:
    nodes = draw(st.integers(1, 12))
    found = []
    for i in range(draw(st.integers(1, 14))):
        born = draw(st.integers(0, nodes - 1))
        dies, size = draw(st.integers(born, nodes)), ALIGN * draw(st.integers(1, 40))
        found.append(Buffer(f"b{i}", size, born, dies, (f"b{i}",)))
    return found


@settings(max_examples=100, deadline=None)
@given(buffer_sets(), st.integers(0, 400))
def test_bounds_hold_for_every_order(buffers: list[Buffer], capacity: int) -> None:
    """What first fit makes of an arbitrary order is never below the bounds."""
    regions = (Region("a", capacity), Region("b"))
    run = FirstFit(buffers, regions).run(list(range(len(buffers))))
    assert run is not None
    assert all(
        low <= n for low, n in zip(bounds_of(buffers, regions, run.used), run.used, strict=True)
    )
    bound, where = lower_bound(buffers, max(b.dies for b in buffers))
    assert (
        sum(b.bytes for b in buffers if b.born <= where <= b.dies) == bound == peak_bytes(buffers)
    )
    found = place(buffers, regions, method="heuristic", tries=40)
    check(buffers, found)
    assert found == place(buffers, regions, method="heuristic", tries=40)
