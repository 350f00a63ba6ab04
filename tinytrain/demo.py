"""``make demo``: a smartwatch model learns a new person's other arm, on the host and on a Cortex-M.

Pre-trains (cached), compiles the training step, trains in the host emulator and as firmware on an
emulated Cortex-M4, checks that both end with the same bits, and sets the result beside fp32 PyTorch
fine-tuning. Writes ``build/demo/``: result.json, memory map and learning curve.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from . import report, runner
from .baseline import Finetuned, Masks, finetune_fp32, parameters_of
from .boards import load_board
from .compiler import Compiled, compile_recipe, prepare
from .errors import TinytrainError
from .quantize import Quantized
from .recipe import Optimizer, Recipe, UpdateScheme, load_recipe
from .session import Evaluation, StepResult

FOLDER = Path("build/demo")
BOARD = "qemu_mps2_an386"
# Rates picked on persons 3, 6, 7, 8 and 10, none of which is a person of the table (docs/results.md).
ADAM_SAME, ADAM_ALL, SGD_QAS, SGD_PLAIN = 3e-3, 1e-3, 0.1, 3e-4
DEVICE_SAMPLES = 24  # of each test set, measured again on the emulated board

console = Console()


def rows_of(name: str, before: dict[str, Evaluation], after: dict[str, Evaluation]) -> dict[str, Any]:
    return {
        "method": name,
        "before": {k: v.accuracy for k, v in before.items()},
        "after": {k: v.accuracy for k, v in after.items()},
    }


def live(title: str, every: int) -> Callable[[StepResult], None]:
    """Prints a metrics line as it arrives from the serial line, every so many steps."""
    losses: list[float] = []

    def on_step(result: StepResult) -> None:
        losses.append(result.loss)
        if result.step % every == 0:
            mean = sum(losses[-every:]) / every
            line = {"step": result.step, "loss": round(mean, 4)}
            console.print(f"  {title} {json.dumps(line)}", highlight=False)

    return on_step


def train_on(
    recipe: Recipe, quantized: Quantized, target: str, limit: int | None, every: int
) -> tuple[runner.Run, Compiled]:
    """Compile for a target, train there, give the run with what was measured."""
    board = load_board(target)
    compiled = compile_recipe(recipe, board, quantized)
    session, artifact = runner.open_session(compiled, target, FOLDER / target)
    with session:
        done = runner.train(
            session, recipe, recipe.optimizer.steps, target, limit=limit,
            on_step=live(target, every) if every else None,
        )  # fmt: skip
    done.measured = runner.measurements(session, artifact)
    if artifact:
        done.measured["flash_bytes"] = artifact.flash_bytes
    return done, compiled


def fp32(recipe: Recipe, masks: Masks | None, rate: float) -> Finetuned:
    return finetune_fp32(
        recipe.model, recipe.train, recipe.tests, steps=recipe.optimizer.steps, parameters=masks,
        learning_rate=rate,
    )  # fmt: skip


def show_table(rows: list[dict[str, Any]], tests: list[str]) -> None:
    table = Table(title="accuracy before -> after adaptation")
    table.add_column("method")
    for name in tests:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [f"{row['before'][t]:.3f} -> {row['after'][t]:.3f}" for t in tests]
        table.add_row(row["method"], *cells)
    console.print(table)


def demo(person: int, steps: int, example: Path) -> dict[str, Any]:
    """All of it; gives what is written to result.json."""
    started = time.monotonic()
    recipe = load_recipe(example, person=person, steps=steps)
    console.print(f"[bold]{recipe.name}[/]: {recipe.note}")
    quantized = prepare(recipe, lambda items: track(items, "calibrating", console=console))
    FOLDER.mkdir(parents=True, exist_ok=True)

    console.rule("int8 training in the host emulator")
    host, _ = train_on(recipe, quantized, "host", None, max(1, steps // 5))
    variants: dict[str, Optimizer] = {
        "int8, SGD with quantization-aware scaling": replace(
            recipe.optimizer, rule="sgd", qas=True, learning_rate=SGD_QAS),
        "int8, SGD without": replace(
            recipe.optimizer, rule="sgd", qas=False, learning_rate=SGD_PLAIN),
    }  # fmt: skip
    others = {
        name: train_on(recipe.replace(optimizer=o), quantized, "host", None, 0)[0]
        for name, o in variants.items()
    }

    console.rule(f"the same C as firmware on an emulated Cortex-M4 ({BOARD})")
    device, compiled = train_on(recipe, quantized, BOARD, DEVICE_SAMPLES, max(1, steps // 10))
    same = device.weights_sha256 == host.weights_sha256
    console.print(f"weights after {steps} steps: host {host.weights_sha256[:16]}..., emulated "
                  f"Cortex-M4 {device.weights_sha256[:16]}...: "
                  f"{'the same bits' if same else '[bold red]DIFFERENT[/]'}")  # fmt: skip

    console.rule("fp32 fine-tuning in PyTorch, for comparison")
    assert isinstance(recipe.scheme, UpdateScheme)
    chosen = parameters_of(recipe.model, recipe.scheme)
    same_fp32, all_fp32 = fp32(recipe, chosen, ADAM_SAME), fp32(recipe, None, ADAM_ALL)

    rows = [rows_of("int8 on the device, LSB-normalised step", host.before, host.after)]
    rows += [rows_of(name, run.before, run.after) for name, run in others.items()]
    rows += [
        rows_of("fp32 PyTorch, Adam, same parameters", same_fp32.before, same_fp32.after),
        rows_of("fp32 PyTorch, Adam, all parameters", all_fp32.before, all_fp32.after),
    ]
    tests = list(recipe.tests)
    show_table(rows, tests)
    facts = compiled.facts() | report.flash_facts(compiled)
    report.print_plan(console, compiled, facts)
    console.print(
        f"measured on the emulated board: {device.measured['sram_measured_bytes']:,} bytes of SRAM "
        f"(stack {device.measured['stack_used_bytes']:,}), "
        f"{device.measured['instructions_per_step']:,} instructions a training step"
    )
    report.memory_map(compiled, FOLDER / "memory.svg")
    report.memory_map(compiled, FOLDER / "memory.png")
    curves = {"int8 (host = device)": host.losses, "fp32 Adam, same": same_fp32.losses,
              "fp32 Adam, all": all_fp32.losses}  # fmt: skip
    report.learning_curve(curves, FOLDER / "learning.png", f"{recipe.name}: training loss")
    result = {
        "model": recipe.name, "person": person, "steps": steps, "rows": rows, "plan": facts,
        "device": device.facts(recipe.metric), "host": host.facts(recipe.metric),
        "same_bits": same, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    (FOLDER / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"wrote {FOLDER}/result.json, memory.svg, learning.png "
                  f"({result['seconds']} s)")  # fmt: skip
    if not same:
        raise TinytrainError("host and emulated board ended with different weights")
    return result


def command(
    person: int = typer.Option(5, help="the new person, 1 to 10"),
    steps: int = typer.Option(300, help="training steps"),
    example: Path = typer.Option(Path("examples/har.py"), help="recipe"),  # noqa: B008
    json_: bool = typer.Option(False, "--json", help="the result as JSON on stdout"),
) -> None:
    """Run the demo."""
    global console
    if json_:
        console = Console(stderr=True)
    try:
        result = demo(person, steps, example)
    except TinytrainError as error:
        console.print(f"{type(error).__name__}: {error}", markup=False)
        sys.exit(2)
    if json_:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(command)
