"""Steps a second of the host emulator against PyTorch, one thread each, in the same run.

    python benchmarks/host.py [--json] [--save] [--steps 200]

Same model, scheme and samples, batch 1. The emulator trains the plain int8 step in generated C,
called from Python; PyTorch trains in float32 eagerly, with SGD without momentum. Both are timed in
turn, ``ROUNDS`` times; the fastest round counts.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import common

from tinytrain import runner
from tinytrain.baseline import finetune_fp32, parameters_of
from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import compile_recipe
from tinytrain.recipe import Recipe, load_recipe
from tinytrain.select import layers_of, resolve

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODELS = ("har", "char_lm")
ROOMY = 1 << 22  # bytes of SRAM: the plain step
ROUNDS = 3


def seconds_of(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(recipe: Recipe, steps: int) -> dict[str, Any]:
    compiled = compile_recipe(recipe, with_sram(load_board("host"), ROOMY))
    layers = layers_of(compiled.quantized.graph)
    masks = parameters_of(recipe.model, resolve(recipe.scheme, layers))
    data = recipe.train

    def pytorch() -> None:
        finetune_fp32(recipe.model, data, {}, steps=steps, parameters=masks, optimizer="sgd",
                      learning_rate=1e-3)  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        session, _ = runner.open_session(compiled, "host", Path(folder) / "host")
        with session:

            def host() -> None:
                for i in range(steps):
                    session.step(data.x[i % len(data)], data.y[i % len(data)])

            rounds = [(seconds_of(host), seconds_of(pytorch)) for _ in range(ROUNDS)]
    ours, theirs = (steps / min(times) for times in zip(*rounds, strict=True))
    return {
        "model": recipe.name, "scheme": compiled.scheme, "host_steps_per_s": ours,
        "pytorch_steps_per_s": theirs, "ratio": ours / theirs,
    }  # fmt: skip


def main() -> None:
    options = common.parser(__doc__, 200).parse_args()
    rows = [measure(load_recipe(EXAMPLES / f"{name}.py"), options.steps) for name in MODELS]
    common.finish(rows, f"{options.steps} steps, batch 1, one thread", options)


if __name__ == "__main__":
    main()
