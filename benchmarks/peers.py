"""Kernels of other libraries in the table of ``kernels.py``: ``--peer NAME=DIR``.

``DIR/peer.toml`` is written by whoever compares (docs/benchmarks.md). It lists C files, which are
compiled as they are, and for each kernel the functions that do the same:

    sources = ["adapter.c", "library/*.c"]  # beside peer.toml, with wildcards
    include = ["library/include"]
    flags = ["-O3"]                         # behind those of our kernels, which are -O2
    boards = ["qemu_mps2_an386"]            # where it can be compiled; without this, all
    [functions]
    linear_s8 = ["peer_linear", "peer_linear_other"]

Peers run in the same program on the same numbers. Their results are compared with the meaning
that is asked for, within the rounding that libraries differ in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from kernel_cases import HEADS, TOKENS, Measured

from tinytrain.ir import Array
from tinytrain.sessions.kernel_calls import Arguments, Buffer, Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRATCH_BYTES = 65536
PRODUCTS = ("64x16x64", "64x64x16")  # of a head of attention
SCORE_SCALE = 0.1  # real value of one step of the scores that a peer's softmax reads


class PeerError(SystemExit):
    """A folder that is no peer, or a peer that computes something else; the message says which."""


@dataclass(frozen=True)
class Peer:
    """Sources, flags, the functions for each kernel of ``CONTRACTS``; ``boards`` empty: all."""

    name: str
    sources: tuple[Path, ...]
    flags: tuple[str, ...]
    functions: dict[str, tuple[str, ...]]
    boards: tuple[str, ...] = ()

    def runs_on(self, board: str) -> bool:
        return not self.boards or board in self.boards

    @property
    def names(self) -> list[str]:
        return [name for names in self.functions.values() for name in names]


@dataclass(frozen=True)
class Job:
    """A call of a peer's function for a row of the table; its output may differ by ``tolerance``
    codes from ``expected``."""

    kernel: str
    shape: str
    call: Arguments[Buffer]
    expected: Array
    tolerance: int


def read_peer(text: str) -> Peer:
    """``NAME=DIR``. Raises PeerError."""
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise PeerError(f"--peer {text}: write it as NAME=DIR")
    path = Path(folder) / "peer.toml"
    if not path.is_file():
        raise PeerError(
            f"--peer {text}: there is no {path}; it lists the peer's C files and which function "
            "does what: see docs/benchmarks.md"
        )
    try:
        found = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise PeerError(f"{path}: {error}") from error
    functions = {k: tuple(v) for k, v in found.get("functions", {}).items()}
    if unknown := sorted(set(functions) - set(CONTRACTS)):
        raise PeerError(f"{path}: functions for {unknown}; peers are known for {[*CONTRACTS]}")
    if not any(functions.values()):
        raise PeerError(f"{path}: no functions; peers are known for {[*CONTRACTS]}")
    includes = [f"-I{(path.parent / item).resolve()}" for item in found.get("include", [])]
    return Peer(name, tuple(_files(path, found.get("sources", []))),
                (*includes, *found.get("flags", [])), functions,
                tuple(found.get("boards", [])))  # fmt: skip


def _files(path: Path, patterns: Iterable[str]) -> list[Path]:
    files = []
    for pattern in patterns:
        some = sorted(path.parent.resolve().glob(pattern))
        if not some:
            raise PeerError(f"{path}: no file is called {pattern}")
        files += some
    return files


def jobs(peer: Peer, wanted: Sequence[Measured], image: Image) -> list[Job]:
    """What the peer can do of what is wanted."""
    scratch = image.place(np.zeros(SCRATCH_BYTES, np.uint8))
    found = []
    for m in wanted:
        for kernel, make in CONTRACTS.items():
            if m.op.name == MEASURED.get(kernel, kernel):
                for function in peer.functions.get(kernel, ()):
                    found += make(m, function, image.place, scratch)
    return found


def _linear(m: Measured, name: str, place: Any, scratch: Buffer) -> list[Job]:
    """int8 y[t,o] = clamp(round((bias[o] + sum over c of x[t,c] * w[o,c]) * ratio[o])), the ratio
    being mult[o] * 2^(power[o] - 31), mult in [2^30, 2^31)."""
    x, w, _, _, bias, _, mult, shift = m.case.inputs
    assert x is not None and w is not None and mult is not None and shift is not None
    (t, c), o = x.shape, len(w)
    (want,) = m.op.ref(m.case.inputs, m.case.attrs, None)  # type: ignore[arg-type]
    y = place(np.zeros((t, o), np.int8))
    ratios = (np.full(o, mult[0]), np.full(o, 31 - shift[0], np.int32))
    given = [place(x), place(w), place(bias), *map(place, ratios), scratch]
    return [_job(m.op.name, m.shape, name, y, given, [t, c, o], [], want, 1)]


def _matmul(m: Measured, name: str, place: Any, scratch: Buffer) -> list[Job]:
    """The same without bias (NULL), for the products of attention."""
    if m.shape not in PRODUCTS:
        return []
    bias = m.case.inputs[4]
    assert bias is not None
    inputs = (*m.case.inputs[:4], np.zeros_like(bias), *m.case.inputs[5:])
    (job,) = _linear(replace(m, case=replace(m.case, inputs=inputs)), name, place, scratch)
    job.call.pointers[3] = None
    return [job]


def _softmax(m: Measured, name: str, place: Any, scratch: Buffer) -> list[Job]:
    """int8 y[r,c] = 256 * softmax(x * scale over the columns)[r,c] - 128."""
    if m.shape != f"{TOKENS}x{TOKENS} h{HEADS}":
        return []
    x = np.random.default_rng(3).integers(-127, 128, (HEADS * TOKENS, TOKENS)).astype(np.int8)
    real = np.exp((x.astype(np.float64) - x.max(1, keepdims=True)) * SCORE_SCALE)
    want = np.rint(256 * real / real.sum(1, keepdims=True) - 128).clip(-128, 127)
    y = place(np.zeros(x.shape, np.int8))
    return [_job("softmax forward", m.shape, name, y, [place(x)], [*x.shape], [SCORE_SCALE],
                 want.astype(np.int8), 2)]  # fmt: skip


def _add(m: Measured, name: str, place: Any, scratch: Buffer) -> list[Job]:
    """int8 y[i] = clamp(round(x[i] * a + z[i] * b))."""
    attrs, (x, z) = m.case.attrs, m.case.inputs
    assert x is not None and z is not None
    (want,) = m.op.ref(m.case.inputs, attrs, None)  # type: ignore[arg-type]
    y = place(np.zeros(x.shape, np.int8))
    floats = [float(attrs[k]) * 2.0 ** -attrs["shift"] for k in ("ma", "mb")]
    return [_job(m.op.name, m.shape, name, y, [place(x), place(z)], [x.size], floats, want, 1)]


def _job(
    kernel: str, shape: str, function: str, y: Buffer, given: list[Buffer], dims: list[int],
    floats: list[float], want: Array, tolerance: int,
) -> Job:  # fmt: skip
    call: Arguments[Buffer] = Arguments(function, [y], [], None, [y, *given], dims, floats)
    return Job(kernel, shape, call, want, tolerance)


CONTRACTS: dict[str, Callable[[Measured, str, Any, Buffer], list[Job]]] = {
    "linear_s8": _linear, "matmul_s8": _matmul, "softmax": _softmax, "add_s8": _add,
}  # fmt: skip
MEASURED = {"matmul_s8": "linear_s8", "softmax": "attention_probs_u8"}  # where not called the same
SAME = {"linear_packed_s8": "linear_s8"}  # rows of the same product as those of another kernel


def check(peer: Peer, job: Job) -> None:
    """Raises PeerError unless the function did what is asked for."""
    have = job.call.outputs[0]
    assert have is not None
    off = np.abs(have.array.astype(np.int32) - job.expected.astype(np.int32)).max()
    if off > job.tolerance or not have.intact:
        raise PeerError(
            f"peer {peer.name}: {job.call.function} for {job.kernel} {job.shape} differs by "
            f"{off} codes from what is asked for, {job.tolerance} are allowed"
        )


def best(jobs: Sequence[Job], instructions: Sequence[int]) -> dict[tuple[str, str], Any]:
    """(kernel, shape) -> (fewest instructions, the function that takes them)."""
    found: dict[tuple[str, str], Any] = {}
    for job, count in zip(jobs, instructions, strict=True):
        key = (job.kernel, job.shape)
        found[key] = min(found.get(key, (count, job.call.function)), (count, job.call.function))
    return found
