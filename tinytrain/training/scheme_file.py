"""An update scheme as a TOML file: what trains of each layer, and where the scheme comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SchemeError
from ..recipe import Layers, UpdateScheme
from ..support.toml_table import Table, read_toml

VERSION = 1
SUFFIX = ".toml"
CHANNELS = '"all" or a list of indices from 0'
LINE = 96  # letters of a line of channels
HEAD = """\
# What trains of each layer; everything else stays as it is. For --scheme, or for a recipe through
# tinytrain.training.scheme_file. Channels: of the layer's output, "all" or their indices.
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
        if made_for := self.scheme.made_for:
            lines += ["", "[model]", f"name = {_toml(made_for.model)}",
                      f"layers_sha256 = {_toml(made_for.sha256)}"]  # fmt: skip
        if self.rule is not None and self.learning_rate is not None:
            lines += ["", "[optimizer]", f"rule = {_toml(self.rule)}",
                      f"learning_rate = {_toml(float(self.learning_rate))}"]  # fmt: skip
        if self.provenance:
            lines += ["", "[provenance]"]
            lines += [f"{key} = {_toml(value)}" for key, value in self.provenance.items()]
        scheme = self.scheme
        for layer in dict.fromkeys([*scheme.biases, *scheme.weights, *scheme.adapters]):
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
    top = read_toml(Path(path), SchemeError)
    top.number("version", VERSION, VERSION)
    name = top.text("name")
    optimizer = top.table("optimizer", needed=False)
    rule, rate = _optimizer(optimizer) if optimizer else (None, None)
    model = top.table("model", needed=False)
    made_for = _made_for(model) if model else None
    provenance = top.get("provenance", dict, "a table", needed=False) or {}
    layers = top.get("layers", dict, "a table for each layer")
    top.done()
    weights: dict[str, float | tuple[int, ...]] = {}
    adapters: dict[str, int] = {}
    biases = []
    for layer, data in layers.items():
        if not isinstance(data, dict):
            top.fail(f"layers.{layer}", data, "a table")
        table = Table(top.file, f"layers.{layer}.", data, SchemeError)
        channels = table.get("channels", (str, list), CHANNELS, needed=False)
        if channels is not None:
            weights[layer] = _read_channels(table, channels)
        if rank := table.number("adapter_rank", 1, 2**15, needed=False):
            adapters[layer] = rank
        if table.get("bias", bool, "true or false", needed=False):
            biases.append(layer)
        table.done()
    scheme = UpdateScheme(weights, tuple(biases), name, adapters, made_for)
    return SchemeFile(scheme, rule, rate, provenance)


def _made_for(table: Table) -> Layers:
    name, digest = table.text("name"), table.text("layers_sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        table.fail("layers_sha256", digest, "64 hexadecimal digits")
    table.done()
    return Layers(name, digest)


def _optimizer(table: Table) -> tuple[str, float]:
    rule = table.text("rule", ("lsb", "sgd"))
    rate = float(table.get("learning_rate", (int, float), "a positive number"))
    if not 0 < rate < float("inf"):
        table.fail("learning_rate", rate, "a positive number")
    table.done()
    return rule, rate


def _read_channels(table: Table, channels: Any) -> float | tuple[int, ...]:
    if channels == "all":
        return 1.0
    if (
        not isinstance(channels, list)
        or not channels
        or any(type(c) is not int or c < 0 for c in channels)
    ):
        table.fail("channels", channels, CHANNELS)
    return tuple(channels)


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
