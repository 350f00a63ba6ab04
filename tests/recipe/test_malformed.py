"""Recipes of any fields and names: they are made, or refused by one error that names the field."""

from __future__ import annotations

import builtins
import keyword
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tinytrain.errors import TinytrainError
from tinytrain.recipe import Dataset, Optimizer, Recipe, UpdateScheme
from tinytrain.support.folder import folder_name

C_WORDS = """auto break case char const continue default do double else enum extern float for goto
if inline int long register restrict return short signed sizeof static struct switch typedef union
unsigned void volatile while _Bool _Complex main NULL errno""".split()  # noqa: SIM905
OWN = """labels logits x x.trained trained moment moment.rows rows fraction again input output loss
arena tt_model tt_step model build firmware recipe""".split()  # noqa: SIM905
WORDS = [*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *C_WORDS, *OWN]
BAD_NAMES = [
    "",
    " ",
    ".",
    "..",
    "../../esc",
    "/tmp/x",
    "a/../b",
    "..\\b",
    "a\nb",
    "a\0b",
    "\ud800",
    "n" * 300,
]
MODEL = nn.Linear(3, 2)
X, Y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)

junk: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(),
    st.binary(max_size=4), st.text(max_size=8), st.lists(st.integers(), max_size=3),
    st.just(object()), st.just(print),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), st.just(Recipe),
    st.just(Y[:0]), st.just(np.array(["a"])), st.just([[1], [1, 2]]),
    st.just(torch.ones(4, 3, requires_grad=True)),
    st.just(np.float32(2)), st.just(np.int8(3)), st.just(Dataset(X, Y)), st.just(UpdateScheme()),
)  # fmt: skip


def made(**changes: Any) -> Recipe:
    data = Dataset(X, Y)
    fields: dict[str, Any] = {
        "name": "toy", "model": MODEL, "calibration": X, "train": data, "tests": {"t": data},
        "loss": "classes", "scheme": "full",
    }  # fmt: skip
    return Recipe(**(fields | changes))


def tried(kind: Any, fields: dict[str, Any]) -> Any:
    """The object, or None where it was refused by an error of the family that says something."""
    try:
        return kind(**fields)
    except TinytrainError as error:
        assert len(str(error)) > 15
        return None


@pytest.mark.parametrize("name", WORDS)
def test_words_are_names(name: str) -> None:
    assert made(name=name).name == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(TinytrainError, match="recipe name"):
        made(name=name)


@settings(max_examples=800, deadline=None)
@given(st.text(max_size=120))
def test_any_name(name: str) -> None:
    recipe = tried(made, {"name": name})
    if recipe is not None:
        assert recipe.name == name and len(name.encode()) <= 100
        assert "/" not in folder_name(name) and folder_name(name) not in (".", "..")
        assert name.isprintable() or not set(name) & {chr(c) for c in range(32)}


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([f for f in Recipe.__dataclass_fields__]), junk)
def test_any_field_of_a_recipe(field: str, value: Any) -> None:
    recipe = tried(made, {field: value})
    if recipe is not None and field == "calibration":
        assert recipe.calibration.dtype.kind in "iuf"


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([f for f in Optimizer.__dataclass_fields__]), junk)
def test_any_field_of_an_optimizer(field: str, value: Any) -> None:
    found = tried(Optimizer, {field: value})
    if found is not None:
        assert type(found.steps) is int and type(found.seed) is int and found.steps > 0
        assert np.isfinite(np.float32(found.learning_rate))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["x", "y"]), junk)
def test_any_field_of_a_data_set(field: str, value: Any) -> None:
    found = tried(Dataset, {"x": X, "y": Y} | {field: value})
    assert found is None or len(found.x) == len(found.y)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([f for f in UpdateScheme.__dataclass_fields__]), junk)
def test_any_field_of_a_scheme(field: str, value: Any) -> None:
    tried(UpdateScheme, {field: value})


def test_tensors_are_taken_as_arrays() -> None:
    recipe = made(calibration=torch.ones(4, 3, requires_grad=True))
    assert isinstance(recipe.calibration, np.ndarray) and recipe.calibration.shape == (4, 3)
