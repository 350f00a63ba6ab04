"""The rows of the benchmark of kernels."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tinytrain.boards import load_board
from tinytrain.ir import Step
from tinytrain.ops import REGISTRY

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
KEYS = {
    "kernel", "shape", "target", "room", "instructions", "per_mac", "per_element",
    "estimated_cycles", "estimated_cycles_per", "scratch_bytes", "code_bytes", "peer_per_mac",
    "peer_per_element", "peer", "ratio", "goal",
}  # fmt: skip


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("kernels")


def test_cases_are_valid_and_named_once(kernels: ModuleType) -> None:
    found = kernels.cases()
    named = [(m.op.name, m.shape) for m in found]
    assert len(set(named)) == len(named)
    for kernel, _, _, narrow, wide, _ in kernels.SOFTMAX:
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
    kernel, name, product, narrow, wide, elements = kernels.SOFTMAX[0]
    rows = [{"kernel": kernel, "shape": shape, "room": "", "per": "mac", "units": 16 * elements,
             "instructions": 30 * elements + per * elements, "estimated_cycles": None,
             "code_bytes": 9}
            for shape, per in ((narrow, 16), (wide, 32))]  # fmt: skip
    (*_, row, rest) = kernels.with_parts(rows)
    assert row["kernel"] == name and row["instructions"] / row["units"] == 30
    assert rest["kernel"] == product and rest["instructions"] / rest["units"] == 1
    assert kernels.with_parts(rows[:1]) == rows[:1]
    assert kernels.with_parts([rows[0], {**rows[1], "room": "least"}])[2:] == []


def test_an_unknown_kernel(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing_s8" not in REGISTRY
    monkeypatch.setattr(sys, "argv", ["kernels.py", "--only", "nothing_s8"])
    with pytest.raises(SystemExit, match="no kernel has 'nothing_s8' in its name"):
        kernels.main()


# -- targets ---------------------------------------------------------------------------------------


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("targets")


def row(kernel: str, shape: str, **more: Any) -> dict[str, Any]:
    return {"kernel": kernel, "shape": shape, "target": "qemu_mps2_an386", "room": "full",
            "per_mac": None, "per_element": None, "estimated_cycles_per": None, "ratio": None,
            **more}  # fmt: skip


def test_every_target_is_measured(kernels: ModuleType, targets: ModuleType) -> None:
    measured = {(m.op.name, m.shape) for m in kernels.cases()}
    for t, c, o in targets.FORWARD:
        for kernel in (targets.FORWARDS[t == 1], "linear_dx_s8", "linear_update_s8"):
            assert (kernel, f"{t}x{c}x{o}") in measured
            assert targets.of_kernel(row(kernel, f"{t}x{c}x{o}"))
    softmax = {name for _, name, *_ in kernels.SOFTMAX}
    assert set(targets.ELEMENT) <= {name for name, _ in measured} | softmax


def test_figures_of_targets(targets: ModuleType) -> None:
    def first(kernel: str, shape: str, **more: Any) -> float:
        return float(targets.of_kernel(row(kernel, shape, **more))[0].figure)

    assert first("linear_s8", "64x64x256") == 0.75
    assert first("linear_s8", "64x64x256", target="qemu_mps2_an500") == pytest.approx(0.7875)
    # The input gradient of 64 outputs and 16 inputs is a product over 64.
    assert first("linear_dx_s8", "64x16x64") == pytest.approx(1.15 * 0.81)
    assert first("linear_update_s8", "64x64x64") == pytest.approx(1.15 * 0.78 + 14 / 64)
    assert first("linear_s8", "64x64x64", target="qemu_mps3_an547") == 0.35
    assert first("softmax backward", "64x64 h4") == 15
    assert first("linear_packed_s8", "1x128x512") == 0.96
    for shape, more in (("2x64x256", {}), ("1x128x512", {}), ("64x64x64", {"room": "least"}),
                        ("64x64x64", {"target": "qemu_rv32"})):  # fmt: skip
        assert targets.of_kernel(row("linear_s8", shape, **more)) == []


def test_a_target_is_missed(
    kernels: ModuleType, targets: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    good = row("linear_s8", "64x64x64", per_mac=0.78, estimated_cycles_per=1.2, ratio=2.4)
    bad = {**good, "estimated_cycles_per": 1.3}
    names = ("kernel", "shape")
    done = targets.compared([(r, targets.of_kernel(r)) for r in (good, bad)], names)
    assert [r["met"] for r in done] == ["met", "met", "met", "met", "MISSED", "met"]
    shown = argparse.Namespace(json=False)
    kernels.common.check(done[:3], shown)
    with pytest.raises(SystemExit) as stop:
        kernels.common.check(done, shown)
    assert stop.value.code == 1 and "1 of 6 targets missed" in capsys.readouterr().out


# -- peers -----------------------------------------------------------------------------------------

ADAPTER = """
#include "peer.h"
void peer_add(int8_t *y, const int8_t *x, const int8_t *z, int32_t n, float a, float b) {
    for (int32_t i = 0; i < n; i++) {
        const float sum = x[i] * a + z[i] * b;
        const int32_t near = (int32_t)(sum + (sum < 0 ? -0.5f : 0.5f)) + OFF;
        y[i] = (int8_t)(near > 127 ? 127 : near < -127 ? -127 : near);
    }
}
void peer_add_twice(int8_t *y, const int8_t *x, const int8_t *z, int32_t n, float a, float b) {
    peer_add(y, x, z, n, a, b);
    peer_add(y, x, z, n, a, b);
}
"""
HEADER = """
#include <stdint.h>
void peer_add(int8_t *y, const int8_t *x, const int8_t *z, int32_t n, float a, float b);
void peer_add_twice(int8_t *y, const int8_t *x, const int8_t *z, int32_t n, float a, float b);
"""
PEER = """
sources = ["*.c"]
include = ["headers"]
flags = ["-DOFF={off}"]
[functions]
add_s8 = ["peer_add_twice", "peer_add"]
"""


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    (tmp_path / "headers").mkdir()
    (tmp_path / "headers" / "peer.h").write_text(HEADER)
    (tmp_path / "adapter.c").write_text(ADAPTER)
    (tmp_path / "peer.toml").write_text(PEER.format(off=0))
    return tmp_path


@pytest.mark.qemu
def test_a_peer_runs_beside_the_kernel(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    peer: Path,
) -> None:  # fmt: skip
    words = ["kernels.py", "--json", "--only", "add_s8", "--no-code", "--board",
             "qemu_mps2_an386", "--peer", f"mine={peer}"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    kernels.main()
    rows = {row["kernel"]: row for row in json.loads(capsys.readouterr().out)}
    ours = rows["add_s8"]
    assert ours["peer"] == "peer_add" and ours["peer_per_mac"] is None
    assert ours["ratio"] == pytest.approx(ours["peer_per_element"] / ours["per_element"])
    assert 4 < ours["peer_per_element"] < 60
    assert rows["grad_add_s8"]["peer"] is None

    (peer / "peer.toml").write_text(PEER.format(off=2))
    with pytest.raises(SystemExit, match=r"peer mine: peer_add.* differs by 2 codes"):
        kernels.main()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"there is no .*peer\.toml"),
        ("sources = [", "peer.toml: "),
        ('sources = ["none.c"]\n[functions]\nadd_s8 = ["f"]', "no file is called none.c"),
        ('[functions]\nsub_s8 = ["f"]', r"functions for \['sub_s8'\]; peers are known for"),
        ("sources = []", "no functions; peers are known for"),
    ],
)
def test_a_folder_that_is_no_peer(
    kernels: ModuleType, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "peer.toml").write_text(text)
    with pytest.raises(SystemExit, match=said):
        kernels.read_peer(f"theirs={tmp_path}")


def test_a_peer_needs_a_name(kernels: ModuleType) -> None:
    with pytest.raises(SystemExit, match="write it as NAME=DIR"):
        kernels.read_peer("/somewhere")


def test_peers_are_held_to_their_contracts(kernels: ModuleType) -> None:
    """What is expected of a product with bias, without, and of a softmax, by floats."""
    peers = kernels.peers
    image = kernels.Image(Unbuilt())
    other = peers.Peer("other", (), (), {k: (f"f_{k}",) for k in peers.CONTRACTS})
    found = {(j.call.function, j.shape): j for j in peers.jobs(other, kernels.cases(), image)}
    for shape in ("64x64x64", "64x16x64"):
        call, want = found["f_linear_s8", shape].call, found["f_linear_s8", shape].expected
        x, w, bias, mult, power = (b.before.astype(np.float64) for b in call.pointers[1:6])
        real = (x @ w.T + bias) * mult * 2.0 ** (power - 31)
        assert np.abs(np.clip(real, -127, 127) - want).max() <= 1
        assert call.dims == list(map(int, shape.split("x")))
    bare = found["f_matmul_s8", "64x16x64"]
    assert bare.call.pointers[3] is None and ("f_matmul_s8", "64x64x64") not in found
    softmax = found["f_softmax", "64x64 h4"]
    assert softmax.expected.shape == (256, 64) == tuple(softmax.call.dims)
    assert np.abs((softmax.expected + 128.0).sum(1) - 256).max() < 16


def test_what_is_kept_names_no_folder_of_a_peer(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernels.common, "RESULTS", tmp_path)
    words = ["kernels.py", "--only", "add", "--peer", f"mine={tmp_path}", "--save", "--check"]
    monkeypatch.setattr(sys, "argv", words)
    options = argparse.Namespace(json=False, save=True)
    kernels.common.finish([{"kernel": "add_s8", "peer": None}], "title", options)
    kept = json.loads((tmp_path / "kernels.json").read_text())
    assert kept["command"] == "python benchmarks/kernels.py --only add --peer mine=DIR"
    assert kept["rows"] == [{"kernel": "add_s8", "peer": None}]


class Unbuilt:
    """A program of which only the board is known."""

    board = load_board("qemu_mps2_an386")
