"""Several schemes in one firmware within a budget: the device's choice beside each of them.

    python benchmarks/choice.py [--persons 1,4,5] [--sram 131072] [--probe 32] [--json]

One firmware a person holds three schemes. Two tasks: the person's left arm (another body, mirrored
axes), and their right arm with the exercises renamed (other meanings of what is seen). For each,
all schemes start from the same weights and train as long on the same samples; *chosen* is what the
device takes after it has looked at the first samples. Bits are those of the firmware, in the host
emulator.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import common
import numpy as np

from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.datasets import load_watch
from tinytrain.datasets.common import shuffled
from tinytrain.datasets.watch import ADAPT_FRACTION, WINDOW, WatchSplit
from tinytrain.recipe import Dataset, Recipe, UpdateScheme, load_recipe
from tinytrain.sessions import runner
from tinytrain.sessions.session import Session

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "har.py"
RENAMED = np.array([2, 0, 1, 4, 5, 6, 3])
CHOSEN = "chosen by the device"


def scheme(name: str, *layers: str) -> UpdateScheme:
    names = (*layers, "head")
    return UpdateScheme(dict.fromkeys(names, 1.0), names, name)


SCHEMES = (
    scheme("o, f2 of the last block", "blocks.3.o", "blocks.3.f2"),
    scheme("o, f2 of the first block", "blocks.0.o", "blocks.0.f2"),
    UpdateScheme({"head": 1.0}, ("*",), "all biases"),
)


def renamed(split: WatchSplit) -> tuple[Dataset, Dataset]:
    """The right arm under other names: (the first 30 % of each recording, the rest)."""
    table, y = split.origins["source"], RENAMED[split.source.y]
    ends = {r: table[table[:, 0] == r, 1].max() + WINDOW for r in np.unique(table[:, 0])}
    cuts = np.array([int(ADAPT_FRACTION * ends[r]) for r in table[:, 0]])
    adapt, rest = table[:, 1] + WINDOW <= cuts, table[:, 1] >= cuts + WINDOW
    x = split.source.x
    return shuffled(Dataset(x[adapt], y[adapt]), 0)[0], Dataset(x[rest], y[rest])


def outcome(
    session: Session, start: bytes, recipe: Recipe, test: Dataset, steps: int, name: str, probe: int
) -> tuple[float, str]:
    """Accuracy after training by one scheme, or by the one that is chosen; its name."""
    session.restore(start)
    use, probes = (None, probe) if name == CHOSEN else (name, None)
    found = runner.choose(session, recipe, use, probes)
    at = np.arange(steps) % len(recipe.train)
    session.steps(recipe.train.x[at], recipe.train.y[at])
    return session.evaluate(test.x, test.y).accuracy, found.scheme if found else name


def measure(person: int, options: Any) -> tuple[list[dict[str, Any]], Compiled]:
    """One row a task and scheme."""
    recipe = load_recipe(EXAMPLE, person=person, steps=options.steps)
    recipe = recipe.replace(scheme=SCHEMES[0], alternatives=SCHEMES[1:])
    board = with_sram(load_board("qemu_mps2_an386"), options.sram)
    compiled, split = compile_recipe(recipe, board), load_watch(person)
    tasks = {"left arm": (split.adapt, split.target), "exercises renamed": renamed(split)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        session, _ = runner.open_session(compiled, "host", Path(folder) / "host")
        with session:
            start = session.snapshot()
            for task, (train, test) in tasks.items():
                posed = recipe.replace(train=train)
                session.restore(start)
                before = session.evaluate(test.x, test.y).accuracy
                for name in (*compiled.codec.schemes, CHOSEN):
                    accuracy, used = outcome(
                        session, start, posed, test, options.steps, name, options.probe
                    )
                    rows.append({"task": task, "scheme": name, "used": used, "before": before,
                                 "accuracy": accuracy})  # fmt: skip
    return rows, compiled


def main() -> None:
    parser = common.parser(__doc__, 300)
    parser.add_argument("--persons", default="1,4,5,9,2", help="of the watch data")
    parser.add_argument("--sram", type=int, default=131072, help="budget, bytes")
    parser.add_argument("--probe", type=int, default=32, help="samples before the choice")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for person in map(int, options.persons.split(",")):
        rows, compiled = measure(person, options)
        found += [row | {"person": person} for row in rows]
    facts = {row["scheme"]: row for row in compiled.facts()["schemes"]}
    summary = []
    for task, name in dict.fromkeys((row["task"], row["scheme"]) for row in found):
        rows = [row for row in found if (row["task"], row["scheme"]) == (task, name)]
        reached = [row["accuracy"] for row in rows]
        used = Counter(row["used"] for row in rows)
        summary.append({
            "task": task, "scheme": name, "before": float(np.mean([r["before"] for r in rows])),
            "target_mean": float(np.mean(reached)), "target_std": float(np.std(reached)),
            "persons": " ".join(f"{r['person']}:{r['accuracy']:.3f}" for r in rows),
            "used": ", ".join(f"{n} ({k}x)" for n, k in used.items()) if name == CHOSEN else "",
            "sram_budget_bytes": options.sram, "sram_bytes": compiled.sram.sram_bytes,
            "macs_per_step": facts[name]["macs"] if name in facts else None,
        })  # fmt: skip
    title = f"HAR, persons {options.persons}, {options.steps} steps, {options.sram} bytes of SRAM"
    common.finish(summary, title, options)


if __name__ == "__main__":
    main()
