"""The tasks that a scheme is judged by: samples to adapt on and others to validate.

They are the recipe's ``proxies``. Where it has none, its adaptation samples are cut into folds, and
each fold in turn validates what the others taught. Test sets are never looked at.
"""

from __future__ import annotations

import hashlib

import numpy as np

from ..errors import RecipeError
from ..recipe import Array, Dataset, Proxy, Recipe


def tasks_of(recipe: Recipe, folds: int, seed: int = 0) -> tuple[Proxy, ...]:
    """Raises RecipeError where there are too few samples."""
    if recipe.proxies:
        for at, task in enumerate(recipe.proxies):
            if len(task.train) == 0 or len(task.validation) == 0:
                raise RecipeError(
                    f"recipe {recipe.name}: proxy {at} has {len(task.train)} samples to adapt on "
                    f"and {len(task.validation)} to validate; give at least one of each"
                )
        return recipe.proxies
    count = len(recipe.train)
    if count < 2 * folds:
        raise RecipeError(
            f"recipe {recipe.name}: {count} adaptation samples are too few for {folds} folds; "
            "give more, fewer folds (--folds), or proxies"
        )
    fold = assigned(recipe.train.y, folds, seed)
    return tuple(
        Proxy(_part(recipe.train, fold != at), _part(recipe.train, fold == at))
        for at in range(folds)
    )


def assigned(labels: Array, folds: int, seed: int) -> Array:
    """The fold of each sample: classes evenly over the folds, otherwise at random."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    if labels.ndim == 1:
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[shuffled] = np.arange(len(labels)) % folds
    return fold


def _part(data: Dataset, chosen: Array) -> Dataset:
    return Dataset(data.x[chosen], data.y[chosen])


def digest_of(tasks: tuple[Proxy, ...]) -> str:
    """SHA-256 of all samples and labels."""
    digest = hashlib.sha256()
    for task in tasks:
        for array in (task.train.x, task.train.y, task.validation.x, task.validation.y):
            digest.update(f"{array.dtype.str}:{array.shape};".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
