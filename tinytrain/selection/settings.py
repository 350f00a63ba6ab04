"""How a scheme is searched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import RecipeError
from ..support.check import one_of

Objective = Literal["accuracy", "loss"]
Method = Literal["cpsat", "optuna"]
Channels = Literal["contribution", "magnitude", "random"]
Evidence = Literal["measured", "estimate"]


@dataclass(frozen=True)
class Settings:
    """``objective``: what of the validation samples is best; the loss says more about accuracy
    elsewhere than accuracy itself (``benchmarks/objective.py``).
    ``trials``: schemes that are trained at full length. ``steps``: of a run that measures one
    contribution, None for a third of the recipe's. ``seconds``: no run begins later, None for no
    limit. ``contributions``: measured one by one, or the first-order estimate alone. ``channels``:
    which channels of a layer train first (``benchmarks/channels.py``: by magnitude validates best).
    ``folds``: parts of the adaptation samples, where the recipe has no proxies. ``storage``: URL of
    an Optuna study. ``jobs``: processes, 0 for one a core. ``front``: whether schemes for less
    memory are trained as well. ``count``: whether the emulator counts the instructions of their
    steps, which then take the place of MACs."""

    objective: Objective = "loss"
    method: Method = "cpsat"
    trials: int = 16
    steps: int | None = None
    seconds: float | None = None
    contributions: Evidence = "measured"
    channels: Channels = "magnitude"
    folds: int = 3
    seed: int = 0
    storage: str | None = None
    jobs: int = 0
    front: bool = True
    count: bool = False

    def __post_init__(self) -> None:
        one_of("objective", self.objective, get_args(Objective))
        one_of("search", self.method, get_args(Method))
        one_of("channels", self.channels, get_args(Channels))
        one_of("contributions", self.contributions, get_args(Evidence))
        for name, value, least in (
            ("trials", self.trials, 1), ("steps", self.steps, 1), ("folds", self.folds, 2),
            ("seconds", self.seconds, 0), ("jobs", self.jobs, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise RecipeError(f"{name} is {value}; give at least {least}")
