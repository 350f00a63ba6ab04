"""Bytes of a firmware by part: what is planned of SRAM, and what a link shows of flash."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compiler import Compiled
from ..emit.c_source import train_symbols
from ..errors import ToolchainError
from ..toolchain.build import Artifact, build, find_compiler

SRAM_PARTS = (
    ("arena", "arena_bytes"), ("trained weights", "trained_weight_bytes"),
    ("optimizer", "optimizer_bytes"), ("input and labels", "io_bytes"),
    ("runtime and port", "runtime_bytes"), ("stack (reserved)", "stack_bytes"),
    ("fast code (reserved)", "fast_code_bytes"),
)  # fmt: skip


def sram_parts(facts: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Title and bytes of each part; fast code only where it shares the memory."""
    rows = [(title, facts[key]) for title, key in SRAM_PARTS]
    return rows if rows[-1][1] else rows[:-1]


def flash_facts(compiled: Compiled, artifact: Artifact | None = None) -> dict[str, Any]:
    """Flash of the linked firmware; None with a reason where there is no compiler for it.

    Linking is the only way to know the code's size; the model's part of it is planned. Raises
    ToolchainError where the compiler is there and fails."""
    if compiled.board.on_framework:
        return {"flash_bytes": None, "flash_note": f"known once {compiled.board.port} links it"}
    if artifact is None:
        try:
            find_compiler(compiled.board)
        except ToolchainError as error:
            return {"flash_bytes": None, "flash_note": f"unknown: {str(error).splitlines()[0]}"}
        with tempfile.TemporaryDirectory() as folder:
            artifact = build(compiled.files, compiled.board, Path(folder) / "link")
    return {
        "flash_bytes": artifact.flash_bytes,
        "flash_code_bytes": artifact.flash_bytes
        - compiled.const_bytes - compiled.table_bytes - artifact.sections.get(".data", 0),
        "stack_most_bytes": artifact.stack.bytes if artifact.stack else None,
        "sections": dict(artifact.sections),
    } | _scheme_code(compiled, artifact)  # fmt: skip


CHOOSER = ("tt_use", "tt_probe", "tt_choose", "tt_worth_q24", "tt_scheme_in_use", "tt_model_train")


def _scheme_code(compiled: Compiled, artifact: Artifact) -> dict[str, Any]:
    """Of several schemes: code of each training step, and of what chooses among them."""
    if len(compiled.trainings) == 1:
        return {}
    names, size = train_symbols(compiled.trainings), artifact.symbols
    rows = [row | {"code_bytes": size[names[row["scheme"]]]} for row in compiled.facts()["schemes"]]
    return {"schemes": rows, "chooser_code_bytes": sum(size.get(name, 0) for name in CHOOSER)}
