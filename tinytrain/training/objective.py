"""What training minimises: the nodes of its loss and metrics, where its gradient begins, its
labels, and its float meaning. An objective is a class and a line of ``OBJECTIVES``; no pass knows
its ops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..ir import Build, Type, Value
from ..ops.base import Backward, Grad
from ..ops.loss import loss_gradient, loss_metrics

Floats = npt.NDArray[np.float64]


class Objective(ABC):
    """``per_row``: whether each row of the output ``[T, V]`` is an answer of its own."""

    per_row: bool

    @abstractmethod
    def target(self, output: Type) -> Type:
        """The type of the labels of a sample."""

    @abstractmethod
    def metrics(self, build: Build, output: Value, target: Value) -> Value:
        """The nodes of the reported sums, i32 ``[3]``: loss in 2**-16 nat, rows that are right,
        rows that count."""

    @abstractmethod
    def gradient(self, build: Backward, output: Value, target: Value, name: str) -> Grad:
        """The nodes of the gradient of the mean loss at the output, where the backward pass
        begins."""

    @abstractmethod
    def real(self, output: Floats, target: npt.NDArray[Any]) -> tuple[float, Floats]:
        """The float meaning: the mean loss over all T rows, in nats, of an output ``[T, V]``, and
        its gradient ``[T, V]``."""


class CrossEntropy(Objective):
    """-ln softmax(output)[label], mean over the rows; a label of -1 does not count."""

    def __init__(self, per_row: bool) -> None:
        self.per_row = per_row

    def target(self, output: Type) -> Type:
        return Type((output.shape[0],), "i16")

    def metrics(self, build: Build, output: Value, target: Value) -> Value:
        return loss_metrics(build, output, target)

    def gradient(self, build: Backward, output: Value, target: Value, name: str) -> Grad:
        return loss_gradient(build, output, target, name)

    def real(self, output: Floats, target: npt.NDArray[Any]) -> tuple[float, Floats]:
        rows = np.flatnonzero((target >= 0) & (target < output.shape[1]))
        far = output - output.max(axis=1, keepdims=True)
        chances = np.exp(far) / np.exp(far).sum(axis=1, keepdims=True)
        gradient = np.zeros_like(chances)
        gradient[rows] = chances[rows]
        gradient[rows, target[rows]] -= 1
        loss = -np.log(chances[rows, target[rows]]).sum()
        return float(loss) / len(output), gradient / len(output)


OBJECTIVES: dict[str, Objective] = {
    "classes": CrossEntropy(per_row=False),
    "tokens": CrossEntropy(per_row=True),
}


def objective_of(loss: str) -> Objective:
    """The objective of a recipe's field ``loss``. Raises RecipeError for an unknown one."""
    if loss not in OBJECTIVES:
        raise RecipeError(f"loss is {loss!r}; give {' or '.join(map(repr, OBJECTIVES))}")
    return OBJECTIVES[loss]
