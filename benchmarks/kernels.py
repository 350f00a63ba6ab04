"""Instructions of each kernel per MAC or per element, on emulated boards.

    python benchmarks/kernels.py [--json] [--save] [--board NAME] [--only NAME] [--no-code]
                                 [--peer NAME=DIR] [--check]

Each call's outputs are compared with the numpy reference. ``instructions`` are counted by the
emulator, without what the call itself costs. ``estimated_cycles`` (Cortex-M4 alone) IS AN ESTIMATE:
the timing in the processor's manual applied to the executed instructions, for memory without wait
states (``firmware/emulator/cycles_plugin.c``). ``code_bytes``: the kernel with all that it calls.

Shapes: ``TxCxO`` of a layer with T tokens, C channels in and O out; ``TxC hH`` of attention; of the
others the shape of the output. Softmax is what remains of attention without channels: twice what C
channels cost less what 2C cost; the product is the difference of these. ``room``: with all of the
scratch that makes a kernel fast, and with the least that it needs.

``--peer`` runs another library's kernels in the same program (``peers.py``): ``peer_per_mac`` and
``peer_per_element`` are those of the function that needs the fewest instructions, ``peer`` its
name, ``ratio`` how many times ours it takes. ``--check`` compares with the targets in
``targets.py`` and fails if one is missed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
import targets
from kernel_cases import SOFTMAX, Measured, cases
from peers import Peer, read_peer

from tinytrain.boards import Board, load_board
from tinytrain.ir import Op, Step
from tinytrain.sessions.kernel_calls import (
    Arguments,
    Buffer,
    Image,
    arguments,
    build_calls,
    scratch_bytes,
)

ROOMS = ("full", "least")  # of an op that more scratch than it needs makes faster
BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500", "qemu_mps3_an547", "qemu_rv32")
STEP = Step(seed=7, step=11, learning_rate=np.float32(1.75), beta=np.float32(0.95))
CYCLES = "cortex-m4"  # the processor whose timing the plugin knows


def measure(
    board: Board, wanted: Sequence[Measured], code: bool, peer: Peer | None = None
) -> list[dict[str, Any]]:
    """A row for each of the cases, two where memory makes a kernel faster, and derived ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        functions = sorted({f"tt_{m.op.name}" for m in wanted})
        theirs = (peer.sources, peer.flags) if peer else ((), ())
        functions += peer.names if peer else []
        image = Image(build_calls(board, folder / "all", functions, foreign=theirs))
        image.call_nothing()
        variants = [(m, room) for m in wanted for room in (ROOMS if m.op.room else ("",))]
        given = [arguments(m.op, m.case, image.place, STEP, room=float(room != "least"))
                 for m, room in variants]  # fmt: skip
        jobs = peers.jobs(peer, wanted, image) if peer else []
        for call in (*given, *(job.call for job in jobs)):
            image.call(call)
        (empty, *counts) = image.run("cycles_plugin")
        sizes = code_bytes(board, folder, [m.op for m in wanted]) if code else {}
    rows: list[dict[str, Any]] = []
    for (m, room), call, (instructions, cycles) in zip(variants, given, counts, strict=False):
        check(board, m, call)
        types = m.case.types()
        rows.append({
            "kernel": m.op.name, "shape": m.shape, "target": board.name, "room": room,
            "instructions": instructions - empty[0],
            "units": m.op.macs(types, m.case.attrs) if m.op.macs else m.elements,
            "per": "mac" if m.op.macs else "element",
            "estimated_cycles": cycles - empty[1] if board.cpu == CYCLES else None,
            "scratch_bytes": scratch_bytes(m.op, m.case, float(room != "least")),
            "code_bytes": sizes.get(m.op.name),
        })  # fmt: skip
    rows = with_parts(rows)
    if peer:
        for job in jobs:
            peers.check(peer, job)
        found = peers.best(jobs, [count - empty[0] for count, _ in counts[len(given) :]])
        for row in rows:
            kernel = row["kernel"]
            row["peer"] = found.get((peers.SAME.get(kernel, kernel), row["shape"]))
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


def with_parts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and for each kernel with a softmax one for that and one for its product."""
    found = {(row["kernel"], row["shape"], row["room"]): row for row in rows}
    more = []
    for kernel, softmax, product, narrow, wide, elements in SOFTMAX:
        for room in (*ROOMS, ""):
            a, b = (found.get((kernel, shape, room)) for shape in (narrow, wide))
            if a is not None and b is not None:
                more.append(_part(softmax, a, b, 2, 1, "element", elements))
                more.append(_part(product, a, b, -1, -1, "mac", a["units"]))
    return [*rows, *more]


def _part(
    name: str, a: dict[str, Any], b: dict[str, Any], times_a: int, less_b: int, per: str, units: int
) -> dict[str, Any]:
    """A row for what two rows differ in."""
    row = {**a, "kernel": name, "per": per, "units": units, "code_bytes": None}
    for key in ("instructions", "estimated_cycles"):
        row[key] = None if a[key] is None else times_a * a[key] - less_b * b[key]
    return row


def finished(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its ratios, and with what is to be reached per MAC or element."""
    units, per = row["units"], row["per"]
    ratio = {f"per_{kind}": row["instructions"] / units if kind == per else None
             for kind in ("mac", "element")}  # fmt: skip
    cycles = row["estimated_cycles"]
    kept = {k: row[k] for k in ("kernel", "shape", "target", "room", "instructions")}
    theirs, peer = row.get("peer") or (None, None)
    other = {f"peer_per_{kind}": theirs / units if theirs and kind == per else None
             for kind in ("mac", "element")}  # fmt: skip
    made = {
        **kept, **ratio, "estimated_cycles": cycles,
        "estimated_cycles_per": cycles / units if cycles is not None else None,
        "scratch_bytes": row["scratch_bytes"], "code_bytes": row["code_bytes"],
        **other, "peer": peer, "ratio": theirs / row["instructions"] if theirs else None,
    }  # fmt: skip
    goals = [t for t in targets.of_kernel(made) if t.key.startswith("per_")]
    return {**made, "goal": goals[0].figure if goals else None}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--board", action="append", help="an emulated board; may be repeated")
    parser.add_argument("--only", default="", help="kernels whose name has this in it")
    parser.add_argument("--no-code", action="store_true", help="leave code_bytes out")
    parser.add_argument("--peer", type=read_peer, metavar="NAME=DIR",
                        help="another library's kernels; DIR holds peer.toml")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="compare with the targets")
    options = parser.parse_args()
    wanted = [m for m in cases() if options.only in m.op.name]
    if not wanted:
        raise SystemExit(f"no kernel has {options.only!r} in its name")
    rows: list[dict[str, Any]] = []
    for name in options.board or BOARDS:
        peer = options.peer if options.peer and options.peer.runs_on(name) else None
        rows += measure(load_board(name), wanted, not options.no_code, peer)
    title = "kernels, instructions counted by the emulator; cycles are an estimate"
    done = [finished(row) for row in rows]
    common.finish(done, title, options)
    if options.check:
        pairs = [({"board": row["target"], **row}, targets.of_kernel(row)) for row in done]
        common.check(targets.compared(pairs, ("kernel", "shape", "board")), options)


if __name__ == "__main__":
    main()
