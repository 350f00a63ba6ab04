"""Every operator on emulated boards: the kernels that a board is built with, against numpy."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_calls import STEP, check, outputs, rooms, shareable

from tinytrain.boards import load_board
from tinytrain.errors import ToolchainError
from tinytrain.ir import Case, Op, Step
from tinytrain.ops import REGISTRY
from tinytrain.sessions.kernel_calls import Buffer, Image, arguments, build_calls
from tinytrain.toolchain.build import Artifact

pytestmark = pytest.mark.qemu

BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500", "qemu_rv32", "qemu_mps3_an547")
CALLED = [op for op in REGISTRY.values() if not op.alias]
BY_ROWS = [op for op in CALLED if op.rowwise is not None and not op.sums]


@pytest.fixture(scope="module", params=BOARDS)
def program(request: Any, tmp_path_factory: Any) -> Artifact:
    folder = tmp_path_factory.mktemp("calls") / request.param
    return build_calls(load_board(request.param), folder, [f"tt_{op.name}" for op in CALLED])


@cache
def cases(op: Op) -> list[tuple[Case, tuple[Any, ...]]]:
    """The examples of an operator with what the reference gives."""
    assert op.examples
    found = op.examples(np.random.default_rng(2024))
    return [(c, op.ref(tuple(None if a is None else a.copy() for a in c.inputs), c.attrs, STEP))
            for c in found]  # fmt: skip


@pytest.mark.parametrize("op", CALLED, ids=lambda op: op.name)
def test_kernel_is_its_reference(program: Artifact, op: Op) -> None:
    """Alone and in place, with and without room, at addresses as the types allow."""
    image, given = Image(program), []
    for case, expected in cases(op):
        ways = [((), 1.0, image.place), *(((), room, image.place_anywhere) for room in rooms(op))]
        for alias, room, place in [*ways, *(((p,), 1.0, image.place) for p in shareable(op, case))]:
            call = arguments(op, case, place, STEP, aliases=alias, room=room)
            image.call(call)
            given.append((case, expected, call, (alias, room)))
    image.run()
    for case, expected, call, alias in given:
        check(op, case, expected, outputs(op, case, call), alias)


@pytest.mark.parametrize("op", BY_ROWS, ids=lambda op: op.name)
def test_kernel_by_rows_gives_the_same(program: Artifact, op: Op) -> None:
    """Blocks of two rows, as in a loop; the last one may have one."""
    image, given = Image(program), []
    for case, expected in cases(op):
        blocks = []
        for row in range(0, next(len(want) for want in expected if want is not None), 2):
            ins = [a[row : row + 2] if a is not None and j in (op.rowwise or ()) else a
                   for j, a in enumerate(case.inputs)]  # fmt: skip
            block = replace(case, inputs=tuple(ins))
            blocks.append((block, arguments(op, block, image.place_anywhere, STEP, row=row)))
            image.call(blocks[-1][1])
        given.append((case, expected, blocks))
    image.run()
    for case, expected, blocks in given:
        parts = [outputs(op, block, call) for block, call in blocks]
        found = [None if want is None else np.concatenate([part[i] for part in parts])
                 for i, want in enumerate(expected)]  # fmt: skip
        check(op, case, expected, found, "by rows")


def test_counts_repeat_and_grow_with_the_work(program: Artifact) -> None:
    op, counts = REGISTRY["add_s8"], []
    (case, _) = max(cases(op), key=lambda pair: pair[0].types()[0].size)  # type: ignore[union-attr]
    for _ in range(2):
        image = Image(program)
        image.call_nothing()
        image.call(arguments(op, case, image.place, STEP))
        counts.append(image.run("count_plugin"))
    (nothing,), (some,) = counts[0]
    assert counts[0] == counts[1] and 0 < nothing < some
    assert 0 < image.stack_used_bytes <= program.board.stack_bytes


def test_a_crash_names_the_kernel(program: Artifact) -> None:
    op = REGISTRY["add_s8"]
    image = Image(program)
    given = arguments(op, cases(op)[0][0], image.place, Step())
    image.call(given)
    nowhere = Buffer(image, 0xF0000000 - image.base, np.zeros(1, np.int8))
    image.call(replace(given, pointers=[nowhere] * len(given.pointers)))
    with pytest.raises(ToolchainError, match=r"call 1 of 2 on .*, tt_add_s8: crashed at 0x"):
        image.run()


def test_an_image_fits_the_memory(program: Artifact, tmp_path: Path) -> None:
    image = Image(program)
    image.place(np.zeros(image.room, np.int8))
    with pytest.raises(ToolchainError, match=r"bytes of calls; .* has \d+"):
        image.run()
