"""The port of ``docs/porting.md`` runs as it stands there."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_model import FILES, HASH, FakeCodec, samples

from tinytrain.boards import load_board
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.toolchain import build as module
from tinytrain.toolchain.build import build

pytestmark = pytest.mark.qemu

PAGE = Path(__file__).resolve().parents[2] / "docs" / "porting.md"


def test_the_port_of_the_page_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```c\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (port,) = [text for text in blocks if "tt_port_read(void)" in text]
    assert port.count("\n") <= 45
    firmware = tmp_path / "firmware"
    shutil.copytree(module.firmware_dir(), firmware)
    (firmware / "port" / "mine").mkdir()
    (firmware / "port" / "mine" / "port.c").write_text(port)
    monkeypatch.setattr(module, "firmware_dir", lambda: firmware)
    monkeypatch.setenv("TINYTRAIN_CFLAGS", "-Werror")
    board = replace(load_board("qemu_mps2_an386"), port="mine")
    artifact = build(FILES, board, tmp_path / "out")
    with QemuSession(board, artifact, FakeCodec(), model_hash=HASH, timeout_s=20) as session:
        losses = [session.step(x, 1).loss for x in samples(5)]
        assert session.info()["stack_used"] > 64
    assert len(set(losses)) > 1
    assert session.machine.process.returncode == 0
