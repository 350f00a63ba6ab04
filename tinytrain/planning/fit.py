"""A training step made to fit the arena that a board has, by means that keep the bits.

In the order of their price: loops over rows and attention by heads cost next to nothing;
recomputation costs MACs, so what is kept is chosen to need the fewest: by ``search.py``, a descent
over real lifetimes, and on demand by ``keep.py``, which states the choice as an integer program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from ..ir import Graph, Node
from ..ir.prune import prune
from ..support.check import one_of
from .fuse_attention import fused_forms
from .lifetimes import Plan, lifetimes, plan
from .placement import WHOLE, Method, Region, lower_bound
from .recompute import cost, extra_cost, forward_nodes, origin
from .recompute_exact import problem_of, solve
from .recompute_search import Search, Trial
from .row_loops import divisors, with_rows

Mode = Literal["off", "auto", "min-memory"]
Tile = Literal["off", "auto"]
PLACEMENTS = 3  # times that less is aimed at, since placement left holes
EXACT_ROUNDS = 3  # times that the integer program is asked
LOOP_ROWS = (2, 8, 4)  # least rows of a loop at a time; searched with 8, or else 4, where 2 fit
CALL = 1.7  # rows of products that a call costs beside its own: the weight is read and unpacked


@dataclass(frozen=True)
class Planning:
    """How a step is made to fit. ``recompute``: forward values may be made again (``auto``: when
    nothing cheaper fits; ``min-memory``: for the smallest arena, whatever it costs). ``tile``:
    loops over rows and attention by heads where the plain step does not fit. ``planner``: addresses
    by the heuristic alone, with the solver for a few seconds where they are not proved the best
    (``auto``), or for longer; ``exact`` also chooses what is kept by the integer program.
    ``quick``: only the choices that the search begins with and, where none fits, a short descent,
    which takes a tenth of the time or less and may miss a form that fits by a few KB."""

    recompute: Mode = "auto"
    tile: Tile = "auto"
    planner: Method = "auto"
    quick: bool = False

    def __post_init__(self) -> None:
        one_of("recompute", self.recompute, get_args(Mode))
        one_of("tile", self.tile, get_args(Tile))
        one_of("planner", self.planner, get_args(Method))


@dataclass(frozen=True)
class Fitted:
    """A step that fits, or the smallest found; ``again``: the nodes that are made again, by name of
    the node; ``extra_macs``: what these multiply; ``tiled``: whether loops over rows are used."""

    graph: Graph
    plan: Plan
    again: tuple[str, ...] = ()
    extra_macs: int = 0
    tiled: bool = False


def fit(
    graph: Graph, arena_bytes: int, planning: Planning | None = None,
    beside: Sequence[Region] = (),
) -> Fitted:  # fmt: skip
    """The first of these whose arena is at most ``arena_bytes``: the graph as it is; with attention
    by heads, loops over rows and, for the fewest MACs, values made again; the same with fewer keys
    of the attention at once. Otherwise, and for ``min-memory``, the smallest that was found.
    ``beside``: memory that is filled first. Addresses are those of the heuristic."""
    planning = planning or Planning()
    regions = (*beside, Region(WHOLE[-1].name, arena_bytes))
    plain = Fitted(graph, plan(graph, regions))
    tile, mode = planning.tile == "auto", planning.recompute
    if mode == "off" and not tile:
        return plain
    if mode != "min-memory" and plain.plan.fits:
        return plain
    forms = fused_forms(graph) if tile else [graph]
    made: Iterable[Fitted] = (_fit(form, regions, planning) for form in forms)
    if planning.quick:
        made = [_placed(_likely(forms, regions, planning), regions, planning)]
    found: list[Fitted] = []
    for fitted in made:
        found.append(fitted)
        if fitted.plan.fits and mode != "min-memory":
            return fitted
    return min([plain, *found], key=lambda f: (f.plan.arena_bytes, extra_cost(f.graph, graph)))


def _likely(forms: Sequence[Graph], regions: Sequence[Region], planning: Planning) -> Search:
    """Of the first form that fits as the search begins with it, or else of the last of the smallest
    ones."""
    budget = _aim(regions, planning)
    again, tile = planning.recompute != "off", planning.tile == "auto"
    searches = [Search(form, tile, again, LOOP_ROWS[0]) for form in forms]
    sizes = [min(t.bytes for t in (*search.starts(), *search.deep_starts())) for search in searches]
    fitting = (search for search, size in zip(searches, sizes, strict=True) if size <= budget)
    return next(fitting, searches[max(i for i, s in enumerate(sizes) if s == min(sizes))])


def _aim(regions: Sequence[Region], planning: Planning) -> int:
    """Live bytes that a quick search stops at."""
    return 0 if planning.recompute == "min-memory" else sum(region.limit for region in regions)


def _fit(graph: Graph, regions: Sequence[Region], planning: Planning) -> Fitted:
    """What fits for the least work, with short loops and few values made again or longer ones and
    more; or the smallest."""
    tile = planning.tile == "auto"
    one = planning.recompute == "min-memory" or not tile
    again = planning.recompute != "off"
    least, *longer = LOOP_ROWS
    best = _placed(Search(graph, tile, again, least), regions, planning)
    if one or not best.plan.fits:
        return best
    for rows in longer:
        if all(n.loop is None or n.loop.rows >= min(rows, n.tokens) for n in best.graph.nodes):
            break
        fitted = _placed(Search(graph, tile, again, rows), regions, planning)
        if fitted.plan.fits:
            return min(best, fitted, key=lambda f: work(f.graph))
    return best


def work(graph: Graph) -> float:
    """Cost of a step in MACs, with what calls of products by few rows cost."""

    def once(node: Node) -> float:
        rows = node.loop.rows if node.loop else node.tokens
        return cost(node) * (1 + CALL / rows if node.macs() else 1)

    return sum(map(once, graph.nodes))


def _placed(search: Search, regions: Sequence[Region], planning: Planning) -> Fitted:
    """What fits, or the smallest; where placement leaves holes, with less to live in."""
    aim = sum(region.limit for region in regions)
    fitted = _chosen(search, aim, regions, planning)
    if planning.quick:
        return fitted
    planning = replace(planning, planner="auto")  # the integer program has had its time
    for _ in range(PLACEMENTS):
        over = fitted.plan.placement.over_bytes
        if not over or fitted.plan.lower_bound_bytes > aim:
            break
        aim -= over
        other = _chosen(search, aim, regions, planning)
        fitted = min(fitted, other, key=lambda f: f.plan.placement.key)
    return fitted


def _chosen(
    search: Search, budget: int, regions: Sequence[Region], planning: Planning
) -> Fitted:  # fmt: skip
    chosen = search.trial(frozenset())
    assert chosen is not None
    if planning.quick:
        chosen = search.quick(_aim(regions, planning))
    elif planning.recompute == "min-memory":
        chosen = search.smallest()
    elif chosen.bytes > budget:
        chosen = search.cheapest(budget) or search.smallest()
        if planning.planner == "exact" and planning.recompute == "auto":
            chosen = improved(search, chosen, budget)
    made = search.made(chosen.choice)
    assert made is not None
    if planning.tile == "auto" and not planning.quick:
        small = planning.recompute == "min-memory"
        made = widened(made, chosen.bytes if small else max(budget, chosen.bytes), search.rows)
    made = prune(made)
    copied = {n.name: name for n in made.nodes if (name := origin(n))}
    macs = sum(n.macs() for n in made.nodes if n.name in copied)
    again = tuple(dict.fromkeys(copied.values()))
    return Fitted(made, plan(made, regions), again, macs, planning.tile == "auto")


def improved(search: Search, chosen: Trial, budget: int) -> Trial:
    """``chosen``, or what the integer program finds cheaper. Its bytes are an estimate from above
    or below: the search goes on from its answer, and it is asked again with what that uses."""
    smallest = search.made(search.smallest().choice)
    forward = {n.name for n in forward_nodes(search.graph)}
    rest = chosen.choice - forward
    everything = search.made(rest)
    assert everything is not None and smallest is not None
    problem = problem_of(search.graph, everything, smallest)
    room, asked = budget, set[int]()
    while room not in asked and len(asked) < EXACT_ROUNDS:
        asked.add(room)
        found = solve(problem, room)
        trial = search.trial(found.again | rest) if found else None
        if trial is None:
            break
        near = search.nearby(trial, budget)
        if near and near.cost < chosen.cost:
            chosen = near
        room += budget - trial.bytes
    return chosen


def widened(graph: Graph, budget: int, least: int) -> Graph:
    """Loops with as many rows at a time as ``budget`` leaves room for, from ``least`` on: all
    alike, then each."""
    names = {n.loop.name: n.tokens for n in graph.nodes if n.loop is not None}

    def fits(trial: Graph) -> bool:
        return lower_bound(lifetimes(trial), len(trial.nodes))[0] <= budget

    rows = dict.fromkeys(names, least)
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
