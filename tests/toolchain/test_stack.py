"""The bound of the stack: read from machine code that compilers made of C with known calls."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tinytrain.boards import load_board
from tinytrain.errors import BudgetError, ToolchainError
from tinytrain.toolchain.build import build, find_compiler
from tinytrain.toolchain.stack import INTERRUPT_BYTES, Function, StackUse, _read, stack_use

BOARDS = ("qemu_mps2_an386", "qemu_mps3_an547", "qemu_rv32")
BYTES = 400  # of an array on the stack
HEAD = """
#define FAR __attribute__((noinline))
extern volatile int sink;
int tt_reset(int n);
FAR int leaf(int n) { volatile int here[100]; here[n] = n; return here[n + 1]; }
FAR int shallow(int n) { sink = n; return n; }
"""


def use_of(board: str, text: str, folder: Path) -> StackUse:
    """Of a program that is linked at 0 and never run."""
    made, source = load_board(board), folder / "program.c"
    source.write_text(HEAD + text + "volatile int sink;\n")
    obj, elf = folder / "program.o", folder / "program.elf"
    run = [find_compiler(made), *made.flags, "-Os", "-ffreestanding", "-nostdlib"]
    subprocess.run([*run, "-c", str(source), "-o", str(obj)], check=True)
    subprocess.run([*run, "-Wl,-e,tt_reset", str(obj), "-lgcc", "-o", str(elf)], check=True)
    return stack_use(elf, f"{made.prefix}objdump", [[obj]])


@pytest.mark.parametrize("board", BOARDS)
def test_frames_on_a_path_add_up(board: str, tmp_path: Path) -> None:
    one = use_of(board, "int tt_reset(int n) { return shallow(n) + leaf(n) + n; }", tmp_path)
    assert one.path == ("tt_reset", "leaf") and BYTES + 8 <= one.bytes <= BYTES + 64
    middle = (
        "FAR int middle(int n) { volatile int here[10]; here[n] = n; return leaf(n) + here[0]; }"
    )
    two = use_of(board, middle + "int tt_reset(int n) { return middle(n) + leaf(n); }", tmp_path)
    assert two.path == ("tt_reset", "middle", "leaf")
    assert one.bytes + 40 <= two.bytes <= one.bytes + 40 + 32


@pytest.mark.parametrize("board", BOARDS)
def test_a_call_at_the_end_needs_no_frame(board: str, tmp_path: Path) -> None:
    """The array of the caller is gone when the callee begins."""
    last = "int tt_reset(int n) { volatile int here[90]; here[n] = n; return leaf(here[1]); }"
    assert BYTES <= use_of(board, last, tmp_path).bytes <= BYTES + 32


@pytest.mark.parametrize("board", BOARDS)
def test_a_pointer_may_lead_to_all_whose_address_is_taken(board: str, tmp_path: Path) -> None:
    table = "int (*const table[])(int) = {shallow, leaf};"
    found = use_of(board, table + "int tt_reset(int n) { return table[n](n) + n; }", tmp_path)
    assert found.path == ("tt_reset", "leaf") and found.bytes > BYTES
    assert use_of(board, "int tt_reset(int n) { return shallow(n) + n; }", tmp_path).bytes < 64


@pytest.mark.parametrize("board", BOARDS)
def test_recursion_has_no_bound(board: str, tmp_path: Path) -> None:
    again = "FAR int again(int n) { return n ? again(n - 1) * leaf(n) + 1 : 0; }"
    with pytest.raises(ToolchainError, match="no bound: again -> again"):
        use_of(board, again + "int tt_reset(int n) { return again(n) + 1; }", tmp_path)
    pair = """
    FAR int other(int n);
    FAR int one(int n) { return n ? other(n - 1) * leaf(n) + 1 : 0; }
    FAR int other(int n) { return n ? one(n - 2) * leaf(n) + 2 : 0; }"""
    with pytest.raises(ToolchainError, match="no bound: one -> other -> one"):
        use_of(board, pair + "int tt_reset(int n) { return one(n) + 1; }", tmp_path)


@pytest.mark.parametrize("board", BOARDS)
def test_an_array_of_any_length_has_no_bound(board: str, tmp_path: Path) -> None:
    text = (
        "int tt_reset(int n) { volatile int here[n]; here[n - 1] = 1; return leaf(here[0]) + 1; }"
    )
    with pytest.raises(ToolchainError, match="tt_reset has a size that is not constant"):
        use_of(board, text, tmp_path)


def test_a_handler_runs_on_top(tmp_path: Path) -> None:
    board, reset = BOARDS[0], "int tt_reset(int n) { return shallow(n) + n; }"
    without = use_of(board, reset, tmp_path)
    handler = "__attribute__((used)) void tt_tick(void) { sink = leaf(2) + 1; }"
    found = use_of(board, handler + reset, tmp_path)
    assert found.path == (*without.path, "(interrupt)", "tt_tick", "leaf")
    assert found.bytes >= without.bytes + INTERRUPT_BYTES + BYTES
    fault = '__attribute__((used, naked)) void tt_tick(void) { __asm__("msr msp, r0; b leaf"); }'
    assert use_of(board, fault + reset, tmp_path) == without


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("push {r4, r5, r6, lr}", 16), ("stmdb sp!, {r4-r11, lr}", 36),
        ("vpush {d8-d9}", 16), ("vpush {s16}", 4), ("vstmdb sp!, {d8, d9}", 16),
        ("sub sp, #20", 20), ("sub.w sp, sp, #1024 @ 0x400", 1024), ("subw sp, sp, #1028", 1028),
        ("str.w lr, [sp, #-4]!", 4), ("strd r4, r5, [sp, #-16]!", 16),
        ("add sp,sp,-112", 112), ("addi sp,sp,-16", 16),
        ("add sp, #20", 0), ("str r3, [sp, #20]", 0), ("add sp,sp,112", 0), ("pop {r4, pc}", 0),
    ],
)  # fmt: skip
def test_what_an_instruction_takes(code: str, size: int) -> None:
    function = Function("f")
    _read({0: function}, 0, code)
    assert function.frame == size


def test_the_linker_s_jump_is_followed() -> None:
    functions = {8: Function("__far_veneer"), 0x100: Function("far"), 0x200: Function("near")}
    _read(functions, 8, "ldr.w pc, [pc] @ c <__far_veneer+0x4>")
    _read(functions, 8, ".word 0x00000101")
    assert functions[8].jumps == {0x100}
    _read(functions, 0x200, "jalr -16(ra) # 100 <far>")
    _read(functions, 0x200, "add t1,t1,-1372 # 8 <__far_veneer>")
    assert functions[0x200].calls == {0x100} and not functions[0x200].jumps


def test_what_calls_and_what_jumps() -> None:
    functions = {0x10: Function("here"), 0x20: Function("there")}
    for code, calls, jumps in (
        ("bl 20 <there>", True, False), ("blne 20 <there>", True, False),
        ("ble.n 20 <there>", False, True), ("blt.w 20 <there>", False, True),
        ("b.w 20 <there>", False, True), ("bls.n 14 <here+0x4>", False, False),
        ("jal 20 <there>", True, False), ("beqz a0,20 <there>", False, True),
        ("ldr r3, [pc, #8] @ (20 <there>)", False, False), ("b.n 10 <here>", False, False),
    ):  # fmt: skip
        functions[0x10] = Function("here")
        _read(functions, 0x10, code)
        here = functions[0x10]
        assert (here.calls == {0x20}, here.jumps == {0x20}) == (calls, jumps), code
        assert not here.pointers
    for code in ("blx r3", "blxne r3", "bx r3", "jalr s2", "jr a5", "bx lr", "ret", "jr ra"):
        functions[0x10] = Function("here")
        _read(functions, 0x10, code)
        assert functions[0x10].pointers is (code not in ("bx lr", "ret", "jr ra")), code


def test_a_firmware_that_needs_more_than_is_reserved_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Path(__file__).resolve().parents[1] / "qemu" / "fake"
    files = {name: (fake / name).read_text() for name in ("model.c", "model.h")}
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path / "cache"))
    board = load_board(BOARDS[0])
    made = build(files, board, tmp_path / "good")
    assert made.stack is not None and made.stack.bytes <= board.stack_bytes
    large = files["model.c"].replace("int32_t here[16]", "int32_t here[400]")
    needs = (
        r"may use (\d+) bytes of stack \(tt_reset > .*deep.*\), 1024 are reserved; set stack_bytes"
    )
    with pytest.raises(BudgetError, match=needs):
        build({**files, "model.c": large}, board, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
