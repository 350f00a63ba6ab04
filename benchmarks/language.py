"""char_lm: bits per character on modern and old text after batch-1 steps, int8 beside fp32.

    python benchmarks/language.py [--json] [--save] [--steps 400] [--pick]

``--pick`` prints the sweep that picked the learning rates: its target is the address before the
table's, which nothing was trained on either.
int8 rows run in the host emulator, whose bits are the firmware's.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import common

from tinytrain.baseline import finetune_fp32, parameters_of
from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe, prepare
from tinytrain.datasets import load_text
from tinytrain.quantize import Quantized
from tinytrain.recipe import Optimizer, Recipe, load_recipe
from tinytrain.sessions import runner

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "char_lm.py"
INT8: dict[str, Optimizer] = {
    "int8, LSB-normalised step": Optimizer("lsb", 1.0),
    "int8, LSB-normalised, int16 storage": Optimizer("lsb", 1.0, weights="int16"),
    "int8, SGD + QAS": Optimizer("sgd", 1.0),
    "int8, SGD without QAS": Optimizer("sgd", 1e4, qas=False),
}
FP32: dict[str, tuple[str, float, bool]] = {
    "fp32 PyTorch Adam, same parameters": ("adam", 6e-3, True),
    "fp32 PyTorch Adam, all parameters": ("adam", 1e-3, False),
}
GRID = {
    "int8, LSB-normalised step": (0.5, 1.0, 2.0, 3.0),
    "int8, SGD + QAS": (0.1, 0.3, 1.0, 3.0),
    "int8, SGD without QAS": (1e3, 1e4, 1e5),
    "fp32 PyTorch Adam, same parameters": (1e-3, 3e-3, 6e-3, 1e-2),
    "fp32 PyTorch Adam, all parameters": (3e-4, 1e-3, 2e-3),
}


def int8(recipe: Recipe, quantized: Quantized, optimizer: Optimizer) -> dict[str, Any]:
    """Train in the host emulator, planned for the emulated Cortex-M4's budget."""
    recipe = recipe.replace(optimizer=optimizer)
    board = load_board("qemu_mps2_an386")
    compiled = compile_recipe(recipe, board, quantized)
    with tempfile.TemporaryDirectory() as folder:
        session, _ = runner.open_session(compiled, "host", Path(folder) / "host")
        with session:
            done = runner.train(session, recipe, optimizer.steps, "host")
    bits = [e.bits for e in (*done.before.values(), *done.after.values())]
    return _row(bits, compiled.trained_parameters, compiled.sram.sram_bytes)


def fp32(recipe: Recipe, rule: Any, rate: float, same: bool, steps: int) -> dict[str, Any]:
    masks = parameters_of(recipe.model, recipe.scheme) if same else None
    done = finetune_fp32(recipe.model, recipe.train, recipe.tests, steps=steps, parameters=masks,
                         optimizer=rule, learning_rate=rate)  # fmt: skip
    bits = [e.bits for e in (*done.before.values(), *done.after.values())]
    return _row(bits, done.trained_parameters, None)


def _row(bits: list[float], trained: int, sram: int | None) -> dict[str, Any]:
    target_before, source_before, target_after, source_after = bits
    return {
        "target_bits_before": target_before, "target_bits_after": target_after,
        "source_bits_before": source_before, "source_bits_after": source_after,
        "trained_parameters": trained, "sram_bytes": sram,
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, 400)
    parser.add_argument("--pick", action="store_true", help="the sweep that picked the rates")
    options = parser.parse_args()
    recipe = load_recipe(EXAMPLE, steps=options.steps)
    quantized = prepare(recipe)
    jobs: list[tuple[str, float | None]] = [(m, None) for m in (*INT8, *FP32)]
    if options.pick:
        text = load_text()
        recipe = recipe.replace(tests={"validation": text.validation, "old": text.source})
        jobs = [(method, rate) for method, rates in GRID.items() for rate in rates]
    rows = []
    for method, rate in jobs:
        if method in INT8:
            used = rate or INT8[method].learning_rate
            optimizer = replace(INT8[method], steps=options.steps, learning_rate=used)
            found = int8(recipe, quantized, optimizer)
        else:
            rule, usual, same = FP32[method]
            used = rate or usual
            found = fp32(recipe, rule, used, same, options.steps)
        rows.append({"method": method, "learning_rate": f"{used:g}", **found})
    common.finish(rows, f"char_lm, {options.steps} batch-1 steps; {recipe.note}", options)


if __name__ == "__main__":
    main()
