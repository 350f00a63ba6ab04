"""A TOML file checked key by key: errors name the file, the key, the value and what is allowed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import BoardError, TinytrainError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(file: Path, error: type[TinytrainError] = BoardError) -> Table:
    """The whole of a file. Raises ``error`` when it is absent or no TOML; the table does, too."""
    try:
        return Table(file, "", tomllib.loads(file.read_text(encoding="utf-8")), error)
    except OSError as what:
        reason = "no such file" if isinstance(what, FileNotFoundError) else what.strerror
        raise error(f"{file}: {reason}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as what:
        raise error(f"{file}: not valid TOML: {what}") from what


class Table:
    """One table of a TOML file; what is not asked for is an error in ``done``."""

    def __init__(
        self, file: Path, where: str, data: Mapping[str, Any],
        error: type[TinytrainError] = BoardError,
    ) -> None:  # fmt: skip
        self.file, self.where, self.data, self.error = file, where, data, error
        self.asked: list[str] = []

    def fail(self, key: str, value: object, allowed: str) -> NoReturn:
        raise self.error(f"{self.file}: {self.where}{key} is {value!r}; allowed: {allowed}")

    def get(
        self, key: str, kind: type | tuple[type, ...], allowed: str, needed: bool = True
    ) -> Any:
        self.asked.append(key)
        if key not in self.data:
            if needed:
                raise self.error(f"{self.file}: {self.where}{key} is missing; allowed: {allowed}")
            return None
        value = self.data[key]
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            self.fail(key, value, allowed)
        return value

    def text(
        self, key: str, among: tuple[str, ...] = (), empty: bool = False, needed: bool = True
    ) -> str:
        """Empty where it is absent and not needed."""
        allowed = " or ".join(map(repr, among)) if among else "a text"
        value: str | None = self.get(key, str, allowed, needed)
        if value is None:
            return ""
        if (among and value not in among) or not (value or empty) or "\n" in value:
            self.fail(key, value, allowed)
        return value

    def texts(
        self, key: str, among: tuple[str, ...] = (), needed: bool = True
    ) -> tuple[str, ...]:  # fmt: skip
        """Empty where it is absent and not needed."""
        allowed = f"a list of {' or '.join(map(repr, among))}" if among else "a list of texts"
        value = self.get(key, list, allowed, needed) or []
        if not all(isinstance(v, str) and v and (v in among or not among) for v in value):
            self.fail(key, value, allowed)
        return tuple(value)

    def number(
        self, key: str, low: int, high: int, multiple: int = 1, needed: bool = True
    ) -> int:  # fmt: skip
        """0 where it is absent and not needed."""
        allowed = f"an integer from {low} to {high}"
        if multiple > 1:
            allowed += f", a multiple of {multiple}"
        value: int | None = self.get(key, int, allowed, needed)
        if value is None:
            return 0
        if not low <= value <= high or value % multiple:
            self.fail(key, value, allowed)
        return value

    def table(self, key: str, needed: bool = True) -> Table | None:
        value = self.get(key, dict, "a table", needed)
        return None if value is None else Table(self.file, f"{self.where}{key}.", value, self.error)

    def tables(self, key: str, needed: bool) -> list[Table]:
        allowed = "one or more tables"
        value = self.get(key, list, allowed, needed) or []
        if (needed and not value) or not all(isinstance(v, dict) for v in value):
            self.fail(key, value, allowed)
        return [Table(self.file, f"{key}[{i}].", v, self.error) for i, v in enumerate(value)]

    def done(self) -> None:
        """Raises the table's error for a key that nobody asked for."""
        for key in self.data:
            if key not in self.asked:
                allowed = ", ".join(self.asked)
                raise self.error(f"{self.file}: unknown key {self.where}{key}; allowed: {allowed}")
