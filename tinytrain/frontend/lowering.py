"""The builder that the rules write to: from records to nodes of the float graph."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..errors import CalibrationError, UnsupportedOp
from ..ir import Build, Op, Value
from ..ops import floating
from .explain import hint, module_path, op_name, original_name, place
from .records import (
    Act,
    Const,
    Convolution,
    Projection,
    Scores,
    Weights,
    columns,
    counted,
    in_order,
    movement,
)

ATTENTION = "softmax(q @ k.T * scale + causal mask) @ v"
POOLING = "softmax(scores, dim=1).transpose(1, 2) @ x with scores [1, T, 1] and tokens x [1, T, C]"

# What may happen to the input before the first layer; its elements may still be moved then.
RAW = (floating.reshape, floating.permute, floating.scale, floating.add)


class Lowering:
    """Nodes made so far, and where in the torch graph the lowering stands (``current``)."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.build = Build()
        self.current: fx.Node | None = None
        self._layers: dict[str, Op] = {}
        self._movable: set[str] = set()  # the input, and what no layer has changed since
        self._seen: dict[object, Value] = {}
        self._keep: list[object] = []  # sources in _seen are known by id, so they must live

    # -- messages -----------------------------------------------------------------------------

    def refuse(self, why: str, instead: str = "", node: fx.Node | None = None) -> NoReturn:
        """Raise UnsupportedOp: the operator, its place, the reason and what to do.

        A part of a larger operator that a hint is written for is blamed on that operator.
        """
        node = node or self.current
        if node is None:
            raise UnsupportedOp(f"the model: {why}; use {instead}")
        whole = original_name(node)
        if whole != op_name(node) and (use := hint(whole.rsplit(".", 1)[-1])):
            raise UnsupportedOp(f"{place(node)} is not supported; use {use}")
        raise UnsupportedOp(f"{place(node)}: {why}" + (f"; use {instead}" if instead else ""))

    def act(self, record: object) -> Act:
        """The record, which must be an activation."""
        if isinstance(record, Scores):
            self.refuse("attention scores may only be scaled, masked, softmaxed and multiplied "
                        "with the values", ATTENTION)  # fmt: skip
        if isinstance(record, Weights):
            self.refuse("the softmax over tokens may only be multiplied with the tokens", POOLING)
        if not isinstance(record, Act):
            self.refuse("needs an activation here, got what does not depend on the input")
        return record

    def const(self, record: object, what: str) -> Const:
        """The record, which must not depend on the input."""
        if not isinstance(record, Const):
            self.refuse(f"{what} depends on the input; it must be a parameter or a constant")
        return record

    @property
    def path(self) -> str:
        return module_path(self.current) if self.current is not None else ""

    def named(self, name: str) -> str:
        """``name`` in the module where the lowering stands."""
        return f"{self.path}.{name}" if self.path else name

    def layer_of(self, weight: Const) -> str:
        """The user's name of a layer: the module, or the parameter where a module has several."""
        owner: Any = self.model
        try:
            owner = self.model.get_submodule(self.path)
            own = weight.name and owner.weight is self.model.get_parameter(weight.name)
        except AttributeError:
            own = False
        if own or not weight.name:
            return self.path
        for ending in (".weight", ".in_proj_weight"):
            if weight.name.endswith(ending):
                return weight.name.removesuffix(ending)
        return "" if weight.name in ("weight", "in_proj_weight") else weight.name

    def claim(self, layer: str, op: Op, node: fx.Node | None = None) -> str:
        """The name of a layer with parameters; each stands for one place in the graph.

        Operators that share a weight (an embedding table that is the head, too) get two names.
        """
        if self._layers.get(layer, op) is not op:
            layer = f"{layer}.{op.name}" if layer else op.name
        if layer in self._layers:
            self.refuse(
                f"layer {layer or 'weight'!r} is applied a second time, or its output is read both "
                "whole and in parts; each place trains weights of its own",
                "a module for each place",
                node,
            )
        self._layers[layer] = op
        return layer

    # -- nodes --------------------------------------------------------------------------------

    def emit(self, op: Op, inputs: list[Value], layer: str, name: str = "", **attrs: Any) -> Value:
        """A node with one output called ``name``, or ``{layer}.{op}``."""
        name = name or (f"{layer}.{op.name}" if layer else op.name)
        value = self.build.node(op, inputs, name, layer=layer, **attrs)[0]
        raw = all(v.name in self._movable or v.name in self.build.params for v in inputs)
        return self.input(value) if raw and op in RAW else value

    def param(self, name: str, tensor: Tensor) -> Value:
        """A float32 parameter. Raises CalibrationError when it holds NaN or infinity."""
        data = np.array(tensor.detach().numpy(), np.float32, order="C")
        if not np.isfinite(data).all():
            raise CalibrationError(f"parameter {name} holds NaN or infinity; train it again")
        return self.build.param(name, data)

    def layer(self, op: Op, inputs: list[Value], layer: str, **tensors: Any) -> Value:
        """A node with the parameters ``{layer}.weight`` ...; attributes are what is no tensor."""
        dot = f"{layer}." if layer else ""
        params = [self.param(dot + k, t) for k, t in tensors.items() if isinstance(t, Tensor)]
        attrs = {k: v for k, v in tensors.items() if not isinstance(v, Tensor)}
        return self.emit(op, [*inputs, *params], layer, layer, **attrs)

    def input(self, value: Value) -> Value:
        self._movable.add(value.name)
        return value

    def is_input(self, act: Act) -> bool:
        """Whether its elements are still the model's input, which may be moved at will."""
        return isinstance(act.source, Value) and act.source.name in self._movable

    def read_once(self) -> bool:
        """Whether nothing but the current operator reads what it reads."""
        return self.current is None or all(len(n.users) == 1 for n in self.current.all_input_nodes)

    # -- from records to values ---------------------------------------------------------------

    def gather(self, act: Act, index: Tensor, role: str = "", scaled: bool = True) -> Value:
        """The 2-D value whose elements are ``act.source``'s at ``index`` ``[T, C]``.

        ``role`` names a part of a projection; ``scaled`` False leaves ``act.factor`` to the caller.
        Raises UnsupportedOp when the index moves elements as no node can.
        """
        factor = act.factor if scaled else 1.0
        source = act.source
        known = source.name if isinstance(source, Value) else id(source)
        key = (known, tuple(index.shape), index.numpy().tobytes(), factor)
        if key not in self._seen:
            if factor == 1.0:
                self._seen[key] = self._moved(act, index, role)
            else:
                plain = self.gather(act, index, role, scaled=False)
                self._seen[key] = self.emit(floating.scale, [plain], act.place, factor=factor)
            self._keep.append(source)
        return self._seen[key]

    def flat(self, act: Act) -> tuple[Value, Tensor]:
        """A 2-D value with the elements of ``act`` in any order, and the index into it.

        For what treats all elements alike: the order of the source is kept where it has the same
        elements, so that nothing is moved.
        """
        size = math.prod(act.source_shape)
        if act.index.numel() == size and in_order(act.index.reshape(-1).sort().values):
            return self.gather(act, counted(size).reshape(-1, act.source_shape[-1])), act.index
        rows = act.index.reshape(-1, act.index.shape[-1] if act.index.dim() else 1)
        return self.gather(act, rows), counted(*act.index.shape)

    def rows(self, act: Act, role: str = "") -> Value:
        """The activation as ``[T, C]``: C is the last axis that torch sees."""
        return self.gather(act, act.index.reshape(-1, act.index.shape[-1]), role)

    def _moved(self, act: Act, index: Tensor, role: str) -> Value:
        source = act.source
        if isinstance(source, Projection):
            chosen = columns(index, source.shape[1]) if len(index) == source.shape[0] else None
            if chosen is not None:
                return self._project(source, chosen, role)
            source = self._project(source, tuple(range(source.shape[1])), "")
        if isinstance(source, Convolution):
            source = self._convolve(source)
        shape = source.type.shape
        if in_order(index) and index.numel() == source.type.size:
            return self._reshape(source, tuple(index.shape))
        if len(shape) == 2 and tuple(index.shape) == (1, shape[1]):
            start = int(index[0, 0])
            if start % shape[1] == 0 and in_order(index - start):
                token = start // shape[1]
                return self.emit(floating.select_token, [source], self.path, index=token)
        if source.name in self._movable and (found := movement(index, source.type.size)):
            value = self._reshape(source, found[0])
            value = self.emit(floating.permute, [value], self.path, axes=found[1])
            return self._reshape(value, tuple(index.shape))
        self.refuse(
            f"moves, repeats or leaves out elements of an activation {shape} as no node can",
            "activations as [1, T, C]; x[:, i], x.mean(dim=1) and torch.cat along tokens; an input "
            "that is cropped and sliced before the model",
            act.node,
        )

    def _reshape(self, value: Value, shape: tuple[int, ...]) -> Value:
        if value.type.shape == shape:
            return value
        return self.emit(floating.reshape, [value], self.path, shape=shape)

    def _convolve(self, source: Convolution) -> Value:
        if source.made is None:
            claimed = self.claim(source.layer, floating.conv_pool, source.node)
            source.made = self.layer(
                floating.conv_pool, [source.x], claimed, weight=source.weight, bias=source.bias,
                image=source.image, conv=source.conv, pool=source.pool, relu=source.relu,
            )  # fmt: skip
        return source.made

    def _project(self, source: Projection, chosen: tuple[int, ...], role: str) -> Value:
        """The node that computes these output channels of a linear layer."""
        if chosen in source.made:
            return source.made[chosen]
        taken = {channel for other in source.made for channel in other}
        if len(set(chosen)) < len(chosen) or taken & set(chosen):
            self.refuse(f"reads output channels of {source.layer!r} more than once (grouped-query "
                        "attention, or the output is used both whole and in parts)",
                        "a linear layer for each use", source.node)  # fmt: skip
        layer = source.layer
        if source.part or len(chosen) < source.shape[1]:
            parts = sum(name.startswith(f"{layer}.") for name in self._layers)
            layer = ".".join(filter(None, (layer, role or str(parts))))
        pick = torch.tensor(chosen)
        bias = source.bias if source.bias is not None else torch.zeros(source.shape[1])
        tensors = {"weight": source.weight[pick], "bias": bias[pick]}
        value = self.layer(
            floating.linear, [source.x], self.claim(layer, floating.linear, source.node), **tensors
        )
        source.made[chosen] = value
        return value
