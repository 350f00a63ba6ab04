"""What a device says, decoded for people: steps, scores, errors, and text of other programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from .protocol import END, INFO, NAMES, Decoder, Frame, Line, Noise, encode
from .wire import SerialWire

POLL_S = 0.2


def listen(
    wire: SerialWire, seconds: float | None = None, ask: bool = True,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Line | Frame | Noise]:  # fmt: skip
    """All that arrives, for ``seconds`` (None: until interrupted). ``ask``: for the device's info
    first. Raises LinkError when the device goes away."""
    decoder = Decoder()
    if ask:
        wire.write(bytes([END]) + encode(INFO, 0))
    end = None if seconds is None else now() + seconds
    while end is None or now() < end:
        yield from decoder.feed(wire.read(POLL_S))


def shown(item: Line | Frame | Noise) -> str:
    """One line of text."""
    if isinstance(item, Noise):
        return item.data.decode("utf-8", "backslashreplace").strip("\r\n")
    if isinstance(item, Frame):
        name = NAMES.get(item.kind, f"{item.kind:#x}")
        return f"frame {name}, {len(item.payload)} bytes"
    event = item["event"]
    form = FORMS.get(event)
    try:
        return form(item) if form else _rest(event, item)
    except (KeyError, TypeError, ZeroDivisionError):
        return _rest(event, item)


def _info(line: Line) -> str:
    stack = f", stack {line['stack_used']} of {line['stack_bytes']} bytes"
    kept = KEPT.get(line.get("kept", ""), "")
    return (
        f"{line['event']}: model {line['model']} {line['hash']:08x}, step {line['step']}, state "
        f"{line['state_bytes']} bytes, arena {line['arena_bytes']} bytes"
        f"{stack if line['stack_bytes'] else ''}{kept}"
    )


# What the flash of a board holds, where that is worth a word.
KEPT = {
    "yes": ", kept in flash",
    "other": "; the state of another model in flash is left alone",
    "damaged": "; the state in flash is damaged and left alone",
}


def _step(line: Line) -> str:
    loss = line["loss_q16"] / 65536 / line["count"]
    took = f", {line['time_us'] / 1000:.1f} ms" if line.get("time_us") else ""
    right = f"{line['correct']} of {line['count']} right"
    return f"{line['event']} {line['step']}: loss {loss:.4f}, {right}{took}"


def _error(line: Line) -> str:
    known = ("event", "seq", "code", "message")
    more = "".join(f", {key} {value}" for key, value in line.items() if key not in known)
    return f"error {line['code']}: {line['message']}{more}"


def _rest(event: str, line: Line) -> str:
    fields = ", ".join(f"{k} {v}" for k, v in line.items() if k not in ("event", "seq"))
    return f"{event}: {fields}" if fields else str(event)


FORMS: dict[str, Callable[[Line], str]] = {
    "ready": _info, "info": _info, "step": _step, "score": _step, "error": _error,
}  # fmt: skip
