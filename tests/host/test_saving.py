"""The state in flash: kept over a power cycle, and whole wherever the power is cut. The firmware's
program on the host; a file is its flash."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tinytrain.link.protocol import FORGET, INFO, READ, RESET, SAVE, TRAIN, Decoder, Frame, encode
from tinytrain.support.assets import firmware_dir

HERE = Path(__file__).resolve().parent
FAKE = HERE.parent / "qemu" / "fake"
RUNTIME = ("main.c", "runtime.c", "protocol.c", "answer.c", "save.c", "keep.c", "crc.c")
FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all")  # fmt: skip
SLOT, STATE, NEEDED = 1024, 264 + 16 + 8, 352
CUT = 9  # exit status of a program whose power is cut
READ_ALL = (READ, struct.pack("<II", 0, STATE))


def compiled(folder: Path, name: str, *more: str) -> Path:
    made = folder / name
    sources = [str(firmware_dir() / "runtime" / file) for file in RUNTIME]
    sources += [str(HERE / "stub_port.c"), str(FAKE / "model.c")]
    sources.append(str(firmware_dir() / "kernels" / "math.c"))
    include = (f"-I{firmware_dir() / 'include'}", f"-I{FAKE}")
    subprocess.run(["gcc", *FLAGS, *more, *include, "-o", str(made), *sources], check=True)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keep")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return compiled(folder, "device")


@pytest.fixture(scope="module")
def another(folder: Path) -> Path:
    """The same with another model's hash."""
    other = folder / "other"
    other.mkdir()
    text = (FAKE / "model.h").read_text()
    (other / "model.h").write_text(text.replace("0x1234ABCDu", "0x77u"))
    return compiled(folder, "another", f"-I{other}")


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    """Flash that was never written."""
    made = tmp_path / "flash"
    made.write_bytes(b"\xff" * 2 * SLOT)
    return made


def train(number: int) -> tuple[int, bytes]:
    return TRAIN, bytes((number * 7 + i) % 100 for i in range(64)) + b"\x01\x00"


def power_on(
    program: Path, flash: Path | None, *frames: tuple[int, bytes], ends: int = 0, **variables: str
) -> list[Any]:  # fmt: skip
    """What the device says from its start until the frames are done, or the power is cut."""
    environment = {**os.environ, **variables} | ({"TT_FLASH": str(flash)} if flash else {})
    data = b"".join(encode(kind, i, payload) for i, (kind, payload) in enumerate(frames))
    done = subprocess.run([program], input=data, capture_output=True, env=environment, timeout=20)
    assert done.returncode == ends, done.stderr.decode()[:3000]
    return Decoder().feed(done.stdout)


def state_of(program: Path, flash: Path) -> tuple[str, bytes]:
    """What a start finds in the flash, and the state that it goes on from."""
    ready, state = power_on(program, flash, READ_ALL)
    assert isinstance(state, Frame) and ready["event"] == "ready"
    return ready["kept"], state.payload


def test_a_saved_state_comes_back(program: Path, flash: Path) -> None:
    ready, *_, saved, state, info = power_on(
        program, flash, (RESET, struct.pack("<II", 5, 0)), train(1), train(2), (SAVE, b""),
        READ_ALL, (INFO, b""),
    )  # fmt: skip
    assert (ready["kept"], ready["slot_bytes"], info["kept"]) == ("none", SLOT, "yes")
    assert (saved["event"], saved["step"], saved["bytes"]) == ("save", 2, NEEDED)
    again, read = power_on(program, flash, READ_ALL)
    assert (again["kept"], again["step"], again["seed"]) == ("yes", 2, 5)
    assert read.payload == state.payload
    # What goes on is what would have gone on.
    *_, through = power_on(program, None, (RESET, struct.pack("<II", 5, 0)), train(1), train(2),
                           train(3), READ_ALL)  # fmt: skip
    *_, resumed = power_on(program, flash, train(3), READ_ALL)
    assert resumed.payload == through.payload


def test_slots_take_turns_and_the_last_save_counts(program: Path, flash: Path) -> None:
    before, steps = flash.read_bytes(), []
    for number in range(1, 6):
        power_on(program, flash, train(number), (SAVE, b""))
        after = flash.read_bytes()
        changed = {at // SLOT for at in range(2 * SLOT) if before[at] != after[at]}
        assert changed == {(number - 1) % 2}
        before = after
        steps.append(power_on(program, flash)[0]["step"])
    assert steps == [1, 2, 3, 4, 5]


def kept_states(program: Path, flash: Path) -> tuple[bytes, bytes]:
    """(The state that is kept, the state after one more step.)"""
    old = state_of(program, flash)[1]
    *_, new = power_on(program, flash, train(9), READ_ALL)
    return old, new.payload


@pytest.mark.parametrize("saves", [0, 1, 2])
def test_wherever_the_power_is_cut_the_state_is_the_old_or_the_new_one(
    program: Path, flash: Path, saves: int
) -> None:
    for number in range(saves):
        power_on(program, flash, train(number), (SAVE, b""))
    old, new = kept_states(program, flash)
    content, found, cut = flash.read_bytes(), [], 0
    # While it is erased, programmed and marked.
    changes = SLOT + NEEDED
    cuts = {*range(0, SLOT, 191), SLOT - 1, SLOT, SLOT + 1, *range(SLOT, changes, 37),
            *range(changes - 34, changes + 1, 3), changes - 1, changes}  # fmt: skip
    for cut in sorted(cuts):
        flash.write_bytes(content)
        ends = 0 if cut >= changes else CUT
        power_on(program, flash, train(9), (SAVE, b""), ends=ends, TT_CUT_AFTER=str(cut))
        kept, state = state_of(program, flash)
        assert state in (old, new) and (kept == "yes" or saves == 0), cut
        found.append(state == new)
        # A save after the cut takes, and the start after that has it.
        power_on(program, flash, train(8), (SAVE, b""))
        assert state_of(program, flash)[0] == "yes" and state_of(program, flash)[1] != state
    assert found == sorted(found) and found[-1] and not found[-3]  # the mark comes last


def test_forget(program: Path, flash: Path) -> None:
    factory = state_of(program, flash)[1]
    for number in range(3):
        power_on(program, flash, train(number), (SAVE, b""))
    *_, before, forgot, state, info = power_on(
        program, flash, READ_ALL, (FORGET, b""), READ_ALL, (INFO, b"")
    )
    assert (forgot["event"], info["kept"]) == ("forget", "none")
    assert state.payload == before.payload  # what is in RAM stays
    assert state_of(program, flash) == ("none", factory)
    assert flash.read_bytes() == b"\xff" * 2 * SLOT


def test_a_forget_that_is_cut_brings_no_older_state_back(program: Path, flash: Path) -> None:
    factory = state_of(program, flash)[1]
    for number in range(3):
        power_on(program, flash, train(number), (SAVE, b""))
    kept, content = state_of(program, flash)[1], flash.read_bytes()
    for cut in (0, 1, 500, SLOT - 1, SLOT, SLOT + 1, SLOT + 5, 2 * SLOT - 1):
        flash.write_bytes(content)
        power_on(program, flash, (FORGET, b""), ends=CUT, TT_CUT_AFTER=str(cut))
        assert state_of(program, flash)[1] in (kept, factory), cut


def test_another_models_state_is_told_and_left(program: Path, another: Path, flash: Path) -> None:
    factory = state_of(program, flash)[1]
    power_on(another, flash, train(1), (SAVE, b""))
    content = flash.read_bytes()
    assert state_of(program, flash) == ("other", factory) and flash.read_bytes() == content
    power_on(program, flash, train(2), (SAVE, b""))
    assert state_of(program, flash)[0] == "yes" and state_of(another, flash)[0] == "other"


def test_each_damaged_byte_is_found(program: Path, flash: Path) -> None:
    factory = state_of(program, flash)[1]
    power_on(program, flash, train(1), (SAVE, b""))
    content = flash.read_bytes()
    for at in (*range(0, 32, 3), *range(32, NEEDED - 16, 53), *range(32 + STATE, 48 + STATE)):
        flash.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        kept, state = state_of(program, flash)
        assert kept == ("none" if at < 4 else "damaged") and state == factory, at
    flash.write_bytes(os.urandom(2 * SLOT))
    assert state_of(program, flash) == ("none", factory)


@pytest.mark.parametrize("kind", [SAVE, FORGET])
def test_a_board_without_flash_says_so(program: Path, kind: int) -> None:
    ready, error, info = power_on(program, None, (kind, b""), (INFO, b""))
    assert (ready["kept"], ready["slot_bytes"]) == ("none", 0)
    assert (error["code"], error["needed"], error["slot_bytes"]) == ("storage", NEEDED, 0)
    assert info["event"] == "info"


def test_a_slot_that_is_too_small_says_so(program: Path, flash: Path) -> None:
    before = flash.read_bytes()
    ready, error = power_on(program, flash, (SAVE, b""), TT_SLOT_BYTES="320")
    assert ready["slot_bytes"] == 320 and error["code"] == "storage"
    assert (error["needed"], error["slot_bytes"]) == (NEEDED, 320)
    assert flash.read_bytes() == before


def test_flash_that_fails_keeps_what_was_kept(program: Path, flash: Path) -> None:
    power_on(program, flash, train(1), (SAVE, b""))
    old = state_of(program, flash)
    _, _, error, info = power_on(
        program, flash, train(2), (SAVE, b""), (INFO, b""), TT_FLASH_FAILS="1"
    )
    assert error["code"] == "flash" and info["kept"] == "yes"
    assert state_of(program, flash) == old
