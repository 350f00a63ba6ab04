"""Float graph -> int8 graph: scales, integer weights, requantize constants.

Symmetric int8 everywhere (zero point 0): activations and weights in [-127, 127], biases int32 at
scale s_x * s_W, logits int16 in 1/256 nat.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import CalibrationError, UnsupportedOp
from ..ir import Array, Build, Graph, Node, Op, Type, Value
from ..ir.numerics import multiplier
from ..ops.attention import attention_mix_s8, attention_probs_u8, mix_attrs, probs_attrs
from ..ops.conv import conv_pool_s8
from ..ops.elementwise import add_attrs, add_s8, affine_attrs, affine_s8, lut_node, view
from ..ops.floating import FLOAT_OPS
from ..ops.functions import UNARY
from ..ops.linear import linear_s8, linear_s16
from ..ops.loss import LOGIT_SCALE
from ..ops.norm import layernorm_attrs, layernorm_s8
from ..ops.pool import pool_attrs, sequence_pool_s8
from ..ops.tokens import (
    concat_tokens_s8,
    embedding_s8,
    mean_attrs,
    mean_tokens_s8,
    permute_s8,
    select_token_s8,
)
from ..ops.update import BIAS_LIMIT
from .logits import Logits, centre_of

F = FLOAT_OPS
BIAS_ROOM = 2**29  # most steps of a bias that makes its weight scale larger: half is for training


class Lowering:
    """One run over a folded float graph. ``ranges``: largest absolute value by value name."""

    def __init__(
        self, graph: Graph, ranges: dict[str, float], per_channel: bool, logits: Logits
    ) -> None:
        self.graph, self.ranges, self.per_channel = graph, ranges, per_channel
        self.logits = logits
        self.build = Build()
        self.value: dict[str, Value] = {}
        self.weights: dict[str, Value] = {}

    def run(self) -> Graph:
        (source,) = self.graph.inputs
        kind = source.type
        if kind.dtype == "f32":
            kind = Type(kind.shape, "i8", self.scale(source))
        self.value[source.name] = self.build.input(source.name, kind)
        for node in self.graph.nodes:
            rule = RULES.get(node.op)
            if rule is None:
                raise UnsupportedOp(f"{node.layer or node.name}: {node.op.name} has no int8 form")
            out = node.outputs[0]
            assert out is not None
            try:
                self.value[out.name] = rule(self, node, out)
            except ValueError as error:  # a ratio of scales that the integers cannot hold
                raise CalibrationError(
                    f"{node.layer or node.name}: {node.op.name} cannot be quantized: {error}; its "
                    f"output reaches {self.ranges[out.name]:.3g} over the calibration samples; "
                    "scale its input or its weights to magnitudes nearer to 1"
                ) from None
        (logits,) = self.graph.outputs
        result = self.value[logits.name]
        if result.type.dtype != "i16":
            raise UnsupportedOp(
                "the model's output must come straight from a linear layer (the head); "
                f"it comes from {self.graph.nodes[-1].op.name}"
            )
        return self.build.graph([result])

    def scale(self, value: Value) -> float:
        return self.ranges[value.name] / 127

    def data(self, value: Value | None) -> Array:
        assert value is not None
        return self.graph.params[value.name].data

    def activation(self, value: Value | None) -> Value:
        """The int8 value of a float one; a parameter becomes an int8 constant."""
        assert value is not None
        if value.name in self.graph.params:
            return self.tensor(value, per_channel=False)
        return self.value[value.name]

    def tensor(self, value: Value, per_channel: bool, least: Array | None = None) -> Value:
        """A float parameter as int8, one scale a tensor or a first-axis channel; made once, also
        where two names have the same content (tied weights). ``least``: scales are no smaller."""
        real = self.data(value).astype(np.float64)
        finite(real, value.name)
        key = f"{real.shape}:{per_channel}:{hashlib.sha256(real.tobytes()).hexdigest()}"
        key += "" if least is None else f":{least.tolist()}"
        if key not in self.weights:
            axes = tuple(range(1, real.ndim)) if per_channel else None
            peak = np.abs(real).max(axis=axes)
            scale = np.where(peak > 0, peak, 1.0) / 127
            scale = scale if least is None else np.maximum(scale, least)
            shaped = scale.reshape(-1, *[1] * (real.ndim - 1)) if per_channel else scale
            codes = np.clip(np.rint(real / shaped), -127, 127).astype(np.int8)
            kept = tuple(float(s) for s in scale) if per_channel else float(scale)
            self.weights[key] = self.build.param(value.name, codes, "const", kept, role="weight")
        return self.weights[key]

    def node(self, op: Op, inputs: Any, name: str, node: Node, **attrs: Any) -> Value:
        outs = self.build.node(op, inputs, name, layer=node.layer, **attrs)
        return outs[0]


def finite(array: Array, name: str) -> None:
    """Raises CalibrationError naming the parameter when it holds NaN or infinity."""
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise CalibrationError(f"{name} holds {count} values that are NaN or infinity")


def _linear(low: Lowering, node: Node, out: Value) -> Value:
    head = out in low.graph.outputs
    s_y = LOGIT_SCALE if head else low.scale(out)
    centre = centre_of(low.logits, node.layer or node.name) if head else 0.0
    ins = _products(low, node, out, s_y, centre)
    more = {"centre": centre} if centre else {}
    return low.node(linear_s16 if head else linear_s8, ins, out.name, node, scale=s_y, **more)


def _products(
    low: Lowering, node: Node, out: Value, s_y: float, centre: float = 0.0
) -> list[Value | None]:
    """Inputs of a linear layer or a convolution, whose input is ``node.inputs[0]``.

    ``centre`` is taken from every bias. A bias of more steps than int32 sums have room for makes
    its weight scale larger: what the weights lose is less than 2^-29 of the bias a product.
    """
    x, w, b = low.activation(node.inputs[0]), node.inputs[1], node.inputs[2]
    assert w is not None
    weight = low.tensor(w, low.per_channel)
    s_w, s_x = np.atleast_1d(np.array(weight.type.scale)), x.type.tensor_scale
    real = low.data(b).astype(np.float64)
    finite(real, b.name if b else out.name)
    real = real - centre
    if np.abs(np.rint(real / (s_x * s_w))).max() > BIAS_LIMIT:
        least = np.abs(real) / (s_x * BIAS_ROOM)
        weight = low.tensor(w, low.per_channel, least if low.per_channel else least.max())
        s_w = np.atleast_1d(np.array(weight.type.scale))
    steps = np.rint(real / (s_x * s_w))
    bias = low.build.param(
        f"{node.layer}.bias",
        np.clip(steps, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32),
        role="bias", layer=node.layer,
    )  # fmt: skip
    pairs = [multiplier(float(s_x * s / s_y)) for s in s_w]
    mult, shift = (np.array(part, np.int32) for part in zip(*pairs, strict=True))
    constants = [
        low.build.param(f"{node.layer}.mult", mult, role="multiplier", layer=node.layer),
        low.build.param(f"{node.layer}.shift", shift, role="multiplier", layer=node.layer),
    ]  # fmt: skip
    return [x, weight, None, None, bias, None, *constants]


def _conv(low: Lowering, node: Node, out: Value) -> Value:
    s_y = low.scale(out)
    attrs = {name: node.attrs[name] for name in ("image", "conv", "pool", "relu")}
    ins = _products(low, node, out, s_y)
    return low.node(conv_pool_s8, ins, out.name, node, scale=s_y, winners=False, **attrs)


def _norm(low: Lowering, node: Node, out: Value) -> Value:
    x = low.activation(node.inputs[0])
    attrs = layernorm_attrs(x.type.tensor_scale, low.scale(out), x.type.shape[1], node.attrs["eps"])
    return low.node(layernorm_s8, [x], out.name, node, **attrs)


def _affine(low: Lowering, node: Node, out: Value) -> Value:
    x = low.activation(node.inputs[0])
    m, c, attrs = affine_attrs(
        low.data(node.inputs[1]), low.data(node.inputs[2]), x.type.tensor_scale, low.scale(out)
    )
    constants = [low.build.param(f"{out.name}.m", m), low.build.param(f"{out.name}.c", c)]
    return low.node(affine_s8, [x, *constants], out.name, node, **attrs)


def _attention(low: Lowering, node: Node, out: Value) -> Value:
    q, k, v = (low.activation(i) for i in node.inputs)
    heads, causal, factor = (node.attrs[key] for key in ("heads", "causal", "scale"))
    shape = {"heads": heads, "causal": causal}
    attrs = probs_attrs(q.type.tensor_scale, k.type.tensor_scale, factor)
    probs = low.node(attention_probs_u8, [q, k], f"{out.name}.probs", node, **shape, **attrs)
    attrs = mix_attrs(v.type.tensor_scale, low.scale(out))
    return low.node(attention_mix_s8, [probs, v], out.name, node, **shape, **attrs)


def _unary(low: Lowering, node: Node, out: Value) -> Value:
    function, slope = UNARY[node.attrs["fn"]]
    x = low.activation(node.inputs[0])
    return lut_node(low.build, x, function, slope, low.scale(out), out.name, node.layer)


def _add(low: Lowering, node: Node, out: Value) -> Value:
    a, b = (low.activation(v) for v in node.inputs)
    attrs = add_attrs(a.type.tensor_scale, b.type.tensor_scale, low.scale(out))
    return low.node(add_s8, [a, b], out.name, node, **attrs)


def _scale(low: Lowering, node: Node, out: Value) -> Value:
    x, factor = low.activation(node.inputs[0]), float(node.attrs["factor"])
    if factor > 0:
        return low.node(
            view, [x], out.name, node, shape=x.type.shape, scale=x.type.tensor_scale * factor
        )
    return lut_node(
        low.build, x, lambda r: r * factor, lambda r: np.full_like(r, factor), low.scale(out),
        out.name, node.layer,
    )  # fmt: skip


def _embedding(low: Lowering, node: Node, out: Value) -> Value:
    table = node.inputs[1]
    assert table is not None
    ins = [low.activation(node.inputs[0]), low.tensor(table, per_channel=False)]
    return low.node(embedding_s8, ins, out.name, node)


def _mean(low: Lowering, node: Node, out: Value) -> Value:
    x, s_y = low.activation(node.inputs[0]), low.scale(out)
    attrs = mean_attrs(x.type.shape[0], x.type.tensor_scale, s_y)
    return low.node(mean_tokens_s8, [x], out.name, node, **attrs)


def _sequence_pool(low: Lowering, node: Node, out: Value) -> Value:
    x, a = (low.activation(v) for v in node.inputs)
    attrs = pool_attrs(x.type.tensor_scale, a.type.tensor_scale, low.scale(out))
    return low.node(sequence_pool_s8, [x, a], out.name, node, **attrs)


def _select(low: Lowering, node: Node, out: Value) -> Value:
    x = low.activation(node.inputs[0])
    return low.node(select_token_s8, [x], out.name, node, index=node.attrs["index"])


def _concat(low: Lowering, node: Node, out: Value) -> Value:
    a, b = (low.activation(v) for v in node.inputs)
    attrs = add_attrs(a.type.tensor_scale, b.type.tensor_scale, low.scale(out))
    return low.node(concat_tokens_s8, [a, b], out.name, node, **attrs)


def _reshape(low: Lowering, node: Node, out: Value) -> Value:
    x = low.activation(node.inputs[0])
    return low.node(view, [x], out.name, node, shape=node.attrs["shape"], scale=x.type.scale)


def _permute(low: Lowering, node: Node, out: Value) -> Value:
    """More than four axes: one axis at a time moves forward, which four axes can express."""
    x, axes = low.activation(node.inputs[0]), tuple(node.attrs["axes"])
    if len(axes) <= 4:
        return low.node(permute_s8, [x], out.name, node, axes=axes)
    order, sizes = list(range(len(axes))), list(x.type.shape)
    for to, axis in enumerate(axes):
        at = order.index(axis)
        if at == to:
            continue
        parts = (sizes[:to], sizes[to:at], sizes[at : at + 1], sizes[at + 1 :])
        shape = tuple(math.prod(part) for part in parts)
        scale, name = x.type.scale, f"{out.name}.axis{axis}"
        x = low.node(view, [x], f"{name}.view", node, shape=shape, scale=scale)
        x = low.node(permute_s8, [x], name, node, axes=(0, 2, 1, 3))
        order.insert(to, order.pop(at))
        sizes.insert(to, sizes.pop(at))
    return low.node(view, [x], out.name, node, shape=tuple(sizes), scale=x.type.scale)


RULES: dict[Op, Callable[[Lowering, Node, Value], Value]] = {
    F["linear"]: _linear, F["layer_norm"]: _norm, F["affine"]: _affine, F["attention"]: _attention,
    F["unary"]: _unary, F["add"]: _add, F["scale"]: _scale, F["embedding"]: _embedding,
    F["mean_tokens"]: _mean, F["select_token"]: _select, F["concat_tokens"]: _concat,
    F["reshape"]: _reshape, F["permute"]: _permute, F["conv_pool"]: _conv,
    F["sequence_pool"]: _sequence_pool,
}  # fmt: skip
