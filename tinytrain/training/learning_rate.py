"""The learning rate of each step: knots, and between them the float32 arithmetic of the runtime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..errors import RecipeError
from ..recipe import Optimizer

COSINE_PARTS = 16


def knots(optimizer: Optimizer) -> list[tuple[int, np.float32]]:
    """Corners (step, rate) of the piecewise linear schedule; steps rise strictly.

    ``warmup`` steps rise to the full rate, which step number ``warmup`` (from 0) has; ``linear``
    and ``cosine`` then fall to 0 at ``steps``. Raises RecipeError when there is no such schedule.
    """
    rate, steps, warmup = optimizer.learning_rate, optimizer.steps, optimizer.warmup
    if not 0 <= rate < math.inf:
        raise RecipeError(f"learning_rate is {rate}; give a finite number, 0 or more")
    if steps < 1 or warmup < 0 or (warmup >= steps and optimizer.schedule != "constant"):
        raise RecipeError(f"{steps} steps with {warmup} of warmup; give 0 <= warmup < steps")
    corners = [(0, rate / (warmup + 1))] if warmup else []
    if optimizer.schedule == "constant":
        corners.append((warmup, rate))
    elif optimizer.schedule == "linear":
        corners += [(warmup, rate), (steps, 0.0)]
    elif optimizer.schedule == "cosine":
        length = steps - warmup
        parts = min(COSINE_PARTS, length)
        for i in range(parts + 1):
            step = warmup + (i * length + parts // 2) // parts
            part = (step - warmup) / length
            corners.append((step, rate * 0.5 * (1 + math.cos(math.pi * part))))
    else:
        raise RecipeError(f"schedule is {optimizer.schedule!r}; give constant, linear or cosine")
    return [(step, np.float32(value)) for step, value in corners]


def rate_at(corners: Sequence[tuple[int, np.float32]], step: int) -> np.float32:
    """What ``tt_learning_rate`` gives, bit for bit."""
    if step <= corners[0][0]:
        return corners[0][1]
    for (s0, r0), (s1, r1) in pairwise(corners):
        if step < s1:
            return np.float32(r0 + (r1 - r0) * (np.float32(step - s0) / np.float32(s1 - s0)))
    return corners[-1][1]


def beta_at(step: int) -> np.float32:
    """What ``tt_beta`` gives."""
    return np.float32(0.95 if step < 40 else 0.98)
