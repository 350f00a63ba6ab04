"""Calls of single kernels: their arguments, and a program that makes them on an emulated board.

Buffers and calls lie in an image, which the emulator loads into RAM behind what the firmware uses;
``firmware/emulator/calls.c`` makes the calls and writes the image back.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from ..boards import Board
from ..errors import ToolchainError
from ..ir import DTYPES, Array, Case, Op, Step
from ..support.assets import firmware_dir
from ..toolchain.build import Artifact, build_program, kernel_sources, port_sources
from .qemu_session import emulate, plugin_options

B = TypeVar("B")
GUARD, FILL = 16, 0xA5
WORDS, FLOATS = 40, 2  # of a call, as in calls.c
HEAD = struct.Struct("<7I4x")  # bytes, count, calls, done, stack used, fault: address, status
CALL = struct.Struct(f"<{1 + WORDS}I{FLOATS}f")


@dataclass(frozen=True)
class Arguments(Generic[B]):
    """What the C function of an op is called with.

    ``outputs`` and ``inputs`` as the op has them (None: absent; an output may be an input),
    ``pointers`` in the order of C, before ``dims`` and ``floats``; ``scratch`` is one of them.
    """

    function: str
    outputs: list[B | None]
    inputs: list[B | None]
    scratch: B | None
    pointers: list[B | None]
    dims: list[int]
    floats: list[float]


def arguments(
    op: Op, case: Case, place: Callable[[Array], B], step: Step, *,
    aliases: Sequence[tuple[int, int]] = (), row: int = 0, before: Sequence[Array] = (),
    room: float = 1.0,
) -> Arguments[B]:  # fmt: skip
    """``place`` makes a buffer with this content. ``aliases``: outputs and inputs that share;
    ``row``: where the arguments begin in the whole tensors; ``before``: what the outputs hold;
    ``room``: see ``scratch_bytes``."""
    types = case.types()
    outs = op.infer(types, case.attrs)
    inputs = [None if a is None else place(a) for a in case.inputs]
    shared = dict(op.updates) | dict(aliases)
    outputs: list[B | None] = []
    for i, kind in enumerate(outs):
        if kind is None or i in shared:
            outputs.append(None if kind is None else inputs[shared[i]])
        else:
            rubbish = np.full(kind.shape, 0x55).astype(DTYPES[kind.dtype])
            outputs.append(place(before[i] if before else rubbish))
    updated = {j for _, j in op.updates}
    pointers = [*outputs, *(b for j, b in enumerate(inputs) if j not in updated)]
    scratch, size = None, scratch_bytes(op, case, room)
    if size:
        # One item, so that it is placed like words: kernels keep int32 there.
        scratch = place(np.frombuffer(b"3" * size, f"V{size}"))
    if size or op.room:
        pointers.append(scratch)
    if op.uses_step:
        known = struct.pack("<IIffi", step.seed, step.step, step.learning_rate, step.beta, row)
        pointers.append(place(np.frombuffer(known, np.uint32)))
    dims = op.dims(types, outs, case.attrs) if op.dims else {}
    numbers = [*([size] if op.room else []), *(int(v) for v in dims.values())]
    floats = [float(case.attrs[name]) for name in op.floats]
    return Arguments(f"tt_{op.name}", outputs, inputs, scratch, pointers, numbers, floats)


def scratch_bytes(op: Op, case: Case, room: float = 1.0) -> int:
    """Scratch of a call: between what the op needs (0) and what it has use for (1)."""
    types = case.types()
    least = op.scratch(types, case.attrs) if op.scratch else 0
    most = op.room(types, case.attrs) if op.room else 0
    return least + int(room * max(0, most - least))


@dataclass(eq=False)
class Buffer:
    """Bytes of an image, with GUARD bytes of canary on both sides; ``address`` on the board."""

    image: Image
    offset: int
    before: Array

    @property
    def address(self) -> int:
        return self.image.base + self.offset

    @property
    def array(self) -> Array:
        """What it holds: after ``run``, what the calls left there."""
        data = bytes(self.image.data[self.offset : self.offset + self.before.nbytes])
        return np.frombuffer(data, self.before.dtype).reshape(self.before.shape)

    @property
    def intact(self) -> bool:
        """Whether nothing was written round it."""
        end = self.offset + self.before.nbytes
        around = (
            self.image.data[self.offset - GUARD : self.offset],
            self.image.data[end : end + GUARD],
        )
        return all(part == bytes([FILL]) * GUARD for part in around)


def build_calls(
    board: Board, out: Path, functions: Sequence[str], more: Sequence[Path] = (),
    foreign: tuple[Sequence[Path], Sequence[str]] = ((), ()),
) -> Artifact:  # fmt: skip
    """The program with these functions of the board's kernels, and no others. ``more``: sources
    besides the kernels; ``foreign``: those of others, and flags for them."""
    firmware = firmware_dir()
    sources = [("kernels", path) for path in kernel_sources(board.arch)]
    sources += [("kernels", path) for path in more]
    sources += [("foreign", path) for path in foreign[0]]
    sources += [(board.port, path) for path in port_sources(board)]
    sources += [("runtime", firmware / "runtime" / "memory.c"),
                ("emulator", firmware / "emulator" / "calls.c")]  # fmt: skip
    wanted = [f"-Wl,-u,{name}" for name in ("tt_nothing", *functions)]
    linking = [*wanted, f"-Wl,--defsym=tt_image={_base(board):#x}"]
    return build_program(sources, board, out, linking, foreign[1])


def _base(board: Board) -> int:
    """Where images are loaded: behind the firmware's memory."""
    return board.ram[0].origin + board.sram_budget_bytes


class Image:
    """Buffers and calls of one run."""

    def __init__(self, program: Artifact) -> None:
        self.program, self.board = program, program.board
        self.base = _base(self.board)
        self.room = self.board.ram[0].length_bytes - self.board.sram_budget_bytes
        self.data = bytearray(HEAD.size)
        self.calls: list[bytes] = []
        self.names: list[str] = []
        self.stack_used_bytes = 0

    @property
    def bytes(self) -> int:
        return len(self.data) + CALL.size * len(self.calls)

    def place(self, data: Array, shift: int = 0) -> Buffer:
        """A buffer with this content; ``shift`` bytes behind a multiple of 8."""
        offset = -(-(len(self.data) + GUARD) // 8) * 8 + shift
        guard = bytes([FILL])
        self.data += guard * (offset - len(self.data)) + data.tobytes() + guard * GUARD
        return Buffer(self, offset, data.copy())

    def place_anywhere(self, data: Array) -> Buffer:
        """The same, at an address that is aligned no better than its elements demand."""
        return self.place(data, min(data.itemsize, 4))

    def call(self, given: Arguments[Buffer]) -> None:
        """Append a call. A board without FPU reads the floats behind the dims."""
        words = [0 if b is None else b.address for b in given.pointers]
        words += [d & 0xFFFFFFFF for d in given.dims]
        words += struct.unpack(
            f"<{len(given.floats)}I", struct.pack(f"<{len(given.floats)}f", *given.floats)
        )
        assert len(words) <= WORDS and len(given.floats) <= FLOATS
        words += [0] * (WORDS - len(words))
        floats = [*given.floats, *[0.0] * (FLOATS - len(given.floats))]
        self.calls.append(CALL.pack(self.program.addresses[given.function], *words, *floats))
        self.names.append(given.function)

    def call_nothing(self) -> None:
        """A call of an empty function: what a call costs by itself."""
        self.call(Arguments("tt_nothing", [], [], None, [], [], []))

    def run(self, plugin: str = "", timeout_s: float = 60.0) -> list[list[int]]:
        """Make the calls. With a plugin of ``firmware/emulator/``, what it counted for each call.

        Raises ToolchainError when the program crashes or the image is larger than the memory.
        """
        if self.bytes + 8 > self.room:
            raise ToolchainError(f"{self.bytes} bytes of calls; {self.board.name} has {self.room}")
        self.data += bytes(-len(self.data) % 8)
        at = len(self.data)
        self.data += b"".join(self.calls)
        HEAD.pack_into(self.data, 0, len(self.data), len(self.calls), self.base + at, 0, 0, 0, 0)
        with tempfile.TemporaryDirectory(prefix="tinytrain-calls-") as name:
            folder = Path(name)
            (folder / "image").write_bytes(self.data)
            command = [
                *emulate(self.board, self.program.path.absolute()), "-serial", "none",
                "-device", f"loader,file=image,addr={self.base:#x},force-raw=on",
            ]  # fmt: skip
            if plugin:
                command += plugin_options(plugin, self.program, folder, "counts")
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False,
                timeout=timeout_s, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if (folder / "out").exists():
                self.data = bytearray((folder / "out").read_bytes())
            self._check(done)
            lines = (folder / "counts").read_text().splitlines() if plugin else []
        return [[int(word) for word in line.split()] for line in lines]

    def _check(self, done: subprocess.CompletedProcess[str]) -> None:
        """Raise ToolchainError unless all calls were made."""
        *_, finished, self.stack_used_bytes, address, status = HEAD.unpack_from(self.data)
        if done.returncode == 0 and finished == len(self.calls):
            return
        name = self.names[min(finished, len(self.calls) - 1)]
        raise ToolchainError(
            f"call {finished} of {len(self.calls)} on {self.board.name}, {name}: crashed at "
            f"{address:#x}, fault status {status:#x}, exit code {done.returncode} "
            f"{done.stderr[:200].strip()}"
        )
