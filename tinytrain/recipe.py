"""What a user hands over: model, data, what trains and how (``recipe()`` in a Python file)."""

from __future__ import annotations

import dataclasses
import importlib.util
import numbers
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from .errors import RecipeError, TinytrainError
from .support import check
from .support.check import one_of

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[np.generic]


STEPS = 2**31 - 1  # a device counts its steps in 32 bits


@dataclass(frozen=True)
class Dataset:
    """Samples and their labels.

    ``x``: float32 ``[N, ...]`` sensor windows or images, or integer tokens ``[N, T]``.
    ``y``: integer class ``[N]``, or integer token ``[N, T]``; -1 is not counted. Tensors are taken
    as arrays. Raises RecipeError for what is no array of numbers; whether the samples suit a model
    is checked when it is compiled.
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", check.array("Dataset.x", self.x))
        object.__setattr__(self, "y", check.array("Dataset.y", self.y))
        if len(self.x) != len(self.y):
            raise RecipeError(f"dataset has {len(self.x)} samples but {len(self.y)} labels")

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Layers:
    """The layers of a model that a scheme was made for: the model's name, and a SHA-256 over names
    and channels (``training.scheme.layers_sha256``)."""

    model: str
    sha256: str


@dataclass(frozen=True)
class UpdateScheme:
    """Which layers train, and which of their output channels.

    ``weights`` maps a layer name or a glob pattern (``"blocks.*.o"``) to what trains of its weight:
    a ratio in (0, 1] of the output channels (the first ones), or the chosen channels as a tuple of
    indices. ``biases`` lists the layers (or patterns) whose bias trains, in the channels that
    ``weights`` names for that layer, or in all of them. ``adapters`` maps layers or patterns to the
    rank of an adapter, which trains beside a frozen weight. Later patterns win over earlier ones.
    ``made_for``: the layers of the one model that it is for; None: it fits where its names do.
    """

    weights: dict[str, float | tuple[int, ...]] = field(default_factory=dict)
    biases: tuple[str, ...] = ()
    name: str = "custom"
    adapters: dict[str, int] = field(default_factory=dict)
    made_for: Layers | None = None

    def __post_init__(self) -> None:
        check.text("UpdateScheme.name", self.name)
        for what, held, kinds in (
            ("weights", self.weights, (numbers.Real, tuple, list, np.ndarray)),
            ("adapters", self.adapters, (numbers.Real,)),
        ):
            if not isinstance(held, Mapping):
                raise RecipeError(
                    f"UpdateScheme.{what} is {check.shown(held)}; give a dict of layers"
                )
            for layer, value in held.items():
                check.text(f"UpdateScheme.{what}: a layer", layer)
                if isinstance(value, bool) or not isinstance(value, kinds):
                    raise RecipeError(
                        f"UpdateScheme.{what}[{layer!r}] is {check.shown(value)}; give "
                        + ("a rank" if what == "adapters" else "a ratio or a tuple of channels")
                    )
        if not isinstance(self.biases, (tuple, list, set, frozenset)):  # a str is letters
            raise RecipeError(
                f"UpdateScheme.biases is {check.shown(self.biases)}; give a tuple of layers"
            )
        for layer in self.biases:
            check.text("UpdateScheme.biases: a layer", layer)


def scheme_name(scheme: UpdateScheme | str) -> str:
    """The name under which tables show it."""
    return scheme if isinstance(scheme, str) else scheme.name


@dataclass(frozen=True)
class Optimizer:
    """How a step is made of a gradient.

    ``rule``: ``"lsb"``, the LSB-normalised step (``learning_rate`` in weight LSBs), or ``"sgd"``
    (``learning_rate`` in real units). ``qas``: quantization-aware scaling of ``sgd`` (Lin et al.
    2022, eq. 4). ``weights``: ``"int8"`` with stochastic rounding, or ``"int16"`` with 8 fraction
    bits.
    ``schedule``: ``"constant"``, ``"linear"`` (to 0 at ``steps``) or ``"cosine"``.
    """

    rule: Literal["lsb", "sgd"] = "lsb"
    learning_rate: float = 2.0
    qas: bool = True
    weights: Literal["int8", "int16"] = "int8"
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    steps: int = 300
    warmup: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        one_of("optimizer rule", self.rule, ("lsb", "sgd"))
        one_of("optimizer weights", self.weights, ("int8", "int16"))
        one_of("optimizer schedule", self.schedule, ("constant", "linear", "cosine"))
        for name, low, high in (("steps", 1, STEPS), ("warmup", 0, STEPS), ("seed", 0, 2**32 - 1)):
            value = check.whole(f"optimizer {name}", getattr(self, name), low, high)
            object.__setattr__(self, name, value)
        rate = check.rate("optimizer learning_rate", self.learning_rate)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "qas", check.flag("optimizer qas", self.qas))


def _expect(what: str, value: object, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(k.__name__ for k in kinds)
        raise RecipeError(f"{what} is {check.shown(value)}; give a {names}")


@dataclass(frozen=True)
class Proxy:
    """A task like the one to come: samples to adapt on, and others that show what it was worth."""

    train: Dataset
    validation: Dataset

    def __post_init__(self) -> None:
        _expect("Proxy.train", self.train, Dataset)
        _expect("Proxy.validation", self.validation, Dataset)


@dataclass(frozen=True)
class Recipe:
    """A model, its calibration samples, the task and what trains.

    ``model`` maps a batch ``[1, ...]`` of one sample to logits ``[1, K]`` (``loss="classes"``) or
    ``[1, T, V]`` (``loss="tokens"``). ``train`` is the stream that the device sees, in this order,
    repeated; ``tests`` are named data sets measured before and after, the first is the target.
    ``proxies``: what a scheme is selected on; without any, parts of ``train``.
    ``alternatives``: further schemes that the firmware holds over the same arena; it begins with
    ``scheme``. ``worth``: what a device that chooses among them compares, the squared gradient of
    all that trains by ``"mac"`` or ``"step"``.
    """

    name: str
    model: nn.Module
    calibration: Array
    train: Dataset
    tests: dict[str, Dataset]
    loss: Literal["classes", "tokens"]
    scheme: UpdateScheme | str  # or full, head_only, bias_only, last_k:N, lora:R, auto
    optimizer: Optimizer = Optimizer()
    metric: Literal["accuracy", "bits_per_token"] = "accuracy"
    weight_scales: Literal["tensor", "channel"] = "tensor"
    calibrator: str = "minmax"  # or "percentile:99.9"
    note: str = ""
    proxies: tuple[Proxy, ...] = ()
    alternatives: tuple[UpdateScheme | str, ...] = ()
    worth: Literal["mac", "step"] = "mac"

    def __post_init__(self) -> None:
        check.name("recipe name", self.name)
        check.module(f"recipe {self.name}: model", self.model)
        calibration = check.array(f"recipe {self.name}: calibration", self.calibration)
        object.__setattr__(self, "calibration", calibration)
        _expect("train", self.train, Dataset)
        _expect("tests", self.tests, Mapping)
        for name, data in self.tests.items():
            check.text("tests: a name", name)
            _expect(f"tests[{name!r}]", data, Dataset)
        _expect("optimizer", self.optimizer, Optimizer)
        _expect("proxies", self.proxies, (tuple, list))
        for proxy in self.proxies:
            _expect("proxies: one of them", proxy, Proxy)
        _expect("alternatives", self.alternatives, (tuple, list))
        for scheme in self.schemes:
            _expect("scheme", scheme, (str, UpdateScheme))
        check.text("calibrator", self.calibrator)
        check.text("note", self.note)
        one_of("loss", self.loss, ("classes", "tokens"))
        one_of("metric", self.metric, ("accuracy", "bits_per_token"))
        one_of("weight_scales", self.weight_scales, ("tensor", "channel"))
        one_of("worth", self.worth, ("step", "mac"))

    @property
    def schemes(self) -> tuple[UpdateScheme | str, ...]:
        """All that the firmware holds; it begins with the first."""
        return (self.scheme, *self.alternatives)

    def replace(self, **changes: object) -> Recipe:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def _told(error: BaseException, path: Path) -> str:
    """The error with the line of the recipe that it came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    line = f" (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{line}"


def load_recipe(source: str | Path, /, **arguments: object) -> Recipe:
    """Import a Python file and call its ``recipe(**arguments)``.

    Raises RecipeError when the file is absent, does not import, has no ``recipe``, or that fails.
    """
    path = Path(source)
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; give a Python file that defines recipe()")
    spec = importlib.util.spec_from_file_location(f"tinytrain_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: not a Python file; give one that defines recipe()")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except TinytrainError:
        raise
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{path}: cannot be imported: {_told(error, path)}") from error
    maker = getattr(module, "recipe", None)
    if not callable(maker):
        raise RecipeError(f"{path}: defines no recipe(); see examples/har.py for one")
    try:
        made = maker(**arguments)
    except TinytrainError:
        raise
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{path}: recipe() failed: {_told(error, path)}") from error
    if not isinstance(made, Recipe):
        kind = type(made).__name__
        raise RecipeError(f"{path}: recipe() returned {kind}, not a tinytrain Recipe")
    return made
