"""Scratch of kernels widened into the bytes of the arena that are free while they run.

Fast kernels make panels of their operands where they are given room (``Op.room``). That costs no
memory: the arena is planned for what kernels need, and each gets what the others leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..ir import Graph
from .lifetimes import Plan, scratch_name
from .placement import ALIGN, Buffer, aligned

Gap = tuple[str, int, int]  # region, first byte, bytes


def with_room(graph: Graph, plan: Plan, arenas: Mapping[str, int]) -> Plan:
    """The plan with the scratch of each node as large as it has use for, or as the largest gap.

    ``arenas``: bytes of each region. Nothing else moves.
    """
    offset, region, scratch = dict(plan.offset), dict(plan.region), dict(plan.scratch)
    widened: dict[str, Buffer] = {}
    for i, node in enumerate(graph.nodes):
        name, wish = scratch_name(node), aligned(node.room_bytes())
        have = aligned(plan.scratch.get(node.name, 0))
        if wish <= have:
            continue
        alive = [b for b in plan.buffers if b.born <= i <= b.dies and b.name != name]
        found = max(gaps(alive, plan, arenas), key=lambda gap: (min(gap[2], wish), -gap[2]),
                    default=("", 0, 0))  # fmt: skip
        size = min(found[2], wish)
        if size > have:
            region[name], offset[name] = found[:2]
            scratch[node.name] = min(size, node.room_bytes())
            widened[name] = Buffer(name, size, i, i, (), node.layer, True)
    kept = [b for b in plan.buffers if b.name not in widened]
    return replace(plan, buffers=(*kept, *widened.values()), offset=offset, region=region,
                   scratch=scratch)  # fmt: skip


def gaps(alive: list[Buffer], plan: Plan, arenas: Mapping[str, int]) -> Iterator[Gap]:
    """Where nothing of these buffers lies."""
    for arena, limit in arenas.items():
        taken = sorted(
            (plan.offset[key], plan.offset[key] + b.bytes)
            for b in alive
            if plan.region[key := (b.values or (b.name,))[0]] == arena
        )
        end = 0
        for start, stop in [*taken, (limit // ALIGN * ALIGN, 0)]:
            if start > end:
                yield arena, end, start - end
            end = max(end, stop)
