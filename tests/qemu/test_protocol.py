"""The firmware on emulated boards: a toy model behind the real runtime, protocol and port."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_model import FILES, HASH, FakeCodec, samples

from tinytrain.boards import load_board, port_bytes, runtime_bytes
from tinytrain.errors import LinkError
from tinytrain.link.protocol import INFO, PREDICT, READ, RESET, TRAIN, WRITE, Decoder, encode
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.toolchain.build import Artifact, build

pytestmark = pytest.mark.qemu

BOARDS = (
    "qemu_mps2_an386", "qemu_mps2_an500", "qemu_rv32", "qemu_mps3_an547", "qemu_netduinoplus2",
)  # fmt: skip
STATE = 264 + 16 + 8


@pytest.fixture(scope="module", params=BOARDS)
def artifact(request: Any, tmp_path_factory: Any) -> Artifact:
    return build(FILES, load_board(request.param), tmp_path_factory.mktemp("fw") / request.param)


def start(artifact: Artifact, **options: Any) -> QemuSession:
    return QemuSession(artifact.board, artifact, FakeCodec(), model_hash=HASH, **options)


@pytest.fixture(scope="module")
def session(artifact: Artifact) -> Iterator[QemuSession]:
    with start(artifact, timeout_s=20) as made:
        yield made


def exchange(session: QemuSession, data: bytes, answers: int) -> list[Any]:
    """Send raw bytes and take that many answers."""
    wire, decoder, got = session._wire, Decoder(), []
    assert wire is not None
    wire.write(data)
    deadline = time.monotonic() + 20
    while len(got) < answers and time.monotonic() < deadline:
        got += decoder.feed(wire.read(1.0))
    assert len(got) == answers, got
    return got


def test_info(session: QemuSession) -> None:
    info = session.info()
    assert info["model"] == "fake" and info["hash"] == HASH and info["protocol"] == 1
    assert info["input_bytes"] == 64 and info["labels"] == 1 and info["logits"] == 4
    assert info["arena_bytes"] == 128 and info["state_bytes"] == STATE
    assert info["stack_bytes"] == session.machine.board.stack_bytes
    assert 64 < info["stack_used"] < info["stack_bytes"]


def test_static_memory_is_the_sum_of_its_parts(artifact: Artifact) -> None:
    """264 bytes of weights have content; bias, arena, input and labels start as zeros."""
    own = port_bytes(artifact.board)
    assert artifact.sections[".data"] == 264
    assert artifact.sections[".bss"] == 16 + 128 + 64 + 8 + runtime_bytes() + own
    assert artifact.sections[".stack"] == artifact.board.stack_bytes
    assert artifact.symbols["tt_run"] == runtime_bytes()


def test_train_predict_and_score(session: QemuSession) -> None:
    session.reset(seed=7)
    first, second = samples(2)
    before = session.weights()
    a = session.step(first, 0)
    b = session.step(second, 3)
    assert (a.step, b.step) == (1, 2) and (a.correct, b.correct) == (1, 0) and a.loss > 0
    after = session.weights()
    assert (before["weights"] != after["weights"]).any() and after["bias"][3] > before["bias"][3]
    logits = session.predict(first)
    w = after["weights"].astype(np.int64)
    wanted = [int(after["bias"][k] + w[66 * k : 66 * k + 64] @ first) for k in range(4)]
    np.testing.assert_array_equal(logits * 256, np.clip(wanted, -32767, 32767))
    scored = session.score(first, 1)
    assert scored.loss == 1.5 and scored.count == 1 and scored.step == 2


def test_state_round_trip(session: QemuSession) -> None:
    blob = session.snapshot()
    assert len(blob) == STATE
    data = samples(4)
    curve = [session.step(x, 1).loss for x in data]
    assert session.snapshot() != blob
    session.restore(blob)
    assert session.snapshot() == blob
    assert [session.step(x, 1).loss for x in data] == curve
    spicy = bytes([0xC0, 0xDB, 0xDC, 0xDD] * (STATE // 4))
    session.restore(spicy)
    assert session.snapshot() == spicy
    session.restore(blob)


def test_reset_sets_seed_and_step(session: QemuSession) -> None:
    session.reset(seed=99, step=41)
    assert session.snapshot()[-8:] == struct.pack("<II", 99, 41)
    assert session.step(samples(1)[0], 0).step == 42


BODY = bytes(range(64)) + b"\x01\x00"
GOOD = encode(TRAIN, 77, BODY)
BAD: dict[str, tuple[bytes, str]] = {
    "truncated": (GOOD[:40], "crc"),
    "truncated in the header": (GOOD[:2], "frame"),
    "corrupted": (GOOD.replace(bytes([30]), bytes([31]), 1), "crc"),
    "oversized": (encode(TRAIN, 5, bytes(5000)), "length"),
    "too short": (encode(TRAIN, 5, bytes(65)), "length"),
    "unknown": (encode(ord("x"), 5, b"what"), "type"),
    "unknown and long": (encode(ord("x"), 5, bytes(3000)), "type"),
    "no write at all": (encode(WRITE, 5, bytes(4)), "length"),
    "write too long": (encode(WRITE, 5, bytes(69)), "length"),
    "write behind the end": (encode(WRITE, 5, struct.pack("<I", STATE - 3) + bytes(4)), "range"),
    "read behind the end": (encode(READ, 5, struct.pack("<II", 1, STATE)), "range"),
    "read that wraps": (encode(READ, 5, struct.pack("<II", 8, 2**32 - 4)), "range"),
    "info with payload": (encode(INFO, 5, b"?"), "length"),
    "label too high": (encode(TRAIN, 5, BODY[:64] + b"\x04\x00"), "label"),
    "label too low": (encode(TRAIN, 5, BODY[:64] + b"\xfe\xff"), "label"),
    "wrong escape": (b"\xc0" + GOOD[1:20] + b"\xdb\x01" + GOOD[20:], "frame"),
    "ends in an escape": (GOOD[:-1] + b"\xdb\xc0", "frame"),
    "text": (b"\r\nhelp\r\n", "crc"),
    "garbage": (bytes(b for b in os.urandom(700) if b not in (0xC0, 0xDB)), "crc"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_frame_is_answered_and_costs_no_other(session: QemuSession, name: str) -> None:
    bad, code = BAD[name]
    before = session.snapshot()
    error, info = exchange(session, bad + encode(INFO, 200), 2)
    assert error["event"] == "error" and error["code"] == code and error["message"]
    assert info["event"] == "info" and info["seq"] == 200
    assert session.snapshot() == before
    (step,) = exchange(session, GOOD, 1)
    assert step["event"] == "step" and step["seq"] == 77
    assert step["loss"] == pytest.approx(step["loss_q16"] / 65536, abs=1e-4)


def test_an_open_frame_is_closed_by_one_byte(session: QemuSession) -> None:
    (error,) = exchange(session, GOOD[:30] + b"\xc0", 1)
    assert error["code"] == "crc"


def test_errors_reach_the_user(session: QemuSession) -> None:
    with pytest.raises(LinkError, match=r"refused a train frame: a label is not a class"):
        session.step(samples(1)[0], 9)
    with pytest.raises(LinkError, match=r"expected 66 bytes, received 65"):
        session.link.request(TRAIN, bytes(65))
    with pytest.raises(LinkError, match=r"has 288 bytes, not 3"):
        session.restore(b"abc")
    assert session.link.request(RESET, bytes(8))["event"] == "reset"  # type: ignore[index]
    assert len(session.link.request(PREDICT, bytes(64)).payload) == 8  # type: ignore[union-attr]


def test_instructions_are_counted_and_repeat(artifact: Artifact) -> None:
    counts = []
    for _ in range(2):
        with start(artifact) as session:
            for x in samples(5):
                session.step(x, 2)
            session.predict(samples(1)[0])
            live = session.instructions_per_step
        counts.append(session.instructions_per_step)
        assert live == counts[-1]
        assert session.machine.process.returncode == 0
        assert 64 < session.stack_used_bytes < 1024
    assert counts[0] == counts[1] and len(counts[0]) == 5 and min(counts[0]) > 2000


def test_stack_overflow_is_reported_and_ends_the_program(artifact: Artifact) -> None:
    with start(artifact, timeout_s=20) as session:
        weights = session.weights()["weights"]
        assert weights[0] == 1
        with pytest.raises(LinkError, match=r"crashed in train: .*fault status"):
            session.step(np.full(64, -128), 0)
        # A board without anywhere to go starts again, which the emulator takes for a good end.
        assert session.machine.wait(10) == (0 if artifact.board.stm32 else 3)
    with pytest.raises(LinkError, match="closed"):
        session.step(samples(1)[0], 0)


def test_a_vanished_device_is_an_error(artifact: Artifact) -> None:
    with start(artifact, timeout_s=3) as session:
        session.machine.process.kill()
        session.machine.wait()
        with pytest.raises(LinkError, match="is gone"):
            session.step(samples(1)[0], 0)


def test_another_models_firmware_is_refused(artifact: Artifact) -> None:
    with pytest.raises(LinkError, match=r"is model 'fake' 1234abcd, not 00000001"):
        QemuSession(artifact.board, artifact, FakeCodec(), model_hash=1)


def test_boards_agree(tmp_path: Path) -> None:
    states = []
    for name in BOARDS:
        built = build(FILES, load_board(name), tmp_path / name)
        with start(built, count=False) as session:
            curve = [session.step(x, i % 4).loss for i, x in enumerate(samples(8))]
            states.append((curve, session.weights_sha256()))
    assert states[0] == states[1]
