"""What training each part of a model is worth on its own: measured, and estimated at first order.

The contribution of a part is the fall of the validation loss, in nats a label, that training it
beside the head brings over training the head alone; of the head, over training nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..training.scheme import Layer, block_of
from .estimate import Estimate, spearman
from .options import BIAS, NOTHING, Choice, Option, Order, full, options_of

RANK = 4  # of the adapters that are measured
GROUP = 0.25  # of the channels, the group that is measured


@dataclass(frozen=True)
class Part:
    """One thing to measure. ``kind``: ``bias``, ``channels``, ``tensor``, ``adapter`` of a layer
    or ``block``; ``choice``: what trains beside the head."""

    kind: str
    name: str
    choice: Choice


@dataclass(frozen=True)
class Contribution:
    """``gain``: fall of the validation loss, None where it was not measured; ``fisher``: the
    first-order estimate; ``state_bytes``: trained numbers and optimizer state."""

    kind: str
    name: str
    option: str
    gain: float | None
    fisher: float
    state_bytes: int


def parts_of(layers: Sequence[Layer], head: Option) -> list[Part]:
    """Every part of every layer, and whole blocks."""
    last = layers[-1].name
    found = [Part("tensor", last, {last: head})]
    for layer in layers[:-1]:
        options = options_of(layer, head=False)
        group = layer.part(GROUP)
        kinds = [("tensor", full(layer)), ("channels", Option(group, bias=True)), ("bias", BIAS)]
        ranks = [o for o in options if o.rank]
        if ranks:
            kinds.append(("adapter", min(ranks, key=lambda o: abs(o.rank - RANK))))
        found += [Part(kind, layer.name, {last: head, layer.name: option})
                  for kind, option in kinds if option in options]  # fmt: skip
    blocks = dict.fromkeys(b for layer in layers[:-1] if (b := block_of(layer.name)))
    for block in blocks:
        inside = {part.name: full(part) for part in layers[:-1] if block_of(part.name) == block}
        found.append(Part("block", block, {last: head, **inside}))
    return found


@dataclass(frozen=True)
class Values:
    """What the search adds up: the gain of each option of each layer, and the most that a block
    may give. Options that were not measured lie between those that were."""

    gain: Mapping[str, Mapping[Option, float]]
    most: Mapping[str, float]


def values_of(
    layers: Sequence[Layer], gains: Mapping[tuple[str, Option], float],
    blocks: Mapping[str, float], guess: Estimate, order: Order,
) -> Values:  # fmt: skip
    """``gains``: what was measured, by layer and option. The rest comes from the estimate, whose
    root is fitted to what was measured: v = c sqrt(fisher)."""
    by_name = {part.name: part for part in layers}
    known = [(guess.of(by_name[n], o, order[n]), max(0.0, v)) for (n, o), v in gains.items()]
    weight = sum(f for f, _ in known)
    scale = sum(v * f**0.5 for f, v in known) / weight if weight else 1.0
    found: dict[str, dict[Option, float]] = {}
    for layer in layers:
        options = options_of(layer, layer is layers[-1])
        rough = {o: scale * guess.of(layer, o, order[layer.name]) ** 0.5 for o in options}
        points = {o: gains[layer.name, o] for o in options if (layer.name, o) in gains}
        found[layer.name] = {o: _between(o, points, rough) for o in options}
    return Values(found, {b: max(v, 0.0) for b, v in blocks.items()})


def _between(
    option: Option, points: Mapping[Option, float], rough: Mapping[Option, float]
) -> float:
    """Measured, or from the measured options of the same kind: in proportion to the estimate, and
    between the two neighbours where there are two."""
    if option == NOTHING:
        return 0.0
    if option in points:
        return points[option]
    same = sorted(o for o in points if bool(o.rank) == bool(option.rank)
                  and bool(o.channels) == bool(option.channels))  # fmt: skip
    if not same:
        return rough[option]
    below, above = ([o for o in same if (o < option) == side] for side in (True, False))
    if below and above:
        low, high = below[-1], above[0]
        width = rough[high] - rough[low]
        part = (rough[option] - rough[low]) / width if width > 0 else 0.5
        return points[low] + min(1.0, max(0.0, part)) * (points[high] - points[low])
    near = below[-1] if below else above[0]
    ratio = rough[option] / rough[near] if rough[near] else 1.0
    return points[near] * min(ratio, 1.25) if points[near] > 0 else points[near]


def correlation(rows: Sequence[Contribution], kinds: Sequence[str] = ()) -> float:
    """Spearman's rank correlation of the measured contributions with the estimate; blocks, which
    are sums of others, do not count."""
    chosen = [r for r in rows if r.gain is not None and r.kind != "block"
              and (not kinds or r.kind in kinds)]  # fmt: skip
    return spearman([r.gain or 0.0 for r in chosen], [r.fisher for r in chosen])


def channel_order(
    kind: str, layers: Sequence[Layer], guess: Estimate, magnitudes: Mapping[str, np.ndarray],
    seed: int,
) -> dict[str, list[int]]:  # fmt: skip
    """The output channels of each layer, those that train first in front: by contribution (the
    estimate), by magnitude of the weights, or at random."""
    rng = np.random.default_rng(seed)
    found = {}
    for layer in layers:
        worth = np.zeros(layer.outputs)
        if kind == "contribution" and layer.name in guess.weight:
            worth = guess.weight[layer.name]
        elif kind == "magnitude":
            worth = magnitudes[layer.name]
        elif kind == "random":
            worth = rng.random(layer.outputs)
        found[layer.name] = [int(c) for c in np.argsort(-worth, kind="stable")]
    return found
