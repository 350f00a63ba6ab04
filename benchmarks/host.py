"""Steps a second of the host emulator against PyTorch, one thread each, in the same run.

    python benchmarks/host.py [--json] [--save] [--steps 200] [--check]

Same model, scheme and samples, batch 1. The emulator trains the plain int8 step in generated C: in
one call from Python for all steps, and in one for each. PyTorch trains in float32 eagerly, with SGD
without momentum; all its samples are tensors before the first step. All are timed in turn,
``ROUNDS`` times, in CPU seconds, which other work on the machine disturbs less than the clock; the
fastest round counts. ``--check`` compares with the targets in ``targets.py``.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import targets
import torch

from tinytrain.baseline import finetune_fp32, parameters_of
from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import compile_recipe
from tinytrain.recipe import Recipe, load_recipe
from tinytrain.sessions import runner
from tinytrain.training.scheme import layers_of, resolve

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODELS = ("har", "char_lm", "cct")
ROOMY = 1 << 22  # bytes of SRAM: the plain step
ROUNDS = 5


def seconds_of(work: Any) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(name: str, recipe: Recipe, steps: int) -> dict[str, Any]:
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
            order = np.arange(steps) % len(data)

            def at_once() -> None:
                session.steps(data.x[order], data.y[order])

            def one_by_one() -> None:
                for i in order:
                    session.step(data.x[i], data.y[i])

            work = (at_once, one_by_one, pytorch)
            rounds = [[seconds_of(run) for run in work] for _ in range(ROUNDS)]
    ours, single, theirs = (steps / min(times) for times in zip(*rounds, strict=True))
    return {
        "model": name, "scheme": compiled.scheme, "host_steps_per_s": ours,
        "one_call_a_step_per_s": single, "pytorch_steps_per_s": theirs, "ratio": ours / theirs,
        "ratio_one_call_a_step": single / theirs,
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__, 200)
    parser.add_argument("--check", action="store_true", help="compare with the targets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, load_recipe(EXAMPLES / f"{name}.py"), options.steps) for name in MODELS]
    common.finish(rows, f"{options.steps} steps, batch 1, one thread", options)
    if options.check:
        pairs = [(row, targets.of_host(row)) for row in rows]
        common.check(targets.compared(pairs, ("model",)), options)


if __name__ == "__main__":
    main()
