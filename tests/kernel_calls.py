"""Calls of C kernels from arrays, canaries round everything that they are given."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinytrain.ir import DTYPES, Case, Op, Step

PAD = 64
STEP = Step(seed=7, step=11, learning_rate=np.float32(1.75), beta=np.float32(0.95))


class CStep(ctypes.Structure):
    _fields_ = [
        ("seed", ctypes.c_uint32), ("step", ctypes.c_uint32),
        ("learning_rate", ctypes.c_float), ("beta", ctypes.c_float), ("row", ctypes.c_int32),
    ]  # fmt: skip


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

    def intact(self) -> bool:
        return bool((self.bytes[:PAD] == 0xA5).all() and (self.bytes[-PAD:] == 0xA5).all())


def run_kernel(
    library: ctypes.CDLL, op: Op, case: Case, aliases: Sequence[tuple[int, int]] = (),
    row: int = 0, step: Step = STEP, before: Sequence[Any] = (),
) -> list[Any]:  # fmt: skip
    """Call the C function of ``op``; gives the outputs. ``aliases``: outputs and inputs that share;
    ``row``: where the arguments begin in the whole tensors; ``before``: what the outputs hold."""
    types = case.types()
    outs = op.infer(types, case.attrs)
    held = {j: Guarded(a) for j, a in enumerate(case.inputs) if a is not None}
    shared = dict(op.updates) | dict(aliases)
    results: list[Guarded | None] = []
    arguments: list[Any] = []
    for i, kind in enumerate(outs):
        if kind is None:
            results.append(None)
        elif i in shared:
            results.append(held[shared[i]])
        else:
            rubbish = np.full(kind.shape, 0x55, np.uint8).astype(DTYPES[kind.dtype])
            results.append(Guarded(before[i] if before else rubbish))
        arguments.append(None if results[-1] is None else results[-1].pointer)
    updated = {j for _, j in op.updates}
    arguments += [held[j].pointer if j in held else None
                  for j in range(len(case.inputs)) if j not in updated]  # fmt: skip
    scratch_bytes = op.scratch(types, case.attrs) if op.scratch else 0
    scratch = Guarded(np.full(scratch_bytes, 0x33, np.uint8))
    if scratch_bytes:
        arguments.append(scratch.pointer)
    if op.uses_step:
        known = CStep(step.seed, step.step, step.learning_rate, step.beta, row)
        arguments.append(ctypes.byref(known))
    dims = op.dims(types, outs, case.attrs) if op.dims else {}
    arguments += [ctypes.c_int32(int(v)) for v in dims.values()]
    arguments += [ctypes.c_float(case.attrs[name]) for name in op.floats]
    function = getattr(library, f"tt_{op.name}")
    function.restype = None
    function(*arguments)
    touched = set(shared.values())
    for j, buffer in held.items():
        assert buffer.intact(), f"{op.name} {case.label}: wrote past input {j}"
        assert j in touched or np.array_equal(buffer.array, buffer.before)
    assert scratch.intact(), f"{op.name} {case.label}: wrote past its scratch"
    for i, result in enumerate(results):
        assert result is None or result.intact(), f"{op.name} {case.label}: wrote past output {i}"
    return [None if r is None else r.array for r in results]
