"""The rows: for a budget, which scheme of a method is trained, and by what rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tinytrain.baseline import Rule
from tinytrain.errors import BudgetError
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.selection import Settings, select
from tinytrain.selection.memory import Memory
from tinytrain.selection.runs import Runs
from tinytrain.training.scheme import Layer, bias_only, head_only, last_layers, lora, resolve

RANKS = (16, 8, 4, 2, 1)
BUDGETS = tuple(kilobytes * 1024 for kilobytes in (64, 96, 128, 192, 256))
TRIALS = 16  # of a selection
SHORT = 100  # steps that a contribution is measured in
Schemes = Callable[[Sequence[Layer], Recipe], list[UpdateScheme]]


@dataclass(frozen=True)
class Method:
    """``schemes``: those that it may train, the largest first; None: nothing trains. ``fp32``: all
    parameters in PyTorch instead."""

    name: str
    schemes: Schemes | None = None
    rule: str = "lsb"
    fp32: Rule | None = None
    selected: bool = False

    def optimizer(self, recipe: Recipe) -> Optimizer:
        """The recipe's, with the rule of the row."""
        if self.rule == "lsb":
            return replace(recipe.optimizer, rule="lsb")
        return replace(recipe.optimizer, rule="sgd", qas=self.rule == "sgd")


def _last(layers: Sequence[Layer], recipe: Recipe) -> list[UpdateScheme]:
    """Weights and biases of the last k layers, k from all to one."""
    return [last_layers(layers, k) for k in range(len(layers), 0, -1)]


def _lora(layers: Sequence[Layer], recipe: Recipe) -> list[UpdateScheme]:
    return [lora(layers, rank, head=True) for rank in RANKS]


def _one(make: Callable[[Sequence[Layer]], UpdateScheme]) -> Schemes:
    return lambda layers, recipe: [make(layers)]


def _own(layers: Sequence[Layer], recipe: Recipe) -> list[UpdateScheme]:
    return [resolve(recipe.scheme, layers)]


METHODS = (
    Method("none"),
    Method("fp32 full, Adam", fp32="adam"),
    Method("last k layers", _last),
    Method("hand-picked", _own),
    Method("LoRA + head", _lora),
    Method("head only", _one(head_only)),
    Method("selected", selected=True),
    Method("bias only", _one(bias_only)),
    Method("hand-picked, SGD with QAS", _own, "sgd"),
    Method("hand-picked, SGD without QAS", _own, "sgd without"),
    Method("fp32 full, SGD", fp32="sgd"),
)


def selection(
    recipe: Recipe, memory: Memory, runs: Runs, also: Sequence[UpdateScheme]
) -> tuple[UpdateScheme, float] | None:
    """The scheme that ``tinytrain select`` finds by validation loss, and its rate; None where
    nothing fits."""
    settings = Settings(
        objective="loss", trials=TRIALS, steps=SHORT, jobs=runs.pool.jobs, front=False
    )
    planning = memory.planning
    try:
        found = select(recipe, memory.board, settings, planning, runs.pool.context.quantized,
                       runs.store, also=also)  # fmt: skip
    except BudgetError:
        return None
    return found.scheme, found.learning_rate


def named(names: Sequence[str]) -> list[Method]:
    """The methods whose name contains one of ``names``; all without any."""
    return [m for m in METHODS if not names or any(name in m.name for name in names)]
