"""What the benchmarks share: their options, and how rows are shown and kept."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tinytrain.reports import tables as report

RESULTS = Path(__file__).resolve().parent / "results"
UNTOLD = ("--save", "--json", "--check", "--collect")  # options that do not change the rows


def parser(description: str | None, steps: int | None = None) -> argparse.ArgumentParser:
    """Options of every benchmark; without ``steps``, of one that trains nothing."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    made.add_argument("--save", action="store_true", help="keep the rows in benchmarks/results")
    if steps is not None:
        made.add_argument("--steps", type=int, default=steps, help="training steps")
    return made


def finish(
    rows: Sequence[Mapping[str, Any]], title: str, options: argparse.Namespace,
    shown: Sequence[str] = (),
) -> None:  # fmt: skip
    """Print the rows, with ``shown`` only these keys in a table; with ``--save`` keep them with the
    command, versions and date."""
    few = [{key: row[key] for key in shown} for row in rows] if shown else rows
    report.print_rows(rows if options.json else filled(few), title, options.json)
    if not options.save:
        return
    script = Path(sys.argv[0])
    words = [a for a in sys.argv[1:] if a not in UNTOLD]
    words = [a.partition("=")[0] + "=DIR" if w == "--peer" else a  # a folder of this machine
             for w, a in zip(["", *words], words, strict=False)]  # fmt: skip
    kept = {
        "title": title,
        "command": " ".join(["python", f"benchmarks/{script.name}", *words]),
        "date": date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
            "arm-none-eabi-gcc": tool("arm-none-eabi-gcc"),
            "riscv64-unknown-elf-gcc": tool("riscv64-unknown-elf-gcc"),
            "qemu-system-arm": tool("qemu-system-arm"),
        },
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{script.stem}.json").write_text(json.dumps(kept, indent=2) + "\n")


def filled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows without the columns that are empty in all of them."""
    kept = {key for row in rows for key, value in row.items() if value not in (None, "")}
    return [{key: value for key, value in row.items() if key in kept} for row in rows]


def check(compared: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """Print targets beside what was measured. Exits with 1 if one is missed."""
    missed = [row for row in compared if row["met"] != "met"]
    if not options.json and compared:
        report.print_rows(compared, f"{len(missed)} of {len(compared)} targets missed", False)
    if missed:
        sys.exit(1)


def tool(name: str) -> str:
    """First line of what a program says of its version; "absent" where it is."""
    if shutil.which(name) is None:
        return "absent"
    done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0]
