"""A PlatformIO project around a compiled model: configuration, program, library, a page for its
user. What is written is text; ``folder`` puts it on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .assets import firmware_dir
from .boards import Board, PlatformIO, port_defines
from .build import COMMON, CROSS, _linker_script, _sources
from .compiler import Compiled
from .emit import environment
from .errors import BoardError
from .library import c_sources, manifest
from .report import SRAM_PARTS

# Releases that the projects were written for; the bare compiler is the nearest to the tested one.
PLATFORMS = {"ststm32": "ststm32@^19", "espressif32": "espressif32@^6"}
COMPILERS = {"ststm32": "platformio/toolchain-gccarmnoneeabi@~1.120301.0"}
# Frameworks that there is a port for, in the order of preference.
FRAMEWORKS = ("espidf", "arduino")
BARE = "none"
# The user may change these; a second build leaves them as they are then.
OWN = ("platformio.ini", "README.md", "src/main.c", "src/main.cpp", ".gitignore")
HOST_ONLY = ("-Wextra", "-Wmissing-prototypes", "-Wdouble-promotion", "-fstack-usage")


def framework_of(board: Board, wanted: str | None) -> str:
    """``none`` for bare metal, or the framework whose port a project is made with.

    Raises BoardError for a board that PlatformIO does not know, or a framework that it has not
    there, or that there is no port for.
    """
    pio = known(board)
    ported = [name for name in FRAMEWORKS if name in pio.frameworks]
    choices = ported if board.port in FRAMEWORKS else [BARE, *ported]
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
    """Path -> text. ``facts``: those of ``tinytrain build --json``; ``source``: name of the recipe's
    file."""
    board = compiled.board
    pio = known(board)
    bare = framework == BARE
    program, port = _port(board, board.port if bare else framework)
    library = c_sources(board, _runtime()) | port
    files = {f"lib/tinytrain/src/{name}": text for name, text in library.items()}
    files["lib/tinytrain/library.json"] = manifest(
        ["-ffp-contract=off"], ["tinytrain/tt_runtime.h"], libArchive=False
    )
    files |= {f"src/{name}": text for name, text in program.items()}
    files["src/model.c"] = compiled.files["model.c"]
    files["include/model.h"] = compiled.files["model.h"]
    if bare:
        files["link.ld"] = _linker_script(board)
    view = {
        "board": board, "pio": pio, "bare": bare, "framework": framework, "facts": facts,
        "platform": PLATFORMS[pio.platform], "compiler": COMPILERS.get(pio.platform) if bare else None,
        "cpu": list(board.flags) if bare else [], "flags": _flags(board, bare),
        "baud": board.uart.baud if board.uart else 115200, "name": compiled.name,
        "parts": [(title, facts[key]) for title, key in SRAM_PARTS], "source": source,
    }  # fmt: skip
    templates = environment()
    for name in ("platformio.ini", "flags.py", "README.md"):
        files[name] = templates.get_template(f"project/{name}.j2").render(view)
    files["lib/tinytrain/library.properties"] = templates.get_template(
        "library/library.properties.j2"
    ).render(view | {"version": facts["version"], "title": "Runtime and kernels of tinytrain"})
    files[".gitignore"] = ".pio/\n"
    return files


def record(compiled: Compiled, framework: str, model_hash: int) -> dict[str, Any]:
    """What ``flash`` and ``monitor`` need to know of the folder."""
    board = compiled.board
    pio = known(board)
    return {
        "model": compiled.name, "hash": model_hash, "board": board.name, "env": pio.id,
        "platform": pio.platform, "framework": framework,
        "baud": board.uart.baud if board.uart else 115200,
    }  # fmt: skip


def _flags(board: Board, bare: bool) -> list[str]:
    """For all sources. A framework chooses the processor and its own warnings."""
    flags = [flag for flag in COMMON if flag not in HOST_ONLY and flag != "-Wall"]
    if bare:
        flags += CROSS
        flags += [f"-D{name}={value:#x}" for name, value in port_defines(board).items()]
    return [*flags, "-Iinclude"]


def _runtime() -> list[str]:
    """Files of the runtime but its program."""
    return [p.name for p in (firmware_dir() / "runtime").glob("*.[ch]") if p.name != "main.c"]


def _port(board: Board, port: str) -> tuple[dict[str, str], dict[str, str]]:
    """(the program by name, the port by path below the library's ``src/``). A port with a ``main``
    brings its own program."""
    firmware = firmware_dir()
    if port == board.port:
        paths = [path for kind, path in _sources(board) if kind not in ("kernels", "runtime")]
    else:
        paths = sorted((firmware / "port" / port).glob("*.c*"))
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
