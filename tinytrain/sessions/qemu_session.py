"""Emulated boards: QEMU runs the same firmware as a real one, and counts its instructions."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile

from ..boards import Board, load_board
from ..errors import BoardError, LinkError, ToolchainError
from ..support.assets import firmware_dir
from ..toolchain.build import Artifact, cache_dir, find_compiler
from .serial_session import Codec, SerialSession

Sites = Sequence[tuple[int, int]]

APT = {"arm": "qemu-system-arm", "riscv32": "qemu-system-misc"}
# Where the core of a machine looks for its first vectors, if that is not the board's flash.
VECTORS = {"mps3-an547": 0x00000000}
# The bank of flash with the storage of a machine's board: its number, and bytes.
BANKS = {"virt": (1, 0x2000000)}


class Machine:
    """A running emulator. ``instructions`` grows by one number for each training step.

    ``sites``: addresses of calls, and of what follows each, that are counted one by one. ``flash``:
    a file for the flash that keeps the state; without it an end of the emulator is one of that too.
    """

    def __init__(
        self, board: Board, artifact: Artifact, *, count: bool = True, sites: Sites = (),
        flash: Path | None = None,
    ) -> None:  # fmt: skip
        if board.qemu_machine is None:
            raise BoardError(f"{board.name} has no emulator; choose a board with a [qemu] table")
        self.board = board
        self.program = find_qemu(board)
        self._folder = tempfile.TemporaryDirectory(prefix="tinytrain-qemu-")
        folder = Path(self._folder.name)
        self._counts, self._log = folder / "instructions", folder / "log"
        self._elf = folder / "firmware.elf"  # a copy: a path with a comma means more to QEMU
        shutil.copyfile(artifact.path, self._elf)
        self._flash = flash
        self._plugin: list[str] = []
        if count:
            name = "cycles_plugin" if sites else "count_plugin"
            self._plugin = plugin_options(name, artifact, folder, self._counts.name, sites)
        self._last: list[list[int]] = []
        self.port = 0
        self.process = self._start()
        self._stop = weakref.finalize(self, _end, self.process)

    @property
    def url(self) -> str:
        return f"socket://127.0.0.1:{self.port}"

    @property
    def instructions(self) -> list[int]:
        """Instructions of each training step so far; instructions, not cycles."""
        return [row[0] for row in self.counts]

    @property
    def counts(self) -> list[list[int]]:
        """What the plugin wrote for each training step so far."""
        if self._counts.exists():
            lines = self._counts.read_text().splitlines()
            self._last = [[int(word) for word in line.split()] for line in lines]
        return list(self._last)

    def wait(self, timeout_s: float = 5.0) -> int | None:
        """The exit code, or None when it still runs."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Stop it if it runs, keep the counts, free the rest."""
        self._stop()
        _ = self.counts  # read them while the file is there
        self._folder.cleanup()

    def _start(self) -> subprocess.Popen[bytes]:
        """The emulator inherits a socket that already listens: no port can be lost to another
        program, and the first byte waits for whoever connects."""
        with socket.create_server(("127.0.0.1", 0)) as server, self._log.open("wb") as log:
            self.port = int(server.getsockname()[1])
            command = self._command(server.fileno())
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    pass_fds=[server.fileno()])  # fmt: skip

    def complaint(self) -> str:
        """What the emulator printed when it ended by itself; empty while it runs or ended well."""
        if not self.process.poll():
            return ""
        said = self._log.read_text(errors="replace").strip() if self._log.exists() else ""
        return f"{Path(self.program).name} ended with code {self.process.returncode}: {said}"

    def _command(self, listener: int) -> list[str]:
        return [
            *emulate(self.board, self._elf, self._flash),
            "-chardev", f"socket,id=uart,fd={listener},server=on,wait=on,nodelay=on",
            *["-serial", "null"] * self.board.qemu_serial, "-serial", "chardev:uart",
            "-no-reboot", *self._plugin,  # a board that starts again is one that has ended
        ]  # fmt: skip


class QemuSession(SerialSession):
    """A session with a firmware on an emulated board, started and ended with the session."""

    def __init__(
        self, board: Board, artifact: Artifact, codec: Codec, *, count: bool = True,
        timeout_s: float = 60.0, model_hash: int | None = None, sites: Sites = (),
        flash: Path | None = None,
    ) -> None:  # fmt: skip
        self.machine = Machine(board, artifact, count=count, sites=sites, flash=flash)
        self.stack_used_bytes = 0
        try:
            super().__init__(self.machine.url, codec, timeout_s=timeout_s, model_hash=model_hash)
        except LinkError as error:
            self.machine.wait(0.5)
            said = self.machine.complaint()
            self.machine.close()
            if said:
                raise ToolchainError(said) from error
            raise

    @property
    def instructions_per_step(self) -> list[int]:
        """One number for each training step, also after ``close``; instructions, not cycles."""
        return self.machine.instructions

    def close(self) -> None:
        """Ask for the stack's low-water mark, end the program and the emulator."""
        with contextlib.suppress(LinkError):
            if self._wire is not None:
                self.stack_used_bytes = self.info()["stack_used"]
                self.quit()
                self.machine.wait()
        super().close()
        self.machine.close()


def find_qemu(board: Board) -> str:
    """The emulator's path. Raises ToolchainError with the line that installs it."""
    program = f"qemu-system-{board.qemu_system}"
    found = shutil.which(program)
    if found is None:
        raise ToolchainError(
            f"no {program} on the PATH, which {board.name} runs in; install it: "
            f"apt-get install -y --no-install-recommends {APT[board.qemu_system]}"
        )
    return found


def emulate(board: Board, elf: Path, flash: Path | None = None) -> list[str]:
    """The command line that runs a program on an emulated board, without its serial line; with the
    file that is the board's flash. May put a file beside the program."""
    more = ["-bios", "none"] if board.qemu_system == "riscv32" else []
    if board.qemu_machine in VECTORS:
        name = _named(_first_vectors(elf))
        more = ["-device", f"loader,file={name},addr={VECTORS[board.qemu_machine]:#x},force-raw=on"]
    program = ["-kernel", str(elf)]
    if flash:  # with a flash of its own a machine takes a kernel for what that one loads
        program = [*flash_options(board, flash), "-device", f"loader,file={_named(elf)}"]
    return [
        find_qemu(board), "-M", str(board.qemu_machine), *more, "-display", "none",
        "-monitor", "none", "-semihosting-config", "enable=on,target=native", *program,
    ]  # fmt: skip


def _named(path: Path) -> str:
    """A path in an option of QEMU, where one comma ends it."""
    return str(path.absolute()).replace(",", ",,")


def flash_options(board: Board, flash: Path) -> list[str]:
    """Options that make a file the flash of an emulated board; it is made where it is absent.

    Raises BoardError for a board whose emulator has none, or a file of another size."""
    if board.qemu_machine not in BANKS:
        raise BoardError(
            f"{board.name}: its emulator has no flash that can be written; choose a board on "
            f"QEMU's machine {' or '.join(BANKS)}, such as qemu_rv32"
        )
    number, size = BANKS[board.qemu_machine]
    if not flash.exists():
        with flash.open("wb") as stream:
            stream.truncate(size)  # zeros, without taking their place on the disk
    if flash.stat().st_size != size:
        raise BoardError(f"{flash}: the flash of {board.name} has {size} bytes")
    return ["-drive", f"if=pflash,unit={number},format=raw,file={_named(flash)}"]


def _first_vectors(elf: Path) -> Path:
    """A file with stack pointer and entry of a firmware for Cortex-M, which begins with them."""
    with elf.open("rb") as stream:
        code = ELFFile(stream).get_section_by_name(".text")
        assert code is not None
        first = code.data()[:8]
    made = elf.with_suffix(".vectors")
    made.write_bytes(first)
    return made


def plugin_options(
    name: str, artifact: Artifact, folder: Path, out: str, sites: Sites = ()
) -> list[str]:
    """Options of the emulator that load a plugin, which writes a line to ``out`` in ``folder`` for
    each run between the marks of the firmware. ``sites``: of ``cycles_plugin`` alone."""
    # A copy: a path with a comma means more to QEMU.
    shutil.copyfile(plugin(name), folder / f"{name}.so")
    begin, end = (artifact.addresses[f"tt_mark_{mark}"] & ~1 for mark in ("begin", "end"))
    options = f"{folder / name}.so,begin={begin:x},end={end:x},out={folder / out}"
    if sites:
        (folder / "sites").write_text("".join(f"{call:x} {after:x}\n" for call, after in sites))
        options += f",sites={folder / 'sites'}"
    return ["-plugin", options]


def plugin(name: str) -> Path:
    """A plugin of ``firmware/emulator/``, compiled once for this machine."""
    folder = firmware_dir() / "emulator"
    source = folder / f"{name}.c"
    text = b"".join(path.read_bytes() for path in (source, *sorted(folder.glob("*.h"))))
    made = cache_dir().absolute() / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not made.exists():
        compiler = find_compiler(load_board("host"))
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=made.parent) as new_folder:
            new = Path(new_folder) / made.name
            command = [compiler, "-O2", "-fPIC", "-shared", "-o", str(new), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ToolchainError(f"the QEMU plugin does not compile:\n{done.stderr[:2000]}")
            os.replace(new, made)
    return made


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
