"""Fine-tuning in float32 with PyTorch: what the integer training on the device is measured against.

Same stream (sample i is ``train[i % len(train)]``), same number of steps, batch 1, same layers and
channels; only the arithmetic and the optimizer differ.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .errors import RecipeError, SchemeError
from .pretrain import mean_loss, one_thread, to_tensor
from .recipe import Dataset, UpdateScheme
from .sessions.session import Evaluation
from .training.scheme import Layer, resolve, selections

Rule = Literal["adam", "sgd"]
Masks = dict[str, Tensor]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)

GRID: dict[Rule, tuple[float, ...]] = {
    "adam": (3e-4, 1e-3, 3e-3, 1e-2),
    "sgd": (3e-3, 1e-2, 3e-2, 1e-1),
}


@dataclass(frozen=True)
class Finetuned:
    """``before`` and ``after`` by name of the test set; ``losses`` in nats, one a step."""

    before: dict[str, Evaluation]
    after: dict[str, Evaluation]
    losses: tuple[float, ...]
    model: nn.Module
    trained_parameters: int


@dataclass(frozen=True)
class Problem:
    """One model, one stream and the held-out samples that a learning rate is judged by."""

    model: nn.Module
    train: Dataset
    validation: Dataset


def all_parameters(model: nn.Module) -> Masks:
    """Masks that train everything."""
    return {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}


def parameters_of(model: nn.Module, scheme: UpdateScheme | str) -> Masks:
    """What a scheme trains: parameter name to a bool mask of its shape, where True trains.

    The scheme is read as the compiler reads it (``select.selections``), over the linear and
    convolution layers of the model. Raises SchemeError as that does, for a bias that a layer does
    not have, and for adapters, which the float model does not have.
    """
    modules = {n: m for n, m in model.named_modules() if isinstance(m, LAYERS)}
    layers = [Layer(n, m.weight.shape[0], m.weight[0].numel()) for n, m in modules.items()]
    masks = {}
    for chosen in selections(resolve(scheme, layers), layers):
        module = modules[chosen.layer]
        if chosen.rank:
            raise SchemeError(f"layer {chosen.layer} has no adapter in the float model")
        if chosen.weight:
            masks[f"{chosen.layer}.weight"] = _mask(module.weight, chosen.channels)
        if chosen.bias:
            if module.bias is None:
                raise SchemeError(f"layer {chosen.layer} has no bias; take it out of biases")
            masks[f"{chosen.layer}.bias"] = _mask(module.bias, chosen.channels)
    return masks


def _mask(parameter: Tensor, channels: tuple[int, ...]) -> Tensor:
    mask = torch.zeros_like(parameter, dtype=torch.bool)
    mask[list(channels)] = True
    return mask


def evaluate(model: nn.Module, data: Dataset, batch: int = 256) -> Evaluation:
    """Mean loss in nats a label, and arg-max hits, over the labels that are not -1."""
    x, y = to_tensor(data.x), to_tensor(data.y)
    loss, correct, count = 0.0, 0, 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(data), batch):
            labels = y[start : start + batch].flatten()
            logits = model(x[start : start + batch]).flatten(0, -2)
            loss += functional.cross_entropy(
                logits, labels, ignore_index=-1, reduction="sum"
            ).item()
            correct += int((logits.argmax(dim=-1) == labels).sum())
            count += int((labels >= 0).sum())
    return Evaluation(loss / max(1, count), correct, count)


@one_thread()
def finetune_fp32(
    model: nn.Module,
    train: Dataset,
    tests: Mapping[str, Dataset],
    *,
    steps: int,
    parameters: Masks | None = None,
    optimizer: Rule = "adam",
    learning_rate: float,
    schedule: Literal["linear", "constant"] = "linear",
) -> Finetuned:
    """Train a copy of ``model`` on ``steps`` single samples; the model given stays as it is.

    ``parameters``: masks by parameter name, None for all. Adam has betas .9 and .999; SGD no
    momentum; neither has weight decay, so an entry whose gradient is masked to 0 keeps its bits.
    ``schedule="linear"``: step i of n takes ``learning_rate * (1 - i/n)``.
    Raises RecipeError when there is nothing to train, or on nothing.
    """
    tuned = copy.deepcopy(model).eval()
    masks = all_parameters(tuned) if parameters is None else parameters
    named = dict(tuned.named_parameters())
    unknown = set(masks) - set(named)
    if unknown or not masks or len(train) == 0:
        raise RecipeError(
            f"cannot fine-tune: {len(train)} samples, {len(masks)} parameters to train, "
            f"unknown names: {', '.join(sorted(unknown)) or 'none'}"
        )
    for name, parameter in named.items():
        parameter.requires_grad_(name in masks)
    trained = [named[name] for name in masks]
    rule: torch.optim.Optimizer
    if optimizer == "adam":
        rule = torch.optim.Adam(trained, lr=learning_rate)
    else:
        rule = torch.optim.SGD(trained, lr=learning_rate)
    before = {name: evaluate(tuned, data) for name, data in tests.items()}
    x, y = to_tensor(train.x), to_tensor(train.y)
    losses = []
    for step in range(steps):
        i = step % len(train)
        for group in rule.param_groups:
            group["lr"] = learning_rate * (1.0 - step / steps if schedule == "linear" else 1.0)
        rule.zero_grad(set_to_none=True)
        value = mean_loss(tuned(x[i : i + 1]), y[i : i + 1])
        value.backward()  # type: ignore[no-untyped-call]
        for name, mask in masks.items():
            gradient = named[name].grad
            if gradient is not None:
                gradient.mul_(mask)
        rule.step()
        losses.append(value.item())
    after = {name: evaluate(tuned, data) for name, data in tests.items()}
    count = sum(int(mask.sum()) for mask in masks.values())
    return Finetuned(before, after, tuple(losses), tuned, count)


def pick_learning_rate(
    problems: Sequence[Problem],
    *,
    steps: int,
    scheme: UpdateScheme | None = None,
    optimizer: Rule = "adam",
    grid: Sequence[float] | None = None,
) -> tuple[float, dict[float, float]]:
    """The rate with the lowest mean validation loss over ``problems``, and all the losses (nats).

    ``scheme``: None trains everything. The problems must hold none of the reported samples.
    """
    losses: dict[float, float] = {}
    for rate in grid or GRID[optimizer]:
        total = 0.0
        for problem in problems:
            done = finetune_fp32(
                problem.model,
                problem.train,
                {"validation": problem.validation},
                steps=steps,
                parameters=parameters_of(problem.model, scheme) if scheme else None,
                optimizer=optimizer,
                learning_rate=rate,
            )
            total += done.after["validation"].loss
        losses[rate] = total / len(problems)
    return min(losses, key=losses.__getitem__), losses
