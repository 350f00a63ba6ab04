"""Every operator: its C kernel against its numpy meaning, bit for bit, canaries all round."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from kernel_calls import STEP, check, rooms, run_kernel, shareable

from tinytrain.ir import DTYPES, Op
from tinytrain.ops import REGISTRY

CALLED = [op for op in REGISTRY.values() if not op.alias]
BY_ROWS = [op for op in CALLED if op.rowwise is not None and not op.sums]
SUMS = [op for op in CALLED if op.sums]


@pytest.mark.parametrize("op", CALLED, ids=lambda op: op.name)
def test_kernel_is_its_reference(kernels: ctypes.CDLL, op: Op) -> None:
    assert op.examples, f"{op.name} has no examples"
    cases = op.examples(np.random.default_rng(2024))
    assert len(cases) >= 3
    for case in cases:
        expected = op.ref(tuple(None if a is None else a.copy() for a in case.inputs),
                          case.attrs, STEP)  # fmt: skip
        for alias in [(), *((pair,) for pair in shareable(op, case))]:
            for room in rooms(op):
                found = run_kernel(kernels, op, case, alias, room=room)
                check(op, case, expected, found, (alias, room))


@pytest.mark.parametrize("op", BY_ROWS, ids=lambda op: op.name)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_kernel_by_rows_gives_the_same(kernels: ctypes.CDLL, op: Op, rows: int) -> None:
    """A kernel called on one block of rows after the other, as in a loop, gives the whole."""
    assert op.examples and op.rowwise is not None
    tried = 0
    for case in op.examples(np.random.default_rng(2024)):
        expected = op.ref(case.inputs, case.attrs, STEP)
        total = next(len(want) for want in expected if want is not None)
        blocks = []
        for row in range(0, total, rows):
            inputs = tuple(
                a[row : row + rows].copy() if a is not None and j in op.rowwise else a
                for j, a in enumerate(case.inputs)
            )
            blocks.append(run_kernel(kernels, op, replace(case, inputs=inputs), row=row))
        for want, *parts in zip(expected, *blocks, strict=True):
            if want is not None:
                np.testing.assert_array_equal(want, np.concatenate(parts), case.label)
        tried += total > rows
    assert tried


@pytest.mark.parametrize("op", SUMS, ids=lambda op: op.name)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_sums_over_blocks_of_rows_are_the_whole_sum(
    kernels: ctypes.CDLL, op: Op, rows: int
) -> None:
    assert op.examples and op.rowwise
    for case in op.examples(np.random.default_rng(2024)):
        found: list[np.ndarray] = []
        first = case.inputs[op.rowwise[0]]
        assert first is not None
        for row in range(0, len(first), rows):
            inputs = tuple(
                a[row : row + rows].copy() if a is not None and j in op.rowwise else a
                for j, a in enumerate(case.inputs)
            )
            found = run_kernel(kernels, op, replace(case, inputs=inputs), row=row, before=found)
        for want, have in zip(op.ref(case.inputs, case.attrs, STEP), found, strict=True):
            np.testing.assert_array_equal(want, have, case.label)


@pytest.mark.parametrize("op", BY_ROWS, ids=lambda op: op.name)
def test_rows_depend_on_their_own_row_only(op: Op) -> None:
    """Each half of the outputs is the same where the inputs' other half is zero."""
    assert op.examples and op.rowwise is not None
    for case in op.examples(np.random.default_rng(2024)):
        expected = op.ref(case.inputs, case.attrs, STEP)
        total = next(len(want) for want in expected if want is not None)
        upper = np.arange(total) <= total // 2
        for kept in (upper, ~upper):
            inputs = [None if a is None else a.copy() for a in case.inputs]
            for j in op.rowwise:
                if (a := inputs[j]) is not None:
                    assert len(a) == total, f"{op.name} {case.label}: input {j} has other rows"
                    a[~kept] = 0
            for want, have in zip(expected, op.ref(inputs, case.attrs, STEP), strict=True):
                if want is not None:
                    assert len(want) == total
                    np.testing.assert_array_equal(want[kept], have[kept], case.label)


@pytest.mark.parametrize("op", REGISTRY.values(), ids=lambda op: op.name)
def test_reference_has_the_inferred_types(op: Op) -> None:
    assert op.examples
    for case in op.examples(np.random.default_rng(1)):
        outs = op.infer(case.types(), case.attrs)
        for kind, array in zip(outs, op.ref(case.inputs, case.attrs, STEP), strict=True):
            assert (kind is None) == (array is None)
            if kind is not None:
                assert array.shape == kind.shape and array.dtype == DTYPES[kind.dtype]
