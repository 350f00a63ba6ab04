"""PlatformIO builds the projects, with a stand-in for its platform ``ststm32`` (see mock.py): the
same memory as tinytrain's own link, and they run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import toys
from pio import mock

from tinytrain.boards import Board, load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.deploy.platformio import find_pio, upload
from tinytrain.deploy.project import write_form
from tinytrain.errors import LinkError, ProjectError
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.support.folder import read_record, write_folder
from tinytrain.toolchain.build import Artifact, build, measure

pytestmark = pytest.mark.skipif(not mock.installed(), reason="platformio and scons are not there")
BOARDS = ("nucleo_f446re", "nucleo_h743zi", "qemu_netduinoplus2")
# Stands for a programmer: says what it is told to and fails, or copies the image.
PROGRAMMER = """
import os, shutil, sys
if said := os.environ.get("PROGRAMMER_SAYS"):
    sys.exit(said)
shutil.copy(sys.argv[1], os.environ["PROGRAMMER_WRITES"])
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core folder with the boards of these tests."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "programmer.py").write_text(PROGRAMMER)
    mock.make_core(folder / "pio", f"{sys.executable} {folder / 'programmer.py'} $SOURCE")
    for name in BOARDS:
        mock.add_board(folder / "pio", load_board(name))
    return folder / "pio"


@pytest.fixture(autouse=True)
def own_core(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(core))
    monkeypatch.setenv("PLATFORMIO_SETTING_ENABLE_TELEMETRY", "no")


def compiled(board: Board) -> Compiled:
    return compile_recipe(toys.recipe("sensor"), board, toys.quantized("sensor"))


def pio_run(folder: Path, env: str) -> Path:
    done = subprocess.run([find_pio(), "run", "-d", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "warning:" not in done.stdout + done.stderr
    return folder / ".pio" / "build" / env / "firmware.elf"


def assert_same_memory(elf: Path, own: Artifact) -> None:
    """All of RAM is equal; gaps between functions depend on the order of the files."""
    theirs = dict(measure(elf, own.board).sections)
    for name, size in own.sections.items():
        assert abs(theirs[name] - size) <= (64 if name in (".text", ".rodata") else 0), name


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS[:2])
def test_the_same_memory_as_tinytrain_links(name: str, tmp_path: Path) -> None:
    board = load_board(name)
    made, folder = compiled(board), tmp_path / "project"
    facts, kept = write_form(made, "project", None, "toy.py", folder)
    own = build(made.files, board, tmp_path / "own")
    assert board.platformio and not kept and facts["flash_bytes"] == own.flash_bytes
    elf = pio_run(folder, board.platformio.id)
    assert_same_memory(elf, own)
    assert own.sram_bytes == made.sram.sram_bytes
    assert elf.with_suffix(".bin").stat().st_size > 0
    # The user's program stays, and builds.
    with (folder / "src" / "main.c").open("a") as stream:
        stream.write("int mine(void);\nint mine(void) {\n    return 1;\n}\n")
    assert write_form(made, "project", None, "toy.py", folder)[1] == ["src/main.c"]
    assert_same_memory(pio_run(folder, board.platformio.id), own)


@pytest.mark.slow
@pytest.mark.qemu
def test_what_pio_built_trains_on_the_emulated_f405(tmp_path: Path) -> None:
    board = load_board("qemu_netduinoplus2")
    made = compiled(board)
    write_form(made, "project", None, "toy.py", tmp_path / "project")
    assert board.platformio
    elf = pio_run(tmp_path / "project", board.platformio.id)
    assert_same_memory(elf, build(made.files, board, tmp_path / "own"))
    host = toys.host(replace(made, board=load_board("host")), tmp_path / "host")
    session = QemuSession(
        board, measure(elf, board), made.codec, count=False, model_hash=made.model_hash
    )
    with host, session:
        toys.assert_same(host, session, toys.data("sensor"), 20)


# -- flashing: behind PlatformIO itself, with a stand-in of the programmer -------------------------


@pytest.fixture(scope="module")
def project(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one source file, which builds at once."""
    folder = tmp_path_factory.mktemp("flash")
    files = {
        "platformio.ini": "[env:nucleo_f446re]\nplatform = ststm32@^19\nboard = nucleo_f446re\n"
        "extra_scripts = pre:flags.py\n",
        "flags.py": 'Import("env")\nenv.Append(LINKFLAGS=["-nostdlib"])\n',
        "src/main.c": "void _start(void) { for (;;) {} }\n",
    }
    facts = {"board": "nucleo_f446re", "platform": "ststm32", "baud": 115200}
    write_folder(folder, files, facts)
    return folder


@pytest.mark.slow
def test_flash_hands_the_image_to_the_programmer(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGRAMMER_WRITES", str(tmp_path / "flashed.bin"))
    said = upload(project, read_record(project))
    assert "Uploading" in said and (tmp_path / "flashed.bin").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "kind", "means"),
    [
        ("Error: open failed", ProjectError, "no board found for nucleo_f446re"),
        ("Error: LIBUSB_ERROR_NO_DEVICE", ProjectError, "went away while it was flashed"),
        ("Error: LIBUSB_ERROR_BUSY", LinkError, "is busy"),
    ],
)
def test_what_a_failed_flash_means(
    says: str, kind: type[Exception], means: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGRAMMER_SAYS", says)
    with pytest.raises(kind, match=means) as error:
        upload(project, read_record(project))
    assert says in str(error.value)
