"""What a board learned outlives its power: a machine with a flash of its own, in a file; boards
without one, or with one that cannot be written, say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from fake_model import FILES, HASH, FakeCodec, samples

from tinytrain.boards import load_board
from tinytrain.errors import BoardError, LinkError
from tinytrain.sessions.qemu_session import Machine, QemuSession, flash_options
from tinytrain.support.folder import write_folder
from tinytrain.toolchain.build import Artifact, build

pytestmark = pytest.mark.qemu


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(FILES, load_board("qemu_rv32"), tmp_path_factory.mktemp("keep") / "rv32")


def start(artifact: Artifact, flash: Path | None = None) -> QemuSession:
    return QemuSession(
        artifact.board,
        artifact,
        FakeCodec(),
        model_hash=HASH,
        timeout_s=20,
        flash=flash,
        count=False,
    )


def test_a_board_goes_on_after_a_power_cycle(artifact: Artifact, tmp_path: Path) -> None:
    flash, data = tmp_path / "flash, of a board", samples(6)
    states = []
    for number in range(3):  # both slots, and the first again
        with start(artifact, flash) as session:
            assert session.info()["kept"] == ("yes" if number else "none")
            assert not states or session.snapshot() == states[-1]
            for x in data[2 * number : 2 * number + 2]:
                session.step(x, 1)
            assert session.save()["step"] == 2 * number + 2
            states.append(session.snapshot())
            session.step(data[0], 2)  # is not saved
    with start(artifact) as through:
        for x in data:
            through.step(x, 1)
        assert through.snapshot() == states[-1]
    with start(artifact, flash) as session:
        session.forget()
        assert session.info()["kept"] == "none" and session.snapshot() == states[-1]
    with start(artifact, flash) as session, start(artifact) as fresh:
        assert session.info()["kept"] == "none" and session.snapshot() == fresh.snapshot()


def test_another_models_state_is_left(artifact: Artifact, tmp_path: Path) -> None:
    flash = tmp_path / "flash"
    header = FILES["model.h"].replace("0x1234ABCDu", "0x77u")
    other = build({**FILES, "model.h": header}, artifact.board, tmp_path / "other")
    with QemuSession(
        other.board, other, FakeCodec(), model_hash=0x77, flash=flash, count=False
    ) as session:
        session.step(samples(1)[0], 1)
        session.save()
    with start(artifact, flash) as session:
        assert session.info()["kept"] == "other" and session.info()["step"] == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("qemu_mps2_an386", r"refused a save frame: no flash is kept .*two slots has 0: see"),
        ("qemu_netduinoplus2", r"refused a save frame: the flash does not hold .*still kept"),
    ],
)
def test_a_board_that_cannot_keep_says_so(name: str, says: str, tmp_path: Path) -> None:
    built = build(FILES, load_board(name), tmp_path / name)
    with start(built) as session:
        session.step(samples(1)[0], 1)
        with pytest.raises(LinkError, match=says):
            session.save()
        assert session.step(samples(1)[0], 1).step == 2
    with pytest.raises(BoardError, match=r"no flash that can be written; choose .* qemu_rv32"):
        flash_options(built.board, tmp_path / "flash")


def test_a_file_that_is_no_flash_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"something of the user's")
    with pytest.raises(BoardError, match="has 33554432 bytes"):
        flash_options(artifact.board, wrong)
    assert wrong.read_bytes() == b"something of the user's"


@pytest.mark.slow
def test_saving_by_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(capfd, "init", "mine.py")[0] == 0

    def run(*options: object) -> dict[str, Any]:
        few = ("--limit", 4, "--flash", "flash", "--json")
        code, out, err = call(capfd, "run", "mine.py", "--target", "qemu_rv32", *few, *options)
        assert code == 0, err
        return dict(json.loads(out))

    first = run("--steps", 8, "--save-on-device")
    assert (first["kept_at_start"], first["step_at_start"], first["kept_step"]) == ("none", 0, 8)
    again = run("--steps", 8)
    assert (again["kept_at_start"], again["step_at_start"]) == ("yes", 8)
    assert "kept_step" not in again
    other = run("--steps", 4)  # another schedule is another model
    assert (other["kept_at_start"], other["step_at_start"]) == ("other", 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("host", "--save-on-device"), "RecipeError: --save-on-device needs a board with flash"),
        (("host", "--flash", "f"), "BoardError: --flash is for an emulated board"),
        (("qemu_mps2_an386", "--flash", "f"), "its emulator has no flash that can be written"),
    ],
)
def test_what_cannot_save_is_told(
    options: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert call(capfd, "init", "mine.py")[0] == 0
    code, _, err = call(capfd, "run", "mine.py", "--steps", 2, "--limit", 1, "--target", *options)
    assert code == 2 and says in " ".join(err.split())


def test_forget_by_the_command_line(
    artifact: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flash, folder = tmp_path / "flash", tmp_path / "project"
    with start(artifact, flash) as session:
        session.step(samples(1)[0], 1)
        session.save()
    write_folder(folder, {"a": ""}, {"board": "qemu_rv32", "baud": 115200})
    machine = Machine(artifact.board, artifact, count=False, flash=flash)
    code, out, _ = call(capfd, "forget", folder, "--port", machine.url)
    machine.close()
    assert code == 0 and out.startswith("qemu_rv32 keeps nothing; its next start has the weights")
    with start(artifact, flash) as session:
        assert session.info()["kept"] == "none" and session.info()["step"] == 0
