"""The weight step of emulated boards at all rates and sizes of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_calls import STEP, check, outputs

from tinytrain.boards import load_board
from tinytrain.ir import Case
from tinytrain.ops import REGISTRY
from tinytrain.sessions.kernel_calls import Image, arguments, build_calls
from tinytrain.toolchain.build import Artifact

pytestmark = pytest.mark.qemu

BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500")
OP = REGISTRY["weight_step_s8"]
ROWS, COLUMNS = 3, 37


@pytest.fixture(scope="module", params=BOARDS)
def program(request: Any, tmp_path_factory: Any) -> Artifact:
    folder = tmp_path_factory.mktemp("step") / request.param
    return build_calls(load_board(request.param), folder, [f"tt_{OP.name}"])


def case(rng: np.random.Generator, size: int, level: int, wide: bool, sgd: bool) -> Case:
    """Sums of ``size`` bits, a few of them larger; a rate that falls as ``level`` rises."""
    acc = rng.integers(-(2**size), 2**size, (ROWS, COLUMNS))
    acc[rng.random(acc.shape) < 0.02] *= 2 ** min(6, 27 - size)
    w = rng.integers(-127, 128, acc.shape).astype(np.int8)
    fraction = rng.integers(-128, 128, acc.shape).astype(np.int8) if wide else None
    moment = None if sgd else np.array([4.0**level], np.float32)
    coefs = np.array([2.0**-level], np.float32) if sgd else None
    ins = (acc.astype(np.int32), np.array([0], np.int16), w, fraction, moment, coefs)
    return Case(ins, {"stream": 5, "tokens": 1}, label=f"{size} bits, 2^{level}")


@pytest.mark.parametrize("wide", [False, True], ids=["int8", "int16"])
@pytest.mark.parametrize("sgd", [False, True], ids=["lsb", "sgd"])
def test_any_rate(program: Artifact, wide: bool, sgd: bool) -> None:
    rng = np.random.default_rng(3)
    image, given = Image(program), []
    for size in (1, 9, 17, 22, 27):
        for level in range(-12, 40, 2 if sgd else 1):
            made = case(rng, size, level, wide, sgd)
            given.append((made, arguments(OP, made, image.place_anywhere, STEP)))
            image.call(given[-1][1])
    image.run()
    for made, call in given:
        copies = tuple(None if a is None else a.copy() for a in made.inputs)
        check(OP, made, OP.ref(copies, made.attrs, STEP), outputs(OP, made, call))
