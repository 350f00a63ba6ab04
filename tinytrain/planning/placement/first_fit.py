"""First fit: an order of the buffers decides where they lie; the search looks for a good order.

Each placement is the first fit of some order (take its buffers by address), so that orders are all
there is to search.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .problem import Buffer, Region, bounds_of

WORK = 4_000_000  # neighbours that a search looks at: about half a second
TRIES = 3_000
DESCEND = 0.75  # chance that a move goes on to what the chosen buffer lies on

Order = list[int]


@dataclass
class Layout:
    """What first fit made of an order: region and address of each buffer, bytes of each region."""

    order: Order
    home: list[int]
    start: list[int]
    used: list[int]

    @property
    def key(self) -> list[int]:
        """Smaller is better: the last region counts first."""
        return self.used[::-1]


class FirstFit:
    """First fit of ``buffers`` over ``regions``; the last region is as large as need be."""

    def __init__(self, buffers: Sequence[Buffer], regions: Sequence[Region]) -> None:
        self.size = [b.bytes for b in buffers]
        self.limits = [r.limit for r in regions[:-1]] + [2**62]
        self.near: list[list[int]] = [[] for _ in buffers]
        by_birth = sorted(range(len(buffers)), key=lambda i: buffers[i].born)
        alive: list[int] = []
        for i in by_birth:
            alive = [j for j in alive if buffers[j].dies >= buffers[i].born]
            for j in alive:
                self.near[i].append(j)
                self.near[j].append(i)
            alive.append(i)

    @property
    def work(self) -> int:
        """Neighbours that one run looks at."""
        return len(self.size) + sum(map(len, self.near))

    def run(
        self, order: Order, base: Layout | None = None, keep: int = 0,
        limit: list[int] | None = None,
    ) -> Layout | None:  # fmt: skip
        """Each buffer in turn at the lowest free address of the first region that has room.

        The first ``keep`` of the order lie as in ``base``. None when the result would be worse than
        the key ``limit``.
        """
        size, near, limits = self.size, self.near, self.limits
        home = [-1] * len(size)
        start = base.start[:] if base else [0] * len(size)
        end = [0] * len(size)
        used = [0] * len(limits)
        for k in order[:keep] if base else ():
            home[k], end[k] = base.home[k], start[k] + size[k]  # type: ignore[union-attr]
            used[home[k]] = max(used[home[k]], end[k])
        for k in order[keep if base else 0 :]:
            need = size[k]
            for r, room in enumerate(limits):
                at = 0
                for low, high in sorted([(start[j], end[j]) for j in near[k] if home[j] == r]):
                    if low - at >= need:
                        break
                    if high > at:
                        at = high
                if at + need <= room:
                    break
            home[k], start[k], end[k] = r, at, at + need
            if end[k] > used[r]:
                used[r] = end[k]
                if limit is not None and used[::-1] > limit:
                    return None
        return Layout(order, home, start, used)


def program_order(buffers: Sequence[Buffer]) -> Order:
    return sorted(range(len(buffers)), key=lambda i: buffers[i].born)


def orders(buffers: Sequence[Buffer], fit: FirstFit) -> list[Order]:
    """Orders that are good for one graph or another; program order is the first."""
    every = range(len(buffers))
    life = [b.dies - b.born + 1 for b in buffers]
    crowd = _crowds(buffers)
    area = [-b.bytes * n for b, n in zip(buffers, life, strict=True)]
    keys = (
        lambda i: (-buffers[i].bytes, buffers[i].born),
        lambda i: (-life[i], -buffers[i].bytes),
        lambda i: (area[i], buffers[i].born),
        lambda i: (buffers[i].born, -buffers[i].bytes),
    )
    found = [program_order(buffers), *(sorted(every, key=key) for key in keys)]
    found.append(_lowest_first(fit, [(-crowd[i], -life[i]) for i in every]))
    found.append(_lowest_first(fit, [(-crowd[i], area[i]) for i in every]))
    return found


def _crowds(buffers: Sequence[Buffer]) -> list[int]:
    """For each buffer the largest sum of live bytes during its life."""
    last = max((b.dies for b in buffers), default=0)
    live = [0] * (last + 1)
    for b in buffers:
        for t in range(b.born, b.dies + 1):
            live[t] += b.bytes
    return [max(live[b.born : b.dies + 1]) for b in buffers]


def _lowest_first(fit: FirstFit, keys: Sequence[tuple[int, int]]) -> Order:
    """Always next: the buffer that can lie lowest on what is there; of those the smallest key."""
    low = [0] * len(fit.size)
    left = set(range(len(fit.size)))
    order: Order = []
    while left:
        k = min(left, key=lambda i: (low[i], keys[i], i))
        left.remove(k)
        order.append(k)
        top = low[k] + fit.size[k]
        for j in fit.near[k]:
            low[j] = max(low[j], top)
    return order


def _whole(layout: Layout | None) -> Layout:
    """A run without a limit always ends."""
    assert layout is not None
    return layout


def search(buffers: Sequence[Buffer], regions: Sequence[Region], tries: int = TRIES) -> Layout:
    """The best layout found. Deterministic, and never worse than program order.

    From the best of some orders on, a buffer at the top of the region that matters most, or one
    below it, comes before one that it now waits for. What is no worse is kept; the search ends when
    the lower bound is met, after ``tries`` moves or WORK.
    """
    fit = FirstFit(buffers, regions)
    layouts = [_whole(fit.run(order)) for order in orders(buffers, fit)]
    best = min(layouts, key=lambda found: found.key)
    place = _places(best.order)
    rng = random.Random(0)
    bounds = bounds_of(buffers, regions, best.used)
    for _ in range(min(tries, WORK // fit.work) if len(buffers) > 1 else 0):
        loose = [r for r in range(len(regions)) if best.used[r] > bounds[r]]
        if not loose:
            break
        order, keep = _moved(fit, best, place, loose[-1], rng)
        found = fit.run(order, best, keep, best.key)
        if found is not None:
            if found.used != best.used:
                bounds = bounds_of(buffers, regions, found.used)
            best, place = found, _places(order)
    return best


def _places(order: Order) -> list[int]:
    place = [0] * len(order)
    for at, k in enumerate(order):
        place[k] = at
    return place


def _moved(
    fit: FirstFit, layout: Layout, place: list[int], region: int, rng: random.Random
) -> tuple[Order, int]:
    """An order with one buffer earlier, and how much of its head stayed."""
    order, start, home, size = list(layout.order), layout.start, layout.home, fit.size
    members = [k for k in order if home[k] == region]
    k = rng.choice([k for k in members if start[k] + size[k] == layout.used[region]])
    while rng.random() < DESCEND:
        under = [j for j in fit.near[k] if home[j] == region and start[j] + size[j] == start[k]]
        if not under:
            break
        k = rng.choice(under)
    earlier = [j for j in fit.near[k] if place[j] < place[k]]
    if not earlier:
        i, j = rng.randrange(len(order)), rng.randrange(len(order))
        order.insert(j, order.pop(i))
        return order, min(i, j)
    to, at = place[rng.choice(earlier)], place[k]
    if rng.random() < 0.5:
        order[to], order[at] = order[at], order[to]
    else:
        order.insert(to, order.pop(at))
    return order, to
