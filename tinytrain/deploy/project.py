"""A PlatformIO project around a compiled model: configuration, program, library, a page for its
user. What is written is text; ``folder`` puts it on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..boards import PORTED, Board, PlatformIO, port_defines
from ..compiler import Compiled
from ..errors import BoardError
from ..support.assets import firmware_dir
from ..support.folder import check_folder, write_folder
from ..support.templates import environment
from ..toolchain.build import (
    COMMON,
    CROSS,
    Artifact,
    build,
    built_files,
    linker_script,
    port_sources,
)
from .footprint import flash_facts, sram_parts
from .library import c_sources, manifest, write_library

# Releases that the projects were written for; the bare compiler is the nearest to the tested one.
PLATFORMS = {"ststm32": "ststm32@^19", "espressif32": "espressif32@^6"}
COMPILERS = {"ststm32": "platformio/toolchain-gccarmnoneeabi@~1.120301.0"}
BARE = "none"
FORMS = ("firmware", "project", "library")
# The user may change these; a second build leaves them as they are then.
OWN = ("platformio.ini", "README.md", "src/main.c", "src/main.cpp", ".gitignore",
       "partitions.csv", "sdkconfig.defaults")  # fmt: skip
FP = ("-ffp-contract=off",)
# Beside a framework: its headers need GNU C, and its own sources none of this.
GUEST = ("-std=gnu11", *FP)
HOST_ONLY = ("-Wextra", "-Wmissing-prototypes", "-Wdouble-promotion")


def form_of(board: Board, form: str | None, framework: str | None = None) -> str:
    """What ``tinytrain build`` writes: the form asked for, or a project where PlatformIO knows the
    board, otherwise a firmware. Raises BoardError for what the board has not."""
    found = form or ("firmware" if board.platformio is None else "project")
    if found not in FORMS:
        raise BoardError(f"--form {found}: use {', '.join(FORMS)}")
    if found == "project":
        framework_of(board, framework)
    elif framework is not None:
        raise BoardError(f"--framework {framework} is for --form project")
    if found == "firmware" and board.on_framework:
        raise BoardError(
            f"{board.name} is linked by a framework ({board.port}), so there is no firmware to "
            "link here; use --form project"
        )
    return found


def write_form(
    compiled: Compiled, form: str, framework: str | None, source: str, out: Path
) -> tuple[dict[str, Any], list[str]]:
    """Write it; the facts of ``tinytrain build --json``, and what was left as the user changed it.

    Raises ProjectError, ToolchainError, and BudgetError when flash or SRAM is too small.
    """
    facts = compiled.facts() | {"form": form, "path": str(out)}
    if form == "library":
        write_library(compiled, out)
        return facts | {"flash_bytes": None, "flash_note": "depends on the firmware"}, []
    if form == "firmware":
        artifact = write_firmware(compiled, out)
        return facts | flash_facts(compiled, artifact) | {"path": str(artifact.path)}, []
    facts |= flash_facts(compiled)
    chosen = framework_of(compiled.board, framework)
    return facts, write_project(compiled, chosen, facts, source, out)


def write_firmware(compiled: Compiled, out: Path) -> Artifact:
    """Build the firmware, or the host's library, and write it with its sources to ``out``, whole or
    not at all. Raises ToolchainError and BudgetError as ``build``, ProjectError as
    ``write_folder``."""
    out = Path(out)
    check_folder(out, built_files(compiled.files, compiled.board))
    with tempfile.TemporaryDirectory(prefix="tinytrain-") as folder:
        artifact = build(compiled.files, compiled.board, Path(folder) / "made")
        files: dict[str, str | bytes] = {
            path.name: path.read_bytes() for path in sorted(artifact.path.parent.iterdir())
        }
        facts = {"model": compiled.name, "hash": compiled.model_hash, "board": compiled.board.name}
        write_folder(out, files, facts)
    return replace(artifact, path=out / artifact.path.name)


def framework_of(board: Board, wanted: str | None) -> str:
    """``none`` for bare metal, or the framework whose port a project is made with.

    Raises BoardError for a board that PlatformIO does not know, or a framework that it has not
    there, or that there is no port for.
    """
    pio = known(board)
    ported = [name for name in PORTED if name in pio.frameworks]
    choices = ported if board.on_framework else [BARE, *ported]
    if wanted is None:
        return board.port if board.port in ported else choices[0]
    if wanted not in choices:
        raise BoardError(f"--framework {wanted}: {board.name} allows {' or '.join(choices)}")
    return wanted


def known(board: Board) -> PlatformIO:
    """What PlatformIO knows of a board. Raises BoardError where it is none of its boards."""
    if board.platformio is None:
        raise BoardError(
            f"{board.name} is no board of PlatformIO; build it with --form firmware, or choose a "
            "board whose board.toml has [platformio]"
        )
    return board.platformio


def project_files(
    compiled: Compiled, framework: str, facts: Mapping[str, Any], source: str
) -> dict[str, str]:
    """Path -> text. ``facts``: those of ``tinytrain build --json``; ``source``: the recipe."""
    board = compiled.board
    pio = known(board)
    bare = framework == BARE
    program, port = _port(board, board.port if bare else framework)
    library = c_sources(board.arch, _runtime(bare)) | port
    files = {f"lib/tinytrain/src/{name}": text for name, text in library.items()}
    files["lib/tinytrain/library.json"] = manifest(
        FP if bare else GUEST, ["tinytrain/tt_runtime.h"], libArchive=False
    )
    files |= {f"src/{name}": text for name, text in program.items()}
    files["src/model.c"] = compiled.files["model.c"]
    files |= {f"include/{name}": compiled.files[name] for name in ("model.h", "model_uses.h")}
    if bare:
        files["link.ld"] = linker_script(board)
    view = {
        "version": __version__, "board": board, "pio": pio, "bare": bare, "framework": framework,
        "facts": facts, "platform": PLATFORMS[pio.platform],
        "compiler": COMPILERS.get(pio.platform) if bare else None,
        "cpu": list(board.flags) if bare else [], "flags": _flags(board, bare),
        "own_flags": GUEST,
        "baud": _baud(board), "name": compiled.name,
        "parts": sram_parts(facts), "source": source,
    }  # fmt: skip
    templates = environment()
    names = ["platformio.ini", "flags.py", "README.md"]
    if framework == "espidf":
        names += ["partitions.csv", "sdkconfig.defaults"]
    for name in names:
        files[name] = templates.get_template(f"project/{name}.j2").render(view)
    files["lib/tinytrain/library.properties"] = templates.get_template(
        "library/library.properties.j2"
    ).render(view | {"title": "Runtime and kernels of tinytrain"})
    files[".gitignore"] = ".pio/\n"
    return files


def write_project(
    compiled: Compiled, framework: str, facts: Mapping[str, Any], source: str, out: Path
) -> list[str]:
    """Write the project to ``out``, whole or not at all; gives the files that were left as the user
    has changed them. Raises ProjectError."""
    files = project_files(compiled, framework, facts, source)
    return write_folder(out, files, record(compiled, framework), OWN)


def record(compiled: Compiled, framework: str) -> dict[str, Any]:
    """What ``flash`` and ``monitor`` need to know of the folder."""
    board = compiled.board
    pio = known(board)
    return {
        "model": compiled.name, "hash": compiled.model_hash, "board": board.name, "env": pio.id,
        "platform": pio.platform, "framework": framework,
        "baud": _baud(board),
    }  # fmt: skip


def _baud(board: Board) -> int:
    return board.uart.baud if board.uart else 115200


def _flags(board: Board, bare: bool) -> list[str]:
    """For all sources; a framework's own among them."""
    if not bare:
        return [f"-DTT_UART_BAUD={_baud(board)}", "-Iinclude"]
    flags = [flag for flag in COMMON if flag not in HOST_ONLY and flag != "-Wall"]
    defines = [f"-D{name}={value:#x}u" for name, value in port_defines(board).items()]
    return [*flags, *CROSS, *defines, "-Iinclude"]


def _runtime(bare: bool) -> list[str]:
    """Files of the runtime but its program; a framework has the C library's functions itself."""
    without = {"main.c"} if bare else {"main.c", "memory.c"}
    found = sorted(path.name for path in (firmware_dir() / "runtime").glob("*.[ch]"))
    return [name for name in found if name not in without]


def _port(board: Board, port: str) -> tuple[dict[str, str], dict[str, str]]:
    """(the program by name, the port by path below the library's ``src/``). A port with a ``main``
    brings its own program."""
    firmware = firmware_dir()
    bare = port == board.port and not board.on_framework
    paths = port_sources(board) if bare else sorted((firmware / "port" / port).glob("*.c*"))
    folders = {path.parent for path in paths}
    headers = [header for folder in sorted(folders) for header in sorted(folder.glob("*.h"))]
    program = [path for path in paths if path.stem == "main"] or [firmware / "runtime" / "main.c"]
    rest = [path for path in [*paths, *headers] if path.stem != "main"]
    return (
        {path.name: _text(path) for path in program},
        {f"port/{path.parent.name}/{path.name}": _text(path) for path in rest},
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
