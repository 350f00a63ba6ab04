"""The tasks: what learning rates and schemes are chosen on, and what the table is about.

A task has groups of cases. What is chosen for a group is chosen on the proxies of ``posed``, which
hold no test sample of any of its cases; the cases are what is reported, and nothing is chosen on
them. Cases are people, or seeds: orders of the samples, and of the rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from tinytrain.compiler import prepare
from tinytrain.datasets import (
    ImageSplit,
    TextSplit,
    load_digits,
    load_fashion,
    load_text,
    load_watch,
    watch_proxies,
)
from tinytrain.datasets.common import fingerprint
from tinytrain.quantize import Quantized
from tinytrain.recipe import Proxy, Recipe, load_recipe
from tinytrain.selection.runs import TRAININGS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SEEDS = (1, 2, 3)
TEST_IMAGES = 5000  # of clothes: half of the test file is target, half source
# Chosen for -> chosen on: other people's left arms.
PEOPLE = {(1, 2, 4, 5, 8, 9): (3, 6, 7, 10), (3, 6, 7, 10): (1, 2, 4, 5)}


@dataclass(frozen=True)
class Case:
    """One column of a table: a person, or a seed. ``trainings``: whose mean it is; each has its own
    rounding and begins at another sample."""

    name: str
    recipe: Callable[[], Recipe]
    seed: int = 1
    trainings: int = 1


@dataclass(frozen=True)
class Group:
    name: str
    posed: Callable[[], Recipe]
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Task:
    """``chosen_on``: the validation split, in words."""

    name: str
    groups: tuple[Group, ...]
    chosen_on: str


def _example(name: str, **arguments: object) -> Recipe:
    return load_recipe(EXAMPLES / f"{name}.py", **arguments)


@lru_cache(maxsize=4)
def _watch(person: int, proxies: tuple[int, ...] = ()) -> Recipe:
    recipe = _example("har", person=person)
    return recipe.replace(proxies=watch_proxies(load_watch(person), proxies)) if proxies else recipe


@lru_cache(maxsize=4)
def _clothes(seed: int, degrees: float, known: int, posed: bool = False) -> Recipe:
    recipe = _example("cct", degrees=degrees, known=known, seed=seed, test_images=TEST_IMAGES)
    data = load_fashion(degrees, seed=seed, known=known) if posed else None
    return _validated(recipe, data)


@lru_cache(maxsize=4)
def _digits(seed: int, posed: bool = False) -> Recipe:
    return _validated(
        _example("cct", data="digits", seed=seed), load_digits(seed) if posed else None
    )


@lru_cache(maxsize=4)
def _text(seed: int, source: str, posed: bool = False) -> Recipe:
    recipe = _example("char_lm", source=source, seed=seed)
    return _validated(recipe, load_text(source, seed=seed) if posed else None)


def _validated(recipe: Recipe, split: ImageSplit | TextSplit | None) -> Recipe:
    """With the validation part of a split as its proxy."""
    return recipe.replace(proxies=(Proxy(split.adapt, split.validation),)) if split else recipe


def _seeded(name: str, chosen_on: str, make: Callable[..., Recipe]) -> Task:
    """Chosen with the order of seed 0, reported with others."""
    cases = tuple(Case(f"seed {s}", partial(make, s), s) for s in SEEDS)
    return Task(name, (Group(name, partial(make, 0, posed=True), cases),), chosen_on)


TASKS = (
    Task(
        "watch",
        tuple(
            Group(
                f"watch, people {cases}",
                partial(_watch, cases[len(cases) // 2], proxies),
                tuple(Case(f"person {p}", partial(_watch, p), trainings=TRAININGS) for p in cases),
            )
            for cases, proxies in PEOPLE.items()
        ),
        "four other people's left arms, 70 % of each recording",
    ),
    _seeded("fashion, turned", "2,000 turned training images",
            partial(_clothes, degrees=30.0, known=10)),
    _seeded("fashion, new classes", "2,000 training images of all ten classes",
            partial(_clothes, degrees=0.0, known=8)),
    _seeded("digits", "300 other digits of the scanner", _digits),
    _seeded("addresses", "the speaker's last address but one", partial(_text, source="sotu")),
    _seeded("moby-dick", "chapters 120 to 129", partial(_text, source="moby-dick")),
)  # fmt: skip
SAMPLES = 16  # of the calibration, that ranges of adapters are measured on, which takes long
PREPARED: dict[str, Quantized] = {}


def quantized(recipe: Recipe) -> Quantized:
    """The int8 model, made once a float model and process."""
    state = [tensor.numpy() for tensor in recipe.model.state_dict().values()]
    key = fingerprint(recipe.calibration, *state)
    if key not in PREPARED:
        made = prepare(recipe)
        PREPARED[key] = replace(made, samples=made.samples[:SAMPLES])
    return PREPARED[key]


def chosen(names: Sequence[str]) -> list[Task]:
    """The tasks whose name contains one of ``names``; all without any."""
    return [t for t in TASKS if not names or any(name in t.name for name in names)]
