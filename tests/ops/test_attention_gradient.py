"""Gradients of q, k, v through the integer ops of attention against float64.

The meaning that is differentiated is softmax(q k^T / sqrt(C/H)) v, on the real values of the same
integers. What differs: P has 8 bits (a step of 0.004), the gradient of the scores and the results
have 8 bits with stochastic rounding, and exp is read at sixteenths of a nat (an error of 3 % in a
probability at most). So single elements differ by some steps, and the direction of each gradient is
what is held: a cosine over 0.995.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention_graphs import S_G, S_K, S_Q, S_V, S_Y, attention

from tinytrain.ir import Op, Step
from tinytrain.ir.execute import execute
from tinytrain.ir.numerics import ZERO_EXPONENT
from tinytrain.ops.attention_grad import (
    attention_dk_s8,
    attention_dq_s8,
    attention_ds_s8,
    attention_dv_s8,
)
from tinytrain.ops.attention_heads import merge_heads, split_heads

CASES = [(t, c, h, causal) for t in (1, 3, 17) for c, h in ((8, 1), (8, 2), (24, 4))
         for causal in (False, True)]  # fmt: skip
GIVEN = {"heads": 2, "causal": False, "exp_add": 0, "stream": 1, "stream_heads": 2,
         "stream_rows": 3, "scale": 1.0}  # fmt: skip


def softmax(scores: Any, causal: bool) -> Any:
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -np.inf)
    e = np.exp(scores - scores.max(axis=2, keepdims=True))
    return e / e.sum(axis=2, keepdims=True)


def forward(ins: list[Any], heads: int, causal: bool) -> Any:
    """Float attention of q, k, v, all [T, C]."""
    q, k, v = (split_heads(x, heads) for x in ins)
    p = softmax(q @ k.transpose(0, 2, 1) / q.shape[2] ** 0.5, causal)
    return merge_heads(p @ v)


def finite_differences(ins: list[Any], g: Any, heads: int, causal: bool) -> list[Any]:
    """Gradient of sum(g * forward) for q, k and v."""
    grads = []
    for n, x in enumerate(ins):
        grad = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            sides = []
            for sign in (1, -1):
                moved = [a.copy() for a in ins]
                moved[n][at] += sign * 1e-4
                sides.append(float((g * forward(moved, heads, causal)).sum()))
            grad[at] = (sides[0] - sides[1]) / 2e-4
        grads.append(grad)
    return grads


def rows(exponents: Any) -> Any:
    """2**exponent of each row, as a column."""
    return 2.0 ** exponents.astype(float)[:, None]


def integer_gradients(codes: dict[str, Any], heads: int, causal: bool) -> list[Any]:
    """Real gradients of q, k and v, and the real output, by the integer ops."""
    tokens, channels = codes["q"].shape
    made = attention(tokens, channels, heads, causal, "qkv")
    values = execute(made.graph, codes, step=Step(seed=3, step=5))
    grads = [g.value.type.tensor_scale * rows(values[g.exponent.name]) * values[g.value.name]
             for g in made.grads.values()]  # fmt: skip
    return [*grads, S_Y * values["y"]]


def close(got: Any, want: Any, largest: float) -> None:
    """Same direction and length; nothing at all where the true gradient vanishes (one token)."""
    norm = np.linalg.norm(want)
    if norm < 1e-6 * largest:
        assert np.linalg.norm(got) <= 0.01 * largest
        return
    assert np.sum(got * want) / (np.linalg.norm(got) * norm) > 0.995
    assert 0.9 < np.linalg.norm(got) / norm < 1.1


@pytest.mark.parametrize(("t", "c", "heads", "causal"), CASES)
def test_gradients_follow_float(t: int, c: int, heads: int, causal: bool) -> None:
    rng = np.random.default_rng(t * 100 + c + heads)
    codes = {name: rng.integers(-127, 128, (t, c)).astype(np.int8) for name in "qkvg"}
    codes["e"] = rng.integers(-7, -2, t).astype(np.int16)
    *grads, y = integer_gradients(codes, heads, causal)
    reals = [codes["q"] * S_Q, codes["k"] * S_K, codes["v"] * S_V]
    assert np.abs(y - forward(reals, heads, causal)).max() < 0.15
    wanted = finite_differences(reals, codes["g"] * S_G * rows(codes["e"]), heads, causal)
    largest = float(np.linalg.norm(wanted[2]))
    for got, want in zip(grads, wanted, strict=True):
        close(got, want, largest)


def scores(rng: np.random.Generator, heads: int, t: int, spread: int) -> tuple[Any, Any]:
    """A gradient of scores and the exponents of its rows."""
    s = rng.integers(-127, 128, (heads, t, t)).astype(np.int8)
    return s, rng.integers(-spread, 1, (heads, t)).astype(np.int16)


def test_a_head_without_gradient_does_not_spoil_the_others() -> None:
    """Two heads, the second all zero and with a huge exponent: the first keeps all its bits."""
    rng = np.random.default_rng(1)
    s, e = scores(rng, 2, 5, 3)
    x = rng.integers(-127, 128, (5, 6)).astype(np.int8)
    s[1] = 0
    near, far = (attention_dq_s8.ref([s, np.stack([e[0], 0 * e[0] + n]), x], GIVEN, Step())
                 for n in (-3, 90))  # fmt: skip
    for a, b in zip(near, far, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.abs(far[0][:, :3]).max(axis=1) >= 64).all() and not far[0][:, 3:].any()


def test_small_rows_keep_their_precision() -> None:
    """Queries whose gradients differ by 2^40 are each as exact as if they were alone."""
    rng = np.random.default_rng(2)
    s, e = scores(rng, 2, 9, 40)
    e[1] = e[0]
    k = rng.integers(-127, 128, (9, 6)).astype(np.int8)
    value, exps = attention_dq_s8.ref([s, e, k], GIVEN, Step())
    want = merge_heads(s.astype(float) @ split_heads(k, 2)) * rows(e[0])
    assert (np.abs(value * rows(exps) - want) <= 2 * rows(exps)).all()
    assert (np.abs(value).max(axis=1) >= 64).all()


def exact(op: Op, ins: list[Any]) -> Any:
    """What ``op`` rounds, in float64."""
    a, e, x = ins
    if op is attention_dv_s8:
        p, g = x, a * rows(e)
        return merge_heads(p.transpose(0, 2, 1).astype(float) @ split_heads(g, 2))
    s = a * 2.0 ** e.astype(float)[:, :, None]
    s = s if op is attention_dq_s8 else s.transpose(0, 2, 1)
    return merge_heads(s @ split_heads(x, 2))


@pytest.mark.parametrize(
    "op", [attention_dq_s8, attention_dk_s8, attention_dv_s8], ids=lambda op: op.name
)
def test_all_roundings_together_are_unbiased(op: Op) -> None:
    """The mean over many steps is the exact gradient, through every alignment, as far as its own
    noise lets see. The largest of a head is left out: what is rounded up to 128 becomes 127."""
    rng, steps = np.random.default_rng(3), 2000
    s, e = scores(rng, 2, 7, 6)
    x = rng.integers(-60, 61, (7, 6)).astype(np.int8)
    ins = [s, e, x]
    if op is attention_dv_s8:
        ins = [x, e[0], rng.integers(0, 90, (2, 7, 7)).astype(np.uint8)]
    drawn = np.empty((steps, 7, 6))
    for step in range(steps):
        value, exps = op.ref(ins, GIVEN, Step(step=step))
        drawn[step] = value * rows(exps)
    want, noise = exact(op, ins), drawn.std(axis=0) / steps**0.5
    size = np.abs(want).reshape(7, 2, 3)
    inner = (size < 0.95 * size.max(axis=2, keepdims=True)).reshape(7, 6)
    assert (np.abs(drawn.mean(axis=0) - want) < 5 * noise + 1e-9)[inner].all()
    assert (noise < 0.01 * np.abs(want).max(axis=1, keepdims=True)).all()


def test_rows_of_zeros_have_the_exponent_of_zero() -> None:
    rng = np.random.default_rng(4)
    g, v = (rng.integers(-127, 128, (5, 6)).astype(np.int8) for _ in range(2))
    p = np.full((2, 5, 5), 51, np.uint8)
    g[2] = 0
    g[3, :3] = 0  # only the second head has a gradient
    s, e = attention_ds_s8.ref([g, np.zeros(5, np.int16), v, p], GIVEN, Step())
    none = e == ZERO_EXPONENT
    np.testing.assert_array_equal(none, ~s.any(axis=2))
    np.testing.assert_array_equal(none, [[0, 0, 1, 1, 0], [0, 0, 1, 0, 0]])
    for op, ins in ((attention_dq_s8, [s * 0, e * 0 + ZERO_EXPONENT, v]),
                    (attention_dk_s8, [s * 0, e * 0 + ZERO_EXPONENT, v]),
                    (attention_dv_s8, [g * 0, e[0] * 0 + ZERO_EXPONENT, p])):  # fmt: skip
        value, exps = op.ref(ins, GIVEN, Step())
        assert not value.any() and (exps == ZERO_EXPONENT).all()
