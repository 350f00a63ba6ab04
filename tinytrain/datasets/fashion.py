"""Fashion-MNIST (Zalando, MIT licence): ten kinds of clothes, seen by a camera that was turned.

The model leaves the factory trained on upright images. The device's camera is mounted at an angle:
what it sees is turned by 30 degrees, and much of what the model knows is lost.

    pretrain    upright, from the training images
    adapt       turned, other training images, in a fixed random order
    validation  turned, other training images: learning rates are chosen here
    target      turned, the first half of the test images
    source      upright, the second half: what could be done before, and may be forgotten

Images of 28x28 get a border of 2 before they are turned, so that they are 32x32.

With ``known`` less than 10, pretrain and source have the first so many classes alone; the other
sets have all ten. Without a turn that is another shift: classes that the factory did not have.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from .common import Ints, data_root
from .images import Bytes, Floats, ImageSplit, normalised

SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # of the Debian package
COMMAND = "apt-get install -y --no-install-recommends dataset-fashion-mnist"
LABELS = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
          "boot")  # fmt: skip
BORDER = 2
ADAPT, VALIDATION = 2000, 2000  # images


@dataclass(frozen=True)
class Images:
    """``x`` uint8 ``[N, 28, 28]``, ``y`` uint8 ``[N]`` in 0..9."""

    x: Bytes
    y: Bytes


def find_fashion() -> Path:
    """The folder of the four files: ``fashion-mnist`` in the data folder, or the system's.

    Raises DataError naming the command that gets it.
    """
    for folder in (data_root() / "fashion-mnist", SYSTEM):
        if (folder / "train-images-idx3-ubyte.gz").is_file():
            return folder
    raise DataError(f"Fashion-MNIST is not installed; get it (Debian, Ubuntu) with: {COMMAND}")


def read_fashion() -> tuple[Images, Images]:
    """Training and test images as they are. Raises DataError when a file is not as expected."""
    folder = find_fashion()
    parts = []
    for name in ("train", "t10k"):
        x = read_idx(folder / f"{name}-images-idx3-ubyte.gz")
        y = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
        if x.shape != (len(y), 28, 28):
            raise DataError(f"{folder}: {name} has images {x.shape} and {len(y)} labels")
        parts.append(Images(x, y))
    return parts[0], parts[1]


def read_idx(path: Path) -> Bytes:
    """A gzipped IDX file of bytes: two zeros, 8 (unsigned bytes), the rank, the big-endian sizes.

    Raises DataError for another content.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
        rank = raw[3]
        shape = np.frombuffer(raw, ">u4", rank, 4)
        whole = np.frombuffer(raw, np.uint8, -1, 4 + 4 * rank).reshape(shape.astype(int))
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not an IDX file ({error}); try: {COMMAND}") from error
    if raw[:3] != b"\0\0\x08":
        raise DataError(f"{path}: not an IDX file of bytes; try: {COMMAND}")
    return whole


def turned(images: Floats, degrees: float) -> Floats:
    """Square images ``[N, S, S]`` turned counter-clockwise about their middle, bilinear; zeros come
    in from outside."""
    size, angle = images.shape[-1], math.radians(degrees)
    middle = (size - 1) / 2
    r, c = np.indices((size, size)) - middle
    row = np.cos(angle) * r + np.sin(angle) * c + middle  # where each pixel comes from
    column = np.cos(angle) * c - np.sin(angle) * r + middle
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    top, left = np.floor(row), np.floor(column)
    found = np.zeros_like(images)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (row - top)) * np.abs(1 - right - (column - left))
            at = tuple(np.clip(v + 1, 0, size + 1).astype(int) for v in (top + down, left + right))
            found += share.astype(np.float32) * padded[:, at[0], at[1]]
    return found


def load_fashion(
    degrees: float = 30.0, pretrain_images: int = 40_000, test_images: int = 1000, seed: int = 0,
    known: int = len(LABELS),
) -> ImageSplit:  # fmt: skip
    """The five data sets. ``degrees`` the camera is turned by; ``test_images`` in target and in
    source, each; ``seed`` orders the adapt stream; ``known``: classes of pretrain and source, which
    have fewer images where that is not all.

    Raises DataError when the data is absent (naming the command) or has too few images.
    """
    train, test = read_fashion()
    used, half = pretrain_images + ADAPT + VALIDATION, len(test.y) // 2
    if min(pretrain_images, test_images) < 1 or used > len(train.y) or test_images > half:
        raise DataError(
            f"pretrain_images is 1 to {len(train.y) - ADAPT - VALIDATION}, not {pretrain_images}; "
            f"test_images 1 to {half}, not {test_images}"
        )
    if not 1 <= known <= len(LABELS):
        raise DataError(f"known is {known}; give 1 to {len(LABELS)} classes")
    order = np.random.default_rng(seed).permutation(ADAPT)
    origins: dict[str, Ints] = {
        "pretrain": np.arange(pretrain_images),
        "adapt": pretrain_images + order,
        "validation": np.arange(pretrain_images + ADAPT, used),
        "target": len(train.y) + np.arange(test_images),
        "source": len(train.y) + half + np.arange(test_images),
    }
    everything = Images(np.concatenate([train.x, test.x]), np.concatenate([train.y, test.y]))
    upright = {"pretrain", "source"}
    for name in upright:
        origins[name] = origins[name][everything.y[origins[name]] < known]
    pixels = {
        name: _pixels(everything.x[chosen], 0.0 if name in upright else degrees)
        for name, chosen in origins.items()
    }
    return normalised(pixels, everything.y, origins, LABELS)


def _pixels(images: Bytes, degrees: float) -> Floats:
    """In [0, 1], with a border, turned."""
    wide = np.pad(images, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    scaled = np.asarray(wide / np.float32(255), np.float32)
    return turned(scaled, degrees) if degrees else scaled
