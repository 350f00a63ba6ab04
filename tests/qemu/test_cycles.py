"""The estimate of cycles: sequences of instructions whose timing the processor's manual gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytrain.boards import load_board
from tinytrain.sessions.kernel_calls import Arguments, Image, build_calls

pytestmark = pytest.mark.qemu

BOARD = "qemu_mps2_an386"
# Sequence, instructions, cycles. r0 is an address that can be read and written.
SEQUENCES = {
    "data": ("adds r1, r2, r3\n mla r1, r2, r3, r1\n smlad r1, r2, r3, r1", 3, 3),
    "wide products": ("smull r1, r2, r3, ip\n smlal r1, r2, r3, ip", 2, 2),
    "one load": ("ldr r1, [r0]", 1, 2),
    "loads in a row": ("ldr r1, [r0]\n ldrb r2, [r0, #4]\n ldrsh r3, [r0, #8]", 3, 4),
    "a load by a loaded address": ("ldr r1, [r0]\n ldr r2, [r1]", 2, 4),
    "loads that move their base": ("ldr r1, [r0], #4\n ldr r2, [r0], #4", 2, 4),
    "an address just computed": ("mov r2, r0\n ldr r1, [r2]", 2, 4),
    "an address computed before": ("mov r2, r0\n nop\n ldr r1, [r2]", 3, 4),
    "a load and its store": ("ldr r1, [r0]\n str r1, [r0, #4]", 2, 3),
    "an indexed store": ("movs r1, #0\n nop\n str r1, [r0, r1]", 3, 4),
    "a store at a loaded index": ("movs r1, #0\n ldr r2, [r0]\n str r2, [r0, r1]", 3, 4),
    "many": ("ldm r0, {r1, r2, r3, ip}", 1, 5),
    "a pair": ("ldrd r1, r2, [r0]\n strd r1, r2, [r0]", 2, 6),
    "push and pop": ("push {r4, r5, lr}\n pop {r4, r5, lr}", 2, 8),
    "division": ("movs r1, #3\n udiv r1, r2, r1", 2, 8),
    "floats": ("vmul.f32 s0, s1, s2\n vmla.f32 s0, s1, s2\n vdiv.f32 s0, s1, s2", 3, 18),
    "float loads": ("vldr s0, [r0]\n vstr s0, [r0]\n vldm r0, {s0, s1, s2}", 3, 8),
    "moves to floats and back": ("vmov s0, r0\n vmov r1, r2, s0, s1\n vmov s0, s1, r1, r2", 3, 5),
    "no branch": ("cmp r0, #0\n beq 1f\n 1:", 2, 2),
    "a branch": ("b 1f\n nop\n 1:", 1, 3),
    "a loop": ("movs r1, #5\n 1: subs r1, r1, #1\n bne 1b", 11, 19),
    "a conditional": ("cmp r0, #0\n it eq\n moveq r1, r2", 3, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def counts(tmp_path_factory: Any) -> dict[str, tuple[int, int]]:
    """Instructions and cycles of each sequence, less those of a function that only returns."""
    folder: Path = tmp_path_factory.mktemp("cycles")
    source = folder / "sequences.c"
    parts = []
    for i, (text, _, _) in enumerate(SEQUENCES.values()):
        lines = " ".join(f'"{line.strip()}\\n"' for line in text.split("\n"))
        parts.append(f"void sequence_{i}(void);\n__attribute__((naked)) void sequence_{i}(void) {{"
                     f" __asm__ volatile({lines} \"bx lr\\n\"); }}\n")  # fmt: skip
    source.write_text("".join(parts))
    names = [f"sequence_{i}" for i in range(len(SEQUENCES))]
    image = Image(build_calls(load_board(BOARD), folder / "made", names, [source]))
    image.call_nothing()
    memory = image.place(np.zeros(64, np.int8))
    for name in names:
        image.call(Arguments(name, [], [], None, [memory], [], []))
    (empty, *found) = image.run("cycles_plugin")
    return {name: (n - empty[0], c - empty[1])
            for name, (n, c) in zip(SEQUENCES, found, strict=True)}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_estimate_is_the_manuals_timing(counts: Any, name: str) -> None:
    _, instructions, cycles = SEQUENCES[name]
    assert counts[name] == (instructions, cycles)
