"""Cross entropy against float64 log-softmax, its gradient against finite differences of that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytrain.errors import ShapeError
from tinytrain.ir import Step, Type
from tinytrain.ops.loss import (
    LOSS_SCALE,
    cross_entropy_grad_s16,
    cross_entropy_s16,
    gradient_attrs,
)
from tinytrain.tables import EXP16, EXP256


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
    for t in range(len(logits)):
        got = cross_entropy_s16.ref([logits[t : t + 1], labels[t : t + 1]], {}, Step())[0]
        assert got[0] >= 0
        assert abs(got[0] * LOSS_SCALE - want[t]) < 1e-3
        assert got[1] == (logits[t].argmax() == labels[t]) and got[2] == 1


def test_loss_of_a_sure_row_is_zero() -> None:
    logits = np.array([[8000, -8000, 0]], np.int16)
    got = cross_entropy_s16.ref([logits, np.zeros(1, np.int16)], {}, Step())[0]
    np.testing.assert_array_equal(got, [0, 1, 1])


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
        unit = attrs["scale"] * 2.0 ** int(e[0])
        assert np.abs(g * unit - want).max() < 1.1 * unit  # one step by stochastic rounding
        mean += g * unit / 64
    inside = np.abs(want) < 127 * unit  # the largest may saturate
    assert np.abs(mean - want)[inside].max() < 0.4 * unit  # right on average: 64 draws, 6 sigma
    assert not g[3].any()


def test_what_is_refused() -> None:
    labels = Type((3,), "i16")
    for logits in (Type((4, 5), "i16"), Type((3, 32768), "i16"), Type((3, 5), "i16", 0.5)):
        with pytest.raises(ShapeError):
            cross_entropy_s16.infer((logits, labels), {})
