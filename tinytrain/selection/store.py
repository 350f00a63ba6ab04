"""Results that outlive the process: one small JSON file each, named by what it is a result of."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..ir import Graph
from ..support.assets import firmware_dir
from ..toolchain.build import cache_dir

FORMAT = 1
PACKAGE = Path(__file__).resolve().parents[1]


class Store:
    """A folder of results. A file appears as a whole or not at all, so that a search that was
    killed goes on where it was; several searches may share it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_dir() / "select"

    def get(self, key: str) -> Any:
        """None where it is not known, or damaged."""
        try:
            return json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def put(self, key: str, value: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", dir=self.folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(name, self.folder / f"{key}.json")


def key_of(kind: str, *parts: object) -> str:
    """A file name for a result of ``parts``, whose text tells them apart."""
    text = "\n".join([str(FORMAT), sources(), *map(str, parts)])
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@lru_cache
def sources() -> str:
    """Digest of what decides results: the compiler's passes and the C."""
    mine = PACKAGE / "selection"
    files: Iterable[Path] = [
        *(p for p in sorted(PACKAGE.rglob("*.py")) if mine not in p.parents),
        *sorted(firmware_dir().rglob("*.[chS]")),
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name};".encode() + file.read_bytes())
    return digest.hexdigest()


def graph_digest(graph: Graph) -> str:
    """SHA-256 of the nodes, the values between them and the parameters."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        ends = [v and (v.name, str(v.type)) for v in (*node.inputs, *node.outputs)]
        digest.update(f"{node.op.name}:{ends}:{sorted(node.attrs.items())};".encode())
    for name in sorted(graph.params):
        data = np.ascontiguousarray(graph.params[name].data)
        digest.update(f"{name}:{data.dtype.str}:{data.shape};".encode() + data.tobytes())
    return digest.hexdigest()
