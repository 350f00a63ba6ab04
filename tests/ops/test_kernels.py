"""Every operator: its C kernel against its numpy meaning, bit for bit, canaries all round."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from tinytrain.ir import DTYPES, Case, Op, Step
from tinytrain.ops import REGISTRY

PAD = 64
STEP = Step(seed=7, step=11, learning_rate=np.float32(1.75), beta=np.float32(0.95))


class CStep(ctypes.Structure):
    _fields_ = [
        ("seed", ctypes.c_uint32), ("step", ctypes.c_uint32),
        ("learning_rate", ctypes.c_float), ("beta", ctypes.c_float),
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


def run_kernel(library: ctypes.CDLL, op: Op, case: Case, alias: tuple[int, int] | None) -> Any:
    """Call the C function of ``op``; gives the outputs. ``alias``: output and input that share."""
    types = case.types()
    outs = op.infer(types, case.attrs)
    held = {j: Guarded(a) for j, a in enumerate(case.inputs) if a is not None}
    shared = dict(op.updates) | (dict([alias]) if alias else {})
    results: list[Guarded | None] = []
    arguments: list[Any] = []
    for i, kind in enumerate(outs):
        if kind is None:
            results.append(None)
        elif i in shared:
            results.append(held[shared[i]])
        else:
            results.append(Guarded(np.full(kind.shape, 0x55, np.uint8).astype(DTYPES[kind.dtype])))
        arguments.append(None if results[-1] is None else results[-1].pointer)
    updated = {j for _, j in op.updates}
    arguments += [held[j].pointer if j in held else None
                  for j in range(len(case.inputs)) if j not in updated]  # fmt: skip
    scratch_bytes = op.scratch(types, case.attrs) if op.scratch else 0
    scratch = Guarded(np.full(scratch_bytes, 0x33, np.uint8))
    if scratch_bytes:
        arguments.append(scratch.pointer)
    if op.uses_step:
        step = CStep(STEP.seed, STEP.step, STEP.learning_rate, STEP.beta)
        arguments.append(ctypes.byref(step))
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


CALLED = [op for op in REGISTRY.values() if not op.alias]


@pytest.mark.parametrize("op", CALLED, ids=lambda op: op.name)
def test_kernel_is_its_reference(kernels: ctypes.CDLL, op: Op) -> None:
    assert op.examples, f"{op.name} has no examples"
    cases = op.examples(np.random.default_rng(2024))
    assert len(cases) >= 3
    for case in cases:
        expected = op.ref(tuple(None if a is None else a.copy() for a in case.inputs),
                          case.attrs, STEP)  # fmt: skip
        types = case.types()
        shareable = [
            (i, j) for i, j in op.inplace
            if types[j] is not None and types[j].bytes == op.infer(types, case.attrs)[i].bytes
        ]  # fmt: skip
        for alias in [None, *shareable]:
            got = run_kernel(kernels, op, case, alias)
            for want, have in zip(expected, got, strict=True):
                assert (want is None) == (have is None)
                if want is not None:
                    assert want.dtype == have.dtype, f"{op.name}: ref gives {want.dtype}"
                    np.testing.assert_array_equal(want, have, f"{op.name} {case.label} {alias}")


@pytest.mark.parametrize("op", REGISTRY.values(), ids=lambda op: op.name)
def test_reference_has_the_inferred_types(op: Op) -> None:
    assert op.examples
    for case in op.examples(np.random.default_rng(1)):
        outs = op.infer(case.types(), case.attrs)
        for kind, array in zip(outs, op.ref(case.inputs, case.attrs, STEP), strict=True):
            assert (kind is None) == (array is None)
            if kind is not None:
                assert array.shape == kind.shape and array.dtype == DTYPES[kind.dtype]
