"""The firmware's own parser, compiled here with sanitizers and fed with what no host would send."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinytrain.link.protocol import END, Decoder, Frame, Noise, decode, encode
from tinytrain.support.assets import firmware_dir

HERE = Path(__file__).resolve().parent
FAKE = HERE.parent / "qemu" / "fake"
MARK = 201  # the sequence of the last, good frame
STRICT = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes",
          "-Wdouble-promotion", "-ffp-contract=off"]  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: Any) -> Path:
    made = Path(tmp_path_factory.mktemp("fuzz")) / "device"
    runtime = firmware_dir() / "runtime"
    names = ("main.c", "runtime.c", "protocol.c", "answer.c", "save.c", "keep.c", "crc.c")
    sources = [runtime / name for name in names]
    math = firmware_dir() / "kernels" / "math.c"
    sources += [HERE / "stub_port.c", FAKE / "model.c", math]
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    include = [f"-I{firmware_dir() / 'include'}", f"-I{FAKE}"]
    command = ["gcc", *STRICT, *checks, *include, "-o", str(made), *map(str, sources)]
    subprocess.run(command, check=True)
    return made


def talk(program: Path, data: bytes) -> list[Any]:
    """Everything that the device says to ``data`` and a good frame behind it."""
    data += bytes([END]) + encode(ord("i"), MARK)
    done = subprocess.run([program], input=data, capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr.decode()[:3000]
    said = Decoder().feed(done.stdout)
    assert not [item for item in said if isinstance(item, Noise)]
    return said


# Not "quit", and not the input that overflows the toy model's stack.
SAMPLE = st.binary(min_size=64, max_size=64).filter(lambda b: b[:3] != b"\x80\x80\x80")
NUMBER = st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1))
PAIR = st.builds(lambda a, b: struct.pack("<II", a, b), NUMBER, NUMBER)
LABEL = st.integers(-3, 6).map(lambda k: struct.pack("<h", k))
WRITES = st.builds(lambda at, data: struct.pack("<I", at) + data, NUMBER, st.binary(max_size=80))
FRAME = st.one_of(
    st.builds(encode, st.sampled_from(b"ts"), st.integers(0, 199),
              st.builds(lambda x, y: x + y, SAMPLE, LABEL)),
    st.builds(encode, st.just(ord("p")), st.integers(0, 199), SAMPLE),
    st.builds(encode, st.sampled_from(b"rz"), st.integers(0, 199), PAIR),
    st.builds(encode, st.just(ord("w")), st.integers(0, 199), WRITES),
    st.builds(encode, st.integers(0, 255).filter(lambda k: k not in b"qt"), st.integers(0, 199),
              st.binary(max_size=100)),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(FRAME))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["flip", "drop", "insert", "cut"]))
        if kind == "flip":
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data.insert(at, draw(st.sampled_from([0, 0xC0, 0xDB, 0xDC, 0xDD])))
        elif kind == "drop":
            del data[at]
        else:
            del data[at + 1 :]
        if not data:
            break
    return bytes(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(FRAME, damaged(), st.binary(max_size=150)), max_size=6))
def test_nothing_stops_the_device(program: Path, parts: list[bytes]) -> None:
    said = talk(program, b"".join(parts))
    assert said[0]["event"] == "ready"
    assert said[-1]["event"] == "info" and said[-1]["seq"] == MARK
    errors = [item for item in said if isinstance(item, dict) and item["event"] == "error"]
    assert said[-1]["refused"] == len(errors)


@settings(max_examples=100, deadline=None)
@given(st.lists(FRAME, min_size=1, max_size=5), st.data())
def test_each_good_frame_is_answered_whatever_stands_between(
    program: Path, frames: list[bytes], data: st.DataObject
) -> None:
    stream = b""
    for frame in frames:
        # without its END alone it would be whole: the next frame's first byte ends it
        truncated = frame[: data.draw(st.integers(0, len(frame) - 2))]
        stream += truncated + frame
    said = talk(program, stream)
    answered = [item.sequence if isinstance(item, Frame) else item["seq"] for item in said[1:-1]]
    plain = [decode(frame[1:-1]) for frame in frames]
    sent = [item.sequence for item in plain if isinstance(item, Frame)]
    assert [number for number in answered if number >= 0] == sent


def test_quit_ends_the_program(program: Path) -> None:
    done = subprocess.run([program], input=encode(ord("q"), 4), capture_output=True, timeout=20)
    assert done.returncode == 0
    assert Decoder().feed(done.stdout)[-1] == {"event": "quit", "seq": 4}


def test_a_command_that_nothing_runs_is_an_error(tmp_path: Path) -> None:
    """One that the table has and the switch of commands lacks: refused, and the program goes on."""
    table = (firmware_dir() / "include" / "tinytrain" / "tt_schema.h").read_text()
    first = "#define TT_COMMANDS(X) \\\n"
    assert first in table
    (tmp_path / "tinytrain").mkdir()
    changed = table.replace(first, first + "    X('y', 0u, 0u, 0u, 0u) \\\n")
    (tmp_path / "tinytrain" / "tt_schema.h").write_text(changed)
    runtime, made = firmware_dir() / "runtime", tmp_path / "device"
    names = ("main.c", "runtime.c", "protocol.c", "answer.c", "save.c", "keep.c", "crc.c")
    sources = [*(runtime / name for name in names), HERE / "stub_port.c", FAKE / "model.c",
               firmware_dir() / "kernels" / "math.c"]  # fmt: skip
    include = [f"-I{tmp_path}", f"-I{firmware_dir() / 'include'}", f"-I{FAKE}"]
    command = ["gcc", "-std=c11", "-O1", *include, "-o", str(made), *map(str, sources)]
    subprocess.run(command, check=True)
    said = talk(made, encode(ord("y"), 7) + encode(ord("?"), 8))
    errors = [(item["seq"], item["code"]) for item in said if item.get("event") == "error"]
    assert errors == [(7, "type"), (8, "type")] and said[-1]["event"] == "info"
