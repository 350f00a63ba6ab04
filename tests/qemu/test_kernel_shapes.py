"""Kernels of emulated boards in many shapes: all small ones, some larger ones, extremes.

The shapes take the place of those that the operators' examples are made in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from kernel_calls import STEP, check, outputs, rooms

from tinytrain.boards import load_board
from tinytrain.ops import (
    REGISTRY,
    accumulate,
    attention_heads,
    elementwise,
    gradient,
    linear,
    norm,
    packed,
    pool,
    tokens,
    update,
)
from tinytrain.sessions.kernel_calls import Image, arguments, build_calls
from tinytrain.toolchain.build import Artifact

pytestmark = pytest.mark.qemu

BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500", "qemu_rv32", "qemu_mps3_an547")
SMALL = tuple(itertools.product((1, 2, 3, 4, 5), range(1, 10), (1, 2, 3, 4, 5)))  # T, C, O
HEADS = tuple(
    (t, h * d, h) for h, t, d in itertools.product((1, 3), range(1, 10), (1, 2, 3, 4, 6, 8))
)
ROWS = tuple(itertools.product((1, 2, 3), range(1, 19)))  # T, C
WIDE = tuple((2, c) for c in (63, 64, 65, 66, 128, 130, 252, 256, 260, 300, 516))
# Where an operator finds its shapes, and which small ones it gets.
FAMILIES: dict[str, tuple[ModuleType, tuple[Any, ...]]] = {
    "linear_s8": (linear, SMALL), "linear_s16": (linear, SMALL), "linear_dx_s8": (linear, SMALL),
    "linear_packed_s8": (packed, SMALL[:45]), "linear_update_s8": (update, SMALL[::3]),
    "weight_sums_s32": (accumulate, SMALL),
    **{f"attention_{name}": (attention_heads, HEADS) for name in (
        "probs_u8", "mix_s8", "ds_s8", "dq_s8", "dk_s8", "dv_s8", "s8")},
    "attention_grad_s8": (attention_heads, HEADS[::5]),
    "lut_s8": (elementwise, ROWS[::3]), "lut_dx_s8": (elementwise, ROWS),
    "add_s8": (elementwise, ROWS), "affine_s8": (elementwise, ROWS),
    "rescale_grad_s8": (elementwise, ROWS), "clip_mask_u8": (gradient, ROWS),
    "clip_grad_s8": (gradient, ROWS), "grad_add_s8": (gradient, ROWS[::3]),
    "align_grad_s8": (gradient, ROWS), "layernorm_s8": (norm, ROWS),
    "layernorm_dx_s8": (norm, ROWS), "mean_tokens_s8": (tokens, ROWS),
    "sequence_pool_s8": (pool, ROWS), "sequence_pool_dx_s8": (pool, ROWS),
    "sequence_pool_da_s8": (pool, ROWS),
}  # fmt: skip


def of_rows(name: str) -> bool:
    """Whether an operator's shapes are those of rows: T, C."""
    return FAMILIES[name][0] in (elementwise, gradient, norm, pool, tokens)


def large(name: str) -> Sequence[tuple[int, ...]]:
    rng = np.random.default_rng(8)
    if of_rows(name):
        return WIDE
    if name.startswith("attention"):
        return [(33, 32, 4), (40, 36, 2), (32, 64, 4), (68, 48, 2)]
    some = [tuple(rng.integers(1, 9 * 2**i, 3).tolist()) for i in (1, 2, 3, 4, 4)]
    return [*some, (7, 48, 6), (9, 160, 10), (5, 528, 4)]


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


def filled(value: int) -> Callable[..., Any]:
    return lambda rng, *shape: np.full(np.ravel(shape), value, np.int8)


EXTREMES: dict[str, Callable[..., Any]] = {
    "127": filled(127), "-127": filled(-127),
    "both": lambda rng, *shape: rng.choice([-127, 127], np.ravel(shape)).astype(np.int8),
}  # fmt: skip
CODES = {gradient: "_codes", norm: "_rows"}  # what makes random codes, where not `codes`


@pytest.mark.parametrize("codes", EXTREMES)
@pytest.mark.parametrize("name", [n for n, (m, _) in FAMILIES.items() if m is not tokens])
def test_extremes(
    program: Artifact, name: str, codes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = FAMILIES[name][0]
    shapes = ((1, 7, 3), (3, 64, 5), (64, 33, 9), (5, 300, 2))
    if module is attention_heads:
        shapes = ((1, 7, 1), (3, 64, 2), (64, 33, 3), (36, 48, 3))
    monkeypatch.setattr(module, "SHAPES", [s[:2] if of_rows(name) else s for s in shapes])
    monkeypatch.setattr(module, CODES.get(module, "codes"), EXTREMES[codes])
    assert compare(program, name) >= 4
