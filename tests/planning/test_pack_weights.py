"""Weights that are laid out for layers of one token: which, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from torch import Tensor, nn

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe, prepare
from tinytrain.ops.packed import CHANNELS, fits, pack_weight, unpack_weight
from tinytrain.planning.pack_weights import packs
from tinytrain.quantize import Quantized
from tinytrain.recipe import Recipe, UpdateScheme
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.sessions.runner import open_session

M4 = "qemu_mps2_an386"


class Wide(nn.Module):
    """Two layers and a head behind a mean of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.first = nn.Linear(16, 24)
        self.second = nn.Linear(24, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(self.embed(x).mean(dim=1)))
        logits: Tensor = self.head(torch.relu(self.second(y)))
        return logits


@lru_cache
def prepared() -> tuple[Recipe, Quantized]:
    torch.manual_seed(4)
    recipe = replace(toys.recipe("relu"), name="wide", model=toys.scaled_up(Wide()).eval())
    return recipe, prepare(recipe)


def wide(board: str, **trained: float) -> Compiled:
    recipe, quantized = prepared()
    scheme = UpdateScheme({**trained, "head": 1.0}, ("head",))
    return compile_recipe(replace(recipe, scheme=scheme), load_board(board), quantized)


def layers(made: Compiled, op: str) -> list[str]:
    return [n.layer for n in made.evaluate.nodes if n.op.name == op]


def test_layout() -> None:
    w = np.arange(4 * 8).reshape(4, 8) - 16
    packed = pack_weight(w.astype(np.int8)).reshape(-1)
    both = packed.view("<i2")
    assert both[:4].tolist() == [256 * w[r, c + 1] + w[r, c] for r in (0, 1) for c in (0, 2)]
    assert both[8] == 256 * w[0, 5] + w[0, 4]
    rng = np.random.default_rng(1)
    for shape in ((4, 8), (12, CHANNELS)):
        some = rng.choice([-127, -1, 0, 127], shape).astype(np.int8)
        np.testing.assert_array_equal(unpack_weight(pack_weight(some)), some)
    assert 256 * 127**2 * CHANNELS < 2**31 and fits(4, CHANNELS)
    assert not fits(4, CHANNELS + 8) and not fits(4, 12) and not fits(6, 8)


@pytest.mark.parametrize(
    ("trained", "packed"),
    [({}, ["first", "second"]),  # frozen
     ({"second": 1.0}, ["first"]),  # what is trained keeps its layout
     ({"second": 0.5}, ["first"]),
     ({"first": 1.0}, [])],  # and what a gradient passes through
)  # fmt: skip
def test_what_is_packed(trained: dict[str, float], packed: list[str]) -> None:
    made = wide(M4, **trained)
    assert layers(made, "linear_packed_s8") == packed
    assert {"first", "second"} == {*layers(made, "linear_s8"), *packed} - {"embed"}


def test_same_numbers_as_without() -> None:
    assert packs("armv7em") and not packs("") and not packs("armv81m_mve")
    plain, packed = wide("host"), wide(M4)
    assert not layers(plain, "linear_packed_s8") and layers(packed, "linear_packed_s8")
    samples = toys.data("relu")
    a, b = numpy_session(plain), numpy_session(packed)
    for x, y in zip(samples.x[:8], samples.y[:8], strict=True):
        assert a.step(x, y) == b.step(x, y)
    assert a.weights_sha256() == b.weights_sha256()


@pytest.mark.qemu
def test_same_bits_on_a_board(tmp_path: Path) -> None:
    made, samples = wide(M4), toys.data("relu")
    numpy = numpy_session(made)
    board, _ = open_session(made, M4, tmp_path)
    with board:
        for x, y in zip(samples.x[:8], samples.y[:8], strict=True):
            assert numpy.step(x, y) == board.step(x, y)
        assert numpy.weights_sha256() == board.weights_sha256()
