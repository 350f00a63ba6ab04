"""Rows of accumulators on emulated boards: every shift, first number and length of the assembly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from kernel_calls import STEP, check, outputs

from tinytrain.boards import load_board
from tinytrain.ir import Array, Attrs, Case, Op, Step, Type, Types
from tinytrain.ir.numerics import bit_length, stochastic_shift
from tinytrain.sessions.kernel_calls import Image, arguments, build_calls
from tinytrain.toolchain.build import Artifact

pytestmark = pytest.mark.qemu

BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500", "qemu_rv32")
KEY = 0x7654321


def _infer(types: Types, attrs: Attrs) -> tuple[Type]:
    assert types[0]
    return (Type(types[0].shape, "i8"),)


def _ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    shift = attrs.get("shift", max(0, bit_length(int(np.abs(ins[0]).max())) - 7))
    return (stochastic_shift(ins[0], shift, KEY, attrs["first"]),)


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    middle = {"shift": attrs["shift"]} if "shift" in attrs else {"base": 0}
    assert ins[0]
    return {"n": ins[0].size, **middle, "key": KEY, "first": attrs["first"]}


# Functions that kernels share, called as if they were operators.
quantize_row = Op("quantize_row", _infer, _ref, _dims)
round_row = Op("round_row", _infer, _ref, _dims)
LENGTHS = (*range(1, 22), 64, 67)


@pytest.fixture(scope="module", params=BOARDS)
def program(request: Any, tmp_path_factory: Any) -> Artifact:
    folder = tmp_path_factory.mktemp("rounding") / request.param
    return build_calls(load_board(request.param), folder, ["tt_quantize_row", "tt_round_row"])


def compare(program: Artifact, op: Op, cases: Sequence[Case]) -> None:
    image = Image(program)
    given = [(case, arguments(op, case, image.place_anywhere, STEP)) for case in cases]
    for _, call in given:
        image.call(call)
    image.run()
    for case, call in given:
        check(op, case, op.ref(case.inputs, case.attrs, STEP), outputs(op, case, call))


@pytest.mark.parametrize("first", [0, 1, 6, 4095])
def test_every_shift(program: Artifact, first: int) -> None:
    rng, cases = np.random.default_rng(first), []
    for shift in range(33):
        for n in LENGTHS[shift % 3 :: 3]:
            limit = 2 ** min(7 + shift, 30) - 1
            acc = rng.integers(-limit, limit + 1, n).astype(np.int32)
            acc[rng.integers(n)] = rng.choice([-limit, limit])
            cases.append(Case((acc,), {"shift": shift, "first": first}, label=f"{shift} {n}"))
    compare(program, round_row, cases)


@pytest.mark.parametrize("first", [0, 3])
def test_every_peak(program: Artifact, first: int) -> None:
    """Peaks at both sides of each power of two, of both signs, at any place in the row."""
    rng, cases = np.random.default_rng(first), []
    for bits in range(30):
        for peak in (2**bits - 1, 2**bits):
            for sign in (-1, 1):
                n = int(rng.choice(LENGTHS))
                acc = rng.integers(-(peak // 2), peak // 2 + 1, n).astype(np.int32)
                acc[rng.integers(n)] = sign * peak
                cases.append(Case((acc,), {"first": first}, label=f"{sign * peak} of {n}"))
    compare(program, quantize_row, cases)
