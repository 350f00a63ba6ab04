"""The placement problem: buffers with lives and sizes, regions of memory, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import gcd

ALIGN = 8
BOUND_MET = "lower bound met"
SOLVED = "proved by the solver"
OPEN = "open"


def aligned(size: int, to: int = ALIGN) -> int:
    return -(-size // to) * to


@dataclass(frozen=True)
class Buffer:
    """Arena bytes that one or more values share: alive at nodes ``born`` to ``dies``, inclusive."""

    name: str
    bytes: int
    born: int
    dies: int
    values: tuple[str, ...]
    layer: str = ""
    scratch: bool = False

    def overlaps(self, other: Buffer) -> bool:
        return self.born <= other.dies and other.born <= self.dies


@dataclass(frozen=True)
class Region:
    """Memory that the arena may use. ``capacity_bytes`` None: as much as it takes."""

    name: str
    capacity_bytes: int | None = None

    @property
    def limit(self) -> int:
        """Whole aligned bytes of the capacity."""
        return (
            2**40 if self.capacity_bytes is None else max(0, self.capacity_bytes) // ALIGN * ALIGN
        )


WHOLE = (Region("arena"),)


@dataclass(frozen=True)
class Placement:
    """A region and an offset in it for each buffer.

    The order of ``regions`` is their priority. Uses are compared from the last region to the first:
    the best placement puts as little as possible into the last one, of those as little as possible
    into the one before, and so on. The last region may exceed its capacity; that is how a placement
    says that the buffers do not fit.

    ``used``: bytes of each region up to its highest buffer. ``bounds``: what no placement is below,
    region by region, given the uses of those behind it. ``cut_short``: the wall clock ended the
    solver, so another machine may find another placement.
    """

    regions: tuple[Region, ...]
    offset: Mapping[str, int] = field(repr=False)
    region: Mapping[str, str] = field(repr=False)
    used: tuple[int, ...]
    bounds: tuple[int, ...]
    proof: str = OPEN
    cut_short: bool = False

    @property
    def key(self) -> tuple[int, ...]:
        """Smaller is better."""
        return self.used[::-1]

    @property
    def height(self) -> int:
        """Bytes of all regions together."""
        return sum(self.used)

    @property
    def gap_bytes(self) -> int:
        """By how much the uses exceed what was proved of them."""
        return sum(self.used) - sum(self.bounds)

    @property
    def over_bytes(self) -> int:
        """Bytes that the last region lacks."""
        return max(0, self.used[-1] - self.regions[-1].limit)


def live_bytes(buffers: Sequence[Buffer], nodes: int) -> list[int]:
    """Bytes alive at each node, and behind the last."""
    change = [0] * (nodes + 2)
    for b in buffers:
        change[b.born] += b.bytes
        change[b.dies + 1] -= b.bytes
    return list(accumulate(change[: nodes + 1]))


def lower_bound(buffers: Sequence[Buffer], nodes: int) -> tuple[int, int]:
    """(largest sum of live bytes, the first node where)."""
    curve = live_bytes(buffers, nodes)
    return max(curve), curve.index(max(curve))


def peak_bytes(buffers: Sequence[Buffer]) -> int:
    """The largest sum of live bytes."""
    return lower_bound(buffers, max((b.dies for b in buffers), default=0))[0]


def unit_of(buffers: Sequence[Buffer]) -> int:
    """Bytes that divide every size, and so each address of a placement without needless holes."""
    return gcd(*(b.bytes for b in buffers)) or 1


def bound_of(
    buffers: Sequence[Buffer], regions: Sequence[Region], used: Sequence[int], index: int
) -> int:
    """A lower bound on the use of one region, when those behind it are used as they are.

    What the other regions cannot hold at the node with the most live bytes must be here, and so
    must the buffers that are larger than each of them.
    """
    unit = unit_of(buffers)
    others = [r.limit for r in regions[:index]] + list(used[index + 1 :])
    forced = [b for b in buffers if b.bytes > max(others, default=0)]
    rest = peak_bytes(buffers) - sum(n // unit * unit for n in others)
    return max(0, rest, peak_bytes(forced))


def bounds_of(
    buffers: Sequence[Buffer], regions: Sequence[Region], used: Sequence[int]
) -> tuple[int, ...]:
    return tuple(bound_of(buffers, regions, used, i) for i in range(len(regions)))
