"""Snapshot files: what is written is read, and everything else is refused with its reason."""

from __future__ import annotations

import copy
import os
import re
import struct
import zlib
from pathlib import Path

import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe
from tinytrain.deploy.snapshot import (
    MAGIC,
    Snapshot,
    decoded,
    model_id,
    read_snapshot,
    snapshot_of,
    write_snapshot,
)
from tinytrain.errors import RecipeError
from tinytrain.sessions.numpy_session import numpy_session

DOCS = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
VECTOR = Snapshot("demo", bytes(range(32)), 7, 300, bytes.fromhex("01020304fffefdfc"))


def test_the_test_vector_of_the_specification() -> None:
    dump = re.findall(r"^[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)$", DOCS.read_text(), re.MULTILINE)
    data = bytes.fromhex("".join(dump))
    assert VECTOR.encoded() == data and decoded(data, "x") == VECTOR
    assert data[-4:] == struct.pack("<I", zlib.crc32(data[:-4]))


def test_every_changed_bit_and_every_length_is_noticed() -> None:
    data = VECTOR.encoded()
    for bit in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecipeError, match=r"^x: .*make it again"):
            decoded(bytes(wrong), "x")
    for length in range(len(data)):
        with pytest.raises(RecipeError, match=r"truncated|do not begin as"):
            decoded(data[:length], "x")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "0 bytes that do not begin as a snapshot does"),
        (os.urandom(3000), "3000 bytes that do not begin as a snapshot does; bytes of a state"),
        (MAGIC + b"\2\0" + bytes(99), "format version 2, this tinytrain reads version 1"),
        (VECTOR.encoded()[:-1], "truncated: 71 bytes of 72"),
        (VECTOR.encoded()[:30], "truncated: 30 bytes of at least 60"),
        (VECTOR.encoded() + b"\n", "73 bytes, but the snapshot in it has 72"),
        (VECTOR.encoded().replace(b"demo", b"demu"), "damaged: its CRC-32 is 0x"),
        (VECTOR.encoded().replace(b"\r\n", b"\n"), "do not begin as a snapshot does"),
    ],
)
def test_what_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        decoded(data, "x")


def test_a_state_goes_to_its_model_only(tmp_path: Path) -> None:
    made = toys.compiled("sensor", "head_only")
    session = numpy_session(made)
    samples = toys.data("sensor")
    for i in range(3):
        session.step(samples.x[i], samples.y[i])
    path, blob = tmp_path / "state", session.snapshot()
    write_snapshot(made, blob, path)
    found = read_snapshot(made, path)
    assert found == snapshot_of(made, blob) and (found.blob, found.step) == (blob, 3)
    fresh = numpy_session(made)
    fresh.restore(found.blob)
    assert fresh.snapshot() == blob
    for other in (toys.compiled("sensor", "bias_only"), toys.compiled("lm", "head_only")):
        told = r"of another model: 'toy_sensor', id .* this is 'toy_\w+' with scheme .* give the"
        with pytest.raises(RecipeError, match=told):
            read_snapshot(other, path)
    path.write_bytes(blob)  # the bytes of a state alone
    with pytest.raises(RecipeError, match="do not say of which model they are"):
        read_snapshot(made, path)
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        read_snapshot(made, tmp_path / "absent")


def test_the_id_is_of_the_model_and_not_of_the_board() -> None:
    recipe = toys.recipe("sensor", "head_only")
    board = load_board("qemu_mps2_an386")
    here = compile_recipe(recipe, load_board("host"))
    assert model_id(here) == model_id(compile_recipe(recipe, board, check=False))
    model = copy.deepcopy(recipe.model)
    next(model.parameters()).data[0, 0] += 1.0
    with_other_weight = recipe.replace(model=model)
    assert model_id(here) != model_id(compile_recipe(with_other_weight, load_board("host")))
