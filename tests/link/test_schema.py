"""The table of the link: what is made from it is what is committed; answers are checked by it."""

from __future__ import annotations

from typing import Any

import pytest

from tinytrain.errors import LinkError
from tinytrain.link import schema
from tinytrain.link.protocol import NAMES, encode

STEP: dict[str, Any] = {
    "event": "step", "seq": 2, "step": 1, "loss": 0.595, "loss_q16": 39000, "correct": 1,
    "count": 1, "time_us": 0,
}  # fmt: skip


def test_header_and_docs_are_those_of_the_table() -> None:
    assert schema.HEADER.read_text() == schema.header()
    page = schema.DOCS.read_text()
    assert schema.docs() in page and schema.with_docs(page) == page


def test_letters_are_unique_and_answers_known() -> None:
    assert len({c.letter for c in schema.COMMANDS}) == len(schema.COMMANDS) == len(NAMES)
    assert all(c.answer in {*schema.EVENTS, "frame"} for c in schema.COMMANDS)


def test_a_missing_or_changed_field_is_named() -> None:
    assert schema.checked(STEP, "step", "board") is STEP
    for field in schema.EVENTS["step"]:
        short = {key: value for key, value in STEP.items() if key != field}
        with pytest.raises(LinkError, match=f"'step' of board has no field '{field}'"):
            schema.checked(short, "step", "board")
        with pytest.raises(LinkError, match=f"field '{field}' of the answer 'step'"):
            schema.checked({**STEP, field: "x"}, "step", "board")
    with pytest.raises(LinkError, match="answered 'score' where 'step' was due"):
        schema.checked({**STEP, "event": "score"}, "step", "board")


VECTORS = {
    ("info", b""): "c0690187f2e182c0",
    ("reset", bytes([0xC0, *[0] * 7])): "c07a02dbdc000000000000009612b156c0",
}


@pytest.mark.parametrize(("given", "wire"), list(VECTORS.items()))
def test_frames_of_the_specification(given: tuple[str, bytes], wire: str) -> None:
    name, payload = given
    found = next(c for c in schema.COMMANDS if c.name == name)
    assert encode(ord(found.letter), 1 if name == "info" else 2, payload) == bytes.fromhex(wire)
