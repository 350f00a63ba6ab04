"""Placement by constraint programming (CP-SAT of OR-Tools): better than what is known, or a proof.

Rectangles of fixed time and free address may not overlap; each lies in one region. The regions are
treated one by one from the last, whose use matters most. Each run asks for less than the best
layout uses there, down to the lower bound; that nothing is found is the proof.

Results are reproducible: a fixed seed, a fixed number of workers in interleaved search, which
OR-Tools makes deterministic, and a limit in the solver's own count of work. The clock is a guard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from .first_fit import FirstFit, Layout
from .problem import Buffer, Region, bound_of, unit_of

WORKERS = 2
SUBSOLVERS = ("fixed", "no_lp")  # one follows our order of decisions, one learns its own
WORK_PER_SECOND = 0.05  # deterministic time that a second of such a model takes, roughly
GUARD = 2  # the clock ends a search that takes so many times its limit

Watch = Callable[[int, int], None]


@dataclass
class Solved:
    """The best layout, what no use is below, and whether the clock ended a run."""

    layout: Layout
    bounds: list[int]
    cut_short: bool = False


def improve(
    buffers: Sequence[Buffer], regions: Sequence[Region], layout: Layout, time_limit_s: float,
    watch: Watch | None = None,
) -> Solved:  # fmt: skip
    """Lower the use of each region, the last first, as far as the limit allows.

    ``watch(used, bound)`` gets the bytes of a region before it is treated.
    """
    found = Solved(layout, [0] * len(regions))
    work, end = time_limit_s * WORK_PER_SECOND, time.monotonic() + GUARD * time_limit_s
    for r in reversed(range(len(regions))):
        found.bounds[r] = bound_of(buffers, regions, found.layout.used, r)
        if found.layout.used[r] > found.bounds[r] and work > 0 and not found.cut_short:
            if watch:
                watch(found.layout.used[r], found.bounds[r])
            work -= _lower(buffers, regions, found, r, work, end - time.monotonic())
    return found


def _lower(
    buffers: Sequence[Buffer], regions: Sequence[Region], found: Solved, region: int,
    work: float, seconds: float,
) -> float:  # fmt: skip
    """Improve ``found`` in one region; gives the deterministic time that it took."""
    problem = _Problem(buffers, regions, found.layout.used, region, found.bounds[region])
    solver = cp_model.CpSolver()
    options = solver.parameters
    options.random_seed = 0
    options.num_workers = WORKERS
    options.interleave_search = True
    options.interleave_batch_size = WORKERS
    options.subsolvers.extend(SUBSOLVERS)
    options.use_lns = False
    options.linearization_level = 0
    options.max_deterministic_time = work
    options.max_time_in_seconds = max(0.1, seconds)
    status = solver.solve(problem.model)
    if status == cp_model.INFEASIBLE:
        found.bounds[region] = found.layout.used[region]
    elif status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        bound = round(solver.best_objective_bound) * problem.unit
        found.bounds[region] = max(found.bounds[region], bound)
        found.layout = problem.layout(solver)
    done = status in (cp_model.INFEASIBLE, cp_model.OPTIMAL)
    found.cut_short = not done and solver.wall_time >= seconds
    return float(solver.response_proto.deterministic_time)


class _Problem:
    """The model: less than ``used`` in ``region``, no more in those behind it, the limits before.

    Addresses and sizes are in multiples of ``unit``, as those of first fit are sums of sizes.
    """

    def __init__(
        self, buffers: Sequence[Buffer], regions: Sequence[Region], used: Sequence[int],
        region: int, bound: int,
    ) -> None:  # fmt: skip
        self.buffers, self.regions = buffers, regions
        self.unit = unit_of(buffers)
        self.size = [b.bytes // self.unit for b in buffers]
        rooms = [r.limit // self.unit for r in regions[:region]]
        rooms += [used[region] // self.unit - 1, *(n // self.unit for n in used[region + 1 :])]
        self.model = cp_model.CpModel()
        heights = cp_model.Domain(bound // self.unit, rooms[region])
        self.height = self.model.new_int_var_from_domain(heights, "height")
        self.address = [self.model.new_int_var(0, max(rooms), b.name) for b in buffers]
        self.here = [self._regions_of(len(rooms)) for _ in buffers]
        for r, room in enumerate(rooms):
            self._fill(r, self.height if r == region else room)
        self._decide()
        self.model.minimize(self.height)

    def _regions_of(self, count: int) -> list[cp_model.LiteralT]:
        """Literals, one a region: the buffer lies there."""
        if count == 1:
            return [True]
        here = [self.model.new_bool_var("") for _ in range(count)]
        self.model.add_exactly_one(here)
        return list(here)

    def _fill(self, r: int, room: cp_model.LinearExprT) -> None:
        """What lies in region ``r`` does not overlap and stays below ``room``."""
        times, places = [], []
        for b, n, at, here in zip(self.buffers, self.size, self.address, self.here, strict=True):
            life = b.dies + 1 - b.born
            times.append(self.model.new_optional_fixed_size_interval_var(b.born, life, here[r], ""))
            places.append(self.model.new_optional_fixed_size_interval_var(at, n, here[r], ""))
            self.model.add(at + n <= room).only_enforce_if(here[r])
        self.model.add_no_overlap_2d(times, places)
        if len(self.regions) > 1:
            for crowd in cliques(self.buffers):
                self.model.add(sum(self.size[i] * self.here[i][r] for i in crowd) <= room)

    def _decide(self) -> None:
        """Try the least height first, then regions by priority, then the lowest address; what
        takes much memory for long comes first."""
        area = [n * (b.dies + 1 - b.born) for n, b in zip(self.size, self.buffers, strict=True)]
        order = sorted(range(len(area)), key=lambda i: -area[i])
        decide = self.model.add_decision_strategy
        decide([self.height], cp_model.CHOOSE_FIRST, cp_model.SELECT_MIN_VALUE)
        if len(self.regions) > 1:
            own = [lit for i in order for lit in self.here[i][:-1]]
            literals = [lit for lit in own if isinstance(lit, cp_model.IntVar)]
            decide(literals, cp_model.CHOOSE_FIRST, cp_model.SELECT_MAX_VALUE)
        addresses = [self.address[i] for i in order]
        decide(addresses, cp_model.CHOOSE_LOWEST_MIN, cp_model.SELECT_MIN_VALUE)

    def layout(self, solver: cp_model.CpSolver) -> Layout:
        """What the solver found, or its first fit by address where that is no worse."""
        start = [solver.value(at) * self.unit for at in self.address]
        home = [[solver.boolean_value(lit) for lit in here].index(True) for here in self.here]
        used = [0] * len(self.regions)
        for b, at, r in zip(self.buffers, start, home, strict=True):
            used[r] = max(used[r], at + b.bytes)
        order = sorted(range(len(start)), key=lambda i: (start[i], home[i]))
        found = Layout(order, home, start, used)
        return FirstFit(self.buffers, self.regions).run(order, limit=found.key) or found


def cliques(buffers: Sequence[Buffer]) -> list[list[int]]:
    """The largest sets of buffers that are alive together."""
    found: list[list[int]] = []
    alive: list[int] = []
    grown = False
    for i in sorted(range(len(buffers)), key=lambda i: buffers[i].born):
        still = [j for j in alive if buffers[j].dies >= buffers[i].born]
        if grown and len(still) < len(alive):
            found.append(alive)
        alive, grown = [*still, i], True
    return [*found, alive] if alive else found
