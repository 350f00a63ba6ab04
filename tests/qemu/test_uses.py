"""Kernels without what a model does not pass: what they are told, and the same bits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.sessions.runner import open_session
from tinytrain.support.assets import firmware_dir
from tinytrain.toolchain.build import Artifact

HEADER = firmware_dir() / "include" / "tinytrain" / "tt_uses.h"
# model, rule, storage, scheme; of what may be passed, what is.
MODELS = [
    (("sensor", "lsb", "int8", "full"), {"LSB"}),
    (("sensor", "sgd", "int16", "full"), {"SGD", "FRACTIONS"}),
    (("lm", "lsb", "int16", "some"), {"LSB", "FRACTIONS", "ROWS"}),
    (("channels", "sgd", "int8", "full"), {"SGD", "PER_CHANNEL"}),
]


def compiled(kind: str, rule: str, weights: str, scheme: str, board: str = "host") -> Compiled:
    made = toys.compiled(kind, scheme, rule=rule, weights=weights)
    recipe = toys.recipe(kind, toys.scheme(kind, scheme), made.optimizer)
    return compile_recipe(recipe, load_board(board), toys.quantized(kind))


def told(made: Compiled) -> dict[str, bool]:
    found = re.findall(r"#define TT_USES_(\w+) ([01])\n", made.files["model_uses.h"])
    return {name: value == "1" for name, value in found}


def test_all_is_used_where_no_model_says_otherwise() -> None:
    defaults = re.findall(r"#ifndef TT_USES_(\w+)\n#define TT_USES_(\w+) 1\n", HEADER.read_text())
    assert [name for name, _ in defaults] == [name for _, name in defaults]
    assert {name for name, _ in defaults} == set(told(compiled(*MODELS[0][0])))


@pytest.mark.parametrize(("model", "passed"), MODELS)
def test_what_a_model_passes(model: tuple[str, str, str, str], passed: set[str]) -> None:
    assert {name for name, used in told(compiled(*model)).items() if used} == passed


@pytest.mark.qemu
@pytest.mark.parametrize("board", ["qemu_mps2_an386", "qemu_rv32"])
def test_the_same_bits_in_less_code(tmp_path: Path, board: str) -> None:
    sizes = []
    for model, _ in MODELS[:3]:
        made = compiled(*model, board)
        session, artifact = open_session(made, board, tmp_path / model[1] / model[2])
        with session:
            toys.assert_same(session, numpy_session(made), toys.data(model[0]), 3)
        assert isinstance(artifact, Artifact)
        sizes.append(artifact.symbols["tt_weight_step_row"])
    assert sizes[0] < sizes[2], "without fractions"
