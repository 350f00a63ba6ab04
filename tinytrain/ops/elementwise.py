"""Elementwise operators: functions by table, addition, gain and bias a channel, views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Build, Case, Node, Op, Step, Type, Types, Value
from ..ir.numerics import ZERO_EXPONENT, clamp, quantize_rows, stream_key
from .base import Backward, Grad, need, need_gradient
from .functions import UNARY, Function, lut_table, slope_table


def lut_node(
    b: Build, x: Value, fn: Function, derivative: Function, s_y: float, name: str, layer: str = ""
) -> Value:
    """y = fn(x) by table. The node keeps the slopes, which only a gradient makes a parameter of."""
    s_x = x.type.tensor_scale
    table = b.param(f"{name}.table", lut_table(fn, s_x, s_y))
    attrs = {"scale": s_y, **slope_attrs(derivative, s_x)}
    return b.node(lut_s8, [x, table], name, layer=layer, **attrs)[0]


def slope_attrs(derivative: Function, s_x: float) -> dict[str, Any]:
    slope, scale = slope_table(derivative, s_x)
    return {"slope": tuple(slope.tolist()), "slope_scale": scale}


def channel_factors(factors: Sequence[float]) -> tuple[Array, float]:
    """(int16 [C], scale) of real factors, for ``rescale_grad_s8``."""
    real = np.asarray(factors, np.float64)
    scale = float(np.abs(real).max()) / 32767 or 1.0
    return np.asarray(np.rint(real / scale), np.int16), scale


def add_attrs(s_a: float, s_b: float, s_y: float) -> dict[str, Any]:
    """The attributes of ``add_s8`` and ``concat_tokens_s8``: ma * 2**-shift = s_a / s_y, the larger
    of ma and mb having 15 bits."""
    ratio = max(s_a, s_b) / s_y
    shift = min(30, 15 - math.frexp(ratio)[1])
    if round(math.ldexp(ratio, shift)) == 2**15:
        shift -= 1
    if shift < 1:
        raise ValueError(f"output scale {s_y} is too small for input scales {s_a} and {s_b}")
    ma, mb = (round(math.ldexp(s / s_y, shift)) for s in (s_a, s_b))
    return {"scale": s_y, "ma": ma, "mb": mb, "shift": shift}


def affine_attrs(
    gamma: Array, beta: Array, s_x: float, s_y: float
) -> tuple[Array, Array, dict[str, Any]]:
    """(m, c, attributes) of ``affine_s8``: the most bits with |m| <= 2**22 and |c| <= 2**29."""
    m_real = np.asarray(gamma, np.float64) * (s_x / s_y)
    c_real = np.asarray(beta, np.float64) / s_y
    need_m, need_c = (float(np.abs(v).max()) for v in (m_real, c_real))
    fits = [s for s in range(1, 30) if need_m * 2**s <= 2**22 and need_c * 2**s <= 2**29]
    if not fits:
        raise ValueError(f"output scale {s_y} is too small for gain {need_m} and bias {need_c}")
    m, c = (np.asarray(np.rint(v * 2.0 ** fits[-1]), np.int32) for v in (m_real, c_real))
    attrs = {"scale": s_y, "shift": fits[-1], "gamma": tuple(map(float, gamma)),
             "beta": tuple(map(float, beta))}  # fmt: skip
    return m, c, attrs


def _lut_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, table = need(types[0], "i8"), need(types[1], "i8", 1)
    if table.shape != (256,):
        raise ShapeError(f"lut: a table of 256 is needed, got {table}")
    return (Type(x.shape, "i8", attrs["scale"]),)


def _count(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return {"count": need(ins[0]).size}


def _lut_grad(b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: Any) -> Any:
    gy, name = grads[0], node.layer or node.name
    assert gy
    slope = b.param(f"{name}.slope", np.array(node.attrs["slope"], np.int8))
    factor = gy.value.type.tensor_scale * node.attrs["slope_scale"]
    dx = b.input_gradient(lut_dx_s8, gy, [node.inputs[0], slope], factor, f"{name}.dx", node)
    return dx, None


def gradient_types(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    """Types of a gradient row by row: (gx like g, an exponent a row)."""
    g = need_gradient(types[0], types[1])
    return Type(g.shape, "i8", attrs["scale"]), need(types[1])


def _lut_dx_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    if need(types[0]).shape != need(types[2], "i8").shape or need(types[3], "i8").shape != (256,):
        raise ShapeError(f"lut_dx: {types[0]}, {types[2]} and slopes {types[3]} do not fit")
    return gradient_types(types, attrs)


def _lut_dx_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, x, slope = ins
    acc = g.astype(np.int64) * slope[x.astype(np.int64) + 128]
    key = stream_key(step.seed, step.step, attrs["stream"])
    gx, gx_exp = quantize_rows(acc.reshape(len(acc), -1), e, attrs["exp_add"], key)
    return gx.reshape(g.shape), gx_exp


def _rows(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    """Rows and what is in each: all axes but the first."""
    x = need(ins[0])
    return {"T": x.shape[0], "C": x.size // x.shape[0]}


def _gradient_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return _rows(ins, outs, attrs) | {"exp_add": attrs["exp_add"], "stream": attrs["stream"]}


def _add_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    a, b = need(types[0], "i8"), need(types[1], "i8")
    if a.shape != b.shape:
        raise ShapeError(f"add: {a} and {b} have different shapes")
    return (Type(a.shape, "i8", attrs["scale"]),)


def scaled(acc: Array, shift: int) -> Array:
    """clamp((acc + half) >> shift) as int8."""
    return clamp((acc + (1 << (shift - 1))) >> shift, 127)


def _add_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    a, b = (v.astype(np.int64) for v in ins)
    return (scaled(a * attrs["ma"] + b * attrs["mb"], attrs["shift"]),)


def _add_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return _count(ins, outs, attrs) | {name: attrs[name] for name in ("ma", "mb", "shift")}


def _affine_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, m, c = need(types[0], "i8", 2), need(types[1], "i32", 1), need(types[2], "i32", 1)
    if m.shape != x.shape[1:] or c.shape != x.shape[1:]:
        raise ShapeError(f"affine: gain {m} and bias {c} do not fit {x}")
    return (Type(x.shape, "i8", attrs["scale"]),)


def _affine_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    x, m, c = (v.astype(np.int64) for v in ins)
    return (scaled(x * m + c, attrs["shift"]),)


def _affine_grad(b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: Any) -> Any:
    gy, name = grads[0], node.layer or node.name
    assert gy
    factors, scale = channel_factors(node.attrs["gamma"])
    m = b.param(f"{name}.slope", factors)
    factor = gy.value.type.tensor_scale * scale
    return b.input_gradient(rescale_grad_s8, gy, [m], factor, f"{name}.dx", node), None, None


def _rescale_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, m = need(types[0], "i8", 2), need(types[2], "i16", 1)
    if m.shape != g.shape[1:]:
        raise ShapeError(f"rescale_grad: factors {m} do not fit gradient {g}")
    return gradient_types(types, attrs)


def _rescale_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, m = ins
    key = stream_key(step.seed, step.step, attrs["stream"])
    return quantize_rows(g.astype(np.int64) * m, e, attrs["exp_add"], key)


def rearranged(b: Backward, op: Op, gy: Grad, node: Node, **attrs: Any) -> Grad:
    """The gradient through an op that moves codes from row to row: one exponent serves them all."""
    gy, name = b.aligned(gy), f"{node.layer or node.name}.dx"
    (value,) = b.node(op, [gy.value], name, **attrs, layer=node.layer)
    rows, exponent = value.type.shape[0], gy.exponent
    if rows > 1:
        (exponent,) = b.node(
            repeat_exponent_s16, [exponent], f"{name}.exponent", rows=rows, layer=node.layer
        )
    return Grad(value, exponent)


def _repeat_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    if need(types[0], "i16").shape != (1,):
        raise ShapeError(f"repeat_exponent: one exponent is needed, got {types[0]}")
    return (Type((attrs["rows"],), "i16"),)


def _view_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    x, shape = need(types[0]), tuple(attrs["shape"])
    if math.prod(shape) != x.size:
        raise ShapeError(f"view: {x} does not have the size of {shape}")
    return (Type(shape, x.dtype, attrs.get("scale", x.scale)),)


def _view_grad(b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: Any) -> Any:
    """The codes are the same, so y_real = (s_y / s_x) * x_real."""
    gy, x, y = grads[0], need(node.in_types()[0]), need(node.out_types()[0])
    assert gy
    scale = gy.value.type.tensor_scale
    if y.scale != x.scale:
        scale *= y.tensor_scale / x.tensor_scale
    attrs = {"shape": x.shape, "scale": scale}
    if x.shape[:1] != y.shape[:1]:
        return (rearranged(b, view, gy, node, **attrs),)
    (value,) = b.node(view, [gy.value], f"{node.layer or node.name}.dx", **attrs, layer=node.layer)
    return (Grad(value, gy.exponent),)


SHAPES = ((1, 1), (1, 17), (3, 1), (3, 3), (17, 5))


def codes(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-127, 128, shape).astype(np.int8)


def extremes(rng: np.random.Generator) -> list[tuple[str, Array]]:
    """Inputs every elementwise op is tried with: odd shapes, both ends, nothing at all."""
    cases = [(f"T{t} C{c}", codes(rng, t, c)) for t, c in SHAPES]
    return cases + [(f"all {v}", np.full((3, 17), v, np.int8)) for v in (127, -127, 0)]


def spread_rows(rng: np.random.Generator, g: Array) -> tuple[Array, Array]:
    """A gradient of the codes ``g``: (g, e int16 [T]) with rows of very different size, and none in
    every third."""
    g, e = g.copy(), rng.integers(-40, 4, len(g)).astype(np.int16)
    g[1::3], e[1::3] = 0, ZERO_EXPONENT
    return g, e


def _lut_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for name, (fn, slope) in UNARY.items():
        for label, x in extremes(rng):
            s_y = 0.04 if name in ("gelu", "gelu_tanh", "relu", "silu", "identity", "neg") else 0.01
            ins = (x, lut_table(fn, 0.035, s_y))
            attrs = {"scale": s_y, "fn": name, **slope_attrs(slope, 0.035)}
            cases.append(Case(ins, attrs, (0.035, None), label=f"{name} {label}"))
    return cases


def gradient_attrs(rng: np.random.Generator) -> dict[str, Any]:
    return {"stream": int(rng.integers(99)), "exp_add": -3, "scale": 0.7}


def _lut_dx_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    shapes = [(str(shape), codes(rng, *shape)) for shape in ((7,), (5, 3, 2))]
    for label, g in [*extremes(rng), *shapes]:
        for slope in (codes(rng, 256), rng.integers(0, 2, 256).astype(np.int8)):
            ins = (*spread_rows(rng, g), codes(rng, *g.shape), slope)
            cases.append(Case(ins, gradient_attrs(rng), label=label))
    return cases


def _add_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    scales = ((0.02, 0.03, 0.05), (1e-6, 0.05, 0.06), (0.3, 0.3, 1e-4), (1.0, 1.0, 1e6))
    for label, a in extremes(rng):
        for s_a, s_b, s_y in scales:
            b = codes(rng, *a.shape) if "all" not in label else a
            attrs = add_attrs(s_a, s_b, s_y)
            cases.append(Case((a, b), attrs, (s_a, s_b), label=f"{label} {s_y}"))
    return cases


def _affine_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for label, x in extremes(rng):
        for s_y, offset in ((0.06, 0.3), (1e-3, 0.0), (10.0, 4000.0)):
            gain = np.asarray(rng.normal(1, 0.5, x.shape[1]))
            bias = np.asarray(rng.normal(offset, 0.2, x.shape[1]))
            m, c, attrs = affine_attrs(gain, bias, 0.03, s_y)
            cases.append(Case((x, m, c), attrs, (0.03, None, None), label=f"{label} {s_y}"))
    m, c = np.array([2**22, -(2**22), 0], np.int32), np.array([2**29, -(2**29), 0], np.int32)
    for shift in (1, 29):
        gamma, beta = (tuple((v * (0.1 / 2**shift)).tolist()) for v in (m, c))
        attrs = {"scale": 0.1, "shift": shift, "gamma": gamma, "beta": beta}
        ins = (np.full((2, 3), 127, np.int8), m, c)
        cases.append(Case(ins, attrs, (1.0, None, None), label=f"limits {shift}"))
    return cases


def _rescale_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for label, g in extremes(rng):
        m = np.asarray(rng.integers(-32767, 32768, g.shape[1]), np.int16)
        cases.append(Case((*spread_rows(rng, g), m), gradient_attrs(rng), label=label))
    return cases


def _view_examples(rng: np.random.Generator) -> list[Case]:
    x = codes(rng, 6, 4)
    return [
        Case((x,), {"shape": shape} | scale, (0.03,), label=f"{shape} {scale}")
        for shape in ((6, 4), (2, 3, 4), (24,)) for scale in ({}, {"scale": 0.02})
    ]  # fmt: skip


def _repeat_examples(rng: np.random.Generator) -> list[Case]:
    return [
        Case((np.array([e], np.int16),), {"rows": rows}, label=f"{e} for {rows}")
        for e in (-17, 3, ZERO_EXPONENT) for rows in (1, 2, 17)
    ]  # fmt: skip


lut_s8 = Op(
    "lut_s8", _lut_infer, lambda ins, a, s: (ins[1][ins[0].astype(np.int64) + 128],), _count,
    inplace=((0, 0),), grad=_lut_grad, real=lambda ins, a: UNARY[a["fn"]][0](ins[0]),
    rowwise=(0,), examples=_lut_examples,
)  # fmt: skip
lut_dx_s8 = Op(
    "lut_dx_s8", _lut_dx_infer, _lut_dx_ref, _gradient_dims, uses_step=True,
    inplace=((0, 0), (0, 2), (1, 1)), bound=lambda ins, a: 128 * 128, rowwise=(0, 1, 2),
    examples=_lut_dx_examples,
)  # fmt: skip
add_s8 = Op(
    "add_s8", _add_infer, _add_ref, _add_dims, inplace=((0, 0), (0, 1)),
    grad=lambda b, node, grads, wanted: (grads[0], grads[0]),
    real=lambda ins, a: ins[0] + ins[1],
    bound=lambda ins, a: 128 * (a["ma"] + a["mb"]) + 2 ** (a["shift"] - 1),
    rowwise=(0, 1), examples=_add_examples,
)  # fmt: skip
affine_s8 = Op(
    "affine_s8", _affine_infer, _affine_ref,
    lambda ins, outs, a: _rows(ins, outs, a) | {"shift": a["shift"]},
    inplace=((0, 0),), grad=_affine_grad,
    real=lambda ins, a: ins[0] * np.asarray(a["gamma"]) + np.asarray(a["beta"]),
    bound=lambda ins, a: 128 * 2**22 + 2**29 + 2 ** (a["shift"] - 1),
    rowwise=(0,), examples=_affine_examples,
)  # fmt: skip
rescale_grad_s8 = Op(
    "rescale_grad_s8", _rescale_infer, _rescale_ref, _gradient_dims, uses_step=True,
    inplace=((0, 0), (1, 1)), bound=lambda ins, a: 128 * 32768, rowwise=(0, 1),
    examples=_rescale_examples,
)  # fmt: skip
view = Op(
    "view", _view_infer, lambda ins, a, step: (ins[0].reshape(a["shape"]),), alias=True,
    grad=_view_grad, examples=_view_examples,
)  # fmt: skip
repeat_exponent_s16 = Op(
    "repeat_exponent_s16", _repeat_infer, lambda ins, a, step: (np.repeat(ins[0], a["rows"]),),
    lambda ins, outs, a: {"T": a["rows"]}, examples=_repeat_examples,
)  # fmt: skip
OPS = (lut_s8, lut_dx_s8, add_s8, affine_s8, rescale_grad_s8, view, repeat_exponent_s16)
