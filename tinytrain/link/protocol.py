"""The serial protocol, host side: frames, the stream that mixes them with lines, requests.

The layout is described in ``firmware/include/tinytrain/tt_protocol.h``.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import LinkError
from .schema import COMMANDS

VERSION = 1
RESENT = 3  # times that a frame is sent again which was damaged on the way
END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD
_IDS = {c.name: ord(c.letter) for c in COMMANDS}
INFO, TRAIN, SCORE, PREDICT = (_IDS[n] for n in ("info", "train", "score", "predict"))
READ, WRITE, RESET, QUIT = (_IDS[n] for n in ("read", "write", "reset", "quit"))
SAVE, FORGET = _IDS["save"], _IDS["forget"]
PROBE, CHOOSE, USE = _IDS["probe"], _IDS["choose"], _IDS["use"]
SPOKEN = {"read": "read state", "write": "write state"}
NAMES = {ord(c.letter): SPOKEN.get(c.name, c.name) for c in COMMANDS}

Line = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """A frame whose checksum is right."""

    kind: int
    sequence: int
    payload: bytes


@dataclass(frozen=True)
class Noise:
    """Bytes that are neither a frame nor a line."""

    data: bytes


def encode(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame on the wire."""
    body = bytes([kind, sequence]) + payload
    body += struct.pack("<I", zlib.crc32(body))
    body = body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + body + b"\xc0"


def decode(body: bytes) -> Frame | Noise:
    """What stands between two ENDs."""
    plain, escaped = bytearray(), False
    for byte in body:
        if escaped:
            if byte not in (ESCAPED_END, ESCAPED_ESCAPE):
                return Noise(body)
            plain.append(END if byte == ESCAPED_END else ESCAPE)
        elif byte != ESCAPE:
            plain.append(byte)
        escaped = byte == ESCAPE and not escaped
    if escaped or len(plain) < 6 or zlib.crc32(plain) != 0x2144DF1C:
        return Noise(body)
    return Frame(plain[0], plain[1], bytes(plain[2:-4]))


class Decoder:
    """Splits what a device sends. A frame begins and ends with END, a line ends with a newline."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what is half received, and take what comes for a line."""
        self._held = bytearray()
        self._mode = "line"  # or "frame", or "either": behind an END

    def feed(self, data: bytes) -> list[Line | Frame | Noise]:
        """What these bytes complete."""
        found: list[Line | Frame | Noise] = []
        for byte in data:
            if byte == END:
                if self._held:
                    body = bytes(self._held)
                    found.append(decode(body) if self._mode == "frame" else Noise(body))
                self._held.clear()
                self._mode = "either"
                continue
            if self._mode == "either":
                self._mode = "line" if byte == ord("{") else "frame"
            if self._mode == "line" and byte == ord("\n"):
                found.append(_line(bytes(self._held)))
                self._held.clear()
            else:
                self._held.append(byte)
        return found


def _line(data: bytes) -> Line | Noise:
    try:
        value = json.loads(data)
    except ValueError:
        return Noise(data)
    return value if isinstance(value, dict) and "event" in value else Noise(data)


class Wire(Protocol):
    """A byte stream; both methods raise LinkError when it is gone."""

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, at least one byte; empty when nothing came in time."""

    def write(self, data: bytes) -> None:
        """Send all."""


class Link:
    """Requests and their answers over a wire; every answer carries the number of its request.

    After a failed request the next one first finds the device again, so that an answer that came
    too late, or half of one, is never taken for another's.
    """

    def __init__(self, wire: Wire, name: str, timeout_s: float) -> None:
        self.wire, self.name, self.timeout_s = wire, name, timeout_s
        self._decoder = Decoder()
        self._arrived: list[Line | Frame | Noise] = []  # and not looked at yet
        self._sequence = 0
        self._lost = True

    def request(self, kind: int, payload: bytes = b"") -> Line | Frame:
        """Send a frame and wait for its answer; one that was damaged on the way is sent again.

        Raises LinkError when the device refuses it, crashes or does not answer in time. A refused
        frame has changed nothing on the device.
        """
        if self._lost:
            self.find()
        self._lost = True
        answer = self._ask(kind, payload, self._answers_or_refuses, self.timeout_s)
        for _ in range(RESENT):
            if not _damaged(answer):
                break
            # What was damaged may have been noise before the frame: then that is answered, too.
            heard = self._answer_before_info(self._sequence)
            answer = heard or self._ask(kind, payload, self._answers_or_refuses, self.timeout_s)
        if isinstance(answer, dict) and answer["event"] == "error":
            self._lost = answer["seq"] < 0
            raise LinkError(
                f"{self.name} refused a {NAMES.get(kind, kind)} frame: {answer.get('message')} "
                f"({answer.get('code')}); {_hint(answer)}"
            )
        self._lost = False
        return answer

    def _answer_before_info(self, sequence: int) -> Line | Frame | None:
        """Get in step with the device; the answer to an earlier request, if it comes meanwhile."""
        heard: list[Line | Frame] = []

        def listen(item: Line | Frame, asked: int) -> bool:
            if self._answers(item, sequence):
                heard.append(item)
            return self._answers(item, asked)

        self._info(listen)
        return heard[0] if heard else None

    def find(self) -> Line:
        """Get in step with the device, whatever it holds of an unfinished frame; gives its info."""
        self._forget()
        answer = self._info(self._answers)
        assert isinstance(answer, dict)
        if answer.get("protocol") != VERSION:
            raise LinkError(
                f"{self.name} speaks protocol {answer.get('protocol')}, this tinytrain {VERSION}; "
                "build and flash the firmware again"
            )
        self._lost = False
        return answer

    def _forget(self) -> None:
        """What arrived, whole or not, is of no use any more."""
        self._decoder.reset()
        self._arrived.clear()

    def _info(self, accept: Callable[[Line | Frame, int], bool]) -> Line | Frame:
        """The device's info, for which ``accept`` looks in what arrives."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            self.wire.write(bytes([END]))  # closes what is open
            remaining = deadline - time.monotonic()
            try:
                return self._ask(INFO, b"", accept, min(2.0, max(0.1, remaining)))
            except _NoAnswer:
                if time.monotonic() >= deadline:
                    raise
                self._forget()

    def _ask(
        self,
        kind: int,
        payload: bytes,
        accept: Callable[[Line | Frame, int], bool],
        timeout_s: float,
    ) -> Line | Frame:
        self._sequence = (self._sequence + 1) % 256
        self.wire.write(encode(kind, self._sequence, payload))
        deadline = time.monotonic() + timeout_s
        while (remaining := deadline - time.monotonic()) > 0:
            if not self._arrived:
                self._arrived = self._decoder.feed(self.wire.read(remaining))
            while self._arrived:
                item = self._arrived.pop(0)
                if isinstance(item, Noise):
                    continue
                if isinstance(item, dict) and item.get("code") == "fault":
                    raise LinkError(
                        f"the program on {self.name} crashed in {NAMES.get(kind, kind)}: pc "
                        f"{item.get('pc', 0):#x}, fault status {item.get('status', 0):#x}; a stack "
                        "that is too small does this: raise stack_bytes in board.toml"
                    )
                if accept(item, self._sequence):
                    return item
        raise _NoAnswer(
            f"no answer from {self.name} to {NAMES.get(kind, kind)} within {timeout_s:.3g} s; "
            "check the port and the baud rate, and that this firmware runs on it; reset the board"
        )

    @staticmethod
    def _answers(item: Line | Frame, sequence: int) -> bool:
        if isinstance(item, Frame):
            return item.sequence == sequence
        return item.get("seq") == sequence and item["event"] != "ready"

    @staticmethod
    def _answers_or_refuses(item: Line | Frame, sequence: int) -> bool:
        """An error without a number is about the only frame under way: the last one."""
        refuses = isinstance(item, dict) and item["event"] == "error" and item.get("seq") == -1
        return refuses or Link._answers(item, sequence)


class _NoAnswer(LinkError):
    pass


def _damaged(answer: Line | Frame) -> bool:
    """Whether it says that a frame had lost or changed bytes."""
    return isinstance(answer, dict) and answer.get("code") in ("crc", "frame")


def _hint(answer: Line) -> str:
    if _damaged(answer):
        return "it was damaged on the way and changed nothing: check the cable, or lower the baud"
    if answer["code"] == "length":
        return (f"expected {answer.get('expected')} bytes, received {answer.get('received')}: "
                "the firmware is of another model")  # fmt: skip
    if answer["code"] == "type":
        return "build and flash the firmware again"
    if answer["code"] == "storage":
        return (f"a state takes {answer.get('needed')} bytes, and each of the two slots has "
                f"{answer.get('slot_bytes')}: see [[storage]] in docs/boards.md")  # fmt: skip
    if answer["code"] == "flash":
        return "what was kept before is still kept; if it fails again, the flash is worn out"
    return "the sample does not fit this model"
