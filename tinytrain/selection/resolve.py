"""A recipe whose scheme is "auto": the scheme of a search, which is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..boards import Board
from ..compiler import prepare, silent
from ..planning.fit import Planning
from ..quantize import Quantized
from ..recipe import Recipe
from ..training.scheme_file import SchemeFile, read_scheme
from .analysis import Stage
from .choose import nowhere, select
from .proxy import digest_of, tasks_of
from .settings import Settings
from .store import Store, graph_digest, key_of

AUTO = "auto"


def is_auto(recipe: Recipe) -> bool:
    return recipe.scheme == AUTO


def auto(
    recipe: Recipe, board: Board, settings: Settings | None = None,
    planning: Planning | None = None, quantized: Quantized | None = None,
    store: Store | None = None, stage: Stage = nowhere, say: Callable[[str], None] = silent,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Recipe:  # fmt: skip
    """The recipe with the scheme that ``select`` finds for the board, and its learning rate. The
    scheme file is kept in the cache under what it depends on. A recipe with another scheme is given
    back as it is. Raises what ``select`` raises."""
    if not is_auto(recipe):
        return recipe
    settings, store = settings or Settings(), store or Store()
    quantized = quantized or prepare(recipe, track)
    tasks = tasks_of(recipe, settings.folds, settings.seed)
    key = key_of("auto", graph_digest(quantized.graph), digest_of(tasks), recipe.optimizer, board,
                 settings, planning or Planning())  # fmt: skip
    path = store.folder / f"{key}.toml"
    if not path.is_file():
        found = select(recipe, board, settings, planning, quantized, store, stage, say, track)
        found.file.write(path)
    return with_file(recipe, read_scheme(path))


def with_file(recipe: Recipe, file: SchemeFile) -> Recipe:
    """The recipe with a scheme file's scheme, and its learning rate where the rule is the same."""
    recipe = recipe.replace(scheme=file.scheme)
    if file.learning_rate is None or file.rule != recipe.optimizer.rule:
        return recipe
    return recipe.replace(optimizer=replace(recipe.optimizer, learning_rate=file.learning_rate))
