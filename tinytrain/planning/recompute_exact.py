"""What the backward pass keeps and what it makes again, as an integer program.

The program sees slots: backward nodes that need forward values, in their order. A value that is not
kept is made once, at its first need, from values that are there (kept or made), and stays until its
last need. Bytes in a slot are those of the backward pass itself, and of all values that are there.
After Jain et al. 2020 ("Checkmate"), with one making of each value. Solved by OR-tools CP-SAT.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from ortools.sat.python import cp_model

from ..ir import Graph, Node
from .lifetimes import lifetimes, value_lives
from .recompute import backward_start, cost, forward_nodes

WORKERS = 1  # one worker is deterministic
SEED = 1
WORK_PER_SECOND = 0.5  # of the solver's own count of work, which ends it reproducibly, roughly
GUARD = 2.2  # the clock ends a search that takes so many times its limit


@dataclass(frozen=True)
class Item:
    """A forward node: what it reads, its bytes where kept and where made again, working memory
    while it is made, and its price in MACs."""

    reads: tuple[str, ...]
    kept_bytes: int
    again_bytes: int
    scratch_bytes: int
    price: int


@dataclass(frozen=True)
class Problem:
    """``needs[s]``, ``used_bytes[s]``: items that slot s reads, bytes it uses beside them.
    ``forward``: for each forward node (bytes used beside kept values, items made before it that
    only being kept holds there)."""

    items: dict[str, Item]
    needs: tuple[frozenset[str], ...]
    used_bytes: tuple[int, ...]
    forward: tuple[tuple[int, frozenset[str]], ...] = ()


@dataclass(frozen=True)
class Kept:
    """A solution: names made again, MACs, peak bytes; whether it is proved the cheapest."""

    again: frozenset[str]
    price: int
    peak_bytes: int
    proved: bool


def evaluate(problem: Problem, kept: Set[str]) -> Kept:
    """The meaning of a choice: ``again`` are the items that are really made."""
    made: dict[str, int] = {}
    last: dict[str, int] = {}

    def need(name: str, slot: int) -> None:
        last[name] = slot
        if name not in kept and name not in made:
            made[name] = slot
            for read in problem.items[name].reads:
                need(read, slot)

    for slot, names in enumerate(problem.needs):
        for name in sorted(names):
            need(name, slot)
    items, peak = problem.items, 0
    for slot, used in enumerate(problem.used_bytes):
        for name, until in last.items():
            if name in kept and slot <= until:
                used += items[name].kept_bytes
            elif name in made and made[name] <= slot <= until:
                used += items[name].again_bytes
                used += items[name].scratch_bytes if made[name] == slot else 0
        peak = max(peak, used)
    held = {name for name in kept if name in last}
    for used, before in problem.forward:
        peak = max(peak, used + sum(items[n].kept_bytes for n in before & held))
    return Kept(frozenset(made), sum(items[n].price for n in made), peak, False)


def solve(problem: Problem, budget_bytes: int, time_limit_s: float = 7.0) -> Kept | None:
    """The fewest MACs within ``budget_bytes``; None when none fit (or none was found in time)."""
    model, slots = cp_model.CpModel(), range(len(problem.needs))
    items = problem.items
    keep = {n: model.new_bool_var(f"keep {n}") for n in items}
    made = {(n, s): model.new_bool_var(f"make {n} at {s}") for n in items for s in slots}
    old = {(n, s): model.new_bool_var(f"kept {n} at {s}") for n in items for s in slots}
    new = {(n, s): model.new_bool_var(f"made {n} at {s}") for n in items for s in slots}
    readers: dict[str, list[str]] = {n: [] for n in items}
    for name, item in items.items():
        for read in item.reads:
            readers[read].append(name)
    for n in items:
        model.add_at_most_one([keep[n], *(made[n, s] for s in slots)])
        for s in slots:
            model.add_implication(old[n, s], old[n, s - 1] if s else keep[n])
            model.add(new[n, s] <= made[n, s] + (new[n, s - 1] if s else 0))
            model.add_implication(made[n, s], new[n, s])
            wanted = [made[r, s] for r in readers[n]]
            if n in problem.needs[s]:
                model.add_bool_or([old[n, s], new[n, s]])
            else:
                model.add(sum(wanted) >= made[n, s])
            for reader in wanted:
                model.add_bool_or([old[n, s], new[n, s], reader.negated()])
    for s in slots:
        used = sum(
            items[n].kept_bytes * old[n, s] + items[n].again_bytes * new[n, s]
            + items[n].scratch_bytes * made[n, s] for n in items
        )  # fmt: skip
        model.add(used <= budget_bytes - problem.used_bytes[s])
    for base, before in problem.forward:
        model.add(sum(items[n].kept_bytes * keep[n] for n in sorted(before)) <= budget_bytes - base)
    model.minimize(sum(items[n].price * var for (n, _), var in made.items()))
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = time_limit_s * WORK_PER_SECOND
    solver.parameters.max_time_in_seconds = time_limit_s * GUARD
    solver.parameters.num_workers = WORKERS
    solver.parameters.random_seed = SEED
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    found = evaluate(problem, {n for n in items if solver.boolean_value(keep[n])})
    return Kept(found.again, found.price, found.peak_bytes, status == cp_model.OPTIMAL)


def problem_of(plain: Graph, shaped: Graph, smallest: Graph) -> Problem:
    """The program of a graph. ``shaped``: the same with everything kept, in its final order;
    ``smallest``: with nearly everything made again, which tells what a loop over rows makes of the
    values that are made again, and what the forward pass uses anyway."""
    home = {name: n.name for n in forward_nodes(plain) for name in n.makes}
    for node in plain.nodes[: backward_start(plain)]:
        if node.op.alias and node.inputs[0] is not None and node.inputs[0].name in home:
            home |= dict.fromkeys(node.makes, home[node.inputs[0].name])
    small = value_lives(smallest)
    copies = {n.again.of: n for n in smallest.nodes if n.again and not n.again.update}

    def read(node: Node) -> tuple[str, ...]:
        names = (home[name] for name in node.reads if name in home)
        return tuple(dict.fromkeys(names))

    def item(node: Node) -> Item:
        outs = [v for v in node.outputs if v is not None]
        whole = sum(v.type.bytes for v in outs)
        copy = copies.get(node.name, node)
        again = sum(
            small[c.name].bytes if c and copy is not node and c.name in small else v.type.bytes
            for v, c in zip(node.outputs, copy.outputs, strict=True)
            if v is not None
        )
        return Item(read(node), whole, again, copy.scratch_bytes(), cost(node))

    items = {n.name: item(n) for n in forward_nodes(plain)}
    start = backward_start(shaped)
    beside = [0] * (len(shaped.nodes) + 1)
    for buffer in lifetimes(shaped):
        if not any(v in home for v in buffer.values) and not (
            buffer.scratch and buffer.dies < start
        ):
            for i in range(max(start, buffer.born), min(buffer.dies, len(beside) - 1) + 1):
                beside[i] += buffer.bytes
    needs: list[frozenset[str]] = []
    used: list[int] = []
    for i in range(start, len(shaped.nodes)):
        names = frozenset(read(shaped.nodes[i]))
        if names or not needs:
            needs.append(names)
            used.append(beside[i])
        else:
            used[-1] = max(used[-1], beside[i])
    return Problem(items, tuple(needs), tuple(used), _forward(items, home, smallest))


def _forward(
    items: dict[str, Item], home: dict[str, str], smallest: Graph
) -> tuple[tuple[int, frozenset[str]], ...]:
    nodes = smallest.nodes[: backward_start(smallest)]
    buffers, made, found = lifetimes(smallest), set[str](), []
    for i, node in enumerate(nodes):
        here = [b for b in buffers if b.born <= i <= b.dies]
        present = {home[v] for b in here for v in b.values if v in home}
        found.append((sum(b.bytes for b in here), frozenset(made - present)))
        if node.name in items:
            made.add(node.name)
    return tuple(found)
