"""The rows of the benchmark of kernels."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tinytrain.ir import Step
from tinytrain.ops import REGISTRY

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
KEYS = {
    "kernel", "shape", "target", "instructions", "per_mac", "per_element", "estimated_cycles",
    "estimated_cycles_per", "scratch_bytes", "code_bytes", "peer_per_mac",
}  # fmt: skip


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("kernels")


def test_cases_are_valid_and_named_once(kernels: ModuleType) -> None:
    found = kernels.cases()
    named = [(m.op.name, m.shape) for m in found]
    assert len(set(named)) == len(named)
    for kernel, _, narrow, wide, _ in kernels.SOFTMAX:
        assert {(kernel, narrow), (kernel, wide)} <= set(named)
    for m in found:
        outs = m.op.infer(m.case.types(), m.case.attrs)
        got = m.op.ref(m.case.inputs, m.case.attrs, Step(learning_rate=np.float32(1)))
        assert [t and t.shape for t in outs] == [None if a is None else a.shape for a in got]
        assert not m.op.bound or m.op.bound(m.case.types(), m.case.attrs) < 2**31


def test_what_trains_a_transformer_is_measured(kernels: ModuleType) -> None:
    measured = {m.op.name for m in kernels.cases()}
    assert measured >= {
        "linear_s8", "linear_dx_s8", "linear_update_s8", "attention_s8", "layernorm_s8",
        "layernorm_dx_s8", "lut_s8", "lut_dx_s8", "add_s8", "weight_step_s8",
    }  # fmt: skip


@pytest.mark.qemu
def test_rows(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kernels.py", "--json", "--only", "add_s8"])
    kernels.main()
    rows = json.loads(capsys.readouterr().out)
    assert {row["kernel"] for row in rows} == {"add_s8", "grad_add_s8"}
    assert {row["target"] for row in rows} == set(kernels.BOARDS)
    for row in rows:
        assert set(row) == KEYS and row["per_mac"] is None
        assert row["per_element"] == row["instructions"] / 4096 > 1
        m4 = row["target"] == "qemu_mps2_an386"
        assert (row["estimated_cycles"] or 0) > row["instructions"] if m4 else True
        assert m4 or row["estimated_cycles"] is None
        assert 0 < row["code_bytes"] < 4096


def test_a_softmax_is_what_remains_without_channels(kernels: ModuleType) -> None:
    kernel, name, narrow, wide, elements = kernels.SOFTMAX[0]
    rows = [{"kernel": kernel, "shape": shape, "per": "mac", "units": 1, "code_bytes": 9,
             "instructions": 30 * elements + per * elements, "estimated_cycles": None}
            for shape, per in ((narrow, 16), (wide, 32))]  # fmt: skip
    (*_, row) = kernels.with_softmax(rows)
    assert row["kernel"] == name and row["instructions"] / row["units"] == 30
    assert kernels.with_softmax(rows[:1]) == rows[:1]


def test_an_unknown_kernel(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing_s8" not in REGISTRY
    monkeypatch.setattr(sys, "argv", ["kernels.py", "--only", "nothing_s8"])
    with pytest.raises(SystemExit, match="no kernel has 'nothing_s8' in its name"):
        kernels.main()
