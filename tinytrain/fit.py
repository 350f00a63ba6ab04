"""A training step made to fit the arena that a board has, by means that keep the bits.

In the order of their price: loops over rows and attention by heads cost next to nothing;
recomputation costs MACs, so what is kept is chosen to need the fewest. This module is the fast
search over real lifetimes; ``keep.py`` states the same choice as an integer program.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Literal, get_args

from .fusion import fused_forms
from .ir import Graph
from .keep import problem_of, solve
from .loops import divisors, gather, with_rows
from .memory import Plan, lifetimes, lower_bound, plan
from .recipe import one_of
from .recompute import (
    bottlenecks,
    cost,
    extra_cost,
    forward_nodes,
    recompute,
)
from .schedule import live, prune

Mode = Literal["off", "auto", "min-memory"]
Tile = Literal["off", "auto"]
FEW_ROWS = 4  # rows that a loop takes at a time while the search looks for room
EXACT_ROUNDS = 4  # times that the integer program is asked
SWAPS = 60  # tries to trade one kept value for another


@dataclass(frozen=True)
class Planning:
    """How a step is made to fit. ``recompute``: forward values may be made again (``auto``: when
    nothing cheaper fits; ``min-memory``: for the smallest arena, whatever it costs). ``tile``:
    loops over rows and attention by heads where the plain step does not fit. ``exact``: what is
    kept also by the integer program, not only by the fast search."""

    recompute: Mode = "auto"
    tile: Tile = "auto"
    exact: bool = False

    def __post_init__(self) -> None:
        one_of("recompute", self.recompute, get_args(Mode))
        one_of("tile", self.tile, get_args(Tile))


@dataclass(frozen=True)
class Fitted:
    """A step that fits, or the smallest found; ``again``: the nodes that are made again, by name of
    the node; ``extra_macs``: what these multiply; ``tiled``: whether loops over rows are used."""

    graph: Graph
    plan: Plan
    again: tuple[str, ...] = ()
    extra_macs: int = 0
    tiled: bool = False


@dataclass(frozen=True)
class Trial:
    graph: Graph
    bytes: int
    cost: int
    again: frozenset[str]


class Search:
    """Choices of what is made again, each tried on the real lifetimes; every choice once."""

    def __init__(self, graph: Graph, shape: Callable[[Graph], Graph]) -> None:
        self.graph, self.shape = graph, shape
        self.names = [n.name for n in forward_nodes(graph)]
        self.price = {n.name: cost(n) for n in forward_nodes(graph)}
        self._known: dict[frozenset[str], Trial | None] = {}

    def trial(self, again: Set[str]) -> Trial | None:
        """None where a choice reads a weight after its update."""
        key = frozenset(again)
        if key not in self._known:
            made = recompute(self.graph, key)
            if made is not None:
                made = self.shape(made)
                height = lower_bound(lifetimes(made), len(made.nodes))[0]
                self._known[key] = Trial(made, height, extra_cost(made, self.graph), key)
            else:
                self._known[key] = None
        return self._known[key]

    def smallest(self) -> Trial:
        """Least memory: from the values that everything passes through, one change at a time for as
        long as one helps; of equal memory the cheaper."""
        best = self._first()
        improved = True
        while improved:
            improved = False
            for name in self._by_price():
                trial = self.trial(best.again ^ {name})
                if trial and (trial.bytes, trial.cost) < (best.bytes, best.cost):
                    best, improved = trial, True
        return best

    def cheapest(self, budget: int) -> Trial | None:
        """Fewest MACs within ``budget`` bytes, as far as the search sees; None when nothing fits:
        from the least memory, whatever there is room for is kept again."""
        nothing = self.trial(frozenset())
        if nothing and nothing.bytes <= budget:
            return nothing
        start = self._first()
        if start.bytes > budget:
            start = self.smallest()
        return self._improve(start, budget) if start.bytes <= budget else None

    def _first(self) -> Trial:
        keep = bottlenecks(self.graph)
        for again in (set(self.names) - keep, set[str]()):
            if trial := self.trial(again):
                return trial
        raise AssertionError("keeping everything is always possible")

    def _improve(self, best: Trial, budget: int) -> Trial:
        """Keep again what there is room for, dearest first; then trade single values."""
        best = self._keep_more(best, budget)
        rng = random.Random(0)
        for _ in range(SWAPS if best.again else 0):
            out = rng.choice(self.names)
            other = rng.choice(sorted(best.again))
            trial = self.trial((best.again ^ {out}) - {other})
            if trial and trial.bytes <= budget and trial.cost < best.cost:
                best = self._keep_more(trial, budget)
        return best

    def _keep_more(self, best: Trial, budget: int) -> Trial:
        for name in self._by_price():
            if name in best.again:
                trial = self.trial(best.again - {name})
                if trial and trial.bytes <= budget and trial.cost <= best.cost:
                    best = trial
        return best

    def _by_price(self) -> list[str]:
        return sorted(self.names, key=lambda name: -self.price[name])


def shaped(rows: int) -> Callable[[Graph], Graph]:
    """Loops with at most ``rows`` rows at a time."""
    return lambda graph: with_rows(gather(graph), rows)


def fit(
    graph: Graph, arena_bytes: int, planning: Planning | None = None,
    progress: Callable[[Iterable[Graph]], Iterable[Graph]] = iter,
) -> Fitted:  # fmt: skip
    """The first of these whose arena is at most ``arena_bytes``: the graph as it is; with attention
    by heads and loops over rows; with values made again, too (the fewest MACs). Otherwise, and for
    ``min-memory``, the smallest that was found."""
    planning = planning or Planning()
    plain = Fitted(graph, plan(graph))
    tile, mode = planning.tile == "auto", planning.recompute
    if mode == "off" and not tile:
        return plain
    if mode != "min-memory" and plain.plan.arena_bytes <= arena_bytes:
        return plain
    forms = fused_forms(graph) if tile else [graph]
    found = [_fit(form, arena_bytes, planning) for form in progress(forms)]
    fitting = [f for f in found if f.plan.arena_bytes <= arena_bytes]
    if fitting and mode != "min-memory":
        return min(fitting, key=lambda f: extra_cost(f.graph, graph))
    return min([plain, *found], key=lambda f: (f.plan.arena_bytes, extra_cost(f.graph, graph)))


def _fit(graph: Graph, budget: int, planning: Planning) -> Fitted:
    tile, mode = planning.tile == "auto", planning.recompute
    search = Search(graph, shaped(FEW_ROWS) if tile else live)
    chosen = search.trial(frozenset())
    assert chosen is not None
    if mode == "min-memory":
        chosen = search.smallest()
    elif mode == "auto" and chosen.bytes > budget:
        chosen = search.cheapest(budget) or search.smallest()
        if planning.exact:
            chosen = improved(search, chosen, budget)
    aim = chosen.bytes if mode == "min-memory" else max(budget, chosen.bytes)
    made = widened(chosen.graph, aim) if tile else chosen.graph
    made = prune(made)
    copied = [n for n in made.nodes if n.name.endswith(".again")]
    return Fitted(
        made, plan(made), tuple(n.name.removesuffix(".again") for n in copied),
        sum(n.macs() for n in copied), tile,
    )  # fmt: skip


def improved(search: Search, chosen: Trial, budget: int) -> Trial:
    """``chosen``, or what the integer program finds cheaper. Its bytes are an estimate from above
    or below, so it is asked again with what its answer really uses."""
    smallest = search.smallest()
    everything = search.trial(frozenset())
    assert everything is not None
    problem = problem_of(search.graph, everything.graph, smallest.graph)
    room, asked = budget, set[int]()
    while room not in asked and len(asked) < EXACT_ROUNDS:
        asked.add(room)
        found = solve(problem, room)
        trial = search.trial(found.again) if found else None
        if trial is None:
            break
        if trial.bytes <= budget and trial.cost < chosen.cost:
            chosen = trial
        room += budget - trial.bytes
    return chosen


def widened(graph: Graph, budget: int) -> Graph:
    """Loops with as many rows at a time as ``budget`` leaves room for: all alike, then each."""
    names = {n.loop.name: n.tokens for n in graph.nodes if n.loop is not None}

    def fits(trial: Graph) -> bool:
        return lower_bound(lifetimes(trial), len(trial.nodes))[0] <= budget

    rows = dict.fromkeys(names, FEW_ROWS)
    for most in divisors(max(names.values(), default=1)):
        if fits(with_rows(graph, most)):
            rows = dict.fromkeys(names, most)
            break
    for name, tokens in names.items():
        for more in divisors(tokens):
            if more <= rows[name]:
                break
            if fits(with_rows(graph, rows | {name: more})):
                rows[name] = more
                break
    return with_rows(graph, rows)
