"""Instructions of a training step, counted by the emulator on a board with the same processor."""

from __future__ import annotations

from ..boards import Board, all_boards, with_sram
from ..compiler import Compiled, compile_recipe
from ..errors import BoardError
from ..planning.fit import Planning
from ..quantize import Quantized
from ..recipe import Proxy, Recipe
from ..sessions.runner import emulated

STEPS = 2  # the last is counted
LIKE = {"host": "cortex-m4", "rv32imac": "rv32imc"}  # processors that are counted on another


def twin(board: Board) -> Board:
    """The emulated board that its steps are counted on, with as much memory: itself, or one with
    its processor. Raises BoardError where none is emulated."""
    if board.qemu_machine:
        return board
    cpu = LIKE.get(board.cpu, board.cpu)
    room = board.sram_budget_bytes + sum(memory.length_bytes for memory in board.beside)
    for other in all_boards():
        ram = other.ram[0].length_bytes if other.ram else 0
        if other.qemu_machine and other.cpu == cpu and not other.beside and ram >= room:
            return with_sram(other, room)
    raise BoardError(
        f"--count: no board with a {board.cpu} and {room} bytes of SRAM is emulated; leave it "
        "out, or search for a board that tinytrain boards calls emulated"
    )


def instructions(
    recipe: Recipe, quantized: Quantized, board: Board, planning: Planning, sample: Proxy,
    compiled: Compiled,
) -> int:  # fmt: skip
    """Of a step of ``recipe``'s scheme as it is planned on an emulated ``board``; ``compiled`` is
    taken where it is for that board."""
    if compiled.board != board:
        compiled = compile_recipe(recipe, board, quantized, check=False, planning=planning)
    return int(emulated(compiled, sample.train, STEPS)["instructions_per_step"])
