"""All samples and labels of a recipe against its model, before anything is built or trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CalibrationError, RecipeError, ShapeError, TinytrainError
from ..frontend.torch_export import from_torch
from ..ir import DTYPES, Graph, Type
from ..quantize.codec import Codec
from ..recipe import Dataset, Recipe

Array = npt.NDArray[Any]
PART = 1 << 22  # numbers that are looked at together
FEWEST = 4.0  # steps of the input's scale that a channel should span
CHANNELS = 64  # more indices than that along an axis are no channels


class InputWarning(UserWarning):
    """Samples that can be quantized, but lose what they say."""


def data_sets(recipe: Recipe) -> Iterator[tuple[str, Dataset]]:
    """Every data set of a recipe with the field that holds it."""
    yield "train", recipe.train
    yield from ((f"tests[{name!r}]", data) for name, data in recipe.tests.items())
    for at, proxy in enumerate(recipe.proxies):
        yield f"proxies[{at}].train", proxy.train
        yield f"proxies[{at}].validation", proxy.validation


def float_graph(recipe: Recipe) -> Graph:
    """The float graph of the model for samples like the calibration's.

    Raises what the frontend raises, RecipeError where integers are no tokens of this model or
    calibration is empty, and ShapeError for a model of one logit.
    """
    samples = recipe.calibration
    if len(samples) == 0:
        raise RecipeError(f"recipe {recipe.name}: calibration is empty; give at least one sample")
    whole = samples.dtype.kind in "iu"
    told = (
        f"calibration holds {samples.dtype}{list(samples.shape)}. Integers are the tokens of a "
        "model with nn.Embedding, [N, T]; for sensor windows or images give floats: "
        "x.astype(np.float32), in train and tests as well"
    )
    if whole and samples.ndim != 2:
        raise RecipeError(told)
    if not whole:
        _finite("calibration", samples)
    try:
        graph = from_torch(recipe.model, samples[0])
    except TinytrainError as error:
        if whole and not any("Embedding" in type(m).__name__ for m in recipe.model.modules()):
            raise RecipeError(f"{told}. ({error})") from error
        raise
    logits = graph.outputs[0].type.shape
    if logits[-1] < 2:
        raise ShapeError(
            f"the model gives logits {list(logits)}, of one class, whose loss is 0 whatever it "
            "says; for yes or no make it give two (nn.Linear(..., 2)), with the labels 0 and 1"
        )
    return graph


def check_samples(recipe: Recipe, codec: Codec) -> None:
    """Refuse samples that the model does not take, and labels that it does not know, of all data
    sets; each message names the field and the first sample. Empty sets pass.

    Raises ShapeError, CalibrationError for NaN, RecipeError for mixed kinds of numbers.
    """
    kind = recipe.calibration.dtype
    for what, data in data_sets(recipe):
        x = data.x
        if len(x) == 0:
            continue
        if (x.dtype.kind == "f") != (kind.kind == "f"):
            raise RecipeError(
                f"{what}.x holds {x.dtype}, calibration {kind}; give all samples in the same units "
                "and type, float32 or integer tokens"
            )
        if x.shape[1:] != codec.input.shape:
            raise ShapeError(
                f"{what}.x has shape {list(x.shape)}; the model takes "
                f"{list(codec.input.shape)} a sample, as in calibration"
            )
        if x.dtype.kind == "f":
            _finite(f"{what}.x", x)
        else:
            known = codec.tokens or 1 << 8 * np.dtype(DTYPES[codec.input.dtype]).itemsize
            _within(f"{what}.x: token", x, 0, known)
        y = data.y
        if y.dtype.kind not in "iu":
            raise ShapeError(f"{what}.y holds {y.dtype}; labels are integers: y.astype(np.int64)")
        if y.size != len(y) * codec.labels:
            raise ShapeError(
                f"{what}.y has shape {list(y.shape)}; the model takes {codec.labels} "
                f"label{'s' if codec.labels > 1 else ''} a sample: "
                f"[{len(y)}{f', {codec.labels}' if codec.labels > 1 else ''}]"
            )
        _within(f"{what}.y: label", y, -1, codec.logits[-1])


def warn_of_channels(recipe: Recipe, source: Type) -> None:
    """Warn (InputWarning) of channels whose values, beside a channel of another magnitude, span
    less than some steps of the input's one scale, so that int8 hardly tells them apart."""
    x = recipe.calibration
    if source.dtype != "i8" or x.ndim < 2:
        return
    sizes = x.shape[1:]
    axis = 1 + min(range(len(sizes)), key=lambda i: (sizes[i], -i))
    if not 2 <= x.shape[axis] <= CHANNELS:
        return
    step = source.tensor_scale
    rows = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(np.float64)
    lows, highs = rows.min(1), rows.max(1)
    steps = (highs - lows) / step
    lost = np.flatnonzero((highs > lows) & (steps < FEWEST))
    if not len(lost):
        return
    largest = int(np.abs(rows).max(1).argmax())
    told = ", ".join(f"{c} ({lows[c]:.4g} to {highs[c]:.4g})" for c in lost[:4])
    more = f" and {len(lost) - 4} more" if len(lost) > 4 else ""
    warnings.warn(
        f"recipe {recipe.name}: channel {told}{more} of the samples' axis {axis - 1} spans less "
        f"than {FEWEST:g} steps of the int8 input, of {step:.4g} each: channel {largest} reaches "
        f"{np.abs(rows[largest]).max():.4g}. What such a channel says is lost. Normalise each "
        "channel, x = (x - mean) / std with the numbers of the calibration samples, before the "
        "model, in calibration, train, tests and on the device",
        InputWarning, stacklevel=3,
    )  # fmt: skip


def _parts(x: Array) -> Iterator[tuple[int, Array]]:
    """Some samples at a time, with the index of the first."""
    count = max(1, PART * len(x) // max(1, x.size))
    yield from ((at, x[at : at + count]) for at in range(0, len(x), count))


def _finite(what: str, x: Array) -> None:
    for at, part in _parts(x):
        with np.errstate(over="ignore"):
            rows = np.isfinite(part.astype(np.float32, copy=False)).reshape(len(part), -1).all(1)
        if not rows.all():
            sample = at + int(np.argmin(rows))
            wide = np.isfinite(x[sample]).all()
            raise CalibrationError(
                f"{what}: sample {sample} holds "
                + (f"{np.abs(x[sample]).max():.3g}, beyond float32" if wide else "NaN or infinity")
            )


def _within(what: str, values: Array, low: int, end: int) -> None:
    for at, part in _parts(values):
        wrong = (part < low) | (part >= end)
        if wrong.any():
            where = np.argwhere(wrong)[0]
            raise ShapeError(
                f"{what} {part[tuple(where)]} of sample {at + int(where[0])} is not within "
                f"0..{end - 1}" + (" (-1: not counted)" if low < 0 else "")
            )
