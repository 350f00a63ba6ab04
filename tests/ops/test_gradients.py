"""Gradients of every operator against central differences of its float meaning, and the float
meanings themselves against what the integers give."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinytrain.ir import Build, Case, Op, Step, Type, Value
from tinytrain.ir.execute import execute
from tinytrain.ir.numerics import multiplier, split_scale
from tinytrain.ops import REGISTRY
from tinytrain.ops.base import Grad
from tinytrain.ops.elementwise import channel_factors, lut_node, view
from tinytrain.ops.functions import UNARY, slope_table
from tinytrain.ops.linear import linear_s8
from tinytrain.ops.loss import LOGIT_SCALE, cross_entropy_grad_s16
from tinytrain.ops.norm import gradient_fraction, layernorm_attrs, layernorm_s8
from tinytrain.recipe import Optimizer
from tinytrain.training.autodiff import BackwardBuild

Array = npt.NDArray[Any]
GY_SCALE, GY_EXPONENT = 0.6, -3
STEP = Step(seed=5, step=3)
MOST = 120  # elements that differences are taken of


def exponents(gy: Array) -> Array:
    """int16, one a row: they differ, as those of real gradients do."""
    return (GY_EXPONENT - np.arange(len(gy)) % 3).astype(np.int16)


def unit(scale: float, e: Array, like: Array) -> Array:
    """Real value of one integer step of a gradient, for each of its elements."""
    steps = scale * 2.0 ** e.astype(float)
    return np.broadcast_to(steps.reshape(-1, *[1] * (like.ndim - 1)), like.shape)


def real_gradient(gy: Array) -> Array:
    return gy * unit(GY_SCALE, exponents(gy), gy)


def real_inputs(case: Case) -> list[Any]:
    """Real values; integers that index or have no scale as they are."""
    return [
        a if a is None or s is None else a.astype(np.float64) * np.asarray(s)
        for a, s in zip(case.inputs, input_scales(case), strict=True)
    ]


def input_scales(case: Case) -> tuple[Any, ...]:
    """Where a case gives no scale at all, one int8 or int32 step is worth 1."""
    if any(case.scales):
        return case.scales
    return tuple(1.0 if a is not None and a.dtype in (np.int8, np.int32) else None
                 for a in case.inputs)  # fmt: skip


def activations(case: Case) -> tuple[bool, ...]:
    """Inputs that gradients are checked of: those with a scale, or the first."""
    if not any(case.scales):
        return tuple(j == 0 for j in range(len(case.inputs)))
    return tuple(s is not None for s in case.scales)


def integer_gradients(
    op: Op, case: Case, gy: Array, wanted: tuple[bool, ...] | None = None
) -> list[tuple[Array, Array] | None]:
    """(real gradient, real value of one step there) of each activation, by the int8 backward
    graph."""
    build = Build()
    given: list[Value | None] = []
    for j, kind in enumerate(replace(case, scales=input_scales(case)).types()):
        given.append(None if kind is None else build.input(f"in{j}", kind))
    outs = build.node(op, given, "y", layer="op", **case.attrs)
    back = BackwardBuild(build.graph([v for v in outs if v is not None]), Optimizer())
    node = back.forward_nodes[0]
    grad = Grad(back.input("gy", Type(gy.shape, "i8", GY_SCALE)),
                back.input("gy_exp", Type(gy.shape[:1], "i16")))  # fmt: skip
    assert op.grad
    wanted = wanted or activations(case)
    made = op.grad(back, node, (grad, *[None] * (len(outs) - 1)), wanted)
    assert len(made) == len(given)
    back.nodes = back.whole()
    graph = back.graph([v for g in made if g is not None for v in g])
    inputs = {f"in{j}": a for j, a in enumerate(case.inputs) if a is not None}
    inputs |= {"gy": gy, "gy_exp": exponents(gy)}
    values = execute(graph, inputs, step=STEP)
    result: list[tuple[Array, Array] | None] = []
    for g in made:
        if g is None:
            result.append(None)
            continue
        codes = values[g.value.name]
        step = unit(g.value.type.tensor_scale, values[g.exponent.name], codes)
        result.append((codes * step, step))
    return result


def differences(op: Op, case: Case, gy: Array, index: int, chosen: Array) -> Array:
    """Central differences of sum(gy * real(x)) at the chosen elements; NaN where they are bent."""
    ins = real_inputs(case)
    scale = input_scales(case)[index]
    weight = real_gradient(gy)
    h = 1e-4 * float(np.max(scale))
    assert op.real

    def loss(at: int, offset: float) -> float:
        moved = ins[index].copy()
        moved.reshape(-1)[at] += offset
        shifted = [moved if j == index else a for j, a in enumerate(ins)]
        return float(np.sum(weight * op.real(shifted, case.attrs)))  # type: ignore[misc]

    out = []
    for at in chosen:
        up, here, down = (loss(int(at), o) for o in (h, 0.0, -h))
        bent = abs(up - 2 * here + down) > 0.02 * abs(up - down) + 1e-12 * abs(here)
        out.append(math.nan if bent else (up - down) / (2 * h))
    return np.array(out)


def close(got: Array, want: Array, step: Array, label: str, slack: float = 0.0) -> None:
    """Within 1.5 steps (one is stochastic rounding), 2 % of the largest, and ``slack``."""
    kept = np.isfinite(want)
    got, want, step = got[kept], want[kept], step[kept]
    if not len(want):
        return
    peak = np.abs(want).max()
    assert (np.abs(got - want) <= 1.5 * step + 0.02 * peak + slack + 1e-9).all(), label
    size = float(np.sqrt(np.mean(want**2)))
    if size > 15 * (step.max() + slack) and len(want) >= 8:
        cosine = float(got @ want / np.linalg.norm(got) / np.linalg.norm(want))
        assert cosine > 0.999, f"{label}: cosine {cosine}"


DIFFERENTIABLE = [op for op in REGISTRY.values() if op.grad and op.real]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_gradient_is_that_of_the_float_meaning(op: Op) -> None:
    assert op.examples
    rng = np.random.default_rng(77)
    checked = 0
    for case in op.examples(np.random.default_rng(2024)):
        y = op.ref(case.inputs, case.attrs, STEP)[0]
        gy = rng.integers(-127, 128, y.shape).astype(np.int8)
        gy[np.abs(y.astype(np.int64)) >= np.iinfo(y.dtype).max] = 0  # saturated
        if not gy.any():
            continue
        for j, made in enumerate(integer_gradients(op, case, gy)):
            if made is None:
                continue
            got, step = made
            assert got.shape == case.inputs[j].shape  # type: ignore[union-attr]
            chosen = rng.permutation(got.size)[:MOST]
            want = differences(op, case, gy, j, chosen)
            # A slope's rounding counts where only small slopes were met.
            slack = 0.5 * case.attrs.get("slope_scale", 0.0) * 127 * GY_SCALE * 2.0**GY_EXPONENT
            label = f"{op.name} {case.label} input {j}"
            close(got.reshape(-1)[chosen], want, step.reshape(-1)[chosen], label, slack)
            checked += 1
    assert checked >= 3


@pytest.mark.parametrize("channels", [True, False], ids=["per_channel", "per_tensor"])
def test_gradient_of_a_linear_with_scales(channels: bool) -> None:
    """One scale of w for each channel is folded into the gradient; it stays the real one."""
    rng = np.random.default_rng(8)
    x, w = (rng.integers(-127, 128, shape).astype(np.int8) for shape in ((9, 16), (12, 16)))
    s_x, s_y = 0.02, 0.06
    s_w = tuple(rng.uniform(0.001, 0.01, 12).tolist()) if channels else (0.004,)
    mult, shift = np.array([multiplier(s_x * s / s_y) for s in s_w], np.int32).T
    ins = (x, w, None, None, np.zeros(12, np.int32), None, mult, shift)
    scales = (s_x, s_w if channels else s_w[0], *[None] * 6)
    case = Case(ins, {"scale": s_y}, scales)
    gy = rng.integers(-127, 128, (9, 12)).astype(np.int8)
    y = linear_s8.ref(ins, {}, STEP)[0]
    made = integer_gradients(linear_s8, case, gy, wanted=(True, *[False] * 7))[0]
    assert made is not None
    gy[np.abs(y) == 127] = 0  # what clip does
    want = real_gradient(gy) @ (np.reshape(s_w, (-1, 1)) * w.astype(float))
    close(made[0], want, made[1], "linear with scales")


@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4), (24,)])
@pytest.mark.parametrize("ratio", [1.0, 0.25, 3.0])
def test_gradient_of_a_view_carries_the_change_of_scale(shape: Any, ratio: float) -> None:
    """To a step, where rows of another length need one exponent for all; else exactly."""
    rng = np.random.default_rng(3)
    x, gy = (rng.integers(-127, 128, s).astype(np.int8) for s in ((6, 4), shape))
    case = Case((x,), {"shape": shape, "scale": 0.03 * ratio}, (0.03,))
    made = integer_gradients(view, case, gy)[0]
    assert made is not None
    want = real_gradient(gy).reshape(6, 4) * ratio
    off = np.abs(made[0] - want) / made[1]
    assert off.max() < (1e-9 if shape[0] == 6 else 1)


def test_gradient_of_the_loss() -> None:
    rng = np.random.default_rng(4)
    for rows, classes in ((1, 3), (7, 17), (16, 97)):
        logits = rng.integers(-700, 700, (rows, classes)).astype(np.int16)
        labels = rng.integers(0, classes, rows).astype(np.int16)
        scale, exp_add = split_scale(2.0**-15 / rows)
        attrs = {"scale": scale, "exp_add": exp_add, "stream": 2}
        g, e = cross_entropy_grad_s16.ref((logits, labels), attrs, STEP)
        shifted = logits * LOGIT_SCALE
        p = np.exp(shifted - shifted.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        want = (p - np.eye(classes)[labels]) / rows
        step = unit(scale, e, g)
        close(g * step, want, step, f"T{rows} V{classes}")


@pytest.mark.parametrize("s_y", [0.02, 0.04])
def test_layernorm_is_close_to_float(s_y: float) -> None:
    """Half a step of rounding and little more, for rows of any spread and for large s_x."""
    rng = np.random.default_rng(6)
    for channels in (16, 17, 96, 1024):
        for s_x in (0.002, 0.05, 1.0):
            spread = 2.0 ** rng.uniform(0, 6, (40, 1))
            x = np.clip(np.rint(rng.normal(9, spread, (40, channels))), -127, 127).astype(np.int8)
            attrs = layernorm_attrs(s_x, s_y, channels)
            y, _ = layernorm_s8.ref((x,), attrs, STEP)
            real = x * s_x - np.mean(x * s_x, axis=1, keepdims=True)
            real /= np.sqrt(np.mean(real**2, axis=1, keepdims=True) + 1e-5)
            want = np.clip(real / s_y, -127, 127)
            # eps is at least one integer step of the variance: felt where rows are nearly flat.
            varied = np.var(x, axis=1) * channels**2 > 400
            assert np.abs(y - want)[varied].max(initial=0) < 0.6
            assert (np.abs(y - want) < 0.6 + 0.035 * np.abs(want)).all()


def test_layernorm_constants_hold_their_ranges() -> None:
    rng = np.random.default_rng(9)
    for _ in range(2000):
        channels = int(rng.integers(1, 1025))
        s_x, s_y = (float(10.0 ** rng.uniform(*r)) for r in ((-4, 2), (-3, -0.7)))
        if 1e-5 * channels**2 / s_x**2 >= 2**31 - 1:
            continue
        a = layernorm_attrs(s_x, s_y, channels)
        assert 2**30 <= a["k"] < 2**31 and a["k_shift"] >= 0 and 1 <= a["shift"] <= 62
        assert a["k"] << a["k_shift"] < 2**60 and 1 <= a["eps_int"] < 2**31
        assert (a["k"] << a["k_shift"]) // math.isqrt(a["eps_int"] << 24) < 2**31 * 1.001
        f = gradient_fraction(channels, s_y)
        assert f >= 0 and 2**f * channels * (254 + 127**3 * s_y**2) + 64 <= 2**30


@pytest.mark.parametrize("name", UNARY)
def test_derivative_of_each_function(name: str) -> None:
    fn, slope = UNARY[name]
    x = np.linspace(-5, 5, 400)
    np.testing.assert_allclose((fn(x + 1e-5) - fn(x - 1e-5)) / 2e-5, slope(x), atol=1e-8)


def test_slope_of_relu_is_exact_and_others_use_all_steps() -> None:
    table, scale = slope_table(UNARY["relu"][1], 0.1)
    assert scale == 1.0 and not table[:129].any() and (table[129:] == 1).all()
    table, scale = slope_table(UNARY["neg"][1], 0.1)
    assert scale == 1.0 and (table == -1).all()
    table, scale = slope_table(UNARY["gelu"][1], 0.03)
    assert np.abs(table).max() == 127 and scale == pytest.approx(1.129 / 127, rel=1e-3)


def test_lut_node_takes_any_function() -> None:
    build = Build()
    x = build.input("x", Type((1, 256), "i8", 0.1))
    y = lut_node(build, x, lambda r: -2 * r, lambda r: np.full_like(r, -2.0), 0.2, "y", "scale")
    codes = np.arange(-128, 128).astype(np.int8).reshape(1, -1)
    got = execute(build.graph([y]), {"x": codes})["y"]
    np.testing.assert_array_equal(got, np.clip(-codes.astype(int), -127, 127))


def test_channel_factors() -> None:
    steps, scale = channel_factors([0.5, -2.0, 0.0])
    np.testing.assert_allclose(steps * scale, [0.5, -2.0, 0.0], atol=1e-4)
    assert not channel_factors([0.0, 0.0])[0].any()
