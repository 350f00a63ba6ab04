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
from math import gcd

from ortools.sat.python import cp_model

from .first_fit import FirstFit, Layout, crowds
from .problem import Buffer, Region, bound_of

WORKERS = 2
SUBSOLVERS = ("fixed", "no_lp")  # one follows our order of decisions, one learns its own
WORK_PER_SECOND = 0.05  # deterministic time that a second of such a model takes, roughly
GUARD = 3  # the clock ends a search that takes so many times its limit

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
        self.unit = gcd(*(b.bytes for b in buffers)) or 1
        self.size = [b.bytes // self.unit for b in buffers]
        rooms = [r.limit // self.unit for r in regions[:region]]
        rooms += [used[region] // self.unit - 1]
        rooms += [n // self.unit for n in used[region + 1 :]]
        model = self.model = cp_model.CpModel()
        low = min(-(-bound // self.unit), rooms[region] + 1)
        self.height = model.new_int_var(low, max(low, rooms[region]), "height")
        if low > rooms[region]:
            model.add_bool_or([])  # nothing is between bound and use
        self.address = [
            model.new_int_var(0, max(0, max(rooms) - n), b.name)
            for b, n in zip(buffers, self.size, strict=True)
        ]
        self.here = [self._regions_of(i, rooms) for i in range(len(buffers))]
        for r, room in enumerate(rooms):
            self._fill(r, room if r != region else self.height)
        self._decide(region)
        model.minimize(self.height)

    def _regions_of(self, i: int, rooms: Sequence[int]) -> list[cp_model.LiteralT]:
        """Literals, one a region: buffer ``i`` lies there."""
        if len(rooms) == 1:
            return [True]
        here = [self.model.new_bool_var("") for _ in rooms]
        self.model.add_exactly_one(here)
        return list(here)

    def _fill(self, r: int, room: cp_model.LinearExprT) -> None:
        """What lies in region ``r`` does not overlap and stays below ``room``."""
        times, places = [], []
        for b, n, at, here in zip(self.buffers, self.size, self.address, self.here, strict=True):
            life = b.dies + 1 - b.born
            times.append(
                self.model.new_optional_fixed_size_interval_var(b.born, life, here[r], "")
            )
            places.append(self.model.new_optional_fixed_size_interval_var(at, n, here[r], ""))
            self.model.add(at + n <= room).only_enforce_if(here[r])
        self.model.add_no_overlap_2d(times, places)
        if len(self.regions) > 1:
            for crowd in cliques(self.buffers):
                self.model.add(sum(self.size[i] * self.here[i][r] for i in crowd) <= room)

    def _decide(self, region: int) -> None:
        """Try the least height first; then regions, the large buffers first; then the lowest
        address, where what lives in the thick of things and long comes first."""
        crowd = crowds(self.buffers)
        model, every = self.model, range(len(self.buffers))
        model.add_decision_strategy(
            [self.height], cp_model.CHOOSE_FIRST, cp_model.SELECT_MIN_VALUE
        )
        ...
