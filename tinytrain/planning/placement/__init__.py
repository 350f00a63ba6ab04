"""Where each buffer of the arena lies: first fit and a search, then, where it pays, a proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from .first_fit import TRIES, Layout, search
from .problem import (
    ALIGN,
    BOUND_MET,
    OPEN,
    SOLVED,
    WHOLE,
    Buffer,
    Placement,
    Region,
    aligned,
    bounds_of,
    live_bytes,
    lower_bound,
    peak_bytes,
)

__all__ = [
    "ALIGN", "BOUND_MET", "OPEN", "SOLVED", "WHOLE", "Buffer", "Method", "Placement", "Region",
    "aligned", "live_bytes", "lower_bound", "peak_bytes", "place",
]  # fmt: skip

Method = Literal["auto", "heuristic", "exact"]
TIME_LIMIT_S = {"auto": 5.0, "exact": 14.0}


def place(
    buffers: Sequence[Buffer], regions: Sequence[Region] = WHOLE, *, method: Method = "auto",
    time_limit_s: float | None = None, tries: int = TRIES,
    watch: Callable[[int, int], None] | None = None,
) -> Placement:  # fmt: skip
    """Addresses for ``buffers`` in ``regions``, in order of priority; deterministic.

    ``heuristic`` takes below a second for 300 buffers. ``auto`` and ``exact`` add the solver where
    the lower bound is not met, for about 5 s and 14 s unless ``time_limit_s`` says otherwise, and
    at most twice that. No method is worse than first fit in program order. ``watch(used, bound)``:
    the solver begins; bytes so far, and what they may become.
    """
    assert method in get_args(Method), method
    best = search(buffers, regions, tries)
    bounds: Sequence[int] = bounds_of(buffers, regions, best.used)
    if method == "heuristic" or list(bounds) == best.used:
        return _placement(buffers, regions, best, bounds)
    from .exact import improve

    limit = TIME_LIMIT_S[method] if time_limit_s is None else time_limit_s
    found = improve(buffers, regions, best, limit, watch)
    return _placement(buffers, regions, found.layout, found.bounds, found.cut_short)


def _placement(
    buffers: Sequence[Buffer], regions: Sequence[Region], layout: Layout, bounds: Sequence[int],
    cut_short: bool = False,
) -> Placement:  # fmt: skip
    used, proof = tuple(layout.used), OPEN
    if bounds_of(buffers, regions, used) == used:
        proof = BOUND_MET
    elif tuple(bounds) == used:
        proof = SOLVED
    return Placement(
        regions=tuple(regions),
        offset={b.name: at for b, at in zip(buffers, layout.start, strict=True)},
        region={b.name: regions[r].name for b, r in zip(buffers, layout.home, strict=True)},
        used=used, bounds=used if proof == BOUND_MET else tuple(bounds), proof=proof,
        cut_short=cut_short and proof == OPEN,
    )  # fmt: skip
