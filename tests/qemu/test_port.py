"""``tinytrain run --port``: a board that runs already, behind a serial port."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.cli.board import chosen_port
from tinytrain.compiler import compile_recipe
from tinytrain.errors import LinkError, ProjectError
from tinytrain.sessions.qemu_session import Machine
from tinytrain.sessions.runner import open_session
from tinytrain.toolchain.build import build

BOARD = "qemu_mps2_an386"


@pytest.mark.qemu
def test_a_session_with_what_runs_there(tmp_path: Path) -> None:
    board = load_board(BOARD)
    made = compile_recipe(toys.recipe("sensor"), board, toys.quantized("sensor"))
    other = replace(made, files={**made.files, "model.c": made.files["model.c"] + "\n"})
    machine = Machine(board, build(made.files, board, tmp_path / "firmware"), count=False)
    try:
        with pytest.raises(LinkError, match=r"is model 'toy_sensor' .*build and flash it again"):
            open_session(other, BOARD, tmp_path, machine.url)
    finally:
        machine.close()
    machine = Machine(board, build(made.files, board, tmp_path / "firmware"), count=False)
    host = toys.host(replace(made, board=load_board("host")), tmp_path / "host")
    try:
        session, artifact = open_session(made, BOARD, tmp_path / "none", machine.url)
        assert artifact is None and not (tmp_path / "none").exists()
        with host, session:
            toys.assert_same(host, session, toys.data("sensor"), 5)
    finally:
        machine.close()


def test_the_port_by_name_or_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    board = load_board("nucleo_f446re")
    assert chosen_port("socket://127.0.0.1:5555", board) == "socket://127.0.0.1:5555"
    monkeypatch.setattr("serial.tools.list_ports.comports", list)
    with pytest.raises(ProjectError, match="no board found"):
        chosen_port("auto", board)
