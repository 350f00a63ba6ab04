"""What a device has learned, written back into the user's float model.

Trained weights and biases become their real values; an adapter is added to the weight beside it,
W' = W + B A. Gain g and offset o of a LayerNorm are inside the next linear layer on the device, as
W diag(g) and b + W o. This is undone, so that norms stay and only what was trained changes:

    W = W_device / g,    b = b_device - W o
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..compiler import Compiled
from ..errors import RecipeError
from ..frontend.origins import LAYERS, Origin, origins
from ..ir import Array, Graph, Node, Value
from ..ops.base import scales_of
from ..ops.conv import conv_pool_s8
from ..ops.linear import linear_s8, linear_s16
from ..quantize.fold import folded_gains
from ..recipe import Recipe
from .snapshot import read_snapshot

if TYPE_CHECKING:
    from torch import Tensor

ON_DEVICE = (linear_s8, linear_s16, conv_pool_s8)


@dataclass(frozen=True)
class _Layer:
    """A linear layer or a convolution (C: its kernel times its channels) that learns. ``weight``
    ``[O, C]`` and ``bias`` are those of the float model,
    ``gain`` and ``offset`` ``[C]`` of the norm folded into it, ``w``, ``b``, ``down`` and ``up``
    its trained tensors or None, ``channels`` the output channels of ``w`` and ``b``,
    ``centre`` what quantization took from every bias."""

    name: str
    origin: Origin
    weight: Array
    bias: Array
    gain: Array
    offset: Array
    channels: Array
    bias_scales: Array
    centre: float
    w: Value | None
    b: Value | None
    down: Value | None
    up: Value | None

    @property
    def moves(self) -> bool:
        """Whether the weight changes."""
        return self.w is not None or self.up is not None

    @property
    def needs_bias(self) -> bool:
        return self.b is not None or (self.moves and bool(self.offset.any()))

    def learned(self, trained: Mapping[str, Array]) -> tuple[Array, Array]:
        """Weight and bias of the float model that computes what the device does, float64."""
        weight = self.weight.copy()
        bias = self.bias + weight @ self.offset
        if self.w is not None:
            scales = scales_of(self.w.type)
            scales = scales[self.channels] if len(scales) > 1 else scales
            weight[self.channels] = trained[self.w.name] * scales[:, None] / self.gain
        if self.down is not None and self.up is not None:
            a = trained[self.down.name] * self.down.type.tensor_scale
            b = trained[self.up.name] * scales_of(self.up.type)[:, None]
            weight += b @ a / self.gain
        if self.b is not None:
            bias[self.channels] = trained[self.b.name] * self.bias_scales + self.centre
        return weight, bias - weight @ self.offset


class Exporter:
    """Makes state dicts of ``recipe.model`` out of what sessions of ``compiled`` have learned.

    Raises RecipeError for a layer that learns and cannot be written back: its weight is computed
    from parameters or shared with another part of the model, a norm before it has a gain of 0,
    what it learns needs a bias that it does not have, or the float model has no such layer.
    """

    def __init__(self, recipe: Recipe, compiled: Compiled) -> None:
        self._model = recipe.model
        found = origins(recipe.model, recipe.calibration[0])
        self._first = found.first
        gains = folded_gains(found.graph)
        self._layers = []
        graph = compiled.forward
        device = {n.layer: n for n in graph.nodes if n.op in ON_DEVICE}
        for node in found.graph.nodes:
            origin = found.layers.get(node.layer)
            if origin is not None and node.op in LAYERS and node.layer in device:
                layer = _layer(found.graph, node, origin, gains.get(node.layer), graph, device)
                if layer.moves or layer.b is not None:
                    _check(layer)
                    self._layers.append(layer)
        _check_all(graph, self._layers)

    def state_dict(self, trained: Mapping[str, Array]) -> dict[str, Tensor]:
        """The model's state dict with the trained tensors of a session (``Session.weights``)."""
        state = {n: t.clone().contiguous() for n, t in self._model.state_dict().items()}
        for layer in self._layers:
            weight, bias = layer.learned(trained)
            self._write(state, layer.origin.weight, weight, weight != layer.weight)
            if layer.needs_bias:
                self._write(state, layer.origin.bias, bias, bias != layer.bias)
        return state

    def save(self, trained: Mapping[str, Array], path: Path) -> list[str]:
        """Write the state dict, for ``model.load_state_dict(torch.load(path))``; the names of the
        entries that changed."""
        import torch

        state = self.state_dict(trained)
        torch.save(state, path)
        before = self._model.state_dict()
        return [name for name, tensor in state.items() if not torch.equal(tensor, before[name])]

    def _write(
        self, state: dict[str, Tensor], numbers: Array | None, values: Array, where: Array
    ) -> None:
        """Put ``values`` at the elements with these numbers, in each entry that holds some."""
        assert numbers is not None
        for name, first in self._first.items():
            at = numbers - first
            inside = where & (at >= 0) & (at < state[name].numel())
            if inside.any():
                flat = state[name].view(-1)
                flat[at[inside]] = flat.new_tensor(values[inside])


def trained_of(compiled: Compiled, path: Path) -> dict[str, Array]:
    """The trained tensors of a snapshot in a file (``write_snapshot``).

    Raises RecipeError when it cannot be read, is none, is damaged, or of another model.
    """
    return compiled.codec.split_state(read_snapshot(compiled, path).state)


def _layer(
    floats: Graph, node: Node, origin: Origin, norm: tuple[Array, Array] | None, graph: Graph,
    device: Mapping[str, Node],
) -> _Layer:  # fmt: skip
    def trained(*values: Value | None) -> Value | None:
        return next((v for v in values if v and graph.params[v.name].kind == "trained"), None)

    def adapter(role: str) -> Value | None:
        params = graph.params.values()
        return next((p.value for p in params if (p.layer, p.role) == (node.layer, role)), None)

    x, w, wt, rows, b, bt, *_ = device[node.layer].inputs
    weight, bias = (floats.params[v.name].data.astype(np.float64) for v in node.inputs[1:] if v)
    assert x is not None and w is not None
    channels = np.arange(len(bias))
    if rows is not None:
        channels = np.flatnonzero(graph.params[rows.name].data >= 0)
    scales = np.broadcast_to(scales_of(w.type), bias.shape)[channels]
    gain, offset = norm or (np.ones(weight.shape[1]), np.zeros(weight.shape[1]))
    return _Layer(
        node.layer, origin, weight, bias, gain.astype(np.float64), offset.astype(np.float64),
        channels, x.type.tensor_scale * scales, device[node.layer].attrs.get("centre", 0.0),
        trained(wt, w), trained(bt, b), adapter("down"), adapter("up"),
    )  # fmt: skip


def _check_all(graph: Graph, layers: list[_Layer]) -> None:
    """Nothing that learns on the device is left out of the float model without a word."""
    written = {v.name for x in layers for v in (x.w, x.b, x.down, x.up) if v is not None}
    for node in graph.nodes:
        for value in node.inputs:
            param = graph.params.get(value.name) if value is not None else None
            if param is not None and param.kind == "trained" and param.value.name not in written:
                raise RecipeError(
                    f"{node.layer or node.name} learns, but cannot be exported: nothing in the "
                    f"float model corresponds to {param.value.name} "
                    f"{list(param.value.type.shape)}; leave it out of the scheme"
                )


def _check(layer: _Layer) -> None:
    where = f"{layer.name} learns, but cannot be exported: "
    if layer.origin.weight is None:
        raise RecipeError(f"{where}its weight is computed from parameters and is none of them")
    if layer.origin.shared:
        raise RecipeError(
            f"{where}another part of the model shares its weight, which comes apart on the device; "
            "give it a weight of its own (no tied embeddings)"
        )
    if layer.needs_bias and layer.origin.bias is None:
        raise RecipeError(
            f"{where}that takes a bias, and it has none; give it one (bias=True), or leave it out "
            "of the scheme's biases"
        )
    if layer.moves and not layer.gain.all():
        count = int((layer.gain == 0).sum())
        raise RecipeError(f"{where}the norm before it has a gain of 0 in {count} channels")
