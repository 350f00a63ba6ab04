"""LayerNorm without gain and bias, which the compiler folds into the next linear, and its gradient.

Forward, a row: S = sum x, c = C*x - S, V = C * sum x^2 - S^2 + eps, so that the normalised value is
c / sqrt(V). R = 2^shift / (s_y * sqrt(V)) is kept for the gradient; y = c * R * 2^-shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types
from ..ir.numerics import (
    bit_length,
    clamp,
    isqrt,
    multiplier,
    requantize,
    row_exponents,
    row_shifts,
    stochastic_shift,
    stream_key,
)
from .base import Backward, Grad, need
from .elementwise import gradient_types, spread_rows

MAX_CHANNELS = 1024
ROOT_BITS = 12  # fraction bits of the integer square root
R_LIMIT = 2**31 - 1
MAX_FRACTION = 16
MAX_EPS = 2**31 - 1
MAX_FLAT_CHANNELS = 256  # whose V is small beside MAX_EPS
SUM_BITS = 29  # kept of a gradient's 64-bit products


def layernorm_attrs(s_x: float, s_y: float, channels: int, eps: float = 1e-5) -> dict[str, Any]:
    """All attributes of ``layernorm_s8``; ``eps`` there is what the rounded integer is worth, which
    differs for flat rows only. ``shift`` is the largest that keeps R below 2**31 for a
    constant row, so no row saturates R; the widest rows (V = 2**34) keep 14 bits of it."""
    eps_int = max(1, round(eps * channels**2 / s_x**2))
    shift = math.floor(31 + math.log2(s_y) + 0.5 * math.log2(eps_int))
    if not 1 <= shift <= 62:
        raise ValueError(f"the scale {s_y:.3g} of a norm's output is out of range")
    if eps_int > MAX_EPS:  # sqrt(V) is that of eps but for a little: k makes up for a smaller eps
        if channels > MAX_FLAT_CHANNELS:
            raise ValueError(
                f"values of {127 * s_x:.3g} are too small beside eps {eps}, which {channels} "
                f"channels do not allow (at most {MAX_FLAT_CHANNELS})"
            )
        k, k_shift = multiplier(math.sqrt(MAX_EPS / eps_int) / s_y)
        return {"scale": s_y, "eps": eps, "eps_int": MAX_EPS, "shift": shift, "k": k,
                "k_shift": shift + ROOT_BITS - k_shift}  # fmt: skip
    k, k_shift = multiplier(1.0 / s_y)
    return {"scale": s_y, "eps": eps_int * s_x**2 / channels**2, "eps_int": eps_int, "shift": shift,
            "k": k, "k_shift": shift + ROOT_BITS - k_shift}  # fmt: skip


def gradient_fraction(channels: int, s_y: float) -> int:
    """Most fraction bits F that keep ``val`` of ``layernorm_dx_s8`` below 2**30 for any input.

    |C*G - Sg| <= 254*C; |Sgx| <= 127**2 * C, so |Y*u| <= 127 * (127**2 * C * s_y**2 * 2**F + 1/2);
    together |val| <= 2**F * C * (254 + 127**3 * s_y**2) + 64.
    """
    worst = channels * (254 + 127**3 * s_y**2)
    if worst + 64 >= 2**30:
        raise ShapeError(f"layernorm_dx: {channels} channels with scale {s_y} overflow int32")
    return min(MAX_FRACTION, math.floor(math.log2((2**30 - 64) / worst)))


def _infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    x = need(types[0], "i8", 2)
    if x.shape[1] > MAX_CHANNELS:
        raise ShapeError(f"layernorm: {x} has more than {MAX_CHANNELS} channels")
    return Type(x.shape, "i8", attrs["scale"]), Type((x.shape[0],), "u32")


def _ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    x = ins[0].astype(np.int64)
    channels, total = x.shape[1], x.sum(axis=1)
    variance = channels * (x * x).sum(axis=1) - total * total + attrs["eps_int"]
    top = attrs["k"] << attrs["k_shift"]
    r = [min(R_LIMIT, top // isqrt(int(v) << (2 * ROOT_BITS))) for v in variance]
    centred = channels * x - total[:, None]
    y = requantize(centred, np.array(r, np.int64)[:, None], attrs["shift"])
    return clamp(y, 127), np.array(r, np.uint32)


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    rows, channels = need(ins[0]).shape
    return {"T": rows, "C": channels, "eps": attrs["eps_int"], "k": attrs["k"],
            "k_shift": attrs["k_shift"], "shift": attrs["shift"]}  # fmt: skip


def _real(ins: Sequence[Any], attrs: Attrs) -> Array:
    centred = ins[0] - ins[0].mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + attrs["eps"]))


def _grad(b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: tuple[bool, ...]) -> Any:
    x, gy, (y, r) = node.inputs[0], grads[0], node.outputs
    assert x and gy and y
    s_y = y.type.tensor_scale
    fraction = gradient_fraction(x.type.shape[1], s_y)
    mult, shift = multiplier(math.ldexp(s_y * s_y, fraction))
    # 1/std = R * s_y * C / (2^shift * s_x); the C cancels with the two means.
    factor = gy.value.type.tensor_scale * s_y / x.type.tensor_scale
    return (b.input_gradient(
        layernorm_dx_s8, gy, [y, r], math.ldexp(factor, -node.attrs["shift"] - fraction),
        f"{node.layer or node.name}.dx", node, mult=mult, shift=shift, fraction=fraction,
    ),)  # fmt: skip


def _dx_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, y, r = need(types[0], "i8", 2), types[2], types[3]
    if need(y, "i8", 2).shape != g.shape or need(r, "u32", 1).shape != g.shape[:1]:
        raise ShapeError(f"layernorm_dx: gradient {g}, output {y} and 1/std {r} do not fit")
    return gradient_types(types, attrs)


def _dx_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, y, r = ins[0].astype(np.int64), ins[2].astype(np.int64), ins[3].astype(np.int64)
    total, product = g.sum(axis=1, keepdims=True), (g * y).sum(axis=1, keepdims=True)
    u = requantize(product, attrs["mult"], attrs["shift"])
    wide = ((g.shape[1] * g - total) * 2 ** attrs["fraction"] - y * u) * r[:, None]
    peak = np.abs(wide).max(axis=1, keepdims=True)
    # exact bits below the 16 that rounding sees: dropped
    drop = np.array([[max(0, bit_length(p) - SUM_BITS)] for p in peak[:, 0]], np.int64)
    shift = row_shifts(peak >> drop)
    key = stream_key(step.seed, step.step, attrs["stream"])
    exponents = ins[1].astype(np.int64) + attrs["exp_add"] + (drop + shift)[:, 0]
    return stochastic_shift(wide >> drop, shift, key), row_exponents(wide, exponents)


def _dx_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    rows, channels = need(ins[0]).shape
    names = ("mult", "shift", "fraction", "exp_add", "stream")
    return {"T": rows, "C": channels} | {name: attrs[name] for name in names}


def _rows(rng: np.random.Generator, rows: int, channels: int) -> Array:
    """Rows of very different spread, and a constant one."""
    spread = 2.0 ** rng.uniform(2, 6, (rows, 1))
    x = np.clip(np.rint(rng.normal(rng.uniform(-20, 20, (rows, 1)), spread, (rows, channels))),
                -127, 127).astype(np.int8)  # fmt: skip
    if rows > 3:
        x[1] = 9
    return x


SHAPES = ((1, 1), (1, 3), (3, 1), (3, 17), (17, 3), (5, 64), (2, 1024))


def _examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c in SHAPES:
        s_x, s_y = float(rng.uniform(0.005, 0.1)), max(1.0, min(5.0, c**0.5)) / 127
        attrs = layernorm_attrs(s_x, s_y, c)
        cases.append(Case((_rows(rng, t, c),), attrs, (s_x,), label=f"T{t} C{c}"))
    for s_x in (1e-3, 10.0):  # a large and the smallest eps
        attrs = layernorm_attrs(s_x, 0.03, 17)
        cases.append(Case((_rows(rng, 5, 17),), attrs, (s_x,), label=f"s_x {s_x}"))
    extreme = np.full((4, 16), 127, np.int8)
    extreme[1], extreme[2, ::2], extreme[3, 1:] = -127, -127, -127
    attrs = layernorm_attrs(0.02, 4 / 127, 16)
    cases.append(Case((extreme,), attrs, (0.02,), label="extremes"))
    return cases


def _dx_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for case in _examples(rng):
        x, s_y = case.inputs[0], case.attrs["scale"]
        assert x is not None
        y, r = _ref([x], case.attrs, Step())
        fraction = gradient_fraction(x.shape[1], s_y)
        mult, shift = multiplier(math.ldexp(s_y * s_y, fraction))
        attrs = {"mult": mult, "shift": shift, "fraction": fraction, "exp_add": -31,
                 "stream": int(rng.integers(99)), "scale": 0.7}  # fmt: skip
        for name, g in (
            ("", rng.integers(-127, 128, x.shape)), ("same sign", np.where(y < 0, -127, 127)),
            ("zero", np.zeros(x.shape)),
        ):  # fmt: skip
            ins = (*spread_rows(rng, g.astype(np.int8)), y, r)
            cases.append(Case(ins, attrs, label=f"{case.label} {name}"))
    g, y = np.full((3, 1024), 127, np.int8), np.full((3, 1024), -127, np.int8)
    fraction = gradient_fraction(1024, 5 / 127)
    mult, shift = multiplier(math.ldexp((5 / 127) ** 2, fraction))
    attrs = {"mult": mult, "shift": shift, "fraction": fraction, "exp_add": 0, "stream": 1,
             "scale": 0.7}  # fmt: skip
    g[1, ::2] = -127
    ins = (g, np.array([0, 3, -9], np.int16), y, np.array([R_LIMIT, R_LIMIT, 1], np.uint32))
    cases.append(Case(ins, attrs, label="no y that a forward could make"))
    return cases


layernorm_s8 = Op(
    "layernorm_s8", _infer, _ref, _dims, inplace=((0, 0),), grad=_grad, real=_real,
    bound=lambda ins, a: 127 * 127 * need(ins[0]).shape[1], rowwise=(0,), examples=_examples,
)  # fmt: skip
layernorm_dx_s8 = Op(
    "layernorm_dx_s8", _dx_infer, _dx_ref, _dx_dims, uses_step=True,
    inplace=((0, 0), (0, 2), (1, 1)), bound=lambda ins, a: 2**30, rowwise=(0, 1, 2, 3),
    examples=_dx_examples,
)  # fmt: skip
OPS = (layernorm_s8, layernorm_dx_s8)
