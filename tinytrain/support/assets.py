"""Where the C, the templates and the board facts are: in the installed package or in a checkout."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _folder(name: str) -> Path:
    bundled = _PACKAGE / "bundled" / name
    return bundled if bundled.is_dir() else _PACKAGE.parent / name


def packaged_file(package: str, file: str) -> Path | None:
    """A file inside an installed package, which is found and not imported: that may need more."""
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations or ()) if spec else ()
    return next((path for place in places if (path := Path(place) / file).is_file()), None)


def codegen_dir() -> Path:
    """The Jinja2 templates of what is generated."""
    return _folder("codegen")


def firmware_dir() -> Path:
    """The hand-written C: include/, kernels/, runtime/, port/."""
    return _folder("firmware")


def boards_dir() -> Path:
    """One folder a board, each with a board.toml."""
    return _folder("boards")
