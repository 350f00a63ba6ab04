"""Reverse-mode differentiation of the selected parameters, on the int8 graph.

The result is ONE graph: forward, loss, backward, and each update right after its gradient. What
does not lead to a trained parameter gets no gradient at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import SchemeError
from ..ir import Build, Graph, Node, Op, Type, Value
from ..ir.numerics import split_scale
from ..ops.accumulate import weight_step_s8, weight_sums_s32
from ..ops.base import Grad, scales_of
from ..ops.elementwise import channel_factors, rescale_grad_s8
from ..ops.gradient import align_grad_s8, clip_grad_s8, clip_mask_u8, grad_add_attrs, grad_add_s8
from ..recipe import Optimizer
from .objective import OBJECTIVES, Objective
from .update_rule import Units, rule_of

CLASSES = OBJECTIVES["classes"]


class BackwardBuild(Build):
    """Builds the backward graph behind a forward one; what op gradients are made with."""

    def __init__(self, forward: Graph, optimizer: Optimizer, own: str = "") -> None:
        super().__init__(forward)
        self.forward_nodes = list(forward.nodes)
        self.nodes = []
        self.optimizer, self.own, self.rule = optimizer, own, rule_of(optimizer)
        self._early: dict[str, list[Node]] = {}
        self._masks: dict[str, Value] = {}
        self._aligned: dict[str, Grad] = {}
        self._streams = 0

    def stream(self) -> int:
        self._streams += 1
        return self._streams

    def early(self, after: Value, op: Op, inputs: Sequence[Value], name: str) -> Value:
        """A node right behind the forward node that makes ``after``; what it reads may then die."""
        (value,) = self.node(op, inputs, name)
        self._early.setdefault(after.name, []).append(replace(self.nodes.pop(), phase="forward"))
        return value

    def input_gradient(
        self, op: Op, gy: Grad, more: Sequence[Value | None], factor: float, name: str, node: Node,
        **attrs: Any,
    ) -> Grad:  # fmt: skip
        scale, exponent = split_scale(factor)
        value, exp = self.node(
            op, [gy.value, gy.exponent, *more], name, stream=self.stream(), scale=scale,
            exp_add=exponent, layer=node.layer, **attrs,
        )  # fmt: skip
        return Grad(value, exp)

    def aligned(self, gy: Grad) -> Grad:
        name = gy.value.name
        if gy.value.type.shape[0] == 1:
            return gy
        if name not in self._aligned:
            layer = next((n.layer for n in reversed(self.nodes) if gy.value in n.outputs), "")
            value, exp = self.node(
                align_grad_s8, [gy.value, gy.exponent], f"{name}.aligned", stream=self.stream(),
                layer=layer,
            )  # fmt: skip
            self._aligned[name] = Grad(value, exp)
        return self._aligned[name]

    def clip(self, gy: Grad, node: Node) -> Grad:
        y = node.outputs[0]
        assert y is not None
        if y.name not in self._masks:
            self._masks[y.name] = self.early(y, clip_mask_u8, [y], f"{y.name}.clipped")
        mask = self._masks[y.name]
        (value,) = self.node(
            clip_grad_s8, [gy.value, mask], f"{gy.value.name}.clip", layer=node.layer
        )
        return Grad(value, gy.exponent)

    def fold_channel_scales(self, gy: Grad, scales: tuple[float, ...], node: Node) -> Grad:
        steps, _ = channel_factors(scales)
        steps = np.maximum(steps, 1)
        factors = self.param(f"{node.layer}.grad_factors", steps)
        folded = self.input_gradient(
            rescale_grad_s8, gy, [factors], gy.value.type.tensor_scale / 32767,
            f"{gy.value.name}.folded", node,
        )  # fmt: skip
        # G' = G * steps[o] / 32767 in size, so a real gradient is G' * scale * 32767 / steps[o].
        scale = folded.value.type.tensor_scale
        real = tuple(scale * 32767 / float(step) for step in steps)
        kind = Type(folded.value.type.shape, "i8", real)
        return Grad(self._retype(folded.value, kind), folded.exponent)

    def _retype(self, value: Value, kind: Type) -> Value:
        """Give the value just made another scale (its node says so in its attributes)."""
        node = self.nodes.pop()
        outputs = tuple(Value(v.name, kind) if v == value else v for v in node.outputs)
        self.append(replace(node, outputs=outputs, attrs={**node.attrs, "scale": kind.scale}))
        return Value(value.name, kind)

    def update_weight(
        self, op: Op, gy: Grad, x: Value, w: Value, rows: Value | None, node: Node,
        more: Sequence[Value] = (), **attrs: Any,
    ) -> None:  # fmt: skip
        name = f"{node.layer}.weight"
        state = self._weight_state(node.layer, name, gy, x, w)
        self.node(
            op, [gy.value, gy.exponent, x, w, *state, rows, *more], f"{name}.new",
            stream=self.stream(), layer=node.layer, nats=_nats(gy, w, x.type.tensor_scale), **attrs,
        )  # fmt: skip

    def collect_weight(self, gy: Grad, x: Value, w: Value, node: Node) -> None:
        name = f"{node.layer}.weight"
        acc, exponent = self.node(
            weight_sums_s32, [gy.value, gy.exponent, x], f"{name}.sums", layer=node.layer
        )
        state = self._weight_state(node.layer, name, gy, x, w)
        self.node(
            weight_step_s8, [acc, exponent, w, *state], f"{name}.new", stream=self.stream(),
            layer=node.layer, tokens=x.type.shape[0], nats=_nats(gy, w, x.type.tensor_scale),
        )  # fmt: skip

    def _weight_state(
        self, layer: str, name: str, gy: Grad, x: Value, w: Value
    ) -> tuple[Value | None, ...]:
        """(fraction, moment, coefficients) that the step of a weight needs."""
        fraction = None
        if self.optimizer.weights == "int16":
            fraction = self.param(
                f"{name}.fraction", np.zeros(w.type.shape, np.int8), "trained", role="fraction",
                layer=layer,
            )  # fmt: skip
        return fraction, *self._rule(layer, name, gy, x, w, power=1)

    def update_bias(
        self, op: Op, gy: Grad, x: Value, b: Value, rows: Value | None, node: Node
    ) -> None:
        name, w = f"{node.layer}.bias", node.inputs[1]
        assert w is not None
        moment, coefs = self._rule(node.layer, name, gy, x, w, power=0)
        self.node(
            op, [gy.value, gy.exponent, b, moment, coefs, rows], f"{name}.new",
            unit=1.0 / x.type.tensor_scale, layer=node.layer, nats=_nats(gy, w, 1.0),
        )  # fmt: skip

    def _rule(
        self, layer: str, name: str, gy: Grad, x: Value, w: Value, power: int
    ) -> tuple[Value | None, Value | None]:
        """The moment and the coefficients that the update rule keeps of a weight (``power`` 1) or a
        bias (0)."""
        name, moment = self.own + name, None
        if self.rule.moment:
            zero = np.zeros(1, np.float32)
            moment = self.param(f"{name}.moment", zero, "optimizer", role="moment", layer=layer)
        s_g, s_w = scales_of(gy.value.type), scales_of(w.type)
        s_x = x.type.tensor_scale
        units = Units(s_g * s_x, s_w) if power else Units(s_g, s_x * s_w)
        coefs = self.rule.coefficients(units)
        return moment, None if coefs is None else self.param(f"{name}.coefs", coefs)

    def add(self, a: Grad, b: Grad, name: str, layer: str) -> Grad:
        attrs = grad_add_attrs(a.value.type.tensor_scale, b.value.type.tensor_scale)
        value, exp = self.node(
            grad_add_s8, [a.value, a.exponent, b.value, b.exponent], f"{name}.grad",
            stream=self.stream(), layer=layer, **attrs,
        )  # fmt: skip
        return Grad(value, exp)

    def whole(self) -> list[Node]:
        """Forward nodes, each followed by its early ones, then all others."""
        nodes: list[Node] = []
        for node in self.forward_nodes:
            nodes.append(node)
            for value in node.outputs:
                nodes += self._early.get(value.name, []) if value is not None else []
        return nodes + self.nodes


def _nats(gy: Grad, w: Value, s_x: float) -> float:
    """Real gradient, by the unit of the device's step (a weight LSB), of an accumulator of 1 and
    exponent 0; the root mean square over channels that have scales of their own."""
    each = scales_of(gy.value.type) * scales_of(w.type)
    return s_x * float(np.sqrt(np.mean(np.square(each, dtype=np.float64))))


def trained_values(forward: Graph, chosen: Collection[str] | None = None) -> set[str]:
    """Names of trained parameters (of those chosen) and of all values that depend on one."""
    live = {name for name, p in forward.params.items() if p.kind == "trained"}
    live &= live if chosen is None else set(chosen)
    for node in forward.nodes:
        if any(v is not None and v.name in live for v in node.inputs):
            live |= set(node.makes)
    return live


def with_loss(forward: Graph, objective: Objective = CLASSES) -> Graph:
    """Forward and loss: outputs are the metrics ``i32[3]`` and the logits."""
    build = Build(forward)
    (logits,) = forward.outputs
    build.phase = "loss"
    labels = build.input("labels", objective.target(logits.type), "labels")
    metrics = objective.metrics(build, logits, labels)
    return build.graph([metrics, logits])


def differentiate(
    forward: Graph, optimizer: Optimizer, chosen: Collection[str] | None = None, own: str = "",
    objective: Objective = CLASSES,
) -> Graph:  # fmt: skip
    """The training step: forward, loss, backward of what trains, updates. Output: the metrics.

    ``forward`` is an int8 graph with logits as its only output, after ``select.apply_scheme``.
    ``chosen``: names of the parameters that train (None: all that can); ``own`` goes before the
    names of moments and coefficients, whose unit depends on the way that a gradient takes. Updates
    have the attribute ``nats``, see ``worth.py``. Raises SchemeError when a trained parameter
    cannot be reached, or an op on the way has no gradient.
    """
    live = trained_values(forward, chosen)
    (logits,) = forward.outputs
    build = BackwardBuild(forward, optimizer, own)
    build.phase = "loss"
    labels = build.input("labels", objective.target(logits.type), "labels")
    metrics = objective.metrics(build, logits, labels)
    build.phase = "backward"
    if logits.name not in live:
        raise SchemeError("no trained parameter leads to the loss; choose other layers")
    start = objective.gradient(build, logits, labels, "logits.grad")
    pending: dict[str, list[Grad]] = {logits.name: [start]}
    for node in reversed(forward.nodes):
        outs = [v for v in node.outputs if v is not None]
        if not any(v.name in pending for v in outs):
            continue
        grads = tuple(_sum(build, pending.pop(v.name, []), v.name, node.layer) for v in outs)
        wanted = tuple(v is not None and v.name in live for v in node.inputs)
        if not any(wanted):
            continue
        if node.op.grad is None:
            raise SchemeError(
                f"{node.layer or node.name}: {node.op.name} has no gradient, so nothing before it "
                "can train; choose layers behind it"
            )
        for value, grad in zip(node.inputs, node.op.grad(build, node, grads, wanted), strict=True):
            if value is not None and grad is not None and value.name in live:
                pending.setdefault(value.name, []).append(grad)
    build.nodes = build.whole()
    return build.graph([metrics])


def _sum(build: BackwardBuild, grads: list[Grad], name: str, layer: str) -> Grad | None:
    if not grads:
        return None
    total = grads[0]
    for grad in grads[1:]:
        total = build.add(total, grad, name, layer)
    return total
