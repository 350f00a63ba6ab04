"""The learning rate of each step: its shape, and the bits of the C."""

from __future__ import annotations

import ctypes
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytrain.boards import load_board
from tinytrain.errors import RecipeError
from tinytrain.recipe import Optimizer
from tinytrain.toolchain.build import build
from tinytrain.training.learning_rate import beta_at, knots, rate_at

FAKE = Path(__file__).resolve().parents[1] / "qemu" / "fake"
FAKE_KNOTS = [(0, 0.25), (4, 2.0), (11, 0.3), (300, 0.0)]


def rates(**settings: object) -> list[float]:
    optimizer = Optimizer(**settings)  # type: ignore[arg-type]
    return [float(rate_at(knots(optimizer), step)) for step in range(optimizer.steps + 2)]


def test_constant() -> None:
    assert set(rates(schedule="constant", learning_rate=0.5, steps=7)) == {0.5}


def test_linear_ends_at_zero() -> None:
    assert rates(schedule="linear", learning_rate=2.0, steps=4) == [2.0, 1.5, 1.0, 0.5, 0.0, 0.0]


def test_warmup_rises_to_the_full_rate() -> None:
    got = rates(schedule="linear", learning_rate=1.0, steps=6, warmup=3)
    assert got[:4] == [0.25, 0.5, 0.75, 1.0] and got[6:] == [0.0, 0.0]


def test_cosine_follows_the_cosine() -> None:
    got = np.array(rates(schedule="cosine", learning_rate=1.0, steps=300, warmup=10)[10:301])
    wanted = 0.5 * (1 + np.cos(np.pi * np.arange(291) / 290))
    assert np.abs(got - wanted).max() < 0.006
    assert len(knots(Optimizer(schedule="cosine", steps=300))) == 17


@given(
    st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 5000), st.integers(0, 4999)
)
def test_knots_rise_strictly(schedule: str, steps: int, warmup: int) -> None:
    optimizer = Optimizer(schedule=schedule, steps=steps, warmup=min(warmup, steps - 1))  # type: ignore[arg-type]
    corners = knots(optimizer)
    at = [step for step, _ in corners]
    assert at[0] == 0 and all(a < b for a, b in pairwise(at))
    assert all(isinstance(rate, np.float32) and rate >= 0 for _, rate in corners)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"steps": 5, "warmup": 5}, {"learning_rate": float("nan")}]
)
def test_impossible_schedules(settings: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        knots(Optimizer(**settings))  # type: ignore[arg-type]


def test_the_same_bits_as_the_runtime(tmp_path: Path) -> None:
    files = {name: (FAKE / name).read_text() for name in ("model.c", "model.h")}
    library = ctypes.CDLL(str(build(files, load_board("host"), tmp_path / "out").path))
    for name in ("tt_learning_rate", "tt_beta"):
        getattr(library, name).restype = ctypes.c_float
    corners = [(step, np.float32(rate)) for step, rate in FAKE_KNOTS]
    for step in [*range(310), 2**31, 2**32 - 1]:
        assert np.float32(library.tt_learning_rate(step)) == rate_at(corners, step), step
        assert np.float32(library.tt_beta(step)) == beta_at(step)
