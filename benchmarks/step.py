"""Instructions of a training step of each example, by phase and by node, hottest first.

    python benchmarks/step.py [--json] [--save] [--top 8] [--by node] [--steps 1]
                              [--models har,char_lm] [--board NAME] [--sram BYTES] [--check]

Models have random weights and read random samples; schemes are those of ``examples/``. The emulator
counts each call of a kernel in the generated training step, arguments included, so that the nodes
and the rest add up to the step, to the instruction. Phases: *update* steps weights and biases,
weight gradients included; *forward* and *backward* are the rest of the model, of the loss and of
their gradients; *other* is what multiplies nothing that a plain step would not have (one exponent
for all rows, clip masks, forward values made again) and the runtime. MACs are those of the plain
step: what is made again counts for none, its instructions do.

Instructions are counted and are not cycles. ``estimated_cycles`` (Cortex-M4 alone) IS AN ESTIMATE,
as in ``kernels.py``. ``scratch_bytes`` is what a node got, ``room_bytes`` the most that its kernel
has use for: with less it is slower. ``code_bytes``: flash without the model's tensors and tables.
``--by kernel`` adds up the nodes that call the same kernel in a phase; ``--sram`` plans for less
memory than the board's budget; ``--check`` compares with the targets in ``targets.py`` and fails if
one is missed.
"""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import targets
from call_sites import call_sites
from memory import MODELS, SAMPLES, prepared

from tinytrain.boards import Board, load_board, with_sram
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.deploy.footprint import flash_facts
from tinytrain.ir import Graph, Node
from tinytrain.ops.gradient import align_grad_s8, clip_mask_u8
from tinytrain.planning.recompute import backward_start, origin
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.toolchain.build import Artifact, build

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BOARD = "qemu_mps2_an386"
CYCLES = "cortex-m4"  # the processor whose timing the plugin knows
PHASES = ("forward", "backward", "update", "other")
OVERHEAD = (align_grad_s8, clip_mask_u8)


@dataclass(frozen=True)
class Count:
    """What was executed for a node in a step, or for the runtime (no node)."""

    node: Node | None
    phase: str
    instructions: int
    cycles: int
    calls: int


def phases(graph: Graph) -> list[str]:
    """The phase of each node of a training step."""
    start = backward_start(graph)

    def phase(i: int, node: Node) -> str:
        if node.op in OVERHEAD or origin(node) is not None:
            return "other"
        if node.op.updates or node.op.sums:
            return "update"
        return "forward" if i < start else "backward"

    return [phase(i, node) for i, node in enumerate(graph.nodes)]


def called(graph: Graph) -> list[tuple[Node, str]]:
    """The nodes that are calls, in their order, and the phase of each."""
    pairs = zip(graph.nodes, phases(graph), strict=True)
    return [(node, phase) for node, phase in pairs if not node.op.alias]


def counted(nodes: Sequence[tuple[Node, str]], row: Sequence[int]) -> list[Count]:
    """What the emulator wrote for a step; last what no node needed."""
    assert len(row) == 2 + 3 * len(nodes)
    found = [
        Count(node, phase, *row[at : at + 3])
        for at, (node, phase) in zip(range(2, len(row), 3), nodes, strict=True)
    ]
    rest = [row[i] - sum(row[2 + i :: 3]) for i in (0, 1)]
    return [*found, Count(None, "other", rest[0], rest[1], 1)]


def mean(steps: Sequence[list[Count]]) -> list[Count]:
    """The mean of each node over the steps."""

    return [
        Count(
            c[0].node, c[0].phase, round(sum(one.instructions for one in c) / len(c)),
            round(sum(one.cycles for one in c) / len(c)), c[0].calls,
        )
        for c in zip(*steps, strict=True)
    ]  # fmt: skip


def macs_by_phase(plain: Graph) -> dict[str, int]:
    """MACs of the plain step."""
    found = dict.fromkeys(PHASES, 0)
    for node, phase in zip(plain.nodes, phases(plain), strict=True):
        found[phase] += node.macs()
    return found


def run(compiled: Compiled, artifact: Artifact, steps: int) -> list[list[int]]:
    """What the emulator counts in each of some steps on random samples."""
    recipe, _ = prepared(compiled.name)
    kernels = [node.op.name for node, _ in called(compiled.train)]
    sites = call_sites(artifact, "tt_model_train", kernels)
    session = QemuSession(compiled.board, artifact, compiled.codec, timeout_s=300.0, sites=sites)
    with session:
        for i in range(steps):
            session.step(recipe.train.x[i % SAMPLES], recipe.train.y[i % SAMPLES])
    return session.machine.counts


def compiled_example(name: str, board: Board) -> Compiled:
    """An example with random weights, trained by its own scheme."""
    recipe, quantized = prepared(name)
    own = runpy.run_path(str(EXAMPLES / f"{name}.py"))["SCHEME"]
    return compile_recipe(recipe.replace(scheme=own), board, quantized)


def by_kernel(counts: Sequence[Count]) -> list[list[Count]]:
    """The nodes that call the same kernel in the same phase."""
    found: dict[tuple[str, str], list[Count]] = {}
    for count in counts:
        if count.node:
            found.setdefault((count.phase, count.node.op.name), []).append(count)
    return list(found.values())


def measure(
    compiled: Compiled, artifact: Artifact, steps: int, top: int, by: str = "node"
) -> list[dict[str, Any]]:
    """Rows of the whole step, of the phases, and of the ``top`` hottest nodes (0: of all)."""
    nodes = called(compiled.train)
    counts = mean([counted(nodes, row) for row in run(compiled, artifact, steps)])
    macs, whole = macs_by_phase(compiled.plain), sum(c.instructions for c in counts)

    known = compiled.board.cpu == CYCLES
    code = flash_facts(compiled, artifact)["flash_code_bytes"]

    def row(phase: str, chosen: Sequence[Count], macs: int, **names: Any) -> dict[str, Any]:
        instructions = sum(c.instructions for c in chosen)
        cycles = sum(c.cycles for c in chosen)
        return {
            "model": compiled.name, "board": compiled.board.name, "phase": phase,
            "node": names.get("node"), "kernel": names.get("kernel"),
            "calls": sum(c.calls for c in chosen if c.node), "instructions": instructions,
            "share": instructions / whole, "macs": macs,
            "per_mac": instructions / macs if macs else None,
            "estimated_cycles": cycles if known else None,
            "estimated_cycles_per_mac": cycles / macs if known and macs else None,
            "scratch_bytes": names.get("scratch"), "room_bytes": names.get("room"),
            "code_bytes": code if phase == "all" else None,
        }  # fmt: skip

    rows = [row("all", counts, sum(macs.values()))]
    rows += [row(p, [c for c in counts if c.phase == p], macs[p]) for p in PHASES]
    groups = by_kernel(counts) if by == "kernel" else [[c] for c in counts if c.node]
    groups.sort(key=lambda group: -sum(c.instructions for c in group))
    for group in groups[: top or None]:
        parts = [c.node for c in group if c.node]
        names: dict[str, Any] = {"kernel": parts[0].op.name}
        if by == "node":
            names["node"] = parts[0].name
            names["scratch"] = compiled.train_plan.scratch.get(parts[0].name, 0)
            names["room"] = parts[0].room_bytes()
        rows.append(row(group[0].phase, group, sum(node.macs() for node in parts), **names))
    return rows


def main() -> None:
    parser = common.parser(__doc__, 1)
    parser.add_argument("--top", type=int, default=8, help="nodes that are shown, 0 for all")
    parser.add_argument("--models", default="", help="which, between commas")
    parser.add_argument("--board", action="append", help="an emulated board; may be repeated")
    parser.add_argument("--sram", type=int, help="bytes to plan for instead of the board's budget")
    parser.add_argument("--by", choices=("node", "kernel"), default="node",
                        help="what is shown hottest first")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="compare with the targets")
    options = parser.parse_args()
    examples = [path.stem for path in sorted(EXAMPLES.glob("*.py"))]
    wanted = options.models.split(",") if options.models else examples
    if unknown := set(wanted) - set(examples) | set(wanted) - set(MODELS):
        raise SystemExit(f"no example {', '.join(sorted(unknown))}; there are {examples}")
    rows = []
    for name in wanted:
        for board_name in options.board or (BOARD,):
            board = load_board(board_name)
            board = with_sram(board, options.sram) if options.sram else board
            compiled = compiled_example(name, board)
            with tempfile.TemporaryDirectory() as folder:
                artifact = build(compiled.files, board, Path(folder) / board.name)
                rows += measure(compiled, artifact, options.steps, options.top, options.by)
    title = "training steps, instructions counted by the emulator; cycles are an estimate"
    common.finish(rows, title, options)
    if options.check:
        pairs = [(row, targets.of_step(row)) for row in rows]
        common.check(targets.compared(pairs, ("model", "board")), options)


if __name__ == "__main__":
    main()
