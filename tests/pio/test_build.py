"""PlatformIO builds the projects, with a stand-in for its platform ``ststm32`` (see mock.py): the
same bytes as tinytrain's own link, and they run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import toys
from pio import mock

from tinytrain.boards import Board, load_board
from tinytrain.build import Artifact, build, measure
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import LinkError, ProjectError
from tinytrain.folder import read_record
from tinytrain.platformio import upload
from tinytrain.project import write_form
from tinytrain.qemu import QemuSession

pytestmark = pytest.mark.skipif(not mock.installed(), reason="platformio and scons are not there")
ARM = ("nucleo_f446re", "nucleo_h743zi", "qemu_netduinoplus2")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core folder with the boards of these tests."""
    folder = tmp_path_factory.mktemp("core") / "platformio"
    mock.make_core(folder)
    for name in ARM:
        board = load_board(name)
        assert board.platformio
        mock.add_board(folder, board.platformio.id, board.cpu)
    return folder


@pytest.fixture(autouse=True)
def own_core(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(core))
    monkeypatch.setenv("PLATFORMIO_SETTING_ENABLE_TELEMETRY", "no")


def compiled(board: Board) -> Compiled:
    return compile_recipe(toys.recipe("sensor"), board, toys.quantized("sensor"))


def pio_run(folder: Path, env: str) -> Path:
    done = subprocess.run(["pio", "run", "-d", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "warning:" not in done.stdout + done.stderr
    return folder / ".pio" / "build" / env / "firmware.elf"


@pytest.mark.slow
@pytest.mark.parametrize("name", ARM)
def test_the_same_sections_as_tinytrain_links(name: str, tmp_path: Path) -> None:
    board = load_board(name)
    made = compiled(board)
    facts, kept = write_form(made, "project", None, "toy.py", tmp_path / "project")
    own = build(made.files, board, tmp_path / "own")
    assert board.platformio and not kept and facts["flash_bytes"] == own.flash_bytes
    elf = pio_run(tmp_path / "project", board.platformio.id)
    assert dict(measure(elf, board).sections) == dict(own.sections)
    assert own.sram_bytes == made.sram.sram_bytes
    assert elf.with_suffix(".bin").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.qemu
def test_what_pio_built_trains_on_the_emulated_f405(tmp_path: Path) -> None:
    board = load_board("qemu_netduinoplus2")
    made = compiled(board)
    write_form(made, "project", None, "toy.py", tmp_path / "project")
    assert board.platformio
    artifact: Artifact = measure(pio_run(tmp_path / "project", board.platformio.id), board)
    host = toys.host(replace(made, board=load_board("host")), tmp_path / "host")
    session = QemuSession(board, artifact, made.codec, count=False, model_hash=made.model_hash)
    with host, session:
        toys.assert_same(host, session, toys.data("sensor"), 20)


@pytest.mark.slow
def test_a_program_of_the_user_stays_and_builds(tmp_path: Path) -> None:
    board, folder = load_board("nucleo_f446re"), tmp_path / "project"
    made = compiled(board)
    write_form(made, "project", None, "toy.py", folder)
    with (folder / "src" / "main.c").open("a") as stream:
        stream.write("int mine(void);\nint mine(void) {\n    return 1;\n}\n")
    _, kept = write_form(made, "project", None, "toy.py", folder)
    assert kept == ["src/main.c"]
    pio_run(folder, "nucleo_f446re")


# -- flashing: commands that stand for a programmer, behind PlatformIO itself ----------------------

SAYS = {
    "no board": ("Error: open failed\\nin procedure 'program'", ProjectError, "no board found for"),
    "unplugged": ("Error: libusb_bulk_write error: LIBUSB_ERROR_NO_DEVICE", ProjectError,
                  "went away while it was flashed"),
    "busy": ("Error: libusb_open() failed with LIBUSB_ERROR_BUSY", LinkError, "is busy"),
    "other": ("Error: unknown chip id", ProjectError, "PlatformIO failed"),
}  # fmt: skip


@pytest.fixture
def project(core: Path, tmp_path: Path) -> Path:
    """A project of one source file, which builds at once, with its own core folder."""
    folder = tmp_path / "project"
    made = compiled(load_board("nucleo_f446re"))
    write_form(made, "project", None, "toy.py", folder)
    shutil.rmtree(folder / "lib")
    (folder / "flags.py").write_text('Import("env")\nenv.Append(LINKFLAGS=["-nostdlib"])\n')
    for name in ("model.c", "main.c"):
        (folder / "src" / name).unlink()
    (folder / "src" / "main.c").write_text("void _start(void) { for (;;) {} }\n")
    (folder / "platformio.ini").write_text(
        "[env:nucleo_f446re]\nplatform = ststm32@^19\nboard = nucleo_f446re\n"
        "extra_scripts = pre:flags.py\n"
    )
    return folder


def with_uploader(
    core: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "core"
    mock.make_core(mine, command)
    shutil.copytree(
        core / "platforms" / "ststm32" / "boards", mine / "platforms" / "ststm32" / "boards",
        dirs_exist_ok=True,
    )  # fmt: skip
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(mine))


@pytest.mark.slow
def test_flash_hands_the_image_to_the_programmer(
    project: Path, core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "flashed.bin"
    with_uploader(core, tmp_path, f"cp $SOURCE {target}", monkeypatch)
    said = upload(project, read_record(project))
    assert "Uploading" in said and target.stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", SAYS)
def test_what_a_failed_flash_means(
    case: str, project: Path, core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, kind, says = SAYS[case]
    script = tmp_path / "programmer.py"
    script.write_text(f'import sys\nprint("{text}")\nsys.exit(1)\n')
    with_uploader(core, tmp_path, f"{sys.executable} {script}", monkeypatch)
    with pytest.raises(kind, match=says) as error:
        upload(project, read_record(project))
    assert text.split("\\n")[0] in str(error.value)
    assert os.environ["PLATFORMIO_CORE_DIR"].endswith("core")
