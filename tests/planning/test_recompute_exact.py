"""The integer program of what is kept against trying every choice, on small random programs."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from tinytrain.planning.recompute_exact import Item, Problem, evaluate, solve


def small(seed: int) -> Problem:
    rng = random.Random(seed)
    names = [f"v{i}" for i in range(6)]
    items = {}
    for i, name in enumerate(names):
        reads = tuple(rng.sample(names[:i], min(i, rng.randint(0, 2))))
        sizes = (rng.randint(1, 20), rng.randint(1, 20), rng.randint(0, 5))
        items[name] = Item(reads, *sizes, price=rng.randint(1, 50))
    needs = tuple(frozenset(rng.sample(names, rng.randint(1, 3))) for _ in range(4))
    return Problem(items, needs, tuple(rng.randint(0, 10) for _ in needs))


@pytest.mark.parametrize("seed", range(20))
def test_it_is_as_good_as_trying_everything(seed: int) -> None:
    problem = small(seed)
    every = [
        evaluate(problem, set(kept))
        for count in range(len(problem.items) + 1)
        for kept in combinations(problem.items, count)
    ]
    for budget in (25, 35, 45):
        fitting = [found.price for found in every if found.peak_bytes <= budget]
        solved = solve(problem, budget)
        if not fitting:
            assert solved is None
            continue
        assert solved is not None and solved.proved
        assert solved.price == min(fitting) and solved.peak_bytes <= budget
