"""Snapshot files: the state of a session with what it belongs to, and a check of its bytes.

The layout is specified in docs/formats.md. Numbers are little-endian:

    bytes  field
        8  MAGIC
        2  VERSION
        2  N, bytes of the model's name
        4  step
        4  seed
        4  M, bytes of the state
       32  model id, SHA-256
        N  the model's name, UTF-8
        M  the state: trained and optimizer tensors, as in the device's memory
        4  CRC-32 of everything before it
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..compiler import Compiled
from ..errors import RecipeError
from ..ir import Type

MAGIC = b"TTSNAP\r\n"  # a copy as text changes its last bytes
VERSION = 1
HEAD = struct.Struct("<8sHHIII32s")
CLOCK = struct.Struct("<II")  # seed and step at the end of what ``Session.snapshot`` gives
CRC = struct.Struct("<I")
AGAIN = "make it again with tinytrain run RECIPE --snapshot FILE"


@dataclass(frozen=True)
class Snapshot:
    """``model_id``: 32 bytes; ``state``: the tensors of ``Codec.state`` in their order."""

    model: str
    model_id: bytes
    seed: int
    step: int
    state: bytes

    @property
    def blob(self) -> bytes:
        """For ``Session.restore``."""
        return self.state + CLOCK.pack(self.seed, self.step)

    def encoded(self) -> bytes:
        """The bytes of the file. A name of more than 65,535 bytes is cut."""
        name = self.model.encode("utf-8", "replace")[:0xFFFF]
        head = HEAD.pack(
            MAGIC, VERSION, len(name), self.step, self.seed, len(self.state), self.model_id
        )
        body = head + name + self.state
        return body + CRC.pack(zlib.crc32(body))


def decoded(data: bytes, where: str) -> Snapshot:
    """The snapshot in the bytes of a file, which messages call ``where``.

    Raises RecipeError for what is no snapshot, of another version, truncated, longer than it says,
    or damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise RecipeError(
            f"{where}: {len(data)} bytes that do not begin as a snapshot does; bytes of a state "
            f"alone do not say of which model they are and are not read: {AGAIN}"
        )
    if len(data) >= 10 and (version := int.from_bytes(data[8:10], "little")) != VERSION:
        raise RecipeError(
            f"{where}: a snapshot of format version {version}, this tinytrain reads version "
            f"{VERSION}; {AGAIN}"
        )
    if len(data) < HEAD.size:
        raise _cut(where, len(data), f"at least {HEAD.size + CRC.size}")
    _, _, letters, step, seed, count, model_id = HEAD.unpack_from(data)
    expected = HEAD.size + letters + count + CRC.size
    if len(data) < expected:
        raise _cut(where, len(data), str(expected))
    if len(data) > expected:
        raise RecipeError(
            f"{where}: {len(data)} bytes, but the snapshot in it has {expected}; {AGAIN}"
        )
    (noted,) = CRC.unpack_from(data, expected - CRC.size)
    found = zlib.crc32(data[: -CRC.size])
    if noted != found:
        raise RecipeError(
            f"{where}: damaged: its CRC-32 is {found:#010x}, and {noted:#010x} was written; {AGAIN}"
        )
    at = HEAD.size + letters
    name = data[HEAD.size : at].decode("utf-8", "replace")
    return Snapshot(name, model_id, seed, step, data[at : at + count])


def _cut(where: str, there: int, expected: str) -> RecipeError:
    return RecipeError(f"{where}: truncated: {there} bytes of {expected}; {AGAIN}")


def snapshot_of(compiled: Compiled, blob: bytes) -> Snapshot:
    """Of what ``Session.snapshot`` of the compiled model gave."""
    state, clock = blob[: -CLOCK.size], blob[-CLOCK.size :]
    seed, step = CLOCK.unpack(clock)
    return Snapshot(compiled.name, model_id(compiled), seed, step, state)


def write_snapshot(compiled: Compiled, blob: bytes, path: Path) -> None:
    """Write what ``Session.snapshot`` gave. Raises RecipeError where it cannot be written."""
    try:
        path.write_bytes(snapshot_of(compiled, blob).encoded())
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror}") from error


def read_snapshot(compiled: Compiled, path: Path) -> Snapshot:
    """The snapshot in a file. Raises RecipeError as ``decoded`` does, where the file cannot be
    read, and for a snapshot of another model."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    found, wanted = decoded(data, str(path)), model_id(compiled)
    if found.model_id != wanted or len(found.state) != compiled.codec.state_bytes:
        raise RecipeError(
            f"{path}: a snapshot of another model: {found.model!r}, id {found.model_id.hex()[:12]}"
            f"..., {len(found.state)} bytes of state; this is {compiled.name!r} with scheme "
            f"{compiled.scheme}, id {wanted.hex()[:12]}..., {compiled.codec.state_bytes} bytes; "
            "give the recipe, --scheme, --optimizer and --weights that it was trained with"
        )
    return found


def model_id(compiled: Compiled) -> bytes:
    """SHA-256 of what a state belongs to: the quantized model before a scheme and a board came to
    it (operators, types and scales, and every parameter), and the tensors of the state. Neither
    names, boards, plans nor learning rates are in it, so that a state goes from one to another."""
    digest = hashlib.sha256()
    graph = compiled.quantized.graph
    for node in graph.nodes:
        digest.update(f"{node.op.name}:{node.layer};".encode())
        for value in (*node.inputs, *node.outputs):
            digest.update(_type(value.type if value is not None else None))
            param = graph.params.get(value.name) if value is not None else None
            if param is not None:
                digest.update(np.ascontiguousarray(param.data).tobytes())
    for tensor in compiled.codec.state:
        digest.update(f"{tensor.name}:{tensor.kind}:{tensor.bytes};".encode() + _type(tensor.type))
    return digest.digest()


def _type(kind: Type | None) -> bytes:
    """A scale as the hexadecimal digits of a float64, which every platform writes alike."""
    if kind is None:
        return b"none;"
    scales = kind.scale if isinstance(kind.scale, tuple) else (kind.scale,)
    digits = ",".join("none" if scale is None else float(scale).hex() for scale in scales)
    return f"{kind.dtype}:{','.join(map(str, kind.shape))}:{digits};".encode()
