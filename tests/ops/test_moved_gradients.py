"""Gradients with an exponent a row: through what moves rows, and rows of very different size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinytrain.errors import ShapeError
from tinytrain.ir import Build, Op, Step, Type
from tinytrain.ir.execute import execute
from tinytrain.ir.numerics import ZERO_EXPONENT, multiplier
from tinytrain.ops.base import Grad
from tinytrain.ops.elementwise import (
    lut_dx_s8,
    repeat_exponent_s16,
    rescale_grad_s8,
    spread_rows,
    view,
)
from tinytrain.ops.norm import layernorm_dx_s8
from tinytrain.ops.tokens import (
    broadcast_tokens_s8,
    concat_tokens_s8,
    mean_attrs,
    mean_tokens_s8,
    permute_s8,
    scatter_token_s8,
    select_token_s8,
    slice_tokens_s8,
)
from tinytrain.recipe import Optimizer
from tinytrain.training.autodiff import BackwardBuild

Array = npt.NDArray[Any]
STEP = Step(seed=5, step=3)
SCALE = 0.5


def real(g: Array, e: Array, scale: float = SCALE) -> Array:
    return g * scale * 2.0 ** e.astype(float).reshape(-1, *[1] * (g.ndim - 1))


def through(op: Op, shapes: list[tuple[int, ...]], g: Array, e: Array, **attrs: Any) -> Any:
    """[(codes, exponents, scale)] of the gradients of all inputs, and which ops made them."""
    build = Build()
    xs = [build.input(f"x{i}", Type(shape, "i8", 0.1)) for i, shape in enumerate(shapes)]
    (y,) = build.node(op, xs, "y", **attrs)
    assert y.type.shape == g.shape
    back = BackwardBuild(build.graph([y]), Optimizer())
    node = back.forward_nodes[0]
    gy = Grad(back.input("g", Type(g.shape, "i8", SCALE)), back.input("e", Type(e.shape, "i16")))
    assert op.grad
    made = op.grad(back, node, (gy,), (True,) * len(shapes))
    graph = back.graph([v for grad in made for v in grad])
    values = execute(graph, {"g": g, "e": e}, step=STEP)
    found = [(values[v.name], values[x.name], v.type.tensor_scale) for v, x in made]
    assert all(v.type.shape == shape for (v, _), shape in zip(made, shapes, strict=True))
    return found, [n.op.name for n in graph.nodes]


def rows_of(rng: np.random.Generator, *shape: int) -> tuple[Array, Array]:
    return spread_rows(rng, rng.integers(-127, 128, shape).astype(np.int8))


def test_mean_gives_every_token_the_exponent() -> None:
    g, e = np.array([[3, -127, 9]], np.int8), np.array([-11], np.int16)
    ((gx, gx_exp, scale),), _ = through(mean_tokens_s8, [(4, 3)], g, e, **mean_attrs(4, 0.1, 0.1))
    np.testing.assert_array_equal(gx_exp, [-11] * 4)
    np.testing.assert_allclose(real(gx, gx_exp, scale), np.repeat(real(g, e) / 4, 4, axis=0))


def test_select_leaves_other_tokens_without_gradient() -> None:
    g, e = np.array([[3, -127, 9]], np.int8), np.array([-11], np.int16)
    ((gx, gx_exp, _),), _ = through(select_token_s8, [(3, 3)], g, e, index=1)
    np.testing.assert_array_equal(gx_exp, [ZERO_EXPONENT, -11, ZERO_EXPONENT])
    np.testing.assert_array_equal(gx, [[0, 0, 0], [3, -127, 9], [0, 0, 0]])


def test_concat_gives_each_part_its_rows() -> None:
    g, e = rows_of(np.random.default_rng(1), 7, 3)
    parts, _ = through(
        concat_tokens_s8, [(2, 3), (5, 3)], g, e, scale=0.1, ma=2**14, mb=2**14, shift=14
    )
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), g)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), e)


def test_view_within_rows_keeps_the_exponents() -> None:
    g, e = rows_of(np.random.default_rng(2), 6, 2, 3)
    ((gx, gx_exp, _),), ops = through(view, [(6, 6)], g, e, shape=(6, 2, 3))
    assert ops == ["view"]
    np.testing.assert_array_equal(gx, g.reshape(6, 6))
    np.testing.assert_array_equal(gx_exp, e)


@pytest.mark.parametrize("shape", [(1, 24), (24,), (4, 6), (3, 2, 4)])
def test_view_across_rows_has_one_exponent(shape: tuple[int, ...]) -> None:
    """Within one step of the largest row; a single row of gradient loses nothing."""
    g, e = rows_of(np.random.default_rng(3), *shape)
    ((gx, gx_exp, _),), ops = through(view, [(6, 4)], g, e, shape=shape)
    assert ("align_grad_s8" in ops) == (shape[0] > 1)
    np.testing.assert_array_equal(gx_exp, [e.max()] * 6)
    off = np.abs(real(gx, gx_exp) - real(g, e).reshape(6, 4)).max()
    assert off < SCALE * 2.0 ** e.max() if shape[0] > 1 else off == 0


@pytest.mark.parametrize(
    ("shape", "axes"), [((5, 3), (1, 0)), ((2, 3, 4), (1, 2, 0)), ((4, 3, 2), (0, 2, 1))]
)
def test_permute_has_one_exponent(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    g, e = rows_of(np.random.default_rng(4), *(shape[a] for a in axes))
    ((gx, gx_exp, _),), _ = through(permute_s8, [shape], g, e, axes=axes)
    np.testing.assert_array_equal(gx_exp, [e.max()] * shape[0])
    want = np.transpose(real(g, e), np.argsort(axes))
    assert np.abs(real(gx, gx_exp) - want).max() < SCALE * 2.0 ** e.max()


def check_rows(op: Op, acc: Array, e: Array, ins: list[Any], attrs: dict[str, Any]) -> None:
    """Each row of the result, however small, has 7 bits and is within a step of its own."""
    gx, gx_exp = op.ref(ins, attrs | {"stream": 1, "exp_add": -3, "scale": SCALE}, STEP)
    some = acc.any(axis=1)
    assert some.any() and not some.all()
    np.testing.assert_array_equal(gx_exp[~some], ZERO_EXPONENT)
    assert not gx[~some].any()
    want = acc * 2.0 ** (e.astype(float) - 3)[:, None]
    step = 2.0 ** gx_exp[some].astype(float)[:, None]
    assert (np.abs(gx[some] * step - want[some]) < step).all()
    assert (np.abs(gx[some]).max(axis=1) >= 63).all()
    assert (gx_exp[some] > e[some] - 3).all()


def test_rows_are_scaled_each_by_itself() -> None:
    rng = np.random.default_rng(5)
    g, e = rows_of(rng, 9, 16)
    x, slope = (rng.integers(-127, 128, shape).astype(np.int8) for shape in ((9, 16), 256))
    check_rows(lut_dx_s8, g * slope[x + np.int16(128)].astype(int), e, [g, e, x, slope], {})
    m = rng.integers(-32767, 32768, 16).astype(np.int16)
    check_rows(rescale_grad_s8, g * m.astype(int), e, [g, e, m], {})


def test_layernorm_rows_are_scaled_each_by_itself() -> None:
    """Rows whose 1/std differ by 20 binades, their products of up to 60 bits."""
    rng = np.random.default_rng(6)
    g, e = rows_of(rng, 9, 16)
    y = rng.integers(-127, 128, (9, 16)).astype(np.int8)
    r = (2 ** np.linspace(9, 30, 9)).astype(np.uint32)
    fraction = 12
    mult, shift = multiplier(2.0 ** (fraction - 8))  # s_y^2 = 2**-8
    u = (g * y.astype(np.int64)).sum(axis=1) << (fraction - 8)
    centred = 16 * g.astype(np.int64) - g.sum(axis=1, keepdims=True)
    acc = (centred * 2**fraction - y * u[:, None]) * r[:, None].astype(np.int64)
    attrs = {"mult": mult, "shift": shift, "fraction": fraction}
    check_rows(layernorm_dx_s8, acc, e, [g, e, y, r], attrs)


def test_what_is_refused() -> None:
    """An exponent for each row, no more and no fewer, and int16."""
    g, one, three = Type((3, 2), "i8", SCALE), Type((1,), "i16"), Type((3,), "i16")
    x, table, wide = Type((3, 2), "i8"), Type((256,), "i8"), Type((3,), "i32")
    m, r = Type((2,), "i16"), Type((3,), "u32")
    assert lut_dx_s8.infer((g, three, x, table), {"scale": 0.7}) == (Type((3, 2), "i8", 0.7), three)
    for e in (one, wide, None):
        for op, more in (
            (lut_dx_s8, (x, table)), (rescale_grad_s8, (m,)), (layernorm_dx_s8, (x, r)),
            (slice_tokens_s8, ()),
        ):  # fmt: skip
            with pytest.raises(ShapeError):
                op.infer((g, e, *more), {"scale": 0.7, "first": 0, "count": 1})
    row = Type((1, 2), "i8", SCALE)
    for op in (broadcast_tokens_s8, scatter_token_s8):
        attrs = {"tokens": 4, "index": 1, "scale": 0.7}
        assert op.infer((row, one), attrs)[1] == Type((4,), "i16")
        for given in ((g, three), (row, three)):
            with pytest.raises(ShapeError):
                op.infer(given, attrs)
    with pytest.raises(ShapeError):
        repeat_exponent_s16.infer((three,), {"rows": 3})
