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

from ..baseline import Finetuned, Rule, finetune_fp32, parameters_of
from ..boards import load_board
from ..compiler import Compiled, compile_recipe, prepare
from ..deploy import footprint
from ..errors import TinytrainError
from ..quantize import Quantized
from ..recipe import Optimizer, Recipe, load_recipe
from ..reports import tables as report
from ..reports.memory_map import write_map
from ..sessions import runner
from ..sessions.session import Evaluation, StepResult

FOLDER = Path("build/demo")
BOARD = "qemu_mps2_an386"
# Rates with the lowest loss on the left arms of persons 3, 6 and 8.
INT8 = {
    "int8, LSB-normalised step": Optimizer("lsb", 3.0),
    "int8, SGD with quantization-aware scaling": Optimizer("sgd", 0.2),
    "int8, SGD without": Optimizer("sgd", 1e4, qas=False),
}
METHOD = "int8, LSB-normalised step"  # the one that the board runs too
# method: (optimizer, rate, the same parameters as int8 or all)
FP32: dict[str, tuple[Rule, float, bool]] = {
    "fp32 PyTorch Adam, same parameters": ("adam", 3e-3, True),
    "fp32 PyTorch Adam, all parameters": ("adam", 1e-3, False),
}
DEVICE_SAMPLES = 24  # of each test set, measured again on the emulated board

console = Console()


def rows_of(
    name: str, before: dict[str, Evaluation], after: dict[str, Evaluation]
) -> dict[str, Any]:
    return {
        "method": name,
        "before": {k: v.accuracy for k, v in before.items()},
        "after": {k: v.accuracy for k, v in after.items()},
    }


def live(title: str, every: int) -> Callable[[StepResult], None]:
    """Prints the mean loss of every so many steps, as they come."""
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


def fp32(recipe: Recipe, rule: Rule, rate: float, same: bool) -> Finetuned:
    """PyTorch on the same stream for as many steps."""
    masks = parameters_of(recipe.model, recipe.scheme) if same else None
    return finetune_fp32(
        recipe.model, recipe.train, recipe.tests, steps=recipe.optimizer.steps, parameters=masks,
        optimizer=rule, learning_rate=rate,
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
    recipe = recipe.replace(optimizer=replace(INT8[METHOD], steps=steps))
    host, _ = train_on(recipe, quantized, "host", None, max(1, steps // 5))
    int8 = {METHOD: host}
    for name in INT8.keys() - {METHOD}:
        other = recipe.replace(optimizer=replace(INT8[name], steps=steps))
        int8[name], _ = train_on(other, quantized, "host", None, 0)

    console.rule(f"the same C as firmware on an emulated Cortex-M4 ({BOARD})")
    device, compiled = train_on(recipe, quantized, BOARD, DEVICE_SAMPLES, max(1, steps // 10))
    same = device.weights_sha256 == host.weights_sha256
    console.print(f"weights after {steps} steps: host {host.weights_sha256[:16]}..., emulated "
                  f"Cortex-M4 {device.weights_sha256[:16]}...: "
                  f"{'the same bits' if same else '[bold red]DIFFERENT[/]'}")  # fmt: skip

    console.rule("fp32 fine-tuning in PyTorch, for comparison")
    floats = {
        name: fp32(recipe, *what)
        for name, what in track(FP32.items(), "fine-tuning", console=console, transient=True)
    }
    rows = [rows_of(name, int8[name].before, int8[name].after) for name in INT8]
    rows += [rows_of(name, done.before, done.after) for name, done in floats.items()]
    tests = list(recipe.tests)
    show_table(rows, tests)
    facts = compiled.facts() | footprint.flash_facts(compiled)
    report.print_plan(console, compiled, facts)
    console.print(
        f"measured on the emulated board: {device.measured['sram_measured_bytes']:,} bytes of SRAM "
        f"(stack {device.measured['stack_used_bytes']:,}), "
        f"{device.measured['instructions_per_step']:,} instructions a training step"
    )
    write_map(compiled, FOLDER / "memory.svg")
    curves = {"int8, host = device": host.losses}
    curves |= {name: list(done.losses) for name, done in floats.items()}
    report.learning_curve(curves, FOLDER / "learning.png", f"{recipe.name}: training loss")
    report.learning_curve(curves, FOLDER / "learning.svg", f"{recipe.name}: training loss")
    result = {
        "model": recipe.name, "person": person, "steps": steps, "rows": rows, "plan": facts,
        "device": device.facts(recipe.metric), "host": host.facts(recipe.metric),
        "same_bits": same, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    (FOLDER / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    report.html(result, compiled, FOLDER)
    console.print(f"wrote {FOLDER}/report.html, result.json, memory.svg and learning.svg "
                  f"({result['seconds']} s)")  # fmt: skip
    if not same:
        raise TinytrainError("host and emulated board ended with different weights")
    return result


def command(
    person: int = typer.Option(5, help="the new person, 1 to 10"),
    steps: int = typer.Option(300, help="training steps"),
    example: Path = typer.Option(Path("examples/har.py"), help="recipe"),
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
