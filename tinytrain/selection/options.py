"""What may train of a layer, and a choice of one such option for each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..emit.c_source import padded_bytes
from ..errors import SchemeError
from ..ir import Graph
from ..quantize import Quantized
from ..recipe import Optimizer, UpdateScheme
from ..training.autodiff import differentiate
from ..training.scheme import Layer, apply_scheme, selections

PARTS = (0.125, 0.25, 0.5)
SHARES = (*PARTS, 1.0)  # of a layer's output channels
RANKS = (2, 4, 8, 16)  # of an adapter


@dataclass(frozen=True, order=True)
class Option:
    """What trains of one layer: ``channels`` of its weight or an adapter of ``rank``; the bias,
    where channels train of these, otherwise of all."""

    channels: int = 0
    rank: int = 0
    bias: bool = False

    def covers(self, other: Option) -> bool:
        """Whether it trains all that ``other`` does."""
        if self.channels < other.channels or self.rank < other.rank:
            return False
        return self.bias or not other.bias

    def __str__(self) -> str:
        if self.channels:
            what = f"{self.channels} channels"
        else:
            what = f"adapter {self.rank}" if self.rank else ""
        return " + ".join(part for part in (what, "bias" if self.bias else "") if part) or "nothing"


NOTHING = Option()
BIAS = Option(bias=True)
Choice = Mapping[str, Option]  # by layer; a layer that is absent trains nothing
Order = Mapping[str, Sequence[int]]  # a layer's output channels, those that train first in front


def full(layer: Layer) -> Option:
    """The whole weight and bias."""
    return Option(layer.outputs, bias=True)


def options_of(layer: Layer, head: bool) -> list[Option]:
    """All that may train of a layer, rising in size within weights and within adapters: nothing,
    the bias, parts of the channels with their bias, adapters of fewer numbers than the weight with
    the bias."""
    counts = sorted({layer.part(share) for share in SHARES})
    found = [NOTHING, BIAS, *(Option(count, bias=True) for count in counts)]
    if not head and not layer.convolution:
        size, sides = layer.outputs * layer.inputs, layer.outputs + layer.inputs
        found += [Option(rank=rank, bias=True) for rank in RANKS
                  if rank * sides < size and rank <= min(layer.outputs, layer.inputs)]  # fmt: skip
    return found


def spread(layers: Sequence[Layer], share: float) -> dict[str, Option]:
    """A share of the channels of every layer with their biases, and all of the head."""
    head = layers[-1]
    parts = {layer.name: Option(layer.part(share), bias=True) for layer in layers}
    return parts | {head.name: full(head)}


def covers(one: Choice, other: Choice) -> bool:
    """Whether ``one`` trains all that ``other`` does."""
    return all(one.get(layer, NOTHING).covers(option) for layer, option in other.items())


def scheme_of(
    choice: Choice, layers: Sequence[Layer], order: Order, name: str = "selected"
) -> UpdateScheme:
    """The scheme of a choice; where some channels train, the first ones of ``order``."""
    weights: dict[str, float | tuple[int, ...]] = {}
    for layer in layers:
        count = choice.get(layer.name, NOTHING).channels
        if count == layer.outputs:
            weights[layer.name] = 1.0
        elif count:
            weights[layer.name] = tuple(sorted(int(c) for c in order[layer.name][:count]))
    return UpdateScheme(
        weights,
        tuple(part.name for part in layers if choice.get(part.name, NOTHING).bias),
        name,
        {part.name: rank for part in layers if (rank := choice.get(part.name, NOTHING).rank)},
    )


def choice_of(scheme: UpdateScheme, layers: Sequence[Layer]) -> dict[str, Option]:
    """The choice nearest to a scheme: how much it trains of each layer, not which channels."""
    return {
        s.layer: Option(len(s.channels) if s.weight else 0, s.rank, s.bias)
        for s in selections(scheme, layers)
    }


def explicit(scheme: UpdateScheme, layers: Sequence[Layer], name: str) -> UpdateScheme:
    """The same scheme by layers, without patterns and ratios."""
    found = selections(scheme, layers)
    outputs = {layer.name: layer.outputs for layer in layers}
    return UpdateScheme(
        {s.layer: 1.0 if len(s.channels) == outputs[s.layer] else s.channels
         for s in found if s.weight},
        tuple(s.layer for s in found if s.bias),
        name,
        {s.layer: s.rank for s in found if s.rank},
    )  # fmt: skip


def is_nothing(choice: Choice) -> bool:
    return all(option == NOTHING for option in choice.values())


def layer_of(name: str, layers: Sequence[Layer]) -> str:
    """The layer that a parameter belongs to by its name."""
    found = [part.name for part in layers if name.startswith(f"{part.name}.")]
    if not found:
        raise SchemeError(f"the state {name} belongs to no layer")
    return max(found, key=len)


def state_bytes(
    quantized: Quantized, layers: Sequence[Layer], options: Mapping[str, Sequence[Option]],
    optimizer: Optimizer,
) -> dict[str, dict[Option, int]]:  # fmt: skip
    """Bytes of trained weights and optimizer state of each layer's options, as the compiler makes
    them. These add up over layers, so that a few graphs with many layers tell all."""
    found: dict[str, dict[Option, int]] = {part.name: {NOTHING: 0} for part in layers}
    for at in range(max(map(len, options.values()))):
        choice = {name: known[at] for name, known in options.items()
                  if at < len(known) and known[at] != NOTHING}  # fmt: skip
        if not choice:
            continue
        order = {part.name: range(part.outputs) for part in layers}
        scheme = scheme_of(choice, layers, order)
        graph = apply_scheme(quantized.graph, scheme, quantized.samples[:1])
        sizes = _states(differentiate(graph, optimizer), layers)
        for name, option in choice.items():
            found[name][option] = sizes.get(name, 0)
    return found


def _states(graph: Graph, layers: Sequence[Layer]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, param in graph.params.items():
        if param.kind != "const":
            owner = layer_of(name, layers)
            sizes[owner] = sizes.get(owner, 0) + padded_bytes(param, 8)
    return sizes
