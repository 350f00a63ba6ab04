"""Write a folder of files whole or not at all, and leave alone what somebody changed in it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import ProjectError

RECORD = "tinytrain.json"


def read_record(folder: Path) -> dict[str, Any]:
    """What ``write_folder`` noted of a folder. Raises ProjectError where it wrote none."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProjectError(
            f"{folder} was not written by tinytrain: no {RECORD} in it; write one with "
            "tinytrain build RECIPE --board BOARD --out FOLDER"
        ) from None
    except (OSError, ValueError) as error:
        raise ProjectError(f"{folder / RECORD} cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise ProjectError(f"{folder / RECORD} is damaged; build the folder again")
    return found


def write_folder(
    out: Path, files: Mapping[str, str], facts: Mapping[str, Any], own: Collection[str] = ()
) -> list[str]:
    """Write ``files`` (path -> text) and a record of them with ``facts`` below ``out``.

    Files of ``own`` are the user's to change: once they differ from what was written they stay as
    they are, and their paths are given back. Files of an earlier call that are gone now are
    removed. Raises ProjectError, and changes nothing, where a file would be overwritten that
    tinytrain did not write, or the folder cannot be written.
    """
    out = Path(out)
    before: dict[str, str] = read_record(out)["files"] if (out / RECORD).exists() else {}
    kept = []
    for name in files:
        there = _digest(out / name)
        if there is None or there in (before.get(name), _of(files[name])):
            continue
        if name not in own and name not in before:
            raise ProjectError(
                f"{out / name} exists and is not tinytrain's; choose another folder with --out"
            )
        if name in own:
            kept.append(name)
    written = {name: text for name, text in files.items() if name not in kept}
    hashes = {name: _of(text) for name, text in files.items()}
    record = json.dumps({**facts, "files": hashes}, indent=2) + "\n"
    _place(out, written | {RECORD: record}, [name for name in before if name not in files])
    return kept


def _place(out: Path, files: Mapping[str, str], gone: Collection[str]) -> None:
    """All files are complete on the same disk before the first takes its place."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
            work = Path(name) / "new"
            for file, text in files.items():
                (work / file).parent.mkdir(parents=True, exist_ok=True)
                (work / file).write_text(text, encoding="utf-8")
            if not out.exists():
                os.replace(work, out)
                return
            for file in files:
                (out / file).parent.mkdir(parents=True, exist_ok=True)
            for file in files:
                os.replace(work / file, out / file)
            for file in gone:
                (out / file).unlink(missing_ok=True)
                _drop_empty((out / file).parent, out)
    except OSError as error:
        raise ProjectError(f"{out} cannot be written: {error.strerror or error}") from error


def _drop_empty(folder: Path, top: Path) -> None:
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
