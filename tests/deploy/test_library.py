"""The library form: complete for each build system, the host's bits, states that survive."""

from __future__ import annotations

import ctypes
import json
import posixpath
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.deploy.library import FLAGS, library_files, write_library

STUBS = Path(__file__).resolve().parents[1] / "pio" / "stubs"
STRICT = ("-Wall", "-Wextra", "-Werror")
BAD_TOKEN, BAD_SAVE, NOT_WRITTEN = 2, 4, 5


@lru_cache
def compiled(kind: str, board: str = "host") -> Compiled:
    return compile_recipe(toys.recipe(kind), load_board(board), toys.quantized(kind))


@lru_cache
def files(kind: str, board: str = "host") -> dict[str, str]:
    return library_files(compiled(kind, board))


@pytest.fixture(scope="module", params=("sensor", "lm"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("library") / "tinytrain"
    write_library(compiled(kind), out)
    return out


@pytest.fixture(scope="module")
def shared(folder: Path) -> Path:
    """The library as a shared one, with nothing but what lies in its folder."""
    made = folder.parent / "library.so"
    sources = sorted(map(str, (folder / "src").rglob("*.c")))
    command = ["gcc", "-std=c11", *FLAGS, *STRICT, "-shared", "-fPIC", f"-I{folder / 'src'}"]
    subprocess.run([*command, "-o", str(made), *sources], check=True)
    return made


@pytest.fixture
def library(shared: Path, tmp_path: Path) -> ctypes.CDLL:
    """With weights of its own."""
    return ctypes.CDLL(str(shutil.copy(shared, tmp_path)))


def macro(folder: Path, name: str) -> int:
    found = re.search(rf"#define {name} (\d+)", (folder / "src" / "tinytrain.h").read_text())
    assert found, name
    return int(found[1])


def put(library: ctypes.CDLL, kind: str, i: int) -> int:
    x = toys.data(kind).x[i]
    x = x.astype(np.uint16) if kind == "lm" else x.astype(np.float32)
    y = np.atleast_1d(toys.data(kind).y[i]).astype(np.int16)
    status = library.tt_set_input(np.ascontiguousarray(x).ctypes.data_as(ctypes.c_void_p))
    library.tt_set_labels(y.ctypes.data_as(ctypes.c_void_p))
    return status if kind == "lm" else 0


def test_the_same_losses_and_classes_as_a_session(
    kind: str, library: ctypes.CDLL, tmp_path: Path
) -> None:
    metrics = (ctypes.c_int32 * 3)()
    library.tt_init()
    with toys.host(compiled(kind), tmp_path / "host") as session:
        for i in range(12):
            x, y = toys.data(kind).x[i], toys.data(kind).y[i]
            put(library, kind, i)
            logits = session.predict(x)
            assert library.tt_predict(None) == int(
                logits.reshape(-1, logits.shape[-1])[-1].argmax()
            )
            assert put(library, kind, i) == 0 and library.tt_train_step(metrics) == 0
            step = session.step(x, y)
            assert step.loss == metrics[0] / 65536 / max(1, step.count)
            assert (step.correct, step.count) == (metrics[1], metrics[2])


def test_samples_are_quantized_as_on_the_host(
    kind: str, library: ctypes.CDLL, folder: Path
) -> None:
    made, size = compiled(kind), macro(folder, "TT_INPUT_VALUES")
    held = (ctypes.c_int8 * made.codec.input.bytes).in_dll(library, "tt_model_input")
    if kind == "lm":
        wrong = (ctypes.c_uint16 * size)(*range(size - 1), toys.VOCABULARY)
        before = bytes(held)
        assert library.tt_set_input(wrong) == BAD_TOKEN and bytes(held) == before
        return
    scale = made.codec.input.tensor_scale
    rng = np.random.default_rng(0)
    ties = (rng.integers(-130, 130, 2000) + 0.5) * scale
    spread = np.concatenate([ties, np.nextafter(ties, 9), np.nextafter(ties, -9),
                             rng.normal(0, 60 * scale, 5000), [0.0, 1e30, -1e30]])  # fmt: skip
    values = np.resize(spread, (len(spread) // size + 1, size)).astype(np.float32)
    for row in values:
        library.tt_set_input(row.ctypes.data_as(ctypes.c_void_p))
        shaped = row.reshape(made.codec.input.shape)
        assert bytes(held) == made.codec.encode_input(shaped)
    odd = np.full(size, np.nan, np.float32)
    odd[1], odd[2] = np.inf, -np.inf
    library.tt_set_input(odd.ctypes.data_as(ctypes.c_void_p))
    assert list(held[:4]) == [0, 127, -127, 0]


def test_a_state_is_saved_in_pieces_and_loaded_whole_or_not(
    kind: str, library: ctypes.CDLL, folder: Path
) -> None:
    size = macro(folder, "TT_SAVE_BYTES")
    store, metrics, pieces = bytearray(size), (ctypes.c_int32 * 3)(), []
    kind_of = ctypes.CFUNCTYPE(
        ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint8),
        ctypes.c_uint32,
    )  # fmt: skip

    @kind_of
    def write(_: object, at: int, data: ctypes._Pointer[ctypes.c_uint8], count: int) -> int:
        pieces.append((at, count))
        store[at : at + count] = bytes(data[:count])
        return 0

    failing = kind_of(lambda *_: 1)

    def losses() -> list[int]:
        found = []
        for i in range(4):
            put(library, kind, i)
            library.tt_train_step(metrics)
            found.append(metrics[0])
        return found

    library.tt_init()
    losses()
    assert library.tt_save(write, None) == 0
    assert sum(count for _, count in pieces) == size
    assert all(at % 8 == 0 and count % 8 == 0 for at, count in pieces)
    assert [at for at, _ in pieces] == [sum(c for _, c in pieces[:i]) for i in range(len(pieces))]
    saved, first = bytes(store), losses()
    for i in (0, 5, 9, size // 2, size - 9, size - 1):  # header, state, checksum
        damaged = bytearray(saved)
        damaged[i] ^= 0x10
        assert library.tt_load(bytes(damaged)) == BAD_SAVE
    assert library.tt_load(b"\xff" * size) == library.tt_load(bytes(size)) == BAD_SAVE
    assert losses() != first  # went on, not back
    assert library.tt_load(saved) == 0
    assert losses() == first
    assert library.tt_save(failing, None) == NOT_WRITTEN


def test_cpp_takes_the_header_and_the_sketch(folder: Path, tmp_path: Path) -> None:
    sketch = tmp_path / "sketch.cpp"
    sketch.write_text((folder / "examples" / "Learn" / "Learn.ino").read_text())
    command = ["g++", "-std=gnu++11", *STRICT, "-Wpedantic", "-fsyntax-only", f"-I{folder / 'src'}"]
    arduino = ["-include", "Arduino.h", f"-I{STUBS / 'arduino'}"]
    subprocess.run([*command, *arduino, str(sketch)], check=True)


def test_manifests(folder: Path) -> None:
    manifest = json.loads((folder / "library.json").read_text())
    assert manifest["name"] == "tinytrain" and manifest["headers"] == ["tinytrain.h"]
    assert "-ffp-contract=off" in manifest["build"]["flags"]
    lines = (folder / "library.properties").read_text().splitlines()
    keys = {line.partition("=")[0] for line in lines}
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url",
            "architectures"} <= keys and all("=" in line for line in lines)  # fmt: skip
    listed = re.findall(
        r"^    (src/\S+\.c)$", (folder / "CMakeLists.txt").read_text(), re.MULTILINE
    )
    assert sorted(folder / name for name in listed) == sorted((folder / "src").rglob("*.c"))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not there")
@pytest.mark.parametrize("idf", (False, True))
def test_cmake_and_an_idf_component(idf: bool, folder: Path, tmp_path: Path) -> None:
    """For ESP-IDF with a stand-in of the one function that a component calls."""
    stand_in = """
        set(ESP_PLATFORM 1)
        function(idf_component_register)
            cmake_parse_arguments(part "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
            add_library(component STATIC ${part_SRCS})
            target_include_directories(component PUBLIC ${part_INCLUDE_DIRS})
        endfunction()
        set(COMPONENT_LIB component)
    """
    name = "component" if idf else "tinytrain"
    (tmp_path / "main.c").write_text(
        '#include "tinytrain.h"\nint main(void) {\n    tt_init();\n    return 0;\n}\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.13)\nproject(p C)\n{stand_in if idf else ''}\n"
        f"add_subdirectory({folder} lib)\nadd_executable(main main.c)\n"
        f"target_link_libraries(main PRIVATE {name})\n"
    )
    for command in (["-S", ".", "-B", "b"], ["--build", "b"]):
        subprocess.run(["cmake", *command], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([tmp_path / "b" / "main"], check=True)


def test_kernels_of_an_arch_find_their_headers() -> None:
    """Quoted headers are in the file's own folder, or named by their path from there."""
    made = files("sensor", "qemu_mps2_an386")
    for name, text in made.items():
        for header in re.findall(r'^#include "([^"]+)"', text, re.MULTILINE):
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(name), header))
            assert beside in made or f"src/{header}" in made, f"{name}: {header}"


def test_nothing_of_a_board_is_in_it(kind: str) -> None:
    """No port, no program, and no kernels of the host, whose emulator has its own."""
    for name, text in files(kind).items():
        assert not name.startswith(("src/port/", "src/arch/"))
        assert not name.endswith(("protocol.c", "main.c")) and "malloc" not in text
