"""The most stack that a linked firmware can ever use, read from its machine code.

    need(f) = max(frame(f) + need of what it calls, need of what it jumps to at its end)

A frame is the sum of all that a function pushes, anywhere in it. A call by pointer may go to every
function of its part of the firmware whose address that part takes. No function is on the stack
twice, as the C has no recursion: a cycle of direct calls is an error, one by pointers is no path.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from ..errors import ToolchainError

JUMPS = {  # relocations that take no address: R_ARM_THM_CALL ..., R_RISCV_CALL ...
    "EM_ARM": (10, 30, 51, 102),
    "EM_RISCV": (16, 17, 18, 19, 44, 45),
}
VECTORS = ".vectors"  # what lies there is called by no function
ENTRY = "tt_reset"
# Handlers, of one priority at most one at once.
INTERRUPTS = (("tt_tick", "tt_uart_interrupt"), ("tt_nmi",))
INTERRUPT_BYTES = 108  # that a Cortex-M with FPU pushes by itself, aligned

HEAD = re.compile(r"([0-9a-f]+) <([^>]+)>:$")
LINE = re.compile(r"\s*[0-9a-f]+:\t([^\t]+)(?:\t(.*))?$")
COMMENT = re.compile(r"[#;@] .*")  # of a call on RISC-V it says the target
TARGET = re.compile(r"(?:^|[\s,])([0-9a-f]+) <")
PUSH = re.compile(r"push|vpush|v?stm(db|fd)(\.w)? sp!")
VENEER = re.compile(r"\.word 0x([0-9a-f]+)")  # the target of a jump that the linker made
IF = "(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
CALL = re.compile(rf"(blx?{IF}|jalr?|call) ")
BY_POINTER = re.compile(rf"(blx{IF}|jalr) [a-z]")
TO_POINTER = re.compile(rf"(bx{IF}|jr) (?!lr|ra)")
FIXED = (  # bytes: what is taken at once
    re.compile(r"subs?(?:\.w|w)? sp, (?:sp, )?#(\d+)"),
    re.compile(r"addi? sp,sp,-(\d+)"),
    re.compile(r"\S+ .*\[sp, #-(\d+)\]!"),
)
ANOTHER = re.compile(r"msr MSP|(auipc|lui|la) sp")  # stack from here on
UNKNOWN = re.compile(r"sub\S* sp, (sp, )?(?!sp)[a-z]|(add|sub) sp,sp,[a-z]")


@dataclass
class Function:
    """``frame``: bytes that it pushes, None where the code does not say. Addresses of functions:
    ``calls``, ``jumps`` with which it ends, ``pointed`` what it may call by pointer; ``pointers``:
    whether it calls by one; ``another``: it leaves this stack alone and begins another."""

    name: str
    frame: int | None = 0
    calls: set[int] = field(default_factory=set)
    jumps: set[int] = field(default_factory=set)
    pointed: set[int] = field(default_factory=set)
    pointers: bool = False
    another: bool = False


@dataclass(frozen=True)
class StackUse:
    """``bytes``: at most in use at once; ``path``: the calls that need it, outermost first."""

    bytes: int
    path: tuple[str, ...]


def stack_use(firmware: Path, objdump: str, parts: Sequence[Sequence[Path]]) -> StackUse | None:
    """Of all from the reset on, with interrupts on top; None for a core other than Arm's and
    RISC-V. ``parts``: the objects of each part of the firmware, within which pointers to functions
    are passed.

    Raises ToolchainError for recursion, and for a frame whose size the code does not say."""
    with firmware.open("rb") as stream:
        if ELFFile(stream)["e_machine"] not in JUMPS:
            return None
    functions = disassembled(firmware, objdump)
    _follow_pointers(functions, parts)
    named = {function.name: address for address, function in functions.items()}
    search = _Search(functions)
    found = search.use(named[ENTRY])
    for handlers in INTERRUPTS:
        here = [named[name] for name in handlers if name in named]
        uses = [search.use(address) for address in here if not functions[address].another]
        if uses:
            most = max(uses, key=lambda use: use.bytes)
            total = found.bytes + INTERRUPT_BYTES + most.bytes
            found = StackUse(total, (*found.path, "(interrupt)", *most.path))
    return found


class _Search:
    """For the deepest path of calls. What does not depend on the path so far is kept."""

    def __init__(self, functions: Mapping[int, Function]) -> None:
        self.functions = functions
        self.known: dict[int, StackUse] = {}

    def use(self, entry: int) -> StackUse:
        return self._deepest(entry, {})[0]

    def _deepest(self, here: int, above: dict[int, bool]) -> tuple[StackUse, set[int]]:
        """What ``here`` needs, and which functions of ``above`` it could call again by pointer.
        ``above``: the path, and whether each of it goes on by a pointer."""
        if here in self.known:
            return self.known[here], set()
        function, cut = self.functions[here], set[int]()
        if function.another and above:
            return StackUse(0, ()), set()
        if function.frame is None:
            raise ToolchainError(f"the stack of {function.name} has a size that is not constant")
        most = StackUse(function.frame, (function.name,))
        for below, frame, pointer in self._next(function):
            if below in above or below == here:
                cut.add(below)
                self._check_pointer(below, {**above, here: pointer})
                continue
            found, more = self._deepest(below, {**above, here: pointer})
            cut |= more
            if frame + found.bytes > most.bytes:
                most = StackUse(frame + found.bytes, (function.name, *found.path))
        cut.discard(here)
        if not cut:
            self.known[here] = most
        return most, cut

    def _next(self, function: Function) -> Iterator[tuple[int, int, bool]]:
        """What may run next, the frame that is still there then, whether it is by pointer."""
        frame = function.frame or 0
        yield from ((below, frame, False) for below in sorted(function.calls))
        yield from ((below, frame, True) for below in sorted(function.pointed - function.calls))
        yield from ((below, 0, False) for below in sorted(function.jumps))

    def _check_pointer(self, first: int, path: Mapping[int, bool]) -> None:
        """A cycle from ``first`` to the end of the path has a call by pointer."""
        names = list(path)
        cycle = names[names.index(first) :]
        if not any(path[at] for at in cycle):
            loop = " -> ".join(self.functions[at].name for at in [*cycle, first])
            raise ToolchainError(f"the stack has no bound: {loop}")


def disassembled(firmware: Path, objdump: str) -> dict[int, Function]:
    """The functions of a linked file by address. Raises ToolchainError."""
    program = shutil.which(objdump)
    if program is None:
        raise ToolchainError(f"no {objdump} on the PATH; it comes with the compiler (binutils)")
    command = [program, "-d", "--no-show-raw-insn", str(firmware)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"{objdump} cannot read {firmware}: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    functions = {int(m[1], 16): Function(m[2]) for line in lines if (m := HEAD.match(line))}
    here = 0
    for line in lines:
        if head := HEAD.match(line):
            here = int(head[1], 16)
        elif found := LINE.match(line):
            _read(functions, here, f"{found[1].strip()} {found[2] or ''}")
    return functions


def _read(functions: Mapping[int, Function], here: int, code: str) -> None:
    """One instruction of the function at ``here``."""
    function = functions[here]
    function.another |= bool(ANOTHER.match(code))
    if UNKNOWN.match(code):
        function.frame = None
    if function.frame is not None and not function.another:
        function.frame += _pushed(code)
    if not code.startswith("j"):
        code = COMMENT.sub("", code)
    form = VENEER if function.name.endswith("_veneer") else TARGET
    if target := form.search(code):
        there = int(target[1], 16) & ~1
        if there in functions:
            if CALL.match(code):
                function.calls.add(there)
            elif there != here:  # otherwise a loop
                function.jumps.add(there)
    elif BY_POINTER.match(code) or TO_POINTER.match(code):
        function.pointers = True


def _pushed(code: str) -> int:
    """Bytes that an instruction takes from the stack."""
    if PUSH.match(code):
        registers = code[code.index("{") + 1 : code.index("}")].split(",")
        size = 8 if registers[0].strip().startswith("d") else 4
        return size * sum(map(_registers, registers))
    return next((int(found[1]) for form in FIXED if (found := form.match(code))), 0)


def _registers(text: str) -> int:
    """``r4`` is one, ``s16-s19`` are four."""
    first, _, last = text.strip().partition("-")
    return int(last[1:]) - int(first[1:]) + 1 if last else 1


def _follow_pointers(functions: dict[int, Function], parts: Sequence[Sequence[Path]]) -> None:
    """A call by pointer may go to all that its part takes the address of."""
    for objects in parts:
        own, taken = set(), set()
        for path in objects:
            with path.open("rb") as stream:
                elf = ELFFile(stream)
                own |= {symbol.name for symbol in _symbols(elf, ".symtab").iter_symbols()
                        if symbol["st_info"]["type"] == "STT_FUNC"}  # fmt: skip
                taken |= set(_taken(elf))
        targets = {address for address, function in functions.items() if function.name in taken}
        for function in functions.values():
            if function.pointers and function.name in own:
                function.pointed |= targets


def _symbols(elf: ELFFile, name: str) -> SymbolTableSection:
    found = elf.get_section_by_name(name)
    assert isinstance(found, SymbolTableSection)
    return found


def _taken(elf: ELFFile) -> Iterator[str]:
    """Names of what an object takes the address of."""
    for section in elf.iter_sections():
        if not isinstance(section, RelocationSection):
            continue
        of = elf.get_section(section["sh_info"]).name
        if of.startswith((VECTORS, ".debug", ".ARM", ".eh_frame")):
            continue
        symbols = _symbols(elf, elf.get_section(section["sh_link"]).name)
        for entry in section.iter_relocations():
            if entry["r_info_type"] not in JUMPS[elf["e_machine"]]:
                yield symbols.get_symbol(entry["r_info_sym"]).name
