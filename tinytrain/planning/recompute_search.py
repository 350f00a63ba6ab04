"""The fast search over the choices that make a step small: what is made again, which updates have
what they read made for themselves, and where loops end. Each choice is tried on real lifetimes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence, Set
from dataclasses import dataclass

from ..ir import Graph
from .lifetimes import lifetimes
from .placement import live_bytes
from .recompute import (
    bottlenecks,
    cost,
    forward_makers,
    forward_nodes,
    origin,
    own_updates,
    recompute,
    worth_keeping,
)
from .row_loops import cut_points, gather

CROWDED = 0.85  # of the most live bytes: from here on a node counts as a near peak
RATES = (4.0, 1.0, 0.25, 0.0)  # part of the bytes that must be saved for a part of the MACs
FAR = 3  # times the budget from where a descent is not worth its time, if another one succeeded
SWAPS = 60  # tries to trade one choice for another
QUICK = 200  # tries of a quick descent


@dataclass(frozen=True)
class Trial:
    """What a set of choices gives. ``bytes``: the most live bytes; ``crowd``: live bytes beyond
    CROWDED of that, summed over the nodes: of two equal peaks the narrower is the better start;
    ``cost``: MACs and element work beyond the plain step; ``peak``: nodes, as of the
    forward pass, of which values are alive at the peak."""

    nodes: int
    bytes: int
    crowd: float
    cost: int
    choice: frozenset[str]
    peak: frozenset[str]


class Search:
    """A choice is a set of names: forward nodes that are made again, updates that have what they
    read made for themselves (both with ``again`` only), and nodes at which a loop ends (with
    ``tile`` only). ``rows``: those that a loop takes at a time while the search looks for room."""

    def __init__(self, graph: Graph, tile: bool = True, again: bool = True, rows: int = 2) -> None:
        self.graph, self.tile, self.rows = graph, tile, rows
        self.price = {n.name: cost(n) for n in forward_nodes(graph)} if again else {}
        self.forward = sorted(self.price, key=lambda name: -self.price[name])
        self.own = [n.name for n in own_updates(graph)] if again else []
        self.cuts = cut_points(graph) if tile else []
        self.moves = self._moves()
        self._known: dict[frozenset[str], Trial | None] = {}

    def _moves(self) -> list[frozenset[str]]:
        """Names that change together: each alone; a forward node, or an update, with what it reads
        (one of three values that are two buffers frees nothing, two of them do)."""
        found = [frozenset({name}) for name in (*self.cuts, *self.own, *self.forward)]
        makers = {name: n for name, n in forward_makers(self.graph).items() if not n.op.alias}
        for node in [*own_updates(self.graph), *forward_nodes(self.graph)] if self.price else ():
            read = {makers[name].name for name in node.reads if name in makers}
            if read:
                found.append(frozenset({node.name, *read}))
        return found

    def trial(self, choice: Set[str]) -> Trial | None:
        """None where a choice reads a weight after its update."""
        key = frozenset(choice)
        if key not in self._known:
            made = self.made(key)
            self._known[key] = None if made is None else self._measured(made, key)
        return self._known[key]

    def made(self, choice: Set[str]) -> Graph | None:
        """The graph of a choice, with loops of ``rows`` rows; None as for ``trial``."""
        made = recompute(self.graph, choice)
        if made is None or not self.tile:
            return made
        return gather(made, choice & set(self.cuts), self.rows)

    def _measured(self, made: Graph, key: frozenset[str]) -> Trial:
        buffers = lifetimes(made)
        curve = live_bytes(buffers, len(made.nodes))
        most = max(curve)
        at = curve.index(most)
        crowd = sum(n - CROWDED * most for n in curve if n > CROWDED * most)
        maker = {v: origin(n) or n.name for n in made.nodes for v in n.makes}
        alive = (v for b in buffers if b.born <= at <= b.dies for v in b.values)
        peak = frozenset(maker[v] for v in alive if v in maker)
        return Trial(len(made.nodes), most, crowd, self._extra(made), key, peak)

    def _extra(self, made: Graph) -> int:
        copies = sum(self.price.get(name, 0) for n in made.nodes if (name := origin(n)))
        present = {n.name for n in made.nodes}
        return copies - sum(price for name, price in self.price.items() if name not in present)

    def smallest(self) -> Trial:
        """The least memory that is found, by descent from some starts; of equal memory the
        cheaper."""
        ends = [self._descend(start) for start in (*self.starts(), *self.deep_starts())]
        return min(ends, key=lambda t: (t.bytes, t.cost))

    def quick(self, budget: int) -> Trial:
        """The cheapest start within ``budget`` bytes, or a short descent from the smallest one."""
        starts: list[Trial] = []
        for more in (self.starts, self.deep_starts):
            starts += more()
            fitting = [t for t in starts if t.bytes <= budget]
            if fitting:
                return min(fitting, key=lambda t: (t.cost, t.bytes))
        return self._descend(min(starts, key=lambda t: (t.bytes, t.cost)), budget, tries=QUICK)

    def cheapest(self, budget: int) -> Trial | None:
        """The least cost within ``budget`` bytes, as far as the search sees; None when nothing
        fits: from little memory, whatever there is room for is kept again."""
        nothing = self.trial(frozenset())
        if nothing and nothing.bytes <= budget:
            return nothing
        best = self._cheapest_end(self.starts(), budget)
        if best is None:
            best = self._cheapest_end(self.deep_starts(), budget)
        return self._trade(best, budget) if best else None

    def _cheapest_end(self, starts: Sequence[Trial], budget: int) -> Trial | None:
        """The least cost that descents from these find within ``budget`` bytes."""
        best: Trial | None = None
        for start in starts:
            if best and start.bytes > FAR * budget:
                continue
            end = self._descend(start, budget, best.cost if best else None)
            if end.bytes <= budget:
                end = self._undo(end, budget)
                best = end if best is None or end.cost < best.cost else best
        return best

    def nearby(self, start: Trial, budget: int) -> Trial | None:
        """The least cost within ``budget`` bytes from ``start`` on; None when nothing fits."""
        end = self._descend(start, budget)
        return self._trade(self._undo(end, budget), budget) if end.bytes <= budget else None

    def starts(self) -> list[Trial]:
        """Nothing made again; everything but the values that all others come from and small ones,
        for all updates alone or not; each with loops as short as can be."""
        all_again = set(self.forward) - bottlenecks(self.graph) - worth_keeping(self.graph)
        return self._trials(all_again | set(self.own), all_again, set())

    def deep_starts(self) -> list[Trial]:
        """Everything made again but the values that all others come from: the small ones that the
        other starts keep are many where many layers train."""
        all_again = set(self.forward) - bottlenecks(self.graph)
        return self._trials(all_again | set(self.own), all_again)

    def _trials(self, *again: set[str]) -> list[Trial]:
        """Those of them that there are, with loops as short as can be."""
        found = [self.trial(names | set(self.cuts)) for names in again]
        return [trial for trial in found if trial is not None]

    def _descend(
        self, best: Trial, budget: int = 0, most: int | None = None, tries: int | None = None
    ) -> Trial:
        """One change at a time for as long as one helps, until ``budget`` is met, the cost is
        above ``most``, or ``tries`` choices were; first those that save much for their cost. A
        forward value that is not at the peak is left alone."""
        unit = best.bytes / max(1, self.graph.macs())
        last = None if tries is None else len(self._known) + tries
        for rate in RATES:
            improved = True
            while improved and best.bytes > budget:
                improved = False
                for move in self.moves:
                    if not self._may_help(move, best):
                        continue
                    if last is not None and len(self._known) >= last:
                        return best
                    alone = len(move) == 1
                    trial = self.trial(best.choice ^ move if alone else best.choice | move)
                    if trial and _better(trial, best, rate * unit):
                        best, improved = trial, True
                        if best.bytes <= budget or (most is not None and best.cost > most):
                            return best
        return best

    def _may_help(self, move: frozenset[str], best: Trial) -> bool:
        new = move if len(move) == 1 else move - best.choice
        forward = [name for name in new if name in self.price]
        if len(move) > 1 and len(new) < 2:
            return False
        return not forward or not best.peak.isdisjoint(forward)

    def _trade(self, best: Trial, budget: int) -> Trial:
        """Single choices traded for others, as long as that makes it cheaper."""
        rng = random.Random(0)
        names = [*self.forward, *self.cuts, *self.own]
        for _ in range(SWAPS if best.choice else 0):
            out = rng.choice(names)
            other = rng.choice(sorted(best.choice))
            trial = self.trial((best.choice ^ {out}) - {other})
            if trial and trial.bytes <= budget and trial.cost < best.cost:
                best = self._undo(trial, budget)
        return best

    def _undo(self, best: Trial, budget: int) -> Trial:
        """Without the choices that there is room to do without, dearest first."""
        for name in (*self.own, *self.forward, *self.cuts):
            if name in best.choice:
                trial = self.trial(best.choice - {name})
                if trial and trial.bytes <= budget and trial.cost <= best.cost:
                    best = trial
        return best


def _better(a: Trial, b: Trial, bytes_per_mac: float) -> bool:
    """Whether ``a`` is smaller than ``b``, and by enough for what it costs more."""
    if (a.bytes, a.crowd, a.cost) >= (b.bytes, b.crowd, b.cost):
        return False
    saved = b.bytes - a.bytes + b.crowd / b.nodes - a.crowd / a.nodes
    return saved >= bytes_per_mac * (a.cost - b.cost)
