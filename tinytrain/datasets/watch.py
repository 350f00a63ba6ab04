"""Smartwatch exercises: the data of seglearn (BSD), split as a device would meet it.

Ten people did seven shoulder exercises with a watch on the right arm, then on the left; 140
recordings of accelerometer and gyroscope at 50 Hz. A watch is trained on the right arms of nine
people. The tenth buys it and wears it on the left arm: another person, and mirrored axes.

    pretrain  the other nine people's right arms
    adapt     the new person's left arm, the first 30 % of each recording, in a fixed random order
    target    the new person's left arm, the rest, one window (2.56 s) later
    source    the new person's right arm, whole: what the model could do before it adapted, so
              its accuracy afterwards is what was forgotten. No part of it is ever trained on.

Learning rates are chosen on ``validation_people(person)``: the same problem, posed for others.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..recipe import Dataset, Proxy
from .common import Ints, find_file, shuffled, window_starts

WINDOW, STRIDE = 128, 64
PEOPLE = tuple(range(1, 11))
RIGHT, LEFT = 1, 0
ADAPT_FRACTION = 0.3
CLIP = 4.0  # standard deviations; 0.3 % of all readings lie beyond, and int8 has 256 steps
COMMAND = "pip install --no-deps seglearn==1.2.5"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WatchSplit:
    """``x`` float32 ``[N, 128, 6]``, normalised; ``y`` int64 ``[N]`` in 0..6.

    ``mean`` and ``std`` (float32 ``[6]``, sensor units) are those of the pretrain recordings.
    ``origins`` names, for each set, the recording and the first sample of each window, ``[N, 2]``.
    """

    person: int
    pretrain: Dataset
    adapt: Dataset
    target: Dataset
    source: Dataset
    mean: Floats
    std: Floats
    labels: tuple[str, ...]
    origins: dict[str, Ints] = field(repr=False)


@dataclass(frozen=True)
class Recordings:
    """``x``: one ``[T, 6]`` array a recording; ``y``, ``person``, ``side``: int64 ``[R]``."""

    x: tuple[npt.NDArray[np.float64], ...]
    y: Ints
    person: Ints
    side: Ints
    labels: tuple[str, ...]

    def where(self, people: tuple[int, ...], side: int) -> list[int]:
        """Indices of the recordings of these people with the watch on this side."""
        return [int(r) for r in np.flatnonzero(np.isin(self.person, people) & (self.side == side))]


def validation_people(person: int) -> tuple[int, ...]:
    """Other people on whom learning rates for ``person`` may be chosen; never 1, 2, 4, 5 or 9."""
    return tuple(p for p in (3, 6, 7, 10) if p != person)


def find_watch() -> Path:
    """``watch_dataset.npy``, of seglearn; as ``find_file``."""
    return find_file("seglearn", "data/watch_dataset.npy", "the smartwatch data is", COMMAND)


def read_watch() -> Recordings:
    """All 140 recordings as they are. Raises DataError when the file is not as expected."""
    path = find_watch()
    try:
        raw = np.load(path, allow_pickle=True).item()  # a dictionary, pickled by seglearn
        recordings = Recordings(
            tuple(np.asarray(x, np.float64) for x in raw["X"]),
            np.asarray(raw["y"], np.int64),
            np.asarray(raw["subject"], np.int64),
            np.asarray(raw["side"], np.int64),
            tuple(str(label) for label in raw["y_labels"]),
        )
    except (KeyError, ValueError, AttributeError, OSError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: not the watch data of seglearn 1.2.5; try: {COMMAND}") from error
    if len(recordings.x) != 140 or any(x.shape[1:] != (6,) for x in recordings.x):
        raise DataError(f"{path}: expected 140 recordings of 6 channels; get them with: {COMMAND}")
    return recordings


def watch_proxies(
    split: WatchSplit, people: tuple[int, ...] = (), seed: int = 0
) -> tuple[Proxy, ...]:  # fmt: skip
    """The same problem posed for other people: the first 30 % of their left-arm recordings adapt,
    the rest validates. What a scheme may be selected on before anybody has bought the watch.

    ``people``: None of them ``split.person``; by default two of ``validation_people``.
    """
    data = read_watch()
    found = []
    for person in people or validation_people(split.person)[:2]:
        if person == split.person or person not in PEOPLE:
            raise DataError(f"person {person} is no proxy for person {split.person}")
        lefts = data.where((person,), LEFT)
        adapt, rest = (
            _windows(data, origin_table([(r, cut(len(data.x[r]))[i]) for r in lefts]), split.mean,
                     split.std)
            for i in (0, 1)
        )  # fmt: skip
        found.append(Proxy(shuffled(adapt, seed)[0], rest))
    return tuple(found)


def cut(length: int) -> tuple[Ints, Ints]:
    """Window starts in one left-arm recording of ``length`` samples: to adapt, and to test.

    The first 30 % of the samples adapt; one window's length is left out; the rest is tested.
    """
    split = int(ADAPT_FRACTION * length)
    return (
        window_starts(0, split, WINDOW, STRIDE),
        window_starts(split + WINDOW, length, WINDOW, STRIDE),
    )


def load_watch(person: int, seed: int = 0) -> WatchSplit:
    """The four data sets for one new person, 1 to 10; ``seed`` orders the adapt stream.

    Raises DataError for an unknown person or when the data is absent.
    """
    if person not in PEOPLE:
        raise DataError(f"person {person}: the watch data has people 1 to 10")
    data = read_watch()
    others = tuple(p for p in PEOPLE if p != person)
    rights, lefts, own = (
        data.where(others, RIGHT),
        data.where((person,), LEFT),
        data.where((person,), RIGHT),
    )
    samples = np.concatenate([data.x[r] for r in rights])
    mean, std = samples.mean(axis=0).astype(np.float32), samples.std(axis=0).astype(np.float32)

    def whole(chosen: list[int]) -> Ints:
        return origin_table([(r, window_starts(0, len(data.x[r]), WINDOW, STRIDE)) for r in chosen])

    origins = {
        "pretrain": whole(rights),
        "adapt": origin_table([(r, cut(len(data.x[r]))[0]) for r in lefts]),
        "target": origin_table([(r, cut(len(data.x[r]))[1]) for r in lefts]),
        "source": whole(own),
    }
    sets = {name: _windows(data, table, mean, std) for name, table in origins.items()}
    sets["adapt"], order = shuffled(sets["adapt"], seed)
    origins["adapt"] = origins["adapt"][order]
    return WatchSplit(
        person=person, mean=mean, std=std, labels=data.labels, origins=origins, **sets
    )


def origin_table(parts: list[tuple[int, Ints]]) -> Ints:
    """Rows (recording, first sample), ``[N, 2]``."""
    return np.concatenate(
        [np.stack([np.full_like(starts, r), starts], axis=1) for r, starts in parts]
    )


def _windows(data: Recordings, table: Ints, mean: Floats, std: Floats) -> Dataset:
    """Cut, normalise and clip the windows that ``table`` names."""
    cuts = np.stack([data.x[r][start : start + WINDOW] for r, start in table])
    x = np.clip((cuts - mean) / std, -CLIP, CLIP).astype(np.float32)
    return Dataset(x, data.y[table[:, 0]])
