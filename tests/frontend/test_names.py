"""Names are for readers: whatever a user calls modules and arguments, the bits are the same."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import UnsupportedOp
from tinytrain.recipe import Dataset, Optimizer, Recipe, UpdateScheme
from tinytrain.sessions.numpy_session import numpy_session

# What the compiler calls its own values, parameters and symbols, or did.
OWN = [
    "labels", "loss", "metrics", "logits", "choice", "grad", "input", "scratch", "weight", "bias",
    "trained", "moment", "rows", "fraction", "frozen", "again", "clipped", "aligned", "coefs",
    "lora_a", "lora_b", "mult", "shift", "sums", "new", "base", "arena", "tt_model_labels",
]  # fmt: skip
C_WORDS = ["int", "static", "float", "volatile", "restrict", "main", "NULL", "int8_t"]
UNICODE = ["größe", "層", "Ω"]
PYTHON = [word for word in keyword.kwlist if word[0].islower()]


def model(argument: str, first: str, second: str) -> nn.Module:
    """Two linear layers of two nested modules with these names."""
    torch.manual_seed(0)

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(second, nn.Linear(6, 5))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(first, Inner())
            self.add_module("head" if first != "head" else "top", nn.Linear(5, 3))

        def run(self, x: torch.Tensor) -> torch.Tensor:
            inner, head = self.children()
            return head(torch.relu(next(inner.children())(x)))

    place: dict[str, Any] = {}
    exec(f"def forward(self, {argument}):\n    return self.run({argument})", place)
    Net.forward = place["forward"]  # type: ignore[method-assign]
    return Net().eval()


def compiled(argument: str, first: str, second: str, *more: UpdateScheme | str) -> Compiled:
    rng = np.random.default_rng(0)
    data = Dataset(rng.normal(size=(8, 6)).astype(np.float32), rng.integers(0, 3, 8))
    recipe = Recipe(
        name="names", model=model(argument, first, second), calibration=data.x, train=data,
        tests={"test": data}, loss="classes", scheme="full", alternatives=more,
        optimizer=Optimizer(weights="int16", steps=8),
    )  # fmt: skip
    return compile_recipe(recipe, load_board("host"))


def trace(made: Compiled) -> list[Any]:
    rng = np.random.default_rng(1)
    session = numpy_session(made)
    losses = [session.step(rng.normal(size=6).astype(np.float32), i % 3).loss for i in range(3)]
    return [*losses, *(array.tobytes() for array in session.weights().values())]


PLAIN = trace(compiled("x", "body", "linear"))
WORDS = st.sampled_from(OWN + C_WORDS + UNICODE + PYTHON)


@settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
@given(st.sampled_from(OWN + UNICODE), WORDS, WORDS)
def test_names_change_no_bit(argument: str, first: str, second: str) -> None:
    try:
        made = compiled(argument, first, second)
    except UnsupportedOp as error:
        # torch.export itself writes Python with the names of modules.
        assert {first, second} & set(PYTHON) and "invalid syntax" in str(error)
        return
    assert trace(made) == PLAIN


@pytest.mark.parametrize(
    ("argument", "first", "second"),
    [("labels", "labels", "choice"), ("choice", "head", "lora_a"), ("metrics", "logits", "int")],
)
def test_the_c_is_right_as_well(tmp_path: Path, argument: str, first: str, second: str) -> None:
    """With several schemes and adapters, so that all that the compiler names is there."""
    made = compiled(argument, first, second, "head_only", "lora:2")
    rng = np.random.default_rng(2)
    data = Dataset(rng.normal(size=(8, 6)).astype(np.float32), rng.integers(0, 3, 8))
    with toys.host(made, tmp_path) as host:
        toys.assert_same(host, numpy_session(made), data, 4)
