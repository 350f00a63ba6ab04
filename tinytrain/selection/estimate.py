"""The first-order estimate of what each channel is worth, in one pass over the float model.

Fisher information (Theis et al. 2018, as TinyTrain, Kwon et al. 2024, uses it): the mean over
samples of the squared gradient of the loss, summed over a channel's weights. Gradients are taken by
weight LSBs of the int8 model, the unit in which the device steps, so that a rescaling of the
weights that leaves the model as it is leaves the estimate as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..errors import RecipeError
from ..frontend.origins import Origin, origins
from ..ir import Array, Graph
from ..ops.base import scales_of
from ..pretrain import mean_loss, one_thread, to_tensor
from ..quantize.fold import folded_gains
from ..recipe import Proxy, Recipe
from ..training.scheme import LAYERS, Layer
from .options import Option

MOST = 128  # samples that are looked at


@dataclass(frozen=True)
class Estimate:
    """Fisher information by output channel, nats^2 per LSB^2: of each layer's ``weight`` and
    ``bias``; layers of which nothing is known are absent."""

    weight: dict[str, Array]
    bias: dict[str, Array]

    def of(self, layer: Layer, option: Option, order: Sequence[int]) -> float:
        """What an option trains. An adapter of rank r moves the weight in r directions of as many
        as its smaller side has."""
        if layer.name not in self.weight:
            return 0.0
        weight, bias = self.weight[layer.name], self.bias[layer.name]
        if option.channels:
            chosen = list(order[: option.channels])
            return float(weight[chosen].sum() + option.bias * bias[chosen].sum())
        part = option.rank / min(layer.outputs, layer.inputs)
        return float(part * weight.sum() + option.bias * bias.sum())


@one_thread()
def estimate(
    recipe: Recipe, graph: Graph, layers: Sequence[Layer], tasks: Sequence[Proxy]
) -> Estimate:
    """``graph``: the int8 model. Looks at the samples of ``tasks`` that adapt."""
    names = {layer.name for layer in layers}
    squares = squared_gradients(recipe.model, tasks)
    found = origins(recipe.model, recipe.calibration[0])
    state = recipe.model.state_dict()
    flat = np.zeros(1 + max(at + state[n].numel() for n, at in found.first.items()))
    for name, values in squares.items():
        flat[found.first[name] : found.first[name] + values.size] = values.reshape(-1)
    gains = folded_gains(found.graph)
    steps = {n.layer: scales_of(n.inputs[1].type) for n in graph.nodes
             if n.op in LAYERS and n.inputs[1] is not None}  # fmt: skip
    weight, bias = {}, {}
    for name, origin in found.layers.items():
        if name in names and origin.weight is not None:
            gain = gains[name][0] if name in gains else np.ones(1)
            weight[name], bias[name] = _layer(flat, origin, steps[name], gain)
    for layer in layers:
        if layer.convolution:
            weight[layer.name], bias[layer.name] = _convolution(
                recipe.model, squares, layer, steps[layer.name])  # fmt: skip
    return Estimate(weight, bias)


def squared_gradients(model: nn.Module, tasks: Sequence[Proxy]) -> dict[str, Array]:
    """Mean over samples of the squared gradient of each parameter, by its name."""
    named = {n: p for n, p in model.named_parameters(remove_duplicate=False)}
    asked = {n: p.requires_grad for n, p in named.items()}
    sums = {n: torch.zeros_like(p) for n, p in named.items()}
    count = 0
    try:
        model.requires_grad_(True)
        for task in tasks:
            x, y = to_tensor(task.train.x), to_tensor(task.train.y)
            for i in np.linspace(0, len(x) - 1, min(len(x), MOST // len(tasks) + 1)).astype(int):
                model.zero_grad(set_to_none=True)
                loss = mean_loss(model(x[i : i + 1]), y[i : i + 1])
                loss.backward()  # type: ignore[no-untyped-call]
                for name, parameter in named.items():
                    if parameter.grad is not None:
                        sums[name] += parameter.grad.square()
                count += 1
    finally:
        model.zero_grad(set_to_none=True)
        for name, parameter in named.items():
            parameter.requires_grad_(asked[name])
    if not all(bool(value.isfinite().all()) for value in sums.values()):
        raise RecipeError("the model has gradients that are not finite on its adaptation samples")
    return {name: (value / count).double().numpy() for name, value in sums.items()}


def _layer(flat: Array, origin: Origin, step: Array, gain: Array) -> tuple[Array, Array]:
    """Per output channel: of the weight as the device has it, W diag(gain), and of the bias."""
    assert origin.weight is not None
    with np.errstate(divide="ignore"):
        inverse = np.where(gain == 0, 0.0, 1.0 / np.square(gain, dtype=np.float64))
    weight = (flat[origin.weight] * inverse).sum(axis=1) * np.square(step)
    if origin.bias is None:
        return weight, np.zeros_like(weight)
    return weight, flat[origin.bias] * np.square(step)


def _convolution(
    model: nn.Module, squares: dict[str, Array], layer: Layer, step: Array
) -> tuple[Array, Array]:
    """The same of a convolution, whose parameters carry its name."""
    kernel = squares.get(f"{layer.name}.weight", np.zeros((layer.outputs, 1)))
    bias = squares.get(f"{layer.name}.bias", np.zeros(layer.outputs))
    return kernel.reshape(layer.outputs, -1).sum(axis=1) * step**2, bias * step**2


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation, equal values with their mean rank; 0 where one does not vary."""
    if len(a) < 2:
        return 0.0
    x, y = (_ranks(np.asarray(v, np.float64)) for v in (a, b))
    spread = float(x.std() * y.std())
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread else 0.0


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]
