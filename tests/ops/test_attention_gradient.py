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

from tinytrain.ir import Op, Step, Type
from tinytrain.numerics import split_scale
from tinytrain.ops.attention import (
    attention_dk_s8,
    attention_dq_s8,
    attention_ds_s8,
    attention_dv_s8,
    attention_mix_s8,
    attention_probs_u8,
    merge_heads,
    mix_attrs,
    probs_attrs,
    split_heads,
)

S_Q, S_K, S_V, S_Y, S_G = 0.02, 0.015, 0.03, 0.03, 0.7
CASES = [(t, c, h, causal) for t in (1, 3, 17) for c, h in ((8, 1), (8, 2), (24, 4))
         for causal in (False, True)]  # fmt: skip


def softmax(scores: Any, causal: bool) -> Any:
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -np.inf)
    e = np.exp(scores - scores.max(axis=2, keepdims=True))
    return e / e.sum(axis=2, keepdims=True)


def forward(q: Any, k: Any, v: Any, heads: int, causal: bool) -> Any:
    """Float attention, all [T, C]."""
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
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
                sides.append(float((g * forward(*moved, heads, causal)).sum()))
            grad[at] = (sides[0] - sides[1]) / 2e-4
        grads.append(grad)
    return grads


def gradient(op: Op, ins: list[Any], factor: float, **attrs: Any) -> tuple[Any, Any, float]:
    """(integers, exponents, scale) of a gradient op, with the attributes that autodiff gives."""
    scale, exp_add = split_scale(factor)
    attrs |= {"scale": scale, "exp_add": exp_add, "stream": 9}
    kinds = tuple(Type(a.shape, {"int8": "i8", "uint8": "u8", "int32": "i32"}[a.dtype.name])
                  for a in ins)  # fmt: skip
    assert op.infer(kinds, attrs)[1].shape == ((attrs["heads"],) if op is attention_ds_s8 else (1,))
    value, exponent = op.ref(ins, attrs, Step(seed=3, step=5))
    return value, exponent, scale


def integer_gradients(q: Any, k: Any, v: Any, g: Any, heads: int, causal: bool) -> list[Any]:
    """Real gradients of q, k and v, and the real output, by the integer ops."""
    kind = {"heads": heads, "causal": causal}
    root = (q.shape[1] // heads) ** -0.5
    p = attention_probs_u8.ref([q, k], {**kind, **probs_attrs(S_Q, S_K, root)}, Step())[0]
    y = attention_mix_s8.ref([p, v], {**kind, **mix_attrs(S_V, S_Y)}, Step())[0]
    e = np.array([-4], np.int32)
    s, exps, s_s = gradient(attention_ds_s8, [g, e, v, p], S_G * S_V * 256 / 255**2, **kind)
    grads = [
        gradient(attention_dq_s8, [s, exps, k], s_s * S_K * root, **kind),
        gradient(attention_dk_s8, [s, exps, q], s_s * S_Q * root, **kind),
        gradient(attention_dv_s8, [g, e, p], S_G / 255, **kind),
    ]
    return [*(scale * 2.0 ** int(exp[0]) * x for x, exp, scale in grads), S_Y * y]


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
    q, k, v, g = (rng.integers(-127, 128, (t, c)).astype(np.int8) for _ in range(4))
    *grads, y = integer_gradients(q, k, v, g, heads, causal)
    reals = [q * S_Q, k * S_K, v * S_V]
    assert np.abs(y - forward(*reals, heads, causal)).max() < 0.15
    wanted = finite_differences(reals, g * S_G * 2.0**-4, heads, causal)
    largest = float(np.linalg.norm(wanted[2]))
    for got, want in zip(grads, wanted, strict=True):
        close(got, want, largest)


def test_a_head_without_gradient_does_not_spoil_the_others() -> None:
    """Two heads, the second all zero and with a huge exponent: the first keeps all its bits."""
    rng = np.random.default_rng(1)
    s = rng.integers(-127, 128, (2, 5, 5)).astype(np.int8)
    x = rng.integers(-127, 128, (5, 6)).astype(np.int8)
    s[1] = 0
    attrs = {"heads": 2, "causal": False, "exp_add": 0, "stream": 1, "scale": 1.0}
    near, far = (attention_dq_s8.ref([s, np.array([-3, e], np.int32), x], attrs, Step())
                 for e in (-3, 90))  # fmt: skip
    np.testing.assert_array_equal(near[0], far[0])
    assert near[1] == far[1] and np.abs(far[0][:, :3]).max() >= 64
