"""The examples on every target: the same bits after whole runs, and planned = measured.

``make test`` runs one long run a target and short ones of the rest; ``make test-all`` the matrix.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from tinytrain.boards import all_boards, load_board, with_sram
from tinytrain.compiler import Compiled, compile_recipe, prepare
from tinytrain.pretrain import Settings
from tinytrain.quantize import Quantized
from tinytrain.recipe import Dataset, Optimizer, Recipe, UpdateScheme, load_recipe
from tinytrain.sessions.runner import measurements, open_session
from tinytrain.toolchain.build import Artifact, arena_section, build
from tinytrain.zoo import CCT

pytestmark = pytest.mark.qemu

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BOARDS = ("qemu_mps2_an386", "qemu_mps2_an500")
OTHERS = ("qemu_rv32", "qemu_mps3_an547")
SPLIT = "qemu_mps2_an386_split"
F405 = "qemu_netduinoplus2"
LINKED = [board.name for board in all_boards() if board.support == "linked"]
OPTIMIZERS = {
    "lsb": Optimizer("lsb", 2.0, steps=200),
    "sgd": Optimizer("sgd", 0.03, steps=200),
    "sgd-noqas": Optimizer("sgd", 1e3, qas=False, steps=200),
}
BRIEF = Settings(steps=60, batch=16, learning_rate=4e-3, warmup=10)
ALL_BLOCKS = UpdateScheme({"blocks.*.o": 1.0, "head": 1.0}, ("blocks.*.o", "head"), "o of all")
LAST = UpdateScheme({"blocks.3.*": 0.5, "head": 1.0}, ("blocks.3.*", "head"), "half of the last")


@lru_cache(maxsize=2)
def example(name: str) -> tuple[Recipe, Quantized]:
    """An example with a short pre-training, on data that is in packages."""
    options: dict[str, Any] = {
        "har": {},
        "char_lm": {"source": "pydoc", "pretraining": BRIEF},
        "lm128": {"source": "pydoc", "pretraining": replace(BRIEF, steps=20, batch=8)},
    }
    recipe = load_recipe(EXAMPLES / f"{name}.py", **options[name])
    return recipe, prepare(recipe)


def compiled_for(
    name: str, board: str, rule: str, storage: str, scheme: UpdateScheme | None = None,
    sram: int | None = None,
) -> tuple[Recipe, Compiled]:  # fmt: skip
    recipe, quantized = example(name)
    optimizer = replace(OPTIMIZERS[rule], weights=storage)
    recipe = recipe.replace(optimizer=optimizer, scheme=scheme or recipe.scheme)
    return recipe, compile_recipe(recipe, with_sram(load_board(board), sram), quantized)


def run(recipe: Recipe, compiled: Compiled, target: str, steps: int, folder: Path) -> Any:
    """(losses, sha256, closed session, artifact) of a run on a target."""
    session, artifact = open_session(compiled, target, folder / target)
    data = recipe.train
    with session:
        losses = [
            session.step(data.x[i % len(data)], data.y[i % len(data)]).loss for i in range(steps)
        ]
        session.predict(data.x[0])
        digest = session.weights_sha256()
    return losses, digest, session, artifact


def check_image(compiled: Compiled, artifact: Artifact) -> int:
    """Arena, .data and .bss to the byte, in every memory; everything inside of the memories that
    the board has. Gives the static bytes of the first."""
    sram, board = compiled.sram, compiled.board
    static = sram.arena_bytes + sram.trained_weight_bytes + sram.optimizer_bytes
    static += sram.io_bytes + sram.runtime_bytes
    assert artifact.sections[".data"] + artifact.sections[".bss"] == static
    assert artifact.sections[".data"] == sum(
        t.bytes for t in compiled.codec.state if compiled.train.params[t.name].data.any()
    )
    assert artifact.sections[".stack"] == sram.stack_bytes
    assert artifact.symbols.get("tt_model_arena", 0) == sram.arena_bytes
    for memory in board.beside:
        assert artifact.symbols.get(f"tt_model_arena_{memory.name}", 0) == sram.beside[memory.name]
        assert artifact.sections[arena_section(memory)] == sram.beside[memory.name]
    assert board.code
    first = replace(board.ram[0], length_bytes=board.sram_budget_bytes)
    assert artifact.sections[".psram"] == compiled.psram_bytes
    others = (board.boot, board.fast_code, board.psram)
    places = [board.code, first, *board.beside, *(memory for memory in others if memory)]
    memories = [(m.origin, m.end) for m in places]
    with artifact.path.open("rb") as stream:
        elf = ELFFile(stream)
        spans = [(s["sh_addr"], s["sh_size"]) for s in elf.iter_sections() if s["sh_flags"] & 2]
        spans += [
            (p["p_paddr"], p["p_filesz"])
            for p in elf.iter_segments()
            if p["p_type"] == "PT_LOAD" and p["p_filesz"]
        ]
    for at, size in spans:  # where sections run, and from where segments are loaded
        assert any(low <= at and at + size <= high for low, high in memories if size)
    return static


def check_plan(compiled: Compiled, session: Any, artifact: Artifact) -> None:
    """The image as planned, and the stack within what is reserved."""
    sram = compiled.sram
    static = check_image(compiled, artifact)
    assert measurements(session, artifact)["regions_measured_bytes"] == sram.beside
    assert 0 < session.stack_used_bytes <= artifact.stack.bytes <= sram.stack_bytes
    assert static + session.stack_used_bytes <= sram.sram_bytes <= 256 * 1024
    assert session.instructions_per_step


def same_bits(
    name: str, board: str, rule: str, storage: str, steps: int, folder: Path,
    scheme: UpdateScheme | None = None, numpy_too: bool = True, sram: int | None = None,
) -> None:  # fmt: skip
    """Without ``sram`` the step is the plain one, or nearly; with it, it must be made to fit. The
    numpy session runs the plain step in any case."""
    recipe, compiled = compiled_for(name, board, rule, storage, scheme, sram)
    assert (sram is None) or (compiled.step.again and compiled.sram.sram_bytes <= sram)
    compare(recipe, compiled, steps, folder, numpy_too)


def compare(
    recipe: Recipe, compiled: Compiled, steps: int, folder: Path, numpy_too: bool = True
) -> None:
    """The board that it is compiled for, the host and the interpreter."""
    board = compiled.board.name
    losses, digest, session, artifact = run(recipe, compiled, board, steps, folder)
    check_plan(compiled, session, artifact)
    for other in ("host", "numpy") if numpy_too else ("host",):
        host_losses, host_digest, *_ = run(recipe, compiled, other, steps, folder)
        np.testing.assert_array_equal(losses, host_losses)
        assert digest == host_digest, f"{board} and {other} differ after {steps} steps"


@pytest.mark.parametrize("board", BOARDS)
def test_long_run_has_the_same_bits_on_every_target(board: str, tmp_path: Path) -> None:
    same_bits("har", board, "lsb", "int8", 200, tmp_path, numpy_too=board == BOARDS[0])


SHORT = [
    (name, rule, storage)
    for name, rule, storage in itertools.product(("har", "char_lm"), OPTIMIZERS, ("int8", "int16"))
]


@pytest.mark.parametrize(("name", "rule", "storage"), SHORT)
def test_short_runs_have_the_same_bits(name: str, rule: str, storage: str, tmp_path: Path) -> None:
    board = BOARDS[SHORT.index((name, rule, storage)) % 2]
    same_bits(name, board, rule, storage, 5, tmp_path)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("scheme", [ALL_BLOCKS, LAST], ids=lambda s: s.name)
def test_two_schemes_fit_256_kilobytes(scheme: UpdateScheme, board: str, tmp_path: Path) -> None:
    same_bits("har", board, "lsb", "int16", 3, tmp_path, scheme)


def test_the_stm32f405_trains_in_128_kilobytes(tmp_path: Path) -> None:
    """Over the registers of its USART, by interrupt."""
    compiled = compiled_for("har", F405, "lsb", "int8")[1]
    assert compiled.sram.sram_bytes <= 131072 == compiled.board.ram[0].length_bytes
    same_bits("har", F405, "lsb", "int8", 300, tmp_path, numpy_too=False)


@pytest.mark.parametrize("board", LINKED)
def test_boards_hold_what_was_planned(board: str, tmp_path: Path) -> None:
    """Linked with the memories of each board that has no emulator."""
    compiled = compiled_for("har", board, "lsb", "int8")[1]
    check_image(compiled, build(compiled.files, compiled.board, tmp_path / board))
    if compiled.board.beside:
        assert sum(compiled.sram.beside.values())


@pytest.mark.parametrize("board", OTHERS)
@pytest.mark.parametrize("name", ["har", "char_lm"])
def test_other_processors_have_the_same_bits(name: str, board: str, tmp_path: Path) -> None:
    same_bits(name, board, "sgd", "int8", 8, tmp_path, numpy_too=False)


def test_several_memories(tmp_path: Path) -> None:
    """Each is in use, and holds what it was planned to hold."""
    sram = compiled_for("har", SPLIT, "lsb", "int8")[1].sram
    assert all(sram.beside.values()) and sram.arena_bytes
    same_bits("har", SPLIT, "lsb", "int8", 20, tmp_path)


@pytest.mark.parametrize("board", (*BOARDS, *OTHERS))
def test_a_quarter_of_the_memory_gives_the_same_bits(board: str, tmp_path: Path) -> None:
    """64 KB in all: loops over rows, attention by heads, values made again."""
    same_bits("har", board, "lsb", "int8", 8, tmp_path, ALL_BLOCKS, board == BOARDS[0], 65536)


def test_context_of_128_fits_240_kilobytes(tmp_path: Path) -> None:
    same_bits("lm128", BOARDS[0], "lsb", "int8", 2, tmp_path, sram=245760)


@lru_cache(maxsize=1)
def images() -> tuple[Recipe, Quantized]:
    """The example ``cct`` with random weights and images, as its data is in no Python package."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 1, 32, 32)).astype(np.float32)
    data = Dataset(x, rng.integers(0, 10, 16))
    scheme = UpdateScheme({"blocks.1.*": 1.0, "head": 1.0}, ("blocks.1.*", "head"))
    recipe = Recipe("cct", CCT().eval(), x, data, {"test": data}, "classes", scheme)
    return recipe, prepare(recipe)


@pytest.mark.parametrize(("board", "kilobytes"), [(BOARDS[0], 256), (BOARDS[1], 180)])
def test_images_have_the_same_bits(board: str, kilobytes: int, tmp_path: Path) -> None:
    """As it is; and by rows and with values made again, as 180 KB demand."""
    recipe, quantized = images()
    compiled = compile_recipe(recipe, with_sram(load_board(board), 1024 * kilobytes), quantized)
    assert bool(compiled.step.again) == (kilobytes == 180)
    compare(recipe, compiled, 3, tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize("board", (*BOARDS, *OTHERS, SPLIT))
@pytest.mark.parametrize(("name", "rule", "storage"), SHORT)
def test_matrix(name: str, rule: str, storage: str, board: str, tmp_path: Path) -> None:
    same_bits(name, board, rule, storage, 200, tmp_path)
