"""Building: what is kept, refused and measured. The toy model stands for a real one."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tinytrain.boards import all_boards, load_board, runtime_bytes
from tinytrain.errors import BudgetError, ToolchainError
from tinytrain.toolchain import build as module
from tinytrain.toolchain.build import build

FAKE = Path(__file__).resolve().parents[1] / "qemu" / "fake"
FILES = {name: (FAKE / name).read_text() for name in ("model.c", "model.h")}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"


LINKED = [board for board in all_boards() if not board.on_framework]
ON_FRAMEWORK = [board for board in all_boards() if board.on_framework and board.cpu != "xtensa-lx7"]


@pytest.mark.parametrize("board", ON_FRAMEWORK, ids=lambda board: board.name)
def test_what_a_framework_links_compiles_without_warning(
    board: module.Board, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the port. Debian's Xtensa compiler is for the LX106, which has no FPU and stands for
    the LX6 and the LX7."""
    if board.cpu.startswith("xtensa"):
        board = replace(board, prefix="xtensa-lx106-elf-", flags=("-mlongcalls",))
    if shutil.which(board.prefix + "gcc") is None:
        pytest.skip(f"no {board.prefix}gcc")
    monkeypatch.setenv("TINYTRAIN_CFLAGS", "-Werror")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    sources = [(kind, p) for kind, p in module._sources(board) if kind in ("kernels", "runtime")]
    compiler = module.find_compiler(board)
    objects = module._compile_all(compiler, board, sources, tmp_path, sorted(FILES))
    assert {"model.c", "linear.c", "runtime.c"} <= dict(objects).keys()
    with pytest.raises(
        ToolchainError, match=r"linked by its framework \(espidf\): build a project"
    ):
        build(FILES, board, tmp_path / "out")


@pytest.mark.parametrize("board", LINKED, ids=lambda board: board.name)
def test_no_warning_for_any_board(
    board: module.Board, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTRAIN_CFLAGS", "-Werror")
    artifact = build(FILES, board, tmp_path / "out")
    assert artifact.path.is_file() and artifact.path.parent == tmp_path / "out"
    assert artifact.sections[".text"] > 1000 and artifact.symbols["tt_run"] == runtime_bytes()
    assert board.is_host or 200 < artifact.stack.bytes <= board.stack_bytes


def test_storage_takes_its_sectors_from_the_code(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the port has no flash, and the code has all. Where the state lies behind the start
    of the flash, the vectors stay there."""
    monkeypatch.setenv("TINYTRAIN_CFLAGS", "-Werror")
    small, large = load_board("nucleo_f446re"), load_board("adafruit_feather_f405")
    for board, origin, length, boot in (
        (small, 0x08020000, 0x60000, 224), (replace(small, storage=()), 0x08000000, 0x80000, 0),
        (large, 0x08000000, 0xC0000, 0),
    ):  # fmt: skip
        artifact = build(FILES, board, tmp_path / f"{length}")
        script = (tmp_path / f"{length}" / "link.ld").read_text()
        assert f"FLASH (rx)  : ORIGIN = {origin:#010x}, LENGTH = {length}\n" in script
        assert artifact.sections[".boot"] == boot
        assert artifact.addresses["tt_vectors"] == 0x08000000
        assert artifact.addresses["tt_reset"] & ~1 >= origin


def test_a_second_build_compiles_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    run = module._run
    monkeypatch.setattr(module, "_run", lambda c, what: (commands.append(what), run(c, what)))
    board = load_board("qemu_mps2_an386")
    first = build(FILES, board, tmp_path / "a")
    assert len(commands) > 5
    commands.clear()
    second = build(FILES, board, tmp_path / "b")
    assert commands == ["firmware.elf"]
    assert first.path.read_bytes() == second.path.read_bytes()
    commands.clear()
    build({**FILES, "model.c": FILES["model.c"] + "\n"}, board, tmp_path / "c")
    assert commands == ["model.c", "firmware.elf"]
    commands.clear()
    build(FILES, board, tmp_path / "d", guard=True)
    assert commands == ["model.c", "firmware.elf"]


@pytest.mark.parametrize("harm", ["flip", "cut", "no hash"])
def test_a_damaged_object_of_the_cache_is_made_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    board = load_board("qemu_mps2_an386")
    first = build(FILES, board, tmp_path / "a")
    (obj,) = cache.glob("linear-*.o")
    whole = obj.read_bytes()
    if harm == "flip":
        obj.write_bytes(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    elif harm == "cut":
        obj.write_bytes(whole[:-1])
    else:
        obj.with_name(f"{obj.name}.sha256").unlink()
    commands: list[str] = []
    run = module._run
    monkeypatch.setattr(module, "_run", lambda c, what: (commands.append(what), run(c, what)))
    second = build(FILES, board, tmp_path / "b")
    assert commands == ["linear.c", "firmware.elf"]
    assert obj.read_bytes() == whole and first.path.read_bytes() == second.path.read_bytes()


@pytest.fixture
def firmware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the hand-written C without kernels of any arch."""
    copy = tmp_path / "firmware"
    shutil.copytree(module.firmware_dir(), copy, ignore=shutil.ignore_patterns("arch"))
    monkeypatch.setattr(module, "firmware_dir", lambda: copy)
    return copy


def test_an_arch_without_files_has_the_portable_kernels(firmware: Path) -> None:
    portable = sorted((firmware / "kernels").glob("*.c"))
    assert module.kernel_sources() == module.kernel_sources("armv7em") == portable
    (firmware / "arch" / "armv7em").mkdir(parents=True)
    assert module.kernel_sources("armv7em") == portable


def test_kernels_of_an_arch_take_the_place_of_portable_ones(
    firmware: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = firmware / "arch" / "armv7em"
    folder.mkdir(parents=True)
    shutil.copy(firmware / "kernels" / "linear.c", folder)  # it includes a portable header
    (folder / "panel.h").write_text("int tt_panel(int x);\n")
    (folder / "panel.c").write_text('#include "panel.h"\nint tt_panel(int x) { return -x; }\n')
    sources = {path.name: path for path in module.kernel_sources("armv7em")}
    assert sources["linear.c"].parent == sources["panel.c"].parent == folder
    assert sources["math.c"].parent == firmware / "kernels"
    assert all("arch" not in path.parts for path in module.kernel_sources())

    compiled: list[list[str]] = []
    run = module._run
    monkeypatch.setattr(module, "_run", lambda c, what: (compiled.append(c), run(c, what)))
    build(FILES, load_board("qemu_mps2_an386"), tmp_path / "out")
    twins = [c for c in compiled if str(folder) in " ".join(c)]
    assert len(twins) == 2 and all("-O2" in c for c in twins)
    assert str(firmware / "kernels" / "linear.c") not in {word for c in compiled for word in c}
    compiled.clear()
    (folder / "panel.h").write_text("int tt_panel(int x); /* new */\n")
    build(FILES, load_board("qemu_mps2_an386"), tmp_path / "out")
    assert len(compiled) == 3  # both files of the arch, and the link
    compiled.clear()
    build(FILES, load_board("host"), tmp_path / "host")
    assert str(folder) not in " ".join(word for c in compiled for word in c)


def test_a_failed_build_leaves_the_folder_as_it_was(tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "out"
    board = load_board("host")
    build(FILES, board, out)
    (out / "mine.txt").write_text("keep")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    broken = {**FILES, "model.c": "int oops(void) { return nothing; }\n"}
    with pytest.raises(ToolchainError, match=r"could not make model\.c:\n.*nothing"):
        build(broken, board, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    build(FILES, board, out)
    assert (out / "mine.txt").read_text() == "keep"


def test_what_does_not_fit_is_a_budget_error(tmp_path: Path, cache: Path) -> None:
    board = load_board("qemu_mps2_an386")
    # .data and .bss of the toy model fit, the runtime's bytes do not.
    tight = replace(board, sram_budget_bytes=board.stack_bytes + 264 + 216)
    over = rf"{runtime_bytes()} bytes over the SRAM budget of {tight.sram_budget_bytes} bytes"
    with pytest.raises(BudgetError, match=over):
        build(FILES, tight, tmp_path / "out")
    assert board.flash is not None
    small = replace(board, flash=replace(board.flash, length_bytes=2048))
    with pytest.raises(BudgetError, match=r"bytes over the flash of 2048 bytes"):
        build(FILES, small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_compiler_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    for name, package in (("host", "gcc"), ("qemu_mps2_an386", "gcc-arm-none-eabi")):
        with pytest.raises(ToolchainError, match=rf"apt-get install .* {package}"):
            build(FILES, load_board(name), tmp_path / "out")


def test_own_c_functions_replace_the_library(tmp_path: Path) -> None:
    """memcpy and its kind, as the compiler may call them."""
    made = tmp_path / "memory.so"
    source = module.firmware_dir() / "runtime" / "memory.c"
    names = ("memcpy", "memmove", "memset", "memcmp")
    flags = [f"-D{name}=own_{name}" for name in names]
    command = ["gcc", "-O2", "-ffreestanding", "-shared", "-fPIC", *flags, "-o", made, source]
    subprocess.run(command, check=True)
    own = ctypes.CDLL(str(made))
    for count in (0, 1, 3, 4, 5, 8, 31):
        for a, b in ((0, 0), (1, 0), (0, 4), (3, 2)):
            data, text = ctypes.create_string_buffer(64), os.urandom(64)
            base = ctypes.addressof(data)
            source_text = ctypes.create_string_buffer(text, 64)
            own.own_memcpy(ctypes.c_void_p(base + a),
                           ctypes.c_void_p(ctypes.addressof(source_text) + b),
                           ctypes.c_size_t(count))  # fmt: skip
            assert data.raw == bytes(a) + text[b : b + count] + bytes(64 - a - count)
            held = bytearray(data.raw)
            for to, start in ((a + 2, a), (a, a + 2)):
                own.own_memmove(ctypes.c_void_p(base + to), ctypes.c_void_p(base + start),
                                ctypes.c_size_t(count))  # fmt: skip
                held[to : to + count] = held[start : start + count]
                assert data.raw == bytes(held)
            own.own_memset(ctypes.c_void_p(base + a), 0x1C3, ctypes.c_size_t(count))
            held[a : a + count] = b"\xc3" * count
            assert data.raw == bytes(held)
    compare = own.own_memcmp
    assert compare(b"abc", b"abd", ctypes.c_size_t(2)) == 0
    assert compare(b"abc", b"abd", ctypes.c_size_t(3)) < 0 < compare(b"\xff", b"a", 1)
