"""What the loaders share: where data lies, a hash of a data set, evenly spaced picks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..recipe import Dataset
from ..support.assets import packaged_file

Array = npt.NDArray[np.generic]
Ints = npt.NDArray[np.int64]


def data_root() -> Path:
    """The folder of fetched data: ``$TINYTRAIN_DATA``, or ``build/data`` of the current folder."""
    return Path(os.environ.get("TINYTRAIN_DATA") or "build/data")


def cache_root() -> Path:
    """The folder of computed files: ``$TINYTRAIN_CACHE``, or ``build/cache`` of the current one."""
    return Path(os.environ.get("TINYTRAIN_CACHE") or "build/cache")


def find_file(package: str, file: str, what: str, command: str) -> Path:
    """A file by its name in the data folder, or inside an installed package, which is not imported.

    Raises DataError naming the command that gets it.
    """
    own = data_root() / Path(file).name
    found = own if own.is_file() else packaged_file(package, file)
    if found is None:
        raise DataError(f"{what} not installed; get it with: {command}")
    return found


def fingerprint(*arrays: Array) -> str:
    """SHA-256 over dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def window_starts(first: int, last: int, window: int, stride: int) -> Ints:
    """Starts, ``stride`` samples apart, of all windows that lie in samples ``[first, last)``."""
    return np.arange(first, last - window + 1, stride, dtype=np.int64)


def take(data: Dataset, count: int) -> Dataset:
    """``count`` samples, evenly spaced over the data set; all of them where it has no more."""
    if count >= len(data):
        return data
    chosen = np.arange(count) * len(data) // count
    return Dataset(data.x[chosen], data.y[chosen])


def shuffled(data: Dataset, seed: int) -> tuple[Dataset, Ints]:
    """The same samples in a fixed random order, and that order."""
    order = np.random.default_rng(seed).permutation(len(data)).astype(np.int64)
    return Dataset(data.x[order], data.y[order]), order
