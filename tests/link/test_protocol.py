"""Framing: what is sent is received, whatever else is on the line."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytrain.errors import LinkError
from tinytrain.link.protocol import (
    END,
    INFO,
    TRAIN,
    VERSION,
    Decoder,
    Frame,
    Link,
    Noise,
    decode,
    encode,
)

KINDS = st.sampled_from(b"itsprwzq")
SPICY = st.lists(st.sampled_from([0, 1, 0x7B, 0x0A, 0xC0, 0xDB, 0xDC, 0xDD, 255])).map(bytes)
PAYLOADS = st.one_of(st.binary(max_size=200), SPICY)


def test_a_frame_byte_by_byte() -> None:
    """The layout that firmware in the field relies on."""
    assert encode(INFO, 5).hex() == "c069059e368c85c0"
    assert encode(ord("z"), 0xC0, struct.pack("<II", 0xDB, 2)) == bytes.fromhex(
        "c07adbdcdbdd00000002000000aedc584bc0"
    )


@given(KINDS, st.integers(0, 255), PAYLOADS)
def test_round_trip(kind: int, sequence: int, payload: bytes) -> None:
    wire = encode(kind, sequence, payload)
    assert wire.count(END) == 2
    assert Decoder().feed(wire) == [Frame(kind, sequence, payload)]


@given(st.lists(st.tuples(KINDS, st.integers(0, 255), PAYLOADS), max_size=4), st.integers(1, 9))
def test_frames_and_lines_share_the_stream(
    frames: list[tuple[int, int, bytes]], pieces: int
) -> None:
    line = {"event": "step", "seq": 3, "loss": 1.5}
    stream, wanted = b"", []
    for kind, sequence, payload in frames:
        stream += json.dumps(line).encode() + b"\n" + encode(kind, sequence, payload)
        wanted += [line, Frame(kind, sequence, payload)]
    decoder = Decoder()
    got = [item for i in range(0, len(stream), pieces)
           for item in decoder.feed(stream[i : i + pieces])]  # fmt: skip
    assert got == wanted


@given(st.binary(max_size=300), KINDS, PAYLOADS)
def test_garbage_costs_no_later_frame(garbage: bytes, kind: int, payload: bytes) -> None:
    good = Frame(kind, 9, payload)
    assert good in Decoder().feed(garbage + bytes([END]) + encode(kind, 9, payload))


@given(PAYLOADS, st.data())
def test_a_truncated_frame_costs_no_later_frame(payload: bytes, data: st.DataObject) -> None:
    cut = encode(ord("r"), 1, payload)
    cut = cut[: data.draw(st.integers(0, len(cut) - 1))]
    assert Frame(ord("r"), 2, b"good") in Decoder().feed(cut + encode(ord("r"), 2, b"good"))


@given(PAYLOADS, st.data())
def test_a_changed_byte_is_noticed(payload: bytes, data: st.DataObject) -> None:
    body = encode(ord("r"), 1, payload)[1:-1]
    at = data.draw(st.integers(0, len(body) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :]
    assert isinstance(decode(changed), Noise)


def test_a_line_that_is_no_json_is_noise() -> None:
    assert Decoder().feed(b"ets Jun  8 2016\r\n[1]\n") == [
        Noise(b"ets Jun  8 2016\r"), Noise(b"[1]"),
    ]  # fmt: skip


class Script:
    """A wire to a device of which each answer is written here; None: it stays silent."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.sent: list[Frame] = []
        self.waiting = b""

    def write(self, data: bytes) -> None:
        for item in Decoder().feed(data):
            assert isinstance(item, Frame)
            self.sent.append(item)
            if item.kind == INFO:
                self.waiting += line("info", item.sequence, protocol=VERSION)
            elif (answer := self.answers.pop(0)) is not None:
                self.waiting += answer.replace(b"SEQ", str(item.sequence).encode())

    def read(self, timeout_s: float) -> bytes:
        data, self.waiting = self.waiting, b""
        return data


def line(event: str, sequence: int | str, **more: object) -> bytes:
    return json.dumps({"event": event, "seq": sequence, **more}).encode() + b"\n"


STEP = line("step", "SEQ", step=1).replace(b'"SEQ"', b"SEQ")


def test_request_finds_the_device_first() -> None:
    wire = Script(STEP)
    answer = Link(wire, "board", 0.2).request(TRAIN, b"x")
    assert isinstance(answer, dict) and answer["step"] == 1
    assert [frame.kind for frame in wire.sent] == [INFO, TRAIN]


def test_an_old_answer_is_not_taken_for_a_new_one() -> None:
    late = line("step", 250, step=7)
    answer = Link(Script(late + STEP), "board", 0.2).request(TRAIN)
    assert isinstance(answer, dict) and answer["step"] == 1


def test_silence_is_an_error_and_the_next_request_works() -> None:
    wire = Script(None, STEP)
    link = Link(wire, "board", 0.1)
    with pytest.raises(LinkError, match=r"no answer from board to train within 0\.1 s"):
        link.request(TRAIN)
    link.request(TRAIN)
    assert [frame.kind for frame in wire.sent] == [INFO, TRAIN, INFO, TRAIN]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (line("error", -1, code="fault", message="", pc=16, status=1), r"crashed .*: pc 0x10"),
        (line("error", "SEQ", code="length", message="", expected=8, received=9)
         .replace(b'"SEQ"', b"SEQ"), r"expected 8 bytes, received 9"),
    ],
)  # fmt: skip
def test_refusals_are_explained(answer: bytes, says: str) -> None:
    with pytest.raises(LinkError, match=says):
        Link(Script(answer), "board", 0.2).request(TRAIN)


DAMAGED = line("error", -1, code="crc", message="the checksum is wrong")


def test_a_damaged_frame_is_sent_again() -> None:
    wire = Script(DAMAGED, STEP)
    answer = Link(wire, "board", 0.2).request(TRAIN, b"x")
    assert isinstance(answer, dict) and answer["step"] == 1
    assert [frame.kind for frame in wire.sent] == [INFO, TRAIN, INFO, TRAIN]


def test_a_line_that_damages_all_is_told() -> None:
    wire = Script(*[DAMAGED] * 4)
    with pytest.raises(LinkError, match=r"changed nothing: check the cable"):
        Link(wire, "board", 0.2).request(TRAIN)
    assert [frame.kind for frame in wire.sent].count(TRAIN) == 4


class ByteByByte(Script):
    def read(self, timeout_s: float) -> bytes:
        data, self.waiting = self.waiting[:1], self.waiting[1:]
        return data


def test_silence_after_a_damaged_frame_is_an_error_and_the_next_request_works() -> None:
    wire = Script(DAMAGED, None, STEP)
    link = Link(wire, "board", 0.1)
    with pytest.raises(LinkError, match=r"no answer from board to train"):
        link.request(TRAIN)
    link.request(TRAIN)
    assert [frame.kind for frame in wire.sent] == [INFO, TRAIN, INFO, TRAIN, INFO, TRAIN]


@pytest.mark.parametrize("script", [Script, ByteByByte])
def test_noise_before_a_frame_does_not_send_it_twice(script: type[Script]) -> None:
    wire = script(DAMAGED + STEP)
    answer = Link(wire, "board", 0.2).request(TRAIN, b"x")
    assert isinstance(answer, dict) and answer["step"] == 1
    assert [frame.kind for frame in wire.sent].count(TRAIN) == 1


def test_another_protocol_is_refused() -> None:
    class Old(Script):
        def write(self, data: bytes) -> None:
            for item in Decoder().feed(data):
                assert isinstance(item, Frame)
                self.waiting += line("info", item.sequence, protocol=VERSION + 1)

    with pytest.raises(LinkError, match="speaks protocol"):
        Link(Old(), "board", 0.2).request(TRAIN)
