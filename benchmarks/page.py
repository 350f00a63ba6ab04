"""Writes docs/results.md from the results that ``--save`` kept; ``--check`` says if it is stale.

python benchmarks/page.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from adapt.chart import chart, digest
from adapt.page import tables

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
PICTURE = PAGE.with_name("adaptation.svg")
HEAD = """# Results

Made by `python benchmarks/page.py` from what `python benchmarks/NAME.py --save` measured. Learning
rates are chosen on samples of which no table has any. Instructions are counted by the emulator and
are not cycles.
"""
INTRO = {
    "adaptation": "## What is learned within a budget\n\nBatch-1 steps: 300 on the watch, 1000 on "
    "images, 400 on text, for all methods. Target is what the model is for now, source what it was "
    "for. Rates of every method and the selected schemes were chosen by the loss on validation "
    "samples: other people's left arms for the watch, 2,000 training images, the speaker's last "
    "address but one. *Last k layers*: as many as fit. *LoRA*: the largest rank that fits. "
    "*Hand-picked*: the schemes of `examples/`. *Selected*: by `tinytrain select`; "
    "a search begins with what was found for the next smaller budget. float32 rows train "
    "everything, in PyTorch. A plan "
    "uses what the budget allows, so that bytes and instructions of one scheme differ by budget. "
    "People of the watch have 68 to 146 test windows each; a person is the mean of three trainings "
    "that begin at different windows. Clothes are tested on 5,000 images of the target and 5,000 "
    "of the source.",
    "scaling": "## Quantization-aware scaling\n\nInt8 SGD without and with it, and the "
    "LSB-normalised step, on the same parameters: the model as it was trained, and the same "
    "function of other numbers (`v` and `q` of each block times a power of two, `o` and `k` "
    "divided by it), with the same rate and with one chosen again.",
    "channels": "## Which channels train\n\nA share of the output channels of every layer, with "
    "their biases, and all of the head, by the LSB-normalised step: those of the largest "
    "contribution (first-order estimate on validation tasks), of the largest weights, or random "
    "ones, others for each person or seed.",
    "objective": "## What a search chooses by\n\nA pool of 16 schemes with three learning rates, "
    "ranked by one half of the validation samples (or people) after one training; accuracy in the "
    "other half, after another. Spearman's rank correlation of both, and the accuracy there of "
    "what the objective takes, beside the best of the pool.",
    "choice": "## HAR: a device that chooses what it trains\n\nOne firmware a person, of three "
    "schemes over one arena; accuracy, mean over persons. *Left arm*: the new person's. *Exercises "
    "renamed*: the person's right arm, other names for what is seen. *Used*: what the device "
    "chose.",
    "language": "## char_lm: from old addresses to a modern one\n\nBits per character. *Target* is "
    "the speaker's last address, *source* held-out addresses of the nineteenth century.",
    "footprint": "## Planned and measured\n\nBytes and instructions on emulated boards. Measured "
    "SRAM is `.data` + `.bss` + the stack that was used; the plan reserves 1,024 bytes of stack. "
    "*At most*: what the machine code can use of it.",
    "step": "## A training step\n\nInstructions of the examples' steps, by phase and for the "
    "hottest kernels; MACs are those of the plain step. Cycles are an estimate. *Code bytes*: "
    "flash without the model's tensors and tables. [benchmarks.md](benchmarks.md) says what is in "
    "a phase.",
    "host": "## This machine\n\nSteps a second of the host emulator and of PyTorch in float32, "
    "eager, in the same run; one sample a step, one thread, CPU seconds. *One call a step*: from "
    "Python; the other figure is of all steps in one call.",
    "kernels": "## Kernels\n\nInstructions per MAC or element, the *goal* for these, an estimate "
    "of the Cortex-M4's cycles, and the best of another library's functions in the same run, where "
    "one was given. *Room*: with all of the scratch that makes a kernel fast, or the least.",
    "memory": "## Memory against targets\n\nModels with random weights: memory depends on shapes "
    "only. The target is all SRAM, stack included. *Extra instructions*: those of a training step "
    "beyond the plain step's (no recomputation, no loops; emulated with more SRAM), as a part of "
    "these. *Greedy arena*: the plain step by first fit in program order.",
}


# Of results with more columns than a page has room for.
COLUMNS = {
    "step": ("model", "phase", "kernel", "calls", "instructions", "share", "macs", "per_mac",
             "estimated_cycles_per_mac", "code_bytes"),
    "kernels": ("kernel", "shape", "target", "room", "per_mac", "per_element", "goal",
                "estimated_cycles_per", "scratch_bytes", "code_bytes", "peer_per_mac",
                "peer_per_element", "ratio"),
}  # fmt: skip


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str("" if value is None else value)


def section(name: str) -> str:
    """One kept result as Markdown."""
    kept = json.loads((RESULTS / f"{name}.json").read_text())
    if name == "adaptation":
        picture = f"![what is learned by budget]({PICTURE.name})"
        parts = [
            INTRO[name],
            picture,
            f"Measured: {kept['title']}.",
            tables(kept["rows"]),
            _foot(kept),
        ]
        return "\n\n".join(parts) + "\n"
    rows = [{key: row[key] for key in COLUMNS.get(name, row)} for row in kept["rows"]]
    words = {key for row in rows for key, value in row.items() if isinstance(value, str)}
    lines = [
        "| " + " | ".join(key.replace("_", " ") for key in rows[0]) + " |",
        "|" + "|".join("---" if key in words else "--:" for key in rows[0]) + "|",
    ]
    lines += ["| " + " | ".join(map(cell, row.values())) + " |" for row in rows]
    return "\n".join([INTRO[name], "", f"{kept['title']}:", "", *lines, "", _foot(kept), ""])


def _foot(kept: dict[str, Any]) -> str:
    """How and with what it was measured."""
    versions = ", ".join(f"{tool} {version}" for tool, version in kept["versions"].items())
    return f"`{kept['command']}`, {kept['date']}; {versions}."


def page() -> str:
    kept = [name for name in INTRO if (RESULTS / f"{name}.json").exists()]
    return "\n".join([HEAD, *map(section, kept)])


def main() -> None:
    rows = json.loads((RESULTS / "adaptation.json").read_text())["rows"]
    if "--check" not in sys.argv:
        PAGE.write_text(page())
        PICTURE.write_bytes(chart(rows))
    elif PAGE.read_text() != page() or digest(rows) not in PICTURE.read_text():
        sys.exit("docs/results.md or its picture is stale: run python benchmarks/page.py")


if __name__ == "__main__":
    main()
