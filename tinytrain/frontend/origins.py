"""Where the weights of a float graph come from: which elements of which of the model's parameters.

A layer's weight may be a parameter, a third of its rows (a fused qkv), its transpose, a flattened
kernel. Nothing is concluded from names: the program is lowered a second time with numbered elements
in place of parameters, and where a number comes out is where that element went.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..ir import Array, Graph
from ..ops import floating
from .torch_export import exported, lower

LAYERS = (floating.linear, floating.conv_pool)
MOST = 2**24  # what float32 can number


@dataclass(frozen=True)
class Origin:
    """Numbers of the elements of a linear layer or a convolution, ``[O, C]`` and ``[O]``; None for
    what is no movement of parameters. ``shared``: another place of the model reads some of them,
    too."""

    weight: Array | None
    bias: Array | None
    shared: bool


@dataclass(frozen=True)
class Origins:
    """``graph``: the float graph. ``layers``: its linear layers and convolutions. ``first``: the
    number of the first element of each entry of the model's state dict; entries that are one tensor
    have one number."""

    graph: Graph
    layers: Mapping[str, Origin]
    first: Mapping[str, int]


def origins(model: nn.Module, example: Array) -> Origins:
    """Raises what ``from_torch`` raises, and RecipeError for 2^24 parameters or more."""
    program, sample = exported(model, example)
    graph = lower(program, model, sample)
    state = {n: t for n, t in model.state_dict().items() if t.is_floating_point()}
    first: dict[str, int] = {}
    values = [np.zeros(1)]  # number 0 is none
    seen: dict[int, int] = {}
    count = 1
    for name, tensor in state.items():
        if tensor.data_ptr() not in seen:
            seen[tensor.data_ptr()] = count
            values.append(tensor.detach().double().numpy().reshape(-1))
            count += tensor.numel()
        first[name] = seen[tensor.data_ptr()]
    if count > MOST:
        raise RecipeError(f"{count - 1} parameters; weights of at most {MOST - 1} can be exported")
    for name in program.state_dict.keys() & first.keys():
        program.state_dict[name] = numbered(first[name], state[name])
    return Origins(graph, _layers(graph, lower(program, model, sample), values), first)


def numbered(first: int, like: Tensor) -> Tensor:
    return torch.arange(first, first + like.numel(), dtype=torch.float32).reshape(like.shape)


def _layers(graph: Graph, labelled: Graph, values: list[Array]) -> dict[str, Origin]:
    flat = np.concatenate(values)
    found = {
        name: numbers
        for name, param in labelled.params.items()
        if name in graph.params
        and (numbers := _numbers(param.data, graph.params[name].data, flat)) is not None
    }
    uses = np.zeros(len(flat), np.int64)
    for numbers in found.values():
        uses += np.bincount(numbers.reshape(-1), minlength=len(flat))
    layers = {}
    for node in labelled.nodes:
        if node.op in LAYERS:
            weight, bias = (found.get(v.name) for v in node.inputs[1:] if v is not None)
            shared = any(bool((uses[n] > 1).any()) for n in (weight, bias) if n is not None)
            layers[node.layer] = Origin(weight, bias, shared)
    return layers


def _numbers(labels: Array, real: Array, flat: Array) -> Array | None:
    """The numbers of the elements, each of another one; None where they are no such thing."""
    if labels.shape != real.shape or labels.min() < 1 or labels.max() >= len(flat):
        return None
    numbers = labels.astype(np.int64)
    moved = np.array_equal(numbers, labels) and len(np.unique(numbers)) == numbers.size
    return numbers if moved and np.array_equal(flat[numbers].astype(np.float32), real) else None
