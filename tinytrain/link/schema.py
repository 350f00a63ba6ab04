"""The link's one table: commands, answers and errors. C ids, docs and checks are made from it.

``python -m tinytrain.link.schema --write`` writes the generated header of the firmware and the
tables of ``docs/protocol.md`` again.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LinkError

NUMBER, TEXT, REAL, NUMBERS = "number", "text", "real", "numbers"


@dataclass(frozen=True)
class Command:
    """A command. ``arguments`` are u32; then the input, then the labels; ``free``: 1 to
    ``input_bytes`` bytes in the input's place. ``answer`` is an event, or ``frame``."""

    letter: str
    name: str
    answer: str
    arguments: tuple[str, ...] = ()
    input: bool = False
    labels: bool = False
    free: bool = False
    schemes: bool = False
    note: str = ""

    @property
    def payload(self) -> str:
        """In words."""
        parts = [f"{name} u32" for name in self.arguments]
        if self.input:
            parts.append("1 to `input_bytes` bytes" if self.free else "input")
        return ", ".join(parts + ["labels int16"] * self.labels)


COMMANDS = (
    Command("i", "info", "info"),
    Command("t", "train", "step", input=True, labels=True),
    Command("s", "score", "score", input=True, labels=True),
    Command("p", "predict", "frame", input=True, note="logits int16, 1/256 nat"),
    Command("r", "read", "frame", ("offset", "count"), note="count bytes of the state"),
    Command("w", "write", "write", ("offset",), input=True, free=True),
    Command("z", "reset", "reset", ("seed", "step"), note="weights stay as they are"),
    Command("v", "save", "save", note="the state is in the flash"),
    Command("f", "forget", "forget", note="the flash keeps nothing; RAM stays as it is"),
    Command("q", "quit", "quit", note="then the program ends"),
    Command("u", "use", "use", ("scheme",), schemes=True),
    Command("b", "probe", "probe", input=True, labels=True, schemes=True),
    Command("c", "choose", "choose", schemes=True),
)

_INFO = {
    "protocol": NUMBER, "model": TEXT, "hash": NUMBER, "input_bytes": NUMBER, "labels": NUMBER,
    "logits": NUMBER, "arena_bytes": NUMBER, "state_bytes": NUMBER, "step": NUMBER,
    "seed": NUMBER, "stack_bytes": NUMBER, "stack_used": NUMBER, "refused": NUMBER,
    "slot_bytes": NUMBER, "kept": TEXT,
}  # fmt: skip
_STEP = {
    "step": NUMBER, "loss": REAL, "loss_q16": NUMBER, "correct": NUMBER, "count": NUMBER,
    "time_us": NUMBER,
}  # fmt: skip
EVENTS: dict[str, dict[str, str]] = {
    "ready": _INFO, "info": _INFO, "step": _STEP, "score": _STEP,
    "write": {"offset": NUMBER, "bytes": NUMBER},
    "reset": {"seed": NUMBER, "step": NUMBER},
    "save": {"step": NUMBER, "bytes": NUMBER},
    "forget": {"step": NUMBER, "bytes": NUMBER},
    "quit": {},
    "use": {"scheme": NUMBER, "name": TEXT},
    "probe": _STEP,
    "choose": {"scheme": NUMBER, "name": TEXT, "probed": NUMBER, "worth_q24": NUMBERS},
    "error": {"code": TEXT, "message": TEXT},
}  # fmt: skip

_TYPES = {
    NUMBER: lambda v: isinstance(v, int) and not isinstance(v, bool),
    REAL: lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    TEXT: lambda v: isinstance(v, str),
    NUMBERS: lambda v: isinstance(v, list) and all(type(n) is int for n in v),
}


def checked(line: dict[str, Any], event: str, device: str) -> dict[str, Any]:
    """``line``, if it is this event with all fields; raises LinkError that names what is not."""
    if line.get("event") != event:
        raise LinkError(f"{device} answered {line.get('event')!r} where {event!r} was due; "
                        "build and flash the firmware again")  # fmt: skip
    for field, kind in EVENTS[event].items():
        if field not in line:
            raise LinkError(f"the answer {event!r} of {device} has no field {field!r}; it was "
                            "damaged on the way, or the firmware is another's")  # fmt: skip
        if not _TYPES[kind](line[field]):
            raise LinkError(f"field {field!r} of the answer {event!r} of {device} is "
                            f"{line[field]!r}, not a {kind}; damaged on the way")  # fmt: skip
    return line


def command(kind: int) -> Command:
    """The command of a letter's code."""
    return next(c for c in COMMANDS if ord(c.letter) == kind)


def header() -> str:
    """``tt_schema.h``."""

    def table(name: str, schemes: bool) -> str:
        rows = [
            f"    X({_id(c)}, {4 * len(c.arguments)}u, {int(c.input)}u, "
            f"{int(c.labels)}u, {int(c.free)}u)"
            for c in COMMANDS if c.schemes == schemes
        ]  # fmt: skip
        return f"#define {name}(X) \\\n" + " \\\n".join(rows) + "\n"

    ids = "".join(f"#define {_id(c)} '{c.letter}'\n" for c in COMMANDS)
    return (
        "/* Made by python -m tinytrain.link.schema --write from tinytrain/link/schema.py. */\n"
        "/* clang-format off */\n#ifndef TT_SCHEMA_H\n#define TT_SCHEMA_H\n\n"
        f"{ids}\n/* id, bytes of numbers, whether input and labels follow, whether the length of"
        " the input is free */\n"
        f"{table('TT_COMMANDS', False)}\n/* and of a model that holds several schemes */\n"
        f"{table('TT_SCHEME_COMMANDS', True)}\n#endif\n"
    )


def _id(c: Command) -> str:
    return f"TT_COMMAND_{c.name.upper()}"


def docs() -> str:
    """The table of commands of ``docs/protocol.md``."""
    rows = ["| type | payload | answer |", "|---|---|---|"]
    for c in COMMANDS:
        answer = f"frame `{c.letter}`: " if c.answer == "frame" else f"line `{c.answer}`"
        answer += ("; " if c.note and c.answer != "frame" else "") + c.note
        rows.append(f"| `{c.letter}` {c.name} | {c.payload} | {answer} |".replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "firmware" / "include" / "tinytrain" / "tt_schema.h"
DOCS = ROOT / "docs" / "protocol.md"
BEGIN, STOP = "<!-- commands: made by tinytrain.link.schema -->\n", "<!-- end -->\n"


def with_docs(text: str) -> str:
    """``text`` of the page with the table between its markers as it is made now."""
    span = re.escape(BEGIN) + ".*?" + re.escape(STOP)
    return re.sub(span, lambda _: f"{BEGIN}\n{docs()}\n{STOP}", text, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    """Writes both with ``--write``; without it says (exit code 1) whether one is out of date."""
    page = DOCS.read_text()
    if "--write" in arguments:
        HEADER.write_text(header())
        DOCS.write_text(with_docs(page))
        return 0
    return int(not HEADER.exists() or HEADER.read_text() != header() or with_docs(page) != page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
