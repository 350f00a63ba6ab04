"""An update scheme as a TOML file: what trains of each layer, and where the scheme comes from."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SchemeError
from .recipe import UpdateScheme

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERSION = 1
SUFFIX = ".toml"
LINE = 96  # letters of a line of channels
HEAD = """\
# What trains of each layer; everything else stays as it is. For --scheme, or for a recipe through
# tinytrain.scheme_file.read_scheme. Channels are those of the layer's output; "all" or their indices.
"""
Scalar = str | int | float | bool


@dataclass(frozen=True)
class SchemeFile:
    """``learning_rate``: what was best for the scheme under ``rule``; None: nothing is known.
    ``provenance``: facts for the reader; nothing depends on them."""

    scheme: UpdateScheme
    rule: str | None = None
    learning_rate: float | None = None
    provenance: Mapping[str, Scalar] = field(default_factory=dict)

    def text(self) -> str:
        """The file."""
        lines = [HEAD, f"version = {VERSION}", f"name = {_toml(self.scheme.name)}"]
        if self.rule is not None and self.learning_rate is not None:
            lines += ["", "[optimizer]", f"rule = {_toml(self.rule)}",
                      f"learning_rate = {_toml(float(self.learning_rate))}"]  # fmt: skip
        if self.provenance:
            lines += ["", "[provenance]"]
            lines += [f"{key} = {_toml(value)}" for key, value in self.provenance.items()]
        scheme = self.scheme
        for layer in dict.fromkeys([*scheme.weights, *scheme.adapters, *scheme.biases]):
            lines += ["", f"[layers.{json.dumps(layer)}]"]
            if layer in scheme.weights:
                lines.append(f"channels = {_channels(scheme.weights[layer])}")
            if layer in scheme.adapters:
                lines.append(f"adapter_rank = {scheme.adapters[layer]}")
            lines.append(f"bias = {_toml(layer in scheme.biases)}")
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Raises SchemeError where it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text(), encoding="utf-8")
        except OSError as error:
            raise SchemeError(f"{path}: cannot be written: {error.strerror}") from error


def read_scheme(path: str | Path) -> SchemeFile:
    """Raises SchemeError for a file that is absent, no TOML, of another version, or has a key or a
    value that is not allowed."""
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemeError(f"{path}: cannot be read: {error.strerror}; give a scheme file, or make "
                          "one with tinytrain select") from error  # fmt: skip
    except ValueError as error:
        raise SchemeError(f"{path}: not a TOML file: {error}") from error
    top = _Keys(path, "", data)
    version = top.get("version", int, f"{VERSION}")
    if version != VERSION:
        top.fail("version", version, f"{VERSION}; this tinytrain reads no other")
    name = top.get("name", str, "a text")
    optimizer = _Keys(path, "optimizer.", top.get("optimizer", dict, "a table", {}))
    rule = optimizer.get("rule", str, "'lsb' or 'sgd'", None)
    if rule not in (None, "lsb", "sgd"):
        optimizer.fail("rule", rule, "'lsb' or 'sgd'")
    rate = optimizer.get("learning_rate", (int, float), "a positive number", None)
    if rate is not None and not rate > 0:
        optimizer.fail("learning_rate", rate, "a positive number")
    optimizer.done()
    provenance = top.get("provenance", dict, "a table", {})
    layers = top.get("layers", dict, "a table for each layer")
    top.done()
    weights: dict[str, float | tuple[int, ...]] = {}
    adapters: dict[str, int] = {}
    biases = []
    for layer, table in layers.items():
        if not isinstance(table, dict):
            top.fail(f"layers.{layer}", table, "a table")
        keys = _Keys(path, f"layers.{layer}.", table)
        channels = keys.get("channels", (str, list), '"all" or a list of indices', None)
        if channels is not None:
            weights[layer] = _read_channels(keys, channels)
        rank = keys.get("adapter_rank", int, "an integer from 1", None)
        if rank is not None:
            adapters[layer] = rank
        if keys.get("bias", bool, "true or false", False):
            biases.append(layer)
        keys.done()
    scheme = UpdateScheme(weights, tuple(biases), name, adapters)
    return SchemeFile(scheme, rule, None if rate is None else float(rate), provenance)


def _read_channels(keys: _Keys, channels: Any) -> float | tuple[int, ...]:
    if channels == "all":
        return 1.0
    whole = isinstance(channels, list) and all(type(c) is int and c >= 0 for c in channels)
    if not whole or not channels:
        keys.fail("channels", channels, '"all" or a list of indices from 0')
    return tuple(channels)


class _Keys:
    """A table of the file; ``done`` refuses what was not asked for."""

    def __init__(self, path: Path, where: str, data: Mapping[str, Any]) -> None:
        self.path, self.where, self.data = path, where, data
        self.asked: list[str] = []

    def fail(self, key: str, value: object, allowed: str) -> None:
        raise SchemeError(f"{self.path}: {self.where}{key} is {value!r}; allowed: {allowed}")

    def get(self, key: str, kind: Any, allowed: str, default: Any = ...) -> Any:
        self.asked.append(key)
        if key not in self.data:
            if default is ...:
                raise SchemeError(f"{self.path}: {self.where}{key} is missing; give {allowed}")
            return default
        value = self.data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(key, value, allowed)
        return value

    def done(self) -> None:
        for key in self.data:
            if key not in self.asked:
                raise SchemeError(
                    f"{self.path}: unknown key {self.where}{key}; allowed: {', '.join(self.asked)}"
                )


def _toml(value: Scalar) -> str:
    """A scalar; TOML and JSON write these alike."""
    return json.dumps(value)


def _channels(share: float | tuple[int, ...]) -> str:
    """``"all"``, or the indices, over several lines where they are many."""
    if isinstance(share, (int, float)):
        if share != 1.0:
            raise SchemeError(f"a ratio of {share} is not written to a file; give the channels")
        return '"all"'
    lines, line = [], ""
    for channel in share:
        if len(line) > LINE - 8:
            lines.append(line)
            line = ""
        line += f"{channel}, "
    lines.append(line)
    if len(lines) == 1:
        return f"[{line.removesuffix(', ')}]"
    return "[\n" + "".join(f"    {text.rstrip()}\n" for text in lines) + "]"
