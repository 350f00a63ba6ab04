"""How a step is made of a gradient: what a rule keeps of a tensor, what its update node reads, and
its float meaning. A rule is a class and a line of ``rule_of``.

With g = s_g 2^E G, the gradient of a weight is s_g s_x 2^E acc and its LSB s_W; that of a bias is
s_g 2^E acc and its LSB s_x s_W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..recipe import Optimizer

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """Of one tensor: real value of an accumulator at exponent 0, and of one LSB; ``[1]``, or one a
    channel."""

    gradient: Floats
    lsb: Floats


class UpdateRule(ABC):
    """``macro``: what of ``tt_uses.h`` its kernels are compiled with. ``moment``: whether it keeps
    one float32 a tensor, the second moment V."""

    macro: str
    moment: bool

    @abstractmethod
    def coefficients(self, units: Units) -> npt.NDArray[np.float32] | None:
        """The constants of the update node, float32 ``[1]`` or one a channel; None for none."""

    @abstractmethod
    def real(self, gradient: Floats, lsb: float, rate: float, moment: float) -> Floats:
        """The float meaning: how many LSBs a tensor moves down for a real gradient, before
        rounding; ``moment``: V, in (real gradient / accumulator unit)^2."""


class LsbNormalised(UpdateRule):
    """Each tensor moves by ``rate`` of its own LSBs in the root mean square of its gradient; no
    element by more than eight times that."""

    macro, moment = "LSB", True

    def coefficients(self, units: Units) -> None:
        return None

    def real(self, gradient: Floats, lsb: float, rate: float, moment: float) -> Floats:
        if moment <= 0:
            return np.zeros_like(gradient)
        moved: Floats = rate * gradient / np.sqrt(moment)
        return np.clip(moved, -8 * rate, 8 * rate)


class Sgd(UpdateRule):
    """Plain descent. ``qas``: quantization-aware scaling (Lin et al. 2022, eq. 4: the gradient of
    the integer times LSB^-2), which is descent on the real weight; without, the gradient of the
    integer itself."""

    macro, moment = "SGD", False
    most = 254.0

    def __init__(self, qas: bool) -> None:
        self.qas = qas

    def coefficients(self, units: Units) -> npt.NDArray[np.float32]:
        made = units.gradient / units.lsb if self.qas else units.gradient * units.lsb
        return made.astype(np.float32)

    def real(self, gradient: Floats, lsb: float, rate: float, moment: float) -> Floats:
        moved = rate * (gradient / lsb if self.qas else gradient * lsb)
        return np.clip(moved, -self.most, self.most)


def rule_of(optimizer: Optimizer) -> UpdateRule:
    """The rule of a recipe's optimizer. Raises RecipeError for an unknown one."""
    rules = {"lsb": LsbNormalised(), "sgd": Sgd(optimizer.qas)}
    if optimizer.rule not in rules:
        raise RecipeError(f"optimizer rule is {optimizer.rule!r}; give 'lsb' or 'sgd'")
    return rules[optimizer.rule]
