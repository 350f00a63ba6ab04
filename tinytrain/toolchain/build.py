"""Write the generated files, compile, link, measure.

Objects are kept by the hash of everything that goes into them in ``$TINYTRAIN_CACHE`` (otherwise
``build/cache`` below the current folder), so that a second build compiles what is new. Beside each
lies its SHA-256, without which it is not linked.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from ..boards import Board, port_defines
from ..boards.memories import Memory
from ..errors import BudgetError, ToolchainError
from ..support.assets import firmware_dir
from ..support.templates import environment
from .stack import StackUse, stack_use

COMMON = (
    "-std=c11", "-Wall", "-Wextra", "-Wmissing-prototypes", "-Wdouble-promotion",
    "-ffp-contract=off", "-ffunction-sections", "-fdata-sections",
)  # fmt: skip
CROSS = ("-ffreestanding", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
HOST = ("-O3", "-fPIC", "-fno-semantic-interposition")
APT = {
    "arm-none-eabi-": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "riscv64-unknown-elf-": "gcc-riscv64-unknown-elf",
    "": "gcc libc6-dev",
}
USES = "model_uses.h"  # what kernels see of a model
# Who passes pointers to functions to whom: of steps, of what makes a row; other kernels, of loops.
MODEL = ("model.c", "schemes.c")
MAKERS = ("rows.c", "affine.c", "lut_dx.c", "gradient.c")
SECTIONS = (".boot", ".text", ".rodata", ".fast", ".stack", ".data", ".bss", ".psram")
IN_FLASH = (".boot", ".text", ".rodata", ".fast", ".data")
# Files of the kernels that most of a step is spent in: a board's fast code.
HOT = ("tile", "panel", "layer", "linear", "linear_dx", "gradient_rows", "row_product", "quantize",
       "rounding")  # fmt: skip


@dataclass(frozen=True)
class Artifact:
    """What was built, measured in the file itself.

    ``sections``: bytes of .boot, .text, .rodata, .fast, .stack, .data, .bss, .psram (0 where
    absent), and of ``.arena.<name>`` for each memory beside the first. ``symbols``: bytes of each
    object and function; ``addresses``: where they are. ``model_const_bytes``: constants of model.c
    but the tables of its calls. ``stack``: the most that the firmware ever uses; None for the host,
    for what is no firmware of a model, and for a core whose code is not read.
    """

    board: Board
    path: Path
    sections: Mapping[str, int]
    symbols: Mapping[str, int]
    addresses: Mapping[str, int]
    model_const_bytes: int
    stack: StackUse | None = None

    @property
    def flash_bytes(self) -> int:
        """Code, constants and the images of .fast and .data."""
        return sum(self.sections[name] for name in IN_FLASH)

    @property
    def sram_bytes(self) -> int:
        """Everything in the first memory: .data, .bss, the reserved stack, and what is reserved for
        fast code that shares it."""
        used = sum(self.sections[name] for name in (".data", ".bss", ".stack"))
        return used + self.board.fast_sram_bytes


def build(files: Mapping[str, str], board: Board, out: Path, *, guard: bool = False) -> Artifact:
    """Compile the generated ``files`` (name -> text) for ``board``; what is made lies in ``out``.

    The host gets ``libmodel.so``, a board ``firmware.elf`` and its linker script. ``guard`` defines
    TT_GUARD for the generated files. ``out`` is not touched unless all went well; other files in it
    stay. Raises ToolchainError, and BudgetError when flash or SRAM is too small.
    """
    if board.on_framework:
        raise ToolchainError(
            f"{board.name} is linked by its framework ({board.port}): build a project for it"
        )
    compiler = find_compiler(board)
    if board.is_host:  # where one set of kernels serves all models
        files = {name: text for name, text in files.items() if name != USES}
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
        work = Path(name)
        for file, text in files.items():
            (work / file).write_text(text, encoding="utf-8")
        if not board.is_host:
            (work / "link.ld").write_text(linker_script(board), encoding="utf-8")
        objects = _compile_all(compiler, board, _sources(board), work, sorted(files), guard)
        made = _link(compiler, board, work, [obj for _, obj in objects])
        stack = None if board.is_host else _stack(made, board, objects)
        artifact = measure(made, board, dict(objects)["model.c"])
        out.mkdir(exist_ok=True)
        for path in sorted(work.iterdir()):
            os.replace(path, out / path.name)
    return replace(artifact, path=out / made.name, stack=stack)


def built_files(files: Mapping[str, str], board: Board) -> list[str]:
    """Names of what ``build`` writes."""
    if board.is_host:
        return [*(name for name in files if name != USES), "libmodel.so"]
    return [*files, "link.ld", "firmware.elf"]


def build_program(
    sources: Sequence[tuple[str, Path]], board: Board, out: Path, linking: Sequence[str] = (),
    foreign: Sequence[str] = (),
) -> Artifact:  # fmt: skip
    """Compile and link another program than a model's into ``firmware.elf`` in ``out``.

    ``sources``: each with what it belongs to (``kernels``, ``runtime``, the name of the port ...),
    as it decides its flags; ``foreign`` ones get the flags ``foreign``, too. ``linking``: more
    options of the linker. Raises ToolchainError.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "link.ld").write_text(linker_script(board), encoding="utf-8")
    compiler = find_compiler(board)
    objects = _compile_all(compiler, board, sources, out, foreign=foreign)
    made = _link(compiler, board, out, [obj for _, obj in objects], linking)
    return measure(made, board)


def measure(path: Path, board: Board, model: Path | None = None) -> Artifact:
    """Sizes from the section and symbol tables; ``model``: the object of model.c."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        sizes = {section.name: int(section["sh_size"]) for section in elf.iter_sections()}
        symbols: dict[str, int] = {}
        addresses: dict[str, int] = {}
        table = elf.get_section_by_name(".symtab")
        for symbol in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
            if symbol["st_info"]["type"] in ("STT_OBJECT", "STT_FUNC"):
                symbols[symbol.name] = int(symbol["st_size"])
                addresses[symbol.name] = int(symbol["st_value"])
    const = 0
    if model is not None:
        with model.open("rb") as stream:
            const = sum(
                int(section["sh_size"])
                for section in ELFFile(stream).iter_sections()
                if section.name.startswith(".rodata") and not section.name.endswith("_calls")
            )
    arenas = [arena_section(memory) for memory in board.beside]
    sections = {name: sizes.get(name, 0) for name in (*SECTIONS, *arenas)}
    return Artifact(board, path, sections, symbols, addresses, const)


def arena_section(memory: Memory) -> str:
    """The section of the arena that lies in one of the memories beside the first."""
    return f".arena.{memory.name}"


def find_compiler(board: Board) -> str:
    """The C compiler of a board. Raises ToolchainError with the line that installs it."""
    wanted = [board.prefix + "gcc"]
    if board.is_host:
        wanted = [name for name in (os.environ.get("CC"), "gcc", "cc", "clang") if name]
    found = next((path for name in wanted if (path := shutil.which(name))), None)
    if found is None:
        packages = APT.get(board.prefix, f"gcc for {board.prefix}")
        raise ToolchainError(
            f"no {wanted[0]} on the PATH, which {board.name} is built with; install it: "
            f"apt-get install -y --no-install-recommends {packages}"
        )
    return found


def cache_dir() -> Path:
    """Where compiled objects are kept."""
    return Path(os.environ.get("TINYTRAIN_CACHE") or Path("build") / "cache")


@lru_cache
def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return f"{compiler}\n{done.stdout}"


@lru_cache
def _own_cpu(compiler: str) -> str:
    """What a compiler predefines for this machine's CPU; empty where it cannot tell."""
    command = [compiler, "-march=native", "-x", "c", "-E", "-dM", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def kernel_sources(arch: str = "") -> list[Path]:
    """The kernels by file name: those of ``firmware/arch/<arch>``, and the portable ones that have
    no file of that name there. Portable ones alone without an arch."""
    firmware = firmware_dir()
    files = {path.name: path for path in (firmware / "kernels").glob("*.c")}
    if arch:
        files |= {path.name: path for path in (firmware / "arch" / arch).glob("*.c")}
    return [files[name] for name in sorted(files)]


def port_sources(board: Board) -> list[Path]:
    """The C of a board's port: its folder, and what ports of this core share."""
    folders = [board.port, *(["cortex_m"] if board.cpu.startswith("cortex-m") else [])]
    return [p for name in folders for p in sorted((firmware_dir() / "port" / name).glob("*.c"))]


def _sources(board: Board) -> list[tuple[str, Path]]:
    """The hand-written C of a board, each with what it belongs to: kernels, runtime, or the name of
    the port. The host has no protocol."""
    firmware = firmware_dir()
    kernels = [("kernels", path) for path in kernel_sources(board.arch)]
    port = port_sources(board)
    if board.is_host:
        runtime = [*(firmware / "runtime" / f"{name}.c" for name in ("runtime", "schemes")), *port]
        return [*kernels, *(("runtime", path) for path in runtime)]
    runtime = sorted((firmware / "runtime").glob("*.c"))
    return [
        *kernels, *(("runtime", path) for path in runtime), *((board.port, path) for path in port),
    ]  # fmt: skip


def _flags(board: Board, kind: str, guard: bool = False) -> list[str]:
    """Kernels are compiled for speed, what surrounds them for size."""
    flags = [*COMMON, *board.flags]
    if board.is_host:
        flags += [*HOST, *(["-march=native"] if _own_cpu(find_compiler(board)) else [])]
    else:
        flags += CROSS
        if kind == "foreign":  # its calls of the C library may become instructions
            flags.append("-fhosted")
        flags.append("-O2" if kind in ("kernels", "foreign") else "-Os")
        if kind == board.port:
            flags += [f"-D{name}={value:#x}u" for name, value in port_defines(board).items()]
    if guard and kind == "generated":
        flags.append("-DTT_GUARD")
    return [*flags, *os.environ.get("TINYTRAIN_CFLAGS", "").split()]


def _compile_all(
    compiler: str, board: Board, sources: Sequence[tuple[str, Path]], work: Path,
    files: Sequence[str] = (), guard: bool = False, foreign: Sequence[str] = (),
) -> list[tuple[str, Path]]:  # fmt: skip
    """Objects by source name: those of the generated ``files`` in ``work`` first."""
    include, kernels = firmware_dir() / "include", firmware_dir() / "kernels"
    headers = _digest(sorted(include.rglob("*.h")))
    shared = _digest(sorted(kernels.glob("*.h")))  # kernels of an arch may include these
    generated = _digest([work / name for name in files if name.endswith(".h")])
    uses = _digest([work / name for name in files if name == USES])
    jobs: list[tuple[Path, list[str], str]] = []
    for name in files:
        if name.endswith(".c"):
            flags = _flags(board, "generated", guard)
            jobs.append((work / name, flags, headers + generated))
    for kind, source in sources:
        known = headers + _digest(sorted(source.parent.glob("*.h")))
        if kind == "kernels":
            known += shared + uses
        if kind == "runtime":
            known += generated  # it includes model.h
        flags = _flags(board, kind, guard)
        if kind == "foreign":
            folders = [Path(flag[2:]) for flag in foreign if flag.startswith("-I")]
            known += "".join(_digest(sorted(folder.rglob("*.h"))) for folder in folders)
            flags += foreign
        jobs.append((source, flags, known))

    def run(job: tuple[Path, list[str], str]) -> tuple[str, Path]:
        source, flags, known = job
        paths = [f"-I{include}", f"-I{kernels}", f"-I{work}"]
        cpu = _own_cpu(compiler) if board.is_host else ""  # a cache may move to another machine
        key = [_version(compiler), cpu, *flags, known, source.name, _digest([source])]
        return source.name, _compile(compiler, source, [*flags, *paths], "\n".join(key))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(run, jobs))


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        data = file.read_bytes()
        digest.update(f"{file.name}:{len(data)};".encode() + data)
    return digest.hexdigest()


def _compile(compiler: str, source: Path, flags: Sequence[str], key: str) -> Path:
    """The object of a source, from the cache where it is there and has the bytes that it had."""
    folder = cache_dir().absolute()
    made = folder / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.o"
    if _is_whole(made):
        return made
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as name:
        obj = Path(name) / made.name
        _run([compiler, *flags, "-c", str(source), "-o", str(obj)], source.name)
        check = Path(name) / f"{made.name}.sha256"
        check.write_text(hashlib.sha256(obj.read_bytes()).hexdigest(), encoding="ascii")
        os.replace(obj, made)
        os.replace(check, made.with_name(check.name))
    return made


def _is_whole(made: Path) -> bool:
    """Whether an object of the cache has the SHA-256 that was written beside it."""
    try:
        noted = made.with_name(f"{made.name}.sha256").read_bytes()
        return hashlib.sha256(made.read_bytes()).hexdigest().encode() == noted
    except OSError:
        return False


def _link(
    compiler: str, board: Board, work: Path, objects: Sequence[Path], more: Sequence[str] = ()
) -> Path:
    made = work / ("libmodel.so" if board.is_host else "firmware.elf")
    if board.is_host:
        flags = ["-shared", "-Wl,-Bsymbolic", *board.flags]
    else:
        flags = [*board.flags, "-nostdlib", "-nostartfiles", "-Wl,--gc-sections",
                 "-Wl,--fatal-warnings", "-T", str(work / "link.ld")]  # fmt: skip
    libraries = [] if board.is_host else ["-lgcc"]
    command = [compiler, *flags, "-o", str(made), *map(str, objects), *more, *libraries]
    try:
        _run(command, made.name)
    except ToolchainError as error:
        over = re.findall(r"region `(\w+)' overflowed by (\d+) bytes", str(error))
        if not over:
            raise
        sizes = {"RAM": board.sram_budget_bytes, "FLASH": board.code.length_bytes}  # type: ignore[union-attr]
        names = {"RAM": "SRAM budget", "FLASH": "flash"}
        if board.psram:
            sizes["PSRAM"], names["PSRAM"] = board.psram.length_bytes, "PSRAM"
        if board.fast_code:
            sizes["FAST"], names["FAST"] = board.fast_code.length_bytes, "memory for fast code"
        for memory in board.beside:
            name = f"ARENA_{memory.name.upper()}"
            sizes[name], names[name] = memory.length_bytes, memory.name
        parts = [f"{by} bytes over the {names[r]} of {sizes[r]} bytes" for r, by in over]
        raise BudgetError(
            f"{board.name}: the firmware is {' and '.join(parts)}; "
            "train fewer layers or channels, or choose a larger board"
        ) from error
    return made


def _run(command: Sequence[str], what: str) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 0:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    signs = r"error:|overflowed|undefined|multiple definition"
    telling = [s for s in lines if re.search(signs, s)] or lines
    shown = "\n  ".join(telling[:5])
    raise ToolchainError(f"{Path(command[0]).name} could not make {what}:\n  {shown}")


def _stack(firmware: Path, board: Board, objects: Sequence[tuple[str, Path]]) -> StackUse | None:
    """What a firmware needs of the stack. Raises BudgetError where less is reserved."""
    kernels = {path.name for path in kernel_sources(board.arch)}
    parts: list[list[Path]] = [[], [], [], []]  # the last: runtime and port
    for name, obj in objects:
        among = (name in MODEL, name in MAKERS, name in kernels, True)
        parts[among.index(True)].append(obj)
    use = stack_use(firmware, f"{board.prefix}objdump", parts)
    if use is not None and use.bytes > board.stack_bytes:
        raise BudgetError(
            f"{board.name}: the firmware may use {use.bytes} bytes of stack "
            f"({' > '.join(use.path)}), {board.stack_bytes} are reserved; set stack_bytes in "
            f"board.toml to {-(-use.bytes // 8) * 8} or more"
        )
    return use


def linker_script(board: Board) -> str:
    """The text of a board's linker script."""
    hot = " ".join(f"*/{name}[-.]*o" for name in HOT)  # linear-<hash>.o here, linear.c.o elsewhere
    return environment().get_template("link.ld.j2").render(board=board, hot=hot)
