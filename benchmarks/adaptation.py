"""HAR: accuracy on a new person's other arm after 300 batch-1 steps, int8 C beside fp32.

    python benchmarks/adaptation.py [--json] [--save] [--persons 1,4,5,9,2] [--steps 300]

Learning rates were picked on persons 3, 6 and 8 (``--pick`` prints that sweep), which the table
does not hold. int8 rows run in the host emulator, whose bits are the firmware's.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import numpy as np

from tinytrain import runner
from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe, prepare
from tinytrain.demo import FP32, INT8, fp32
from tinytrain.quantize import Quantized
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme, load_recipe

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "har.py"
HEAD = UpdateScheme({"head": 1.0}, ("head",), "head only")
INT8_ROWS: dict[str, tuple[Optimizer, UpdateScheme | str | None]] = {
    **{name: (optimizer, None) for name, optimizer in INT8.items()},
    "int8, LSB-normalised, int16 storage": (Optimizer("lsb", 3.0, weights="int16"), None),
    "int8, LSB-normalised, head only": (Optimizer("lsb", 3.0), HEAD),
    "int8, LSB-normalised, adapters of rank 4": (Optimizer("lsb", 1.0), "lora:4"),
    "int8, SGD with QAS, adapters of rank 4": (Optimizer("sgd", 0.1), "lora:4"),
}
FP32_ROWS = {
    **FP32,
    "fp32 PyTorch SGD, same parameters": ("sgd", 0.03, True),
    "fp32 PyTorch SGD, all parameters": ("sgd", 0.03, False),
}
GRID = {
    "int8, LSB-normalised step": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
    "int8, SGD with quantization-aware scaling": (0.01, 0.03, 0.1, 0.2),
    "int8, LSB-normalised, adapters of rank 4": (0.5, 1.0, 2.0, 3.0),
    "int8, SGD with QAS, adapters of rank 4": (0.03, 0.1, 0.3),
    "int8, SGD without": (1e2, 1e3, 1e4, 1e5),
    "fp32 PyTorch Adam, same parameters": (3e-4, 1e-3, 3e-3, 1e-2),
    "fp32 PyTorch Adam, all parameters": (3e-4, 1e-3, 3e-3),
    "fp32 PyTorch SGD, same parameters": (0.01, 0.03, 0.1),
    "fp32 PyTorch SGD, all parameters": (0.003, 0.01, 0.03),
}
Prepared = dict[int, tuple[Recipe, Quantized]]


def int8(
    recipe: Recipe, quantized: Quantized, optimizer: Optimizer, scheme: Any, steps: int
) -> Any:
    """(evaluations before, after) of int8 training in the host emulator."""
    optimizer = replace(optimizer, steps=steps)
    recipe = recipe.replace(optimizer=optimizer, scheme=scheme or recipe.scheme)
    compiled = compile_recipe(recipe, load_board("host"), quantized)
    with tempfile.TemporaryDirectory() as folder:
        session, _ = runner.open_session(compiled, "host", Path(folder) / "host")
        with session:
            done = runner.train(session, recipe, steps, "host")
    return done.before, done.after


def measure(method: str, rate: float | None, prepared: Prepared, steps: int) -> dict[str, Any]:
    """One row: mean and spread over the persons."""
    found = []
    for recipe, quantized in prepared.values():
        if method in INT8_ROWS:
            optimizer, scheme = INT8_ROWS[method]
            optimizer = replace(optimizer, learning_rate=rate or optimizer.learning_rate)
            found.append(int8(recipe, quantized, optimizer, scheme, steps))
        else:
            rule, usual, same = FP32_ROWS[method]
            done = fp32(recipe, rule, rate or usual, same)
            found.append((done.before, done.after))
    new = [next(iter(after.values())) for _, after in found]
    old = [list(after.values())[1] for _, after in found]
    used = rate or (
        INT8_ROWS[method][0].learning_rate if method in INT8_ROWS else FP32_ROWS[method][1]
    )
    return {
        "method": method, "learning_rate": f"{used:g}",
        "target_before": float(np.mean([next(iter(b.values())).accuracy for b, _ in found])),
        "target_mean": float(np.mean([e.accuracy for e in new])),
        "target_std": float(np.std([e.accuracy for e in new])),
        "target_loss": float(np.mean([e.loss for e in new])),
        "source_before": float(np.mean([list(b.values())[1].accuracy for b, _ in found])),
        "source_after": float(np.mean([e.accuracy for e in old])),
        "persons": " ".join(f"{p}:{e.accuracy:.3f}" for p, e in zip(prepared, new, strict=True)),
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, 300)
    parser.add_argument("--pick", action="store_true", help="the sweep that picked the rates")
    parser.add_argument("--persons", default=None)
    options = parser.parse_args()
    persons = options.persons or ("3,6,8" if options.pick else "1,4,5,9,2")
    prepared: Prepared = {}
    for person in map(int, persons.split(",")):
        recipe = load_recipe(EXAMPLE, person=person, steps=options.steps)
        prepared[person] = recipe, prepare(recipe)
    jobs: list[tuple[str, float | None]] = [(m, None) for m in (*INT8_ROWS, *FP32_ROWS)]
    if options.pick:
        jobs = [(method, rate) for method, rates in GRID.items() for rate in rates]
    rows = [measure(method, rate, prepared, options.steps) for method, rate in jobs]
    title = f"HAR, persons {persons}, {options.steps} batch-1 steps"
    common.finish(rows, title, options)


if __name__ == "__main__":
    main()
