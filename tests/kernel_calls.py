"""Calls of C kernels from arrays, canaries round everything that they are given."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinytrain.ir import Case, Op, Step
from tinytrain.sessions.kernel_calls import arguments

PAD = 64
STEP = Step(seed=7, step=11, learning_rate=np.float32(1.75), beta=np.float32(0.95))


class Guarded:
    """An array with PAD bytes of canary on both sides."""

    def __init__(self, data: Any) -> None:
        self.bytes = np.full(data.nbytes + 2 * PAD, 0xA5, np.uint8)
        self.array = self.bytes[PAD : PAD + data.nbytes].view(data.dtype).reshape(data.shape)
        self.array[...] = data
        self.before = data.copy()

    @property
    def pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.bytes.ctypes.data + PAD)

    @property
    def intact(self) -> bool:
        return bool((self.bytes[:PAD] == 0xA5).all() and (self.bytes[-PAD:] == 0xA5).all())


def run_kernel(
    library: ctypes.CDLL, op: Op, case: Case, aliases: Sequence[tuple[int, int]] = (),
    row: int = 0, step: Step = STEP, before: Sequence[Any] = (), room: float = 1.0,
) -> list[Any]:  # fmt: skip
    """Call the C function of ``op``; gives the outputs. ``aliases``: outputs and inputs that share;
    ``row``: where the arguments begin in the whole tensors; ``before``: what the outputs hold;
    ``room``: see ``calls.scratch_bytes``."""
    given = arguments(op, case, Guarded, step, aliases=aliases, row=row, before=before, room=room)
    function = getattr(library, given.function)
    function.restype = None
    function(
        *(None if b is None else b.pointer for b in given.pointers),
        *map(ctypes.c_int32, given.dims), *map(ctypes.c_float, given.floats),
    )  # fmt: skip
    return outputs(op, case, given)


def outputs(op: Op, case: Case, given: Any) -> list[Any]:
    """The arrays that a call made, None where absent; it wrote nothing else but its scratch."""
    for j, buffer in enumerate(given.inputs):
        if buffer is not None:
            assert buffer.intact, f"{op.name} {case.label}: wrote past input {j}"
            assert any(buffer is b for b in given.outputs) or np.array_equal(
                buffer.array, buffer.before
            ), f"{op.name} {case.label}: changed input {j}"
    assert not given.scratch or given.scratch.intact, f"{op.name} {case.label}: past its scratch"
    for i, result in enumerate(given.outputs):
        assert result is None or result.intact, f"{op.name} {case.label}: wrote past output {i}"
    return [None if r is None else r.array for r in given.outputs]


def rooms(op: Op) -> tuple[float, ...]:
    """How much room the calls of an op are tried with."""
    return (1.0, 0.31, 0.0) if op.room else (1.0,)


def shareable(op: Op, case: Case) -> list[tuple[int, int]]:
    """Pairs (output, input) of the same size that may share their bytes."""
    types = case.types()
    given, made = ([None if t is None else t.bytes for t in kinds]
                   for kinds in (types, op.infer(types, case.attrs)))  # fmt: skip
    return [(i, j) for i, j in op.inplace if made[i] is not None and made[i] == given[j]]


def check(op: Op, case: Case, expected: Sequence[Any], found: Sequence[Any], how: Any = "") -> None:
    """Compare what a kernel made with what the reference gives, bit for bit."""
    for want, have in zip(expected, found, strict=True):
        assert (want is None) == (have is None)
        if want is not None:
            assert want.dtype == have.dtype, f"{op.name}: ref gives {want.dtype}"
            np.testing.assert_array_equal(want, have, f"{op.name} {case.label} {how}")
