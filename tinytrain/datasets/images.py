"""What the image loaders share: the sets of a split, normalised by what the model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..recipe import Dataset
from .common import Ints

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSplit:
    """``x`` float32 ``[N, 1, 32, 32]``, normalised; ``y`` int64 ``[N]`` in 0..9.

    ``mean`` and ``std`` are those of all pretrain pixels in [0, 1], border included. ``origins``
    names the images of each set, those of the second source counted on from the first one's.
    """

    pretrain: Dataset
    adapt: Dataset
    validation: Dataset
    target: Dataset
    source: Dataset
    mean: float
    std: float
    labels: tuple[str, ...]
    origins: dict[str, Ints] = field(repr=False)


def normalised(
    pixels: Mapping[str, Floats], y: Bytes, origins: dict[str, Ints], labels: tuple[str, ...]
) -> ImageSplit:
    """``pixels``: ``[N, 32, 32]`` in [0, 1] of each set; ``y``: classes of all images."""
    mean, std = float(pixels["pretrain"].mean()), float(pixels["pretrain"].std())
    sets = {
        name: Dataset(((x - mean) / std)[:, None], y[origins[name]].astype(np.int64))
        for name, x in pixels.items()
    }
    return ImageSplit(mean=mean, std=std, labels=labels, origins=origins, **sets)
