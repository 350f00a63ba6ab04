"""Planned against measured: SRAM, flash, instructions a step of each example, emulated boards.

    python benchmarks/footprint.py [--json] [--save] [--steps 3]

Instructions are counted by the emulator and are not cycles.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import common

from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe, prepare
from tinytrain.deploy.footprint import flash_facts
from tinytrain.quantize import Quantized
from tinytrain.recipe import Recipe, load_recipe
from tinytrain.sessions import runner

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500")
SCHEMES = {"har": (None, "last_k:1", "head_only"), "char_lm": (None, "head_only")}


def measure(
    recipe: Recipe, quantized: Quantized, board: str, scheme: str | None, steps: int
) -> dict[str, Any]:
    recipe = recipe.replace(scheme=scheme) if scheme else recipe
    compiled = compile_recipe(recipe, load_board(board), quantized)
    with tempfile.TemporaryDirectory() as folder:
        session, artifact = runner.open_session(compiled, board, Path(folder) / board)
        assert artifact is not None
        with session:
            for i in range(steps):
                session.step(recipe.train.x[i], recipe.train.y[i])
    found = runner.measurements(session, artifact)
    facts = compiled.facts()
    macs = facts["macs_forward"] + facts["macs_backward"]
    return {
        "model": recipe.name, "scheme": compiled.scheme, "board": board,
        "sram_bytes_planned": facts["sram_bytes"],
        "sram_bytes_measured": found["sram_measured_bytes"],
        "stack_bytes_measured": found["stack_used_bytes"],
        "stack_bytes_at_most": artifact.stack.bytes if artifact.stack else None,
        "arena_bytes": facts["arena_bytes"],
        "lower_bound_bytes": facts["arena_lower_bound_bytes"],
        "flash_bytes": artifact.flash_bytes,
        "code_bytes": flash_facts(compiled, artifact)["flash_code_bytes"], "macs": macs,
        "instructions_per_step": found["instructions_per_step"],
        "instructions_per_mac": found["instructions_per_step"] / macs,
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, 3)
    options = parser.parse_args()
    rows = []
    for name, schemes in SCHEMES.items():
        recipe = load_recipe(EXAMPLES / f"{name}.py")
        quantized = prepare(recipe)
        rows += [
            measure(recipe, quantized, board, scheme, options.steps)
            for scheme in schemes
            for board in BOARDS
        ]
    common.finish(rows, f"{options.steps} training steps on emulated boards", options)


if __name__ == "__main__":
    main()
