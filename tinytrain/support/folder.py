"""Write a folder of files whole or not at all, and leave alone what somebody changed in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ProjectError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

Content = str | bytes
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
    out: Path, files: Mapping[str, Content], facts: Mapping[str, Any], own: Collection[str] = ()
) -> list[str]:
    """Write ``files`` (path -> content) and a record of them with ``facts`` below ``out``.

    Files of ``own`` are the user's to change: once they differ from what was written they stay as
    they are, and their paths are given back. Files of an earlier call that are gone now are
    removed, if nobody changed them. Calls for one folder wait for each other. Raises ProjectError,
    and changes nothing, where a file would be overwritten that tinytrain did not write or that was
    changed since, where a path leads out of the folder, or where it cannot be written.
    """
    out = Path(out)
    with _locked(out.parent):
        before, kept = _examined(out, files, own)
        written = {name: _bytes(data) for name, data in files.items() if name not in kept}
        hashes = {name: _of(data) for name, data in files.items()}
        record = json.dumps({**facts, "files": hashes}, indent=2) + "\n"
        gone = [name for name in before if name not in files]
        gone = [name for name in gone if _digest(out / name) == before[name]]
        _place(out, written | {RECORD: record.encode()}, gone)
        return kept


def check_folder(out: Path, names: Collection[str]) -> None:
    """Before the work for it begins: raises ProjectError where ``write_folder`` of files with these
    names would refuse, whatever is in them."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ProjectError(f"{out} is a file; choose a folder with --out")
    _examined(out, dict.fromkeys(names, None), ())


def _examined(
    out: Path, files: Mapping[str, Content | None], own: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """(digests of the earlier call, files that stay as the user changed them). Raises ProjectError
    that lists all files of the user's that would be overwritten."""
    before: dict[str, str] = read_record(out)["files"] if (out / RECORD).exists() else {}
    kept, foreign, changed = [], [], []
    for name, data in files.items():
        _inside(out, name)
        there = _digest(out / name)
        if there is None or there == before.get(name) or (data is not None and there == _of(data)):
            continue
        if name in own:
            kept.append(name)
        elif name in before:
            changed.append(name)
        else:
            foreign.append(name)
    if foreign or changed:
        parts = [f"{', '.join(foreign)} {_is(foreign)} not tinytrain's"] if foreign else []
        if changed:
            what = "it" if len(changed) == 1 else "them"
            parts.append(
                f"{', '.join(changed)} {_is(changed)} changed since tinytrain wrote {what}"
            )
        raise ProjectError(
            f"{out} holds files that would be overwritten: {'; '.join(parts)}; choose another "
            "folder with --out, or move them away"
        )
    return before, kept


def _is(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _inside(out: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name:
        raise ProjectError(f"{name!r} leads out of the folder {out}; name the model otherwise")


def folder_name(name: str) -> str:
    """A name that the user chose as that of one folder: letters, digits, ``_``, ``-`` and ``.``
    inside stay. Where others were replaced, or many cut off, some digits keep names apart."""
    plain = re.sub(r"[^\w.-]|^[.-]+", "_", name, flags=re.ASCII)[:64]
    if plain == name:
        return name
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among those who write folders in this one, where the system and the disk have locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ProjectError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        if fcntl is not None:
            with suppress(OSError):  # some network disks have none
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # this ends the lock


def _place(out: Path, files: Mapping[str, bytes], gone: Collection[str]) -> None:
    """All files are complete on the same disk before the first takes its place."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
            work = Path(name) / "new"
            for file, data in files.items():
                (work / file).parent.mkdir(parents=True, exist_ok=True)
                (work / file).write_bytes(data)
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


def _bytes(data: Content) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _of(data: Content) -> str:
    return hashlib.sha256(_bytes(data)).hexdigest()


def _digest(path: Path) -> str | None:
    """Of a file; empty, which is that of no file, for a folder or a link to nothing."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "" if os.path.lexists(path) else None
