"""Cross entropy against float64 log-softmax, its gradient against finite differences of that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytrain.errors import ShapeError
from tinytrain.ir import Step, Type
from tinytrain.ir.numerics import ZERO_EXPONENT
from tinytrain.ir.tables import EXP16, EXP256
from tinytrain.ops.loss import (
    LOSS_SCALE,
    cross_entropy_grad_s16,
    gradient_attrs,
    metrics_s32,
    row_loss_s16,
)


def float_losses(logits: Any, labels: Any) -> Any:
    """The loss of each row in nat; logits in nat."""
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return total - logits[np.arange(len(logits)), labels]


@pytest.mark.parametrize("classes", [1, 2, 10, 97])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0, 30.0])
def test_loss_of_each_row(classes: int, spread: float) -> None:
    rng = np.random.default_rng(classes)
    logits = np.clip(rng.normal(0, 256 * spread, (50, classes)), -32767, 32767).astype(np.int16)
    labels = rng.integers(0, classes, 50).astype(np.int16)
    want = float_losses(logits / 256, labels)
    loss, verdict = row_loss_s16.ref([logits, labels], {}, Step())
    assert (loss >= 0).all()
    assert np.abs(loss * LOSS_SCALE - want).max() < 1e-3
    np.testing.assert_array_equal(verdict, logits.argmax(axis=1) == labels)


def test_loss_of_a_sure_row_is_zero() -> None:
    logits = np.array([[8000, -8000, 0]] * 3, np.int16)
    loss, verdict = row_loss_s16.ref([logits, np.array([0, 1, -1], np.int16)], {}, Step())
    np.testing.assert_array_equal(loss, [0, 16000 * 256, 0])
    np.testing.assert_array_equal(verdict, [1, 0, -1])


def test_metrics() -> None:
    """The sum of the losses, rows that are right, rows that count; the sum saturates."""
    loss, verdict = np.array([5, 0, 70, 1], np.int32), np.array([0, -1, 1, 1], np.int8)
    np.testing.assert_array_equal(metrics_s32.ref([loss, verdict], {}, Step())[0], [76, 2, 3])
    loss[1] = 2**31 - 1
    got = metrics_s32.ref([loss, verdict], {}, Step())[0]
    np.testing.assert_array_equal(got, [2**31 - 1, 2, 3])


def test_exponentials() -> None:
    d = np.arange(65536)
    capped = np.minimum(d, 4095)
    e = (EXP16[capped >> 4].astype(np.int64) * EXP256[capped & 15] + 2**14) >> 15
    assert e[0] == 65535 and e[4095] == 0
    assert np.abs(e - 65535 * np.exp(-d / 256)).max() < 2


@pytest.mark.parametrize("classes", [2, 10, 97])
def test_gradient_follows_finite_differences(classes: int) -> None:
    rng = np.random.default_rng(classes)
    rows, attrs = 12, {**gradient_attrs(12), "stream": 2}
    logits = rng.normal(0, 512, (rows, classes)).astype(np.int16)
    labels = rng.integers(0, classes, rows).astype(np.int16)
    labels[3] = -1
    counted = np.flatnonzero(labels >= 0)
    want = np.zeros(logits.shape)
    for at in np.ndindex(*logits.shape):
        if at[0] in counted:
            sides = []
            for sign in (1, -1):
                moved = logits / 256
                moved[at] += sign * 1e-4
                sides.append(float_losses(moved[counted], labels[counted]).sum() / rows)
            want[at] = (sides[0] - sides[1]) / 2e-4
    mean = np.zeros(logits.shape)
    for seed in range(64):
        g, e = cross_entropy_grad_s16.ref([logits, labels], attrs, Step(seed=seed))
        unit = attrs["scale"] * 2.0 ** e[:, None].astype(float)
        assert (np.abs(g * unit - want) <= 1.1 * unit).all()  # one step by stochastic rounding
        mean += g * unit / 64
    inside = np.abs(want) < 127 * unit  # the largest may saturate
    # right on average: 64 draws, 6 sigma
    assert (np.abs(mean - want) <= 0.4 * unit)[inside].all()
    assert not g[3].any() and e[3] == ZERO_EXPONENT
    assert (np.abs(g[counted]).max(axis=1) > 62).all()  # each row has all its bits


def test_what_is_refused() -> None:
    labels = Type((3,), "i16")
    for logits in (Type((4, 5), "i16"), Type((3, 32768), "i16"), Type((3, 5), "i16", 0.5)):
        with pytest.raises(ShapeError):
            row_loss_s16.infer((logits, labels), {})
    with pytest.raises(ShapeError):
        metrics_s32.infer((Type((3,), "i32"), Type((4,), "i8")), {})
