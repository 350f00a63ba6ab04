"""The C as a library for build systems of others: kernels and runtime, and around a model the
calls of ``tinytrain.h``, with what Arduino, PlatformIO, ESP-IDF and CMake want to know of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import __version__
from ..compiler import Compiled
from ..emit.c_source import c_text, commented, symbols_of
from ..support.assets import firmware_dir
from ..support.folder import write_folder
from ..support.templates import environment
from ..toolchain.build import kernel_sources

TITLE = "Int8 training of small transformers on microcontrollers"

# Compilers may otherwise fuse a product and a sum, which rounds once instead of twice.
FLAGS = ("-O2", "-ffp-contract=off")
FRAME_BYTES = 16  # of a saved state: hash, length; checksum and its complement
TAIL_BYTES = 8  # seed and step


def c_sources(arch: str, runtime: Iterable[str]) -> dict[str, str]:
    """Path below ``src/`` -> text: the public headers, the kernels of an arch (empty: the portable
    ones), and of the runtime the files named."""
    firmware = firmware_dir()
    found: dict[str, str] = {}
    for header in sorted((firmware / "include").rglob("*.h")):
        found[header.relative_to(firmware / "include").as_posix()] = _text(header)
    kernels = kernel_sources(arch)
    for folder in ("kernels", *([f"arch/{arch}"] if arch else [])):
        here = [path for path in kernels if path.parent == firmware / folder]
        for path in [*here, *sorted((firmware / folder).glob("*.h"))]:
            found[f"{folder}/{path.name}"] = _with_paths(path)
    return found | {f"runtime/{name}": _text(firmware / "runtime" / name) for name in runtime}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _with_paths(path: Path) -> str:
    """A kernel's file. An arch's names headers of the portable kernels; they get their path, as no
    search path can be given to each of the build systems."""

    def resolved(match: re.Match[str]) -> str:
        here = (path.parent / match[1]).exists()
        return match[0] if here else f'#include "../../kernels/{match[1]}"'

    return re.sub(r'^#include "([\w.]+)"$', resolved, _text(path), flags=re.MULTILINE)


def api_facts(compiled: Compiled) -> dict[str, Any]:
    """What the templates say of a model."""
    codec = compiled.codec
    shape = codec.input.shape
    facts: dict[str, Any] = {
        "version": __version__, "name": commented(compiled.name), "text": c_text(compiled.name),
        "title": TITLE,
        "values": codec.input.size, "shape": f"[{', '.join(map(str, shape))}]",
        "tokens": codec.tokens, "labels": codec.labels,
        "classes": codec.logits[-1], "logits": codec.logits[0] * codec.logits[-1],
        "schemes": [], "save_bytes": codec.state_bytes + TAIL_BYTES + FRAME_BYTES,
    }  # fmt: skip
    if len(codec.schemes) > 1:
        facts["schemes"] = [
            (symbol.upper(), commented(name))
            for name, symbol in symbols_of(codec.schemes, "TT_SCHEME").items()
        ]
    if codec.tokens is None:
        facts["scale"] = repr(float(codec.input.tensor_scale))
    return facts


def library_files(compiled: Compiled) -> dict[str, str]:
    """Path -> text of a library folder around a compiled model. Kernels of the host are for its
    emulator: a library made for it has the portable ones."""
    facts = api_facts(compiled)
    templates = environment()
    arch = "" if compiled.board.is_host else compiled.board.arch
    more = ("schemes.c",) if len(compiled.trainings) > 1 else ()
    sources = c_sources(arch, ("runtime.c", "save.c", "crc.c", *more))
    sources |= compiled.files
    sources["runtime/library.c"] = _text(firmware_dir() / "library" / "library.c")
    sources["tinytrain.h"] = templates.get_template("tinytrain.h.j2").render(facts)
    facts |= {
        "sources": sorted(name for name in sources if name.endswith(".c")),
        "flags": FLAGS, "board": compiled.board, "arch": arch, "sram": compiled.sram,
        "psram_bytes": compiled.psram_bytes,
        "flash_bytes": compiled.const_bytes + compiled.table_bytes,
        "beside": {m.name: compiled.sram.beside[m.name] for m in compiled.board.beside},
    }  # fmt: skip
    files = {f"src/{name}": text for name, text in sources.items()}
    for name, template in {
        "library.properties": "library.properties.j2", "CMakeLists.txt": "CMakeLists.txt.j2",
        "idf_component.yml": "idf_component.yml.j2", "README.md": "README.md.j2",
        "examples/Learn/Learn.ino": "Learn.ino.j2",
    }.items():  # fmt: skip
        files[name] = templates.get_template(f"library/{template}").render(facts)
    files["library.json"] = manifest(FLAGS, ["tinytrain.h"])
    return files


def write_library(compiled: Compiled, out: Path) -> None:
    """Write the library to ``out``, whole or not at all. Raises ProjectError."""
    facts = {"model": compiled.name, "hash": compiled.model_hash, "board": compiled.board.name}
    write_folder(out, library_files(compiled), facts)


def manifest(flags: Iterable[str], headers: Iterable[str], **build: Any) -> str:
    """``library.json`` of PlatformIO."""
    return json.dumps({
        "name": "tinytrain", "version": __version__, "description": TITLE,
        "license": "Apache-2.0", "headers": list(headers),
        "frameworks": "*", "platforms": "*",
        "build": {"flags": list(flags), **build},
    }, indent=2) + "\n"  # fmt: skip
