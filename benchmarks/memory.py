"""Memory: SRAM planned and measured against targets, what fitting costs, and greedy planning.

    python benchmarks/memory.py [--json] [--save] [--quick] [--steps 1] [--models har,char_lm]

Models have random weights and read random samples: memory depends on shapes only, instructions
hardly on more. Each step is planned for its target, everything included: weights, optimizer, input
and labels, runtime, stack. *Greedy* is the arena of the same step by first fit in program order,
with nothing made again and no loops. *Extra instructions*: those of the planned step beyond the
plain one's, as a part of these; the plain step runs on a board with all of the emulated SRAM.
``--quick`` plans only. Instructions are counted by the emulator and are not cycles.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import common
import numpy as np
from torch import nn

from tinytrain import zoo
from tinytrain.boards import Board, load_board, with_sram
from tinytrain.compiler import Compiled, compile_recipe, prepare
from tinytrain.datasets import VOCABULARY
from tinytrain.errors import SchemeError
from tinytrain.planning.fit import Planning
from tinytrain.planning.placement import WHOLE
from tinytrain.planning.placement.first_fit import FirstFit, program_order
from tinytrain.quantize import Quantized
from tinytrain.recipe import Dataset, Recipe, UpdateScheme
from tinytrain.reports import tables as report
from tinytrain.sessions.runner import emulated

BOARD = "qemu_mps2_an386"
ROOMY = 4 << 20  # all SRAM of the emulated board, for steps that fit nowhere else
SAMPLES = 8
KB = 1024


class Absent(Exception):
    """What a row needs and this version does not have."""


def scheme(name: str, *weights: str, quarter: tuple[str, ...] = ()) -> UpdateScheme:
    """Weights and biases of layers, and the first quarter of the channels of others."""
    chosen = dict.fromkeys(weights, 1.0) | dict.fromkeys(quarter, 0.25)
    return UpdateScheme(dict(chosen), tuple(chosen), name)


LAST = "blocks.[23]"
# (model, scheme, target in bytes)
CASES: tuple[tuple[str, UpdateScheme | str, int], ...] = (
    ("har", scheme("o of all + head", "blocks.*.o", "head"), 64 * KB),
    ("har", "lora:4", 64 * KB),
    ("char_lm", scheme("o, f2 of last two + head", f"{LAST}.o", f"{LAST}.f2", "head"), 160 * KB),
    ("char_lm", "lora:4+head", 128 * KB),
    ("lm128", scheme("o + f2/4 of last two + head", f"{LAST}.o", "head", quarter=(f"{LAST}.f2",)),
     240 * KB),
    ("lm128", "lora:4", 240 * KB),
    ("cct", scheme("last block + head", "blocks.1.*", "head"), 128 * KB),
    ("cct", "lora:4+head", 128 * KB),
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A model with random weights; ``shape`` of a sample, or the length of a text."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int = 0  # 0: a language model

    def recipe(self, name: str) -> Recipe:
        rng = np.random.default_rng(0)
        if self.classes:
            x = rng.normal(size=(SAMPLES, *self.shape)).astype(np.float32)
            data = Dataset(x, rng.integers(0, self.classes, SAMPLES))
        else:
            text = rng.integers(0, len(VOCABULARY), (SAMPLES, self.shape[0] + 1))
            data = Dataset(text[:, :-1], text[:, 1:])
        loss: Any = "classes" if self.classes else "tokens"
        return Recipe(name, self.make().eval(), data.x, data, {"random": data}, loss, "head_only")


def cct() -> nn.Module:
    made = getattr(zoo, "CCT", None)
    if made is None:
        raise Absent("no CCT in tinytrain.zoo")
    model: nn.Module = made()
    return model


MODELS = {
    "har": Model(zoo.SensorTransformer, (128, 6), 7),
    "char_lm": Model(lambda: zoo.CharLM(len(VOCABULARY)), (64,)),
    "lm128": Model(lambda: zoo.CharLM(len(VOCABULARY), d=128, context=128), (128,)),
    "cct": Model(cct, (1, 32, 32), 10),
}


@lru_cache
def prepared(name: str) -> tuple[Recipe, Quantized]:
    recipe = MODELS[name].recipe(name)
    return recipe, prepare(recipe)


def greedy_arena_bytes(plain: Compiled) -> int:
    """The arena of a plain plan by first fit in program order."""
    tops = []
    for plan in (plain.train_plan, plain.evaluate_plan):
        layout = FirstFit(plan.buffers, WHOLE).run(program_order(plan.buffers))
        assert layout is not None
        tops.append(sum(layout.used))
    return max(tops)


def measure(model: str, what: UpdateScheme | str, target: int, steps: int) -> dict[str, Any]:
    """One row; ``steps`` 0 measures nothing. Raises Absent, and SchemeError for a scheme that is
    not known."""
    recipe, quantized = prepared(model)
    recipe = recipe.replace(scheme=what)
    board = load_board(BOARD)

    def compiled(on: Board, planning: Planning) -> Compiled:
        return compile_recipe(recipe, on, quantized, check=False, planning=planning)

    plain = compiled(with_sram(board, ROOMY), Planning("off", "off"))
    step = compiled(with_sram(board, target), Planning())
    if step.sram.sram_bytes > target:  # measured all the same, on a board where it fits
        step = replace(step, board=with_sram(board, ROOMY))
    greedy, facts = greedy_arena_bytes(plain), step.facts()
    found: dict[str, Any] = {}
    ratio = None
    if steps:
        found = emulated(step, recipe.train, steps)
        before = emulated(plain, recipe.train, steps)["instructions_per_step"]
        ratio = found["instructions_per_step"] / before - 1
    return {
        "model": model, "scheme": step.scheme, "board": BOARD, "target_bytes": target,
        "sram_bytes_planned": facts["sram_bytes"],
        "sram_bytes_measured": found.get("sram_measured_bytes"),
        "arena_bytes": facts["arena_bytes"],
        "lower_bound_bytes": facts["arena_lower_bound_bytes"],
        "extra_instructions_ratio": ratio,
        "greedy_arena_bytes": greedy,
        "plain_sram_bytes": plain.sram.sram_bytes,
    }  # fmt: skip


def against_greedy(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each model the arenas of all its rows together, ours and greedy."""
    found = []
    for model in dict.fromkeys(row["model"] for row in rows):
        ours, greedy = (
            [row[key] for row in rows if row["model"] == model]
            for key in ("arena_bytes", "greedy_arena_bytes")
        )
        ratios = [a / b for a, b in zip(ours, greedy, strict=True)]
        found.append({"model": model, "schemes": len(ratios), "arena_bytes": max(ours),
                      "greedy_arena_bytes": max(greedy), "least_ratio": min(ratios),
                      "largest_ratio": max(ratios)})  # fmt: skip
    return found


def main() -> None:
    parser = common.parser(__doc__, 1)
    parser.add_argument("--quick", action="store_true", help="plan only, nothing is emulated")
    parser.add_argument("--models", default=",".join(MODELS), help="which, between commas")
    options = parser.parse_args()
    rows = []
    for model, what, target in CASES:
        if model not in options.models.split(","):
            continue
        try:
            rows.append(measure(model, what, target, 0 if options.quick else options.steps))
        except (Absent, SchemeError) as error:
            name = what if isinstance(what, str) else what.name
            print(f"skipped {model}, {name}: {str(error).splitlines()[0]}", file=sys.stderr)
    if not rows:
        sys.exit("nothing to plan")
    title = "random weights; " + (
        "planned only" if options.quick else f"{options.steps} training steps on emulated boards"
    )
    common.finish(rows, title, options)
    if not options.json:
        report.print_rows(against_greedy(rows), "arena: ours / greedy first fit", False)


if __name__ == "__main__":
    main()
