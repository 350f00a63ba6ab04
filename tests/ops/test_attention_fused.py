"""Fused attention and its fused gradient against the graph of single ops, kernel by kernel."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from attention_graphs import Attention, attention
from kernel_calls import run_kernel

from tinytrain.errors import ShapeError
from tinytrain.ir import Case, Step, Type
from tinytrain.ir.numerics import ZERO_EXPONENT
from tinytrain.ops.attention_fused import attention_grad_s8, attention_s8, fuse, fuse_gradient

PARTS = ("ds", "dq", "dk", "dv")
SHAPES = [(1, 4, 2), (6, 6, 1), (23, 20, 4), (40, 16, 2)]  # T, C, H


def inputs(rng: np.random.Generator, t: int, c: int, extreme: bool) -> dict[str, Any]:
    """q, k, v, g and e; extreme: codes of +-127 only, rows of zeros, exponents far apart."""
    codes = {name: rng.integers(-127, 128, (t, c)).astype(np.int8) for name in "qkvg"}
    codes["e"] = rng.integers(-9, -3, t).astype(np.int16)
    if extreme:
        codes = {n: np.where(x < 0, -127, 127).astype(np.int8) for n, x in codes.items()}
        codes["e"] = rng.integers(-40, 4, t).astype(np.int16)
        codes["g"][1::3], codes["e"][1::3] = 0, ZERO_EXPONENT
    return codes


def by_kernels(library: ctypes.CDLL, made: Attention, codes: dict[str, Any], step: Step) -> Any:
    """All values of the graph, each node by its C kernel."""
    values = dict(codes)
    for node in made.graph.nodes:
        ins = tuple(None if v is None else values[v.name] for v in node.inputs)
        outs = run_kernel(library, node.op, Case(ins, dict(node.attrs)), step=step)
        values |= {v.name: a for v, a in zip(node.outputs, outs, strict=True) if v is not None}
    return values


def gradient_attrs(made: Attention) -> dict[str, Any]:
    probs = made.node("probs")
    assert probs
    return fuse_gradient(probs, *(made.node(name) for name in PARTS))


def gradient_inputs(made: Attention, values: dict[str, Any]) -> tuple[Any, ...]:
    """What ``attention_grad_s8`` reads: the clipped gradient, q, k and v."""
    first = made.node("ds") or made.node("dv")
    assert first
    g, e = (values[v.name] for v in first.inputs[:2] if v is not None)
    return (g, e, *(values[name] for name in "qkv"))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(("t", "c", "heads"), SHAPES)
def test_fused_kernels_give_what_the_single_ones_give(
    kernels: ctypes.CDLL, t: int, c: int, heads: int, extreme: bool, causal: bool
) -> None:
    rng = np.random.default_rng(t + heads)
    codes = inputs(rng, t, c, extreme)
    step = Step(seed=int(rng.integers(2**32)), step=int(rng.integers(2**20)))
    for wanted in ("qkv", "qv", "k"):
        made = attention(t, c, heads, causal, wanted)
        values = by_kernels(kernels, made, codes, step)
        probs, mix = made.node("probs"), made.node("mix")
        assert probs and mix
        x = tuple(codes[name] for name in "qkv")
        for aliases in ((), ((0, 0),)):
            (y,) = run_kernel(kernels, attention_s8, Case(x, fuse(probs, mix)), aliases)
            np.testing.assert_array_equal(y, values["y"])
        for keys in sorted({1, min(3, t), max(1, t // 2), t}):
            attrs = {**gradient_attrs(made), "keys": keys}
            case = Case(gradient_inputs(made, values), attrs, label=f"keys {keys} of {t}")
            got = run_kernel(kernels, attention_grad_s8, case, step=step)
            for name, *pair in zip("qkv", got[::2], got[1::2], strict=True):
                if name not in wanted:
                    assert pair == [None, None]
                    continue
                for value, have in zip(made.grads[name], pair, strict=True):
                    np.testing.assert_array_equal(values[value.name], have, f"{name} {case.label}")


@pytest.mark.parametrize("keys", [1, 5, 17])
@pytest.mark.parametrize("queries", [0, 2], ids=["over_g", "over_q"])
def test_all_results_may_overwrite_inputs_at_once(
    kernels: ctypes.CDLL, keys: int, queries: int
) -> None:
    rng = np.random.default_rng(keys)
    made = attention(17, 12, 3, False, "qkv")
    codes = inputs(rng, 17, 12, False)
    case = Case(tuple(codes[n] for n in "geqkv"), {**gradient_attrs(made), "keys": keys})
    apart = run_kernel(kernels, attention_grad_s8, case)
    shared = run_kernel(kernels, attention_grad_s8, case, ((0, queries), (2, 3), (4, 4)))
    for a, b in zip(apart, shared, strict=True):
        np.testing.assert_array_equal(a, b)


def types(t: int, c: int) -> tuple[Type, ...]:
    x = Type((t, c), "i8", 0.1)
    return (x, Type((t,), "i16"), x, x, x)


def test_keys_trade_scratch_for_products() -> None:
    attrs, ins = gradient_attrs(attention(64, 32, 4, False, "qkv")), types(64, 32)
    assert attention_grad_s8.scratch and attention_grad_s8.macs
    assert attrs["keys"] == 64
    sizes = [attention_grad_s8.scratch(ins, {**attrs, "keys": n}) for n in (8, 16, 32)]
    assert sizes[1] - sizes[0] == 8 * (64 + 8) and sizes[2] - sizes[1] == 16 * (64 + 8)
    once, twice = (attention_grad_s8.macs(ins, {**attrs, "keys": n}) for n in (64, 63))
    assert once == 5 * 64 * 64 * 32 and twice == 7 * 64 * 64 * 32
    values = gradient_attrs(attention(64, 32, 4, True, "v"))
    assert attention_grad_s8.macs(ins, {**values, "keys": 1}) == 3 * 32 * 64 * 65 // 2


@pytest.mark.parametrize("change", [{"keys": 0}, {"keys": 65}, {"ds": None}, dict.fromkeys(PARTS)])
def test_what_cannot_be_made_is_refused(change: dict[str, Any]) -> None:
    attrs = gradient_attrs(attention(64, 32, 4, False, "qkv"))
    with pytest.raises(ShapeError, match="attention_grad"):
        attention_grad_s8.infer(types(64, 32), {**attrs, **change})
