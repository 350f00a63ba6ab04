"""Instructions of each kernel per MAC or per element, on emulated boards.

    python benchmarks/kernels.py [--json] [--save] [--board NAME] [--only NAME] [--no-code]

Each call's outputs are compared with the numpy reference. ``instructions`` are counted by the
emulator, without what the call itself costs. ``estimated_cycles`` (Cortex-M4 alone) IS AN ESTIMATE:
the timing in the processor's manual applied to the executed instructions, for memory without wait
states (``firmware/emulator/cycles_plugin.c``). ``code_bytes``: the kernel with all that it calls.

Shapes: ``TxCxO`` of a layer with T tokens, C channels in and O out; ``TxC hH`` of attention; of the
others the shape of the output. Softmax is what remains of attention without channels: twice what C
channels cost less what 2C cost.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from kernel_cases import SOFTMAX, Measured, cases

from tinytrain.boards import Board, load_board
from tinytrain.calls import Arguments, Buffer, Image, arguments, build_calls
from tinytrain.ir import Op, Step

BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500", "qemu_mps3_an547", "qemu_rv32")
STEP = Step(seed=7, step=11, learning_rate=np.float32(1.75), beta=np.float32(0.95))
CYCLES = "cortex-m4"  # the processor whose timing the plugin knows


def measure(board: Board, wanted: Sequence[Measured], code: bool) -> list[dict[str, Any]]:
    """A row for each of the cases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        functions = sorted({f"tt_{m.op.name}" for m in wanted})
        image = Image(build_calls(board, folder / "all", functions))
        image.call_nothing()
        given = [arguments(m.op, m.case, image.place, STEP) for m in wanted]
        for call in given:
            image.call(call)
        (empty, *counts) = image.run("cycles_plugin")
        sizes = code_bytes(board, folder, [m.op for m in wanted]) if code else {}
    rows = []
    for m, call, (instructions, cycles) in zip(wanted, given, counts, strict=True):
        check(board, m, call)
        types = m.case.types()
        rows.append({
            "kernel": m.op.name, "shape": m.shape, "target": board.name,
            "instructions": instructions - empty[0],
            "units": m.op.macs(types, m.case.attrs) if m.op.macs else m.elements,
            "per": "mac" if m.op.macs else "element",
            "estimated_cycles": cycles - empty[1] if board.cpu == CYCLES else None,
            "scratch_bytes": m.op.scratch(types, m.case.attrs) if m.op.scratch else 0,
            "code_bytes": sizes.get(m.op.name),
        })  # fmt: skip
    return rows


def check(board: Board, m: Measured, call: Arguments[Buffer]) -> None:
    """Compare the outputs with the reference; nothing may be written past a buffer."""
    copies = tuple(None if a is None else a.copy() for a in m.case.inputs)
    expected = m.op.ref(copies, m.case.attrs, STEP)
    for want, have in zip(expected, call.outputs, strict=True):
        if want is not None and have is not None and not np.array_equal(want, have.array):
            raise SystemExit(f"{m.op.name} {m.shape} on {board.name} differs from its reference")
    if not all(b.intact for b in call.pointers if b is not None):
        raise SystemExit(f"{m.op.name} {m.shape} on {board.name} writes past a buffer")


def code_bytes(board: Board, folder: Path, ops: Sequence[Op]) -> dict[str, int]:
    """Flash of each kernel with all that it calls and reads."""
    bare = build_calls(board, folder / "bare", []).flash_bytes
    return {
        op.name: build_calls(board, folder / op.name, [f"tt_{op.name}"]).flash_bytes - bare
        for op in set(ops)
    }


def with_softmax(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and one for the softmax in each of the kernels that have one."""
    found = {(row["kernel"], row["shape"]): row for row in rows}
    more = []
    for kernel, name, narrow, wide, elements in SOFTMAX:
        if (kernel, narrow) in found and (kernel, wide) in found:
            a, b = found[kernel, narrow], found[kernel, wide]
            row = {**a, "kernel": name, "per": "element", "units": elements, "code_bytes": None}
            for key in ("instructions", "estimated_cycles"):
                row[key] = None if a[key] is None else 2 * a[key] - b[key]
            more.append(row)
    return [*rows, *more]


def finished(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its ratios."""
    units, per = row["units"], row["per"]
    ratio = {f"per_{kind}": row["instructions"] / units if kind == per else None
             for kind in ("mac", "element")}  # fmt: skip
    cycles = row["estimated_cycles"]
    kept = {k: row[k] for k in ("kernel", "shape", "target", "instructions")}
    return {
        **kept, **ratio, "estimated_cycles": cycles,
        "estimated_cycles_per": cycles / units if cycles is not None else None,
        "scratch_bytes": row["scratch_bytes"], "code_bytes": row["code_bytes"],
        "peer_per_mac": None,
    }  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--board", action="append", help="an emulated board; may be repeated")
    parser.add_argument("--only", default="", help="kernels whose name has this in it")
    parser.add_argument("--no-code", action="store_true", help="leave code_bytes out")
    options = parser.parse_args()
    wanted = [m for m in cases() if options.only in m.op.name]
    if not wanted:
        raise SystemExit(f"no kernel has {options.only!r} in its name")
    rows: list[dict[str, Any]] = []
    for name in options.board or BOARDS:
        rows += with_softmax(measure(load_board(name), wanted, not options.no_code))
    title = "kernels, instructions counted by the emulator; cycles are an estimate"
    common.finish([finished(row) for row in rows], title, options)


if __name__ == "__main__":
    main()
