"""Which layers and channels train: an update scheme, resolved against a graph and applied to it.

Trained rows of a weight move to SRAM (params of kind ``trained``), frozen rows stay in flash. A
layer may be linear or a convolution, which gives no gradient to its input: what leads into one
cannot train.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import SchemeError
from ..ir import Array, Build, Graph, Node, Param, Role, Value, verify
from ..ops.conv import conv_pool_s8
from ..ops.linear import linear_s8, linear_s16
from ..recipe import UpdateScheme
from .adapters import attach

LAYERS = (linear_s8, linear_s16, conv_pool_s8)


@dataclass(frozen=True)
class Layer:
    """A layer with a weight: its name in the user's model, output channels, and the inputs of one
    (channels, of a convolution times its kernel)."""

    name: str
    outputs: int
    inputs: int
    convolution: bool = False

    def part(self, share: float) -> int:
        """Output channels that a share of them is, at least one."""
        return max(1, round(share * self.outputs))


@dataclass(frozen=True)
class Selection:
    """What trains of one layer: output channels, rising, and of them weight and/or bias; an adapter
    beside it where ``rank`` is not 0."""

    layer: str
    channels: tuple[int, ...]
    weight: bool
    bias: bool
    rank: int = 0

    def tensors(self) -> list[tuple[str, Role]]:
        """(layer, role) of the parameters that train."""
        wanted: dict[Role, bool] = {
            "weight": self.weight, "bias": self.bias, "down": bool(self.rank),
            "up": bool(self.rank),
        }  # fmt: skip
        return [(self.layer, role) for role, trains in wanted.items() if trains]


@dataclass(frozen=True)
class Part:
    """What of one layer any of several schemes trains: channels of the weight and of the bias,
    empty for none, and the rank of an adapter."""

    weight: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()
    rank: int = 0


def layers_of(graph: Graph) -> list[Layer]:
    """The layers that can train, in forward order; the last one is the head."""
    frozen = leads_to_convolution(graph)
    found: list[Layer] = []
    for node in graph.nodes:
        if node.op in LAYERS and node.inputs[1] is not None and node.layer not in frozen:
            rows, columns = node.inputs[1].type.shape
            found.append(Layer(node.layer, rows, columns, node.op is conv_pool_s8))
    return found


def leads_to_convolution(graph: Graph) -> list[str]:
    """Names of the layers whose output a convolution depends on."""
    wanted: set[str] = set()
    found: list[str] = []
    for node in reversed(graph.nodes):
        leads = any(v is not None and v.name in wanted for v in node.outputs)
        if leads and node.op in LAYERS:
            found.append(node.layer)
        if leads or node.op is conv_pool_s8:
            wanted |= set(node.reads)
    return found[::-1]


def block_of(layer: str) -> str | None:
    """``blocks.3`` of ``blocks.3.attn.q``: the path up to its first number."""
    match = re.match(r"(.*?\d+)(\.|$)", layer)
    return match.group(1) if match else None


def full(layers: Sequence[Layer]) -> UpdateScheme:
    """Every weight and bias of every layer that can train."""
    names = tuple(layer.name for layer in layers)
    return UpdateScheme(dict.fromkeys(names, 1.0), names, "full")


def head_only(layers: Sequence[Layer]) -> UpdateScheme:
    """Weight and bias of the last linear layer."""
    head = layers[-1].name
    return UpdateScheme({head: 1.0}, (head,), "head_only")


def bias_only(layers: Sequence[Layer]) -> UpdateScheme:
    """The bias of every layer that can train."""
    return UpdateScheme({}, tuple(layer.name for layer in layers), "bias_only")


def last_k(layers: Sequence[Layer], k: int) -> UpdateScheme:
    """All linear layers of the last ``k`` blocks, and the head.

    Raises SchemeError when the model has fewer than ``k`` numbered blocks.
    """
    blocks = list(dict.fromkeys(b for layer in layers if (b := block_of(layer.name))))
    if not 0 <= k <= len(blocks):
        raise SchemeError(f"last_k:{k}: the model has {len(blocks)} blocks: {', '.join(blocks)}")
    chosen = set(blocks[len(blocks) - k :])
    names = tuple(
        layer.name for layer in layers if block_of(layer.name) in chosen or layer is layers[-1]
    )
    return UpdateScheme(dict.fromkeys(names, 1.0), names, f"last_k:{k}")


def last_layers(layers: Sequence[Layer], k: int) -> UpdateScheme:
    """Weights and biases of the last ``k`` layers, of which the head is one.

    Raises SchemeError when the model does not have so many.
    """
    if not 1 <= k <= len(layers):
        raise SchemeError(f"last_layers:{k}: give 1 to {len(layers)}, as many as can train")
    names = tuple(layer.name for layer in layers[-k:])
    return UpdateScheme(dict.fromkeys(names, 1.0), names, f"last_layers:{k}")


def lora(layers: Sequence[Layer], rank: int, head: bool = False) -> UpdateScheme:
    """An adapter beside every linear layer but the head, of this rank or, where that is smaller, of
    the layer's; with ``head`` its weight and bias as well.

    Raises SchemeError when no layer has such a rank.
    """
    linear = [part for part in layers[:-1] if not part.convolution]
    widest = max((min(part.outputs, part.inputs) for part in linear), default=0)
    if not 1 <= rank <= widest:
        raise SchemeError(f"lora:{rank}: the rank of an adapter is 1 to {widest} in this model")
    ranks = {part.name: min(rank, part.outputs, part.inputs) for part in linear}
    last = head_only(layers) if head else UpdateScheme()
    name = f"lora:{rank}" + ("+head" if head else "")
    return replace(last, name=name, adapters=ranks)


def resolve(scheme: UpdateScheme | str, layers: Sequence[Layer]) -> UpdateScheme:
    """A scheme, or one by its name: full, head_only, bias_only, last_k:N (blocks), last_layers:N,
    lora:R, lora:R+head. Raises SchemeError for one that was made for other layers."""
    if isinstance(scheme, UpdateScheme):
        _check_layers(scheme, layers)
        return scheme
    simple = {"full": full, "head_only": head_only, "bias_only": bias_only}
    if scheme in simple:
        return simple[scheme](layers)
    if match := re.fullmatch(r"last_k:(\d+)", scheme):
        return last_k(layers, int(match.group(1)))
    if match := re.fullmatch(r"last_layers:(\d+)", scheme):
        return last_layers(layers, int(match.group(1)))
    if match := re.fullmatch(r"lora:(\d+)(\+head)?", scheme):
        return lora(layers, int(match.group(1)), bool(match.group(2)))
    if scheme == "auto":
        raise SchemeError(
            "scheme auto is selected for a board: tinytrain plan, build and run do that; in Python "
            "tinytrain.selection.auto(recipe, board) gives the recipe to compile"
        )
    known = ", ".join([*simple, "last_k:N", "last_layers:N", "lora:R", "lora:R+head", "auto"])
    raise SchemeError(f"unknown scheme {scheme!r}; known: {known}")


def layers_sha256(layers: Sequence[Layer]) -> str:
    """SHA-256 of a line ``name outputs inputs`` for each layer that can train, in their order."""
    lines = "".join(f"{layer.name} {layer.outputs} {layer.inputs}\n" for layer in layers)
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_layers(scheme: UpdateScheme, layers: Sequence[Layer]) -> None:
    meant = scheme.made_for
    if meant is not None and meant.sha256 != (found := layers_sha256(layers)):
        raise SchemeError(
            f"update scheme {scheme.name} was made for the layers of model {meant.model!r} (hash "
            f"{meant.sha256[:12]}...); the {len(layers)} layers of this one have other names or "
            f"channels (hash {found[:12]}...); select again, or take [model] out of the scheme "
            "file if it is meant for both"
        )


def selections(scheme: UpdateScheme, layers: Sequence[Layer]) -> list[Selection]:
    """Per layer what trains. Raises SchemeError for a pattern that matches nothing, a ratio
    outside (0, 1], a channel or a rank out of range, an adapter of the head or beside a weight that
    trains, or an empty scheme."""
    names = [layer.name for layer in layers]
    for pattern in (*scheme.weights, *scheme.biases, *scheme.adapters):
        if not fnmatch.filter(names, pattern):
            raise SchemeError(
                f"update scheme {scheme.name}: {pattern!r} matches no layer; "
                f"layers are: {', '.join(names)}"
            )
    chosen: list[Selection] = []
    for layer in layers:
        channels: tuple[int, ...] = ()
        for pattern, share in scheme.weights.items():
            if fnmatch.fnmatch(layer.name, pattern):
                channels = _channels(layer, share)
        bias = any(fnmatch.fnmatch(layer.name, pattern) for pattern in scheme.biases)
        ranks = [r for p, r in scheme.adapters.items() if fnmatch.fnmatch(layer.name, p)]
        rank = _rank(layer, ranks[-1], bool(channels), layer is layers[-1]) if ranks else 0
        if channels or bias or rank:
            every = tuple(range(layer.outputs))
            chosen.append(Selection(layer.name, channels or every, bool(channels), bias, rank))
    if not chosen:
        raise SchemeError(f"update scheme {scheme.name} trains nothing; name at least one layer")
    return chosen


def _channels(layer: Layer, share: float | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(share, (int, float)):
        if not 0 < share <= 1:
            raise SchemeError(f"{layer.name}: channel ratio {share} is not in (0, 1]")
        return tuple(range(layer.part(share)))
    channels = tuple(sorted(set(share)))
    if not channels or channels[0] < 0 or channels[-1] >= layer.outputs:
        raise SchemeError(
            f"{layer.name}: channels {channels[:8]} are not within 0..{layer.outputs - 1}"
        )
    return channels


def _rank(layer: Layer, rank: int, trains: bool, head: bool) -> int:
    if head:
        raise SchemeError(
            f"{layer.name}: the head has no adapter, as its logits are not int8; train the head "
            f"itself: weights={{{layer.name!r}: 1.0}}"
        )
    if layer.convolution:
        raise SchemeError(f"{layer.name}: a convolution has no adapter; only linear layers have")
    if trains:
        raise SchemeError(f"{layer.name}: its weight trains, so it has no adapter; choose one")
    most = min(layer.outputs, layer.inputs)
    if not isinstance(rank, int) or not 1 <= rank <= most:
        raise SchemeError(f"{layer.name}: adapter rank {rank} is not an integer within 1..{most}")
    return rank


def apply_scheme(graph: Graph, scheme: UpdateScheme | str, samples: Sequence[Array] = ()) -> Graph:
    """``apply_schemes`` of one."""
    return apply_schemes(graph, [scheme], samples)[0]


def apply_schemes(
    graph: Graph, schemes: Sequence[UpdateScheme | str], samples: Sequence[Array] = ()
) -> tuple[Graph, dict[str, frozenset[str]]]:
    """Move what any of the schemes trains into SRAM, and add adapters. int8 graph in, the same
    meaning out; and by name of the scheme the parameters that it trains.

    ``samples`` are for adapters (``adapters.attach``). Raises SchemeError as ``resolve`` and
    ``selections`` do, and for schemes that have the same name or do not go together.
    """
    layers = layers_of(graph)
    parts: dict[str, Part] = {}
    chosen_of: dict[str, set[tuple[str, Role]]] = {}
    for scheme in schemes:
        resolved = resolve(scheme, layers)
        _refuse_frozen(resolved, layers, leads_to_convolution(graph))
        if resolved.name in chosen_of:
            raise SchemeError(f"two schemes are called {resolved.name}; give each its own name")
        chosen = selections(resolved, layers)
        chosen_of[resolved.name] = {key for s in chosen for key in s.tensors()}
        for s in chosen:
            parts[s.layer] = _joined(parts.get(s.layer, Part()), s, resolved.name)
    build = Build(graph)
    build.nodes = [
        _split(build, graph, node, parts[node.layer])
        if node.op in LAYERS and node.layer in parts
        else node
        for node in graph.nodes
    ]
    ranks = {layer: part.rank for layer, part in parts.items() if part.rank}
    made = attach(verify(build.graph(graph.outputs)), ranks, samples)
    names = {(p.layer, p.role): n for n, p in made.params.items() if p.kind == "trained"}
    trained = {
        scheme: frozenset(names[key] for key in chosen) for scheme, chosen in chosen_of.items()
    }
    return made, trained


def _joined(part: Part, s: Selection, scheme: str) -> Part:
    """What trains with the selection as well. Raises SchemeError where it differs from what another
    scheme trains of the same tensor: a tensor is trained whole or not at all."""
    weight, bias = s.channels if s.weight else (), s.channels if s.bias else ()
    made = Part(part.weight or weight, part.bias or bias, part.rank or s.rank)
    if weight not in ((), made.weight) or bias not in ((), made.bias):
        raise SchemeError(
            f"scheme {scheme} trains other channels of {s.layer} than a scheme before it; schemes "
            "of one firmware train the same channels of a layer, or none"
        )
    if s.rank not in (0, made.rank):
        raise SchemeError(
            f"scheme {scheme} has an adapter of rank {s.rank} beside {s.layer}, a scheme before it "
            f"one of rank {made.rank}; give both the same rank"
        )
    return made


def _refuse_frozen(scheme: UpdateScheme, layers: Sequence[Layer], frozen: Sequence[str]) -> None:
    """Raises SchemeError for a pattern that matches only layers before a convolution."""
    names = [layer.name for layer in layers]
    for pattern in (*scheme.weights, *scheme.biases):
        found = fnmatch.filter(frozen, pattern)
        if found and not fnmatch.filter(names, pattern):
            raise SchemeError(
                f"update scheme {scheme.name}: {found[0]} leads into a convolution, which gives no "
                f"gradient to its input, so it cannot train; layers that can: {', '.join(names)}"
            )


def _split(build: Build, graph: Graph, node: Node, what: Part) -> Node:
    x, w, _, _, b, _, mult, shift = node.inputs
    assert w is not None and b is not None
    weight, bias = graph.params[w.name], graph.params[b.name]
    every = tuple(range(w.type.shape[0]))
    some = sorted({channels for channels in (what.weight, what.bias) if channels} - {every})
    if len(some) > 1:
        raise SchemeError(
            f"{node.layer}: schemes train some channels of its weight and others of its bias; "
            "train the same channels of both"
        )
    wt = bt = rows = None
    picked = np.zeros(len(every), bool)
    if some:
        picked[list(some[0])] = True
        place = np.where(picked, np.cumsum(picked) - 1, ~(np.cumsum(~picked) - 1))
        rows = build.param(
            f"{node.layer}.rows", place.astype(np.int16), role="rows", layer=node.layer
        )
    if what.weight == every:
        w = _train(build, weight, node.layer, "weight")
    elif what.weight:
        w, wt = _halves(build, weight, node.layer, "weight", picked)
    if what.bias == every:
        b = _train(build, bias, node.layer, "bias")
    elif what.bias:
        b, bt = _halves(build, bias, node.layer, "bias", picked)
    node = replace(node, inputs=(x, w, wt, rows, b, bt, mult, shift))
    return _with_winners(build, node) if node.op is conv_pool_s8 else node


def _with_winners(build: Build, node: Node) -> Node:
    """The convolution with its second output, which its update reads."""
    attrs = {**node.attrs, "winners": True}
    y, kind = node.outputs[0], node.op.infer(node.in_types(), attrs)[1]
    assert y is not None and kind is not None
    return replace(node, outputs=(y, Value(build.fresh(f"{y.name}:1"), kind)), attrs=attrs)


def _train(build: Build, param: Param, layer: str, role: Role) -> Value:
    scale = param.value.type.scale
    name = f"{layer}.{role}.trained"
    return build.param(name, param.data, "trained", scale, role=role, layer=layer)


def _halves(
    build: Build, param: Param, layer: str, role: Role, picked: np.ndarray
) -> tuple[Value, Value]:
    """(frozen, trained) rows. Per-channel scales stay those of all rows, in the user's order."""
    scale = param.value.type.scale
    frozen = build.param(
        f"{layer}.{role}.frozen", param.data[~picked], "const", scale, role=role, layer=layer
    )
    return frozen, _train(build, replace(param, data=param.data[picked]), layer, role)
