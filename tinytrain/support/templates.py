"""The templates of ``codegen/``, each compiled once a process."""

from __future__ import annotations

from functools import lru_cache

import jinja2

from .assets import codegen_dir


@lru_cache
def environment() -> jinja2.Environment:
    """What is not defined is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(codegen_dir())), trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
