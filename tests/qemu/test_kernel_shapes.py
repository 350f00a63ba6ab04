"""Matrix kernels of emulated boards in many shapes: all small ones, some larger ones, extremes.

The shapes take the place of those that the operators' examples are made in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from kernel_calls import STEP, check, outputs, rooms

from tinytrain.boards import load_board
from tinytrain.build import Artifact
from tinytrain.calls import Image, arguments, build_calls
from tinytrain.ops import REGISTRY, accumulate, attention_heads, linear, update

pytestmark = pytest.mark.qemu

BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500", "qemu_rv32", "qemu_mps3_an547")
SMALL = tuple(itertools.product((1, 2, 3, 4, 5), range(1, 10), (1, 2, 3, 4, 5)))  # T, C, O
HEADS = tuple((t, h * d, h) for t, d, h in itertools.product((1, 2, 5), (1, 2, 3, 4, 7), (1, 3)))
# Where an operator finds its shapes, and which small ones it gets.
FAMILIES: dict[str, tuple[ModuleType, tuple[Any, ...]]] = {
    "linear_s8": (linear, SMALL), "linear_s16": (linear, SMALL), "linear_dx_s8": (linear, SMALL),
    "linear_update_s8": (update, SMALL[::3]), "weight_sums_s32": (accumulate, SMALL),
    "attention_s8": (attention_heads, HEADS), "attention_grad_s8": (attention_heads, HEADS[::4]),
}  # fmt: skip


def large(name: str) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(8)
    if name.startswith("attention"):
        return [(33, 32, 4), (40, 36, 2)]
    return [tuple(rng.integers(1, 9 * 2**i, 3).tolist()) for i in (1, 2, 3, 4, 4)]


@pytest.fixture(scope="module", params=BOARDS)
def program(request: Any, tmp_path_factory: Any) -> Artifact:
    folder = tmp_path_factory.mktemp("shapes") / request.param
    return build_calls(load_board(request.param), folder, [f"tt_{name}" for name in FAMILIES])


def compare(program: Artifact, name: str) -> int:
    """Run the examples of an operator, as many at once as there is memory for; how many."""
    op = REGISTRY[name]
    assert op.examples
    cases = op.examples(np.random.default_rng(77))
    done = 0
    while done < len(cases):
        image, given = Image(program), []
        while done < len(cases) and image.bytes < image.room // 2:
            for room in rooms(op):
                call = arguments(op, cases[done], image.place_anywhere, STEP, room=room)
                given.append((cases[done], call))
                image.call(call)
            done += 1
        image.run()
        for case, call in given:
            copies = tuple(None if a is None else a.copy() for a in case.inputs)
            check(op, case, op.ref(copies, case.attrs, STEP), outputs(op, case, call))
    return done


@pytest.mark.parametrize("name", FAMILIES)
def test_small_shapes(program: Artifact, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, shapes = FAMILIES[name]
    monkeypatch.setattr(module, "SHAPES", shapes)
    assert compare(program, name) >= len(shapes)


@pytest.mark.parametrize("name", FAMILIES)
def test_large_shapes(program: Artifact, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FAMILIES[name][0], "SHAPES", large(name))
    assert compare(program, name) >= len(large(name))


EXTREMES: dict[str, Callable[..., Any]] = {
    "127": lambda rng, *shape: np.full(shape, 127, np.int8),
    "-127": lambda rng, *shape: np.full(shape, -127, np.int8),
    "both": lambda rng, *shape: np.where(rng.random(shape) < 0.5, -127, 127).astype(np.int8),
}


@pytest.mark.parametrize("codes", EXTREMES)
@pytest.mark.parametrize("name", [name for name in FAMILIES if "attention" not in name])
def test_extremes(
    program: Artifact, name: str, codes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = FAMILIES[name][0]
    monkeypatch.setattr(module, "SHAPES", [(1, 7, 3), (3, 64, 5), (64, 33, 9), (5, 300, 2)])
    monkeypatch.setattr(module, "codes", EXTREMES[codes])
    assert compare(program, name) >= 4
