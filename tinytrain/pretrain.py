"""Float pre-training on the host: AdamW, cosine schedule, cached.

All of it runs on one thread: models this small gain little from a second one, a busy machine makes
two threads spend their time waiting for each other, and the order of every sum stays the same.

The cache file's name is a hash of the model (class, names, initial weights), of the data and of
the settings, so that a change of any of them trains anew and none is ever mistaken for another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional

from .datasets.common import fingerprint
from .errors import DataError
from .recipe import Dataset

FORMAT = 1  # raise it when the meaning of a setting changes

Loss = Literal["classes", "tokens"]


@dataclass(frozen=True)
class Augment:
    """Random changes of sensor windows, drawn anew for every batch (normalised units).

    ``noise``: standard deviation added to every reading. ``scale``: each channel of a window is
    multiplied by 1 ± uniform(scale). ``offset``: standard deviation of a constant added to each
    channel of a window, as a strap worn at another angle shifts gravity.
    """

    noise: float = 0.0
    scale: float = 0.0
    offset: float = 0.0

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Changed copies of windows ``[B, W, C]``."""
        row = (x.shape[0], 1, x.shape[2])
        factor = 1.0 + self.scale * (2.0 * torch.rand(row, generator=generator) - 1.0)
        shift = self.offset * torch.randn(row, generator=generator)
        return x * factor + shift + self.noise * torch.randn(x.shape, generator=generator)


@dataclass(frozen=True)
class Settings:
    """How to pre-train. ``warmup`` steps rise linearly, then a cosine falls to 0 at ``steps``."""

    steps: int = 1000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 50
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    augment: Augment | None = None
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch's operators on one thread, then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """Tokens and labels as int64, everything else as float32."""
    kind = torch.int64 if np.issubdtype(array.dtype, np.integer) else torch.float32
    return torch.from_numpy(np.ascontiguousarray(array)).to(kind)


def mean_loss(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats over the labels that are not -1; ``[..., K]`` and ``[...]``."""
    return functional.cross_entropy(
        logits.flatten(0, -2), y.flatten(), ignore_index=-1, label_smoothing=smoothing
    )


def cache_key(model: nn.Module, data: Dataset, settings: Settings, loss: Loss) -> str:
    """16 hexadecimal digits that name the outcome of ``pretrain``."""
    digest = hashlib.sha256(f"{FORMAT}:{model}:{loss}:{dataclasses.asdict(settings)}".encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name}:{fingerprint(value.numpy())};".encode())
    digest.update(fingerprint(data.x, data.y).encode())
    return digest.hexdigest()[:16]


def pretrain(
    model: nn.Module,
    data: Dataset,
    settings: Settings,
    *,
    loss: Loss = "classes",
    cache: Path | None = None,
    name: str = "model",
    quiet: bool = False,
) -> nn.Module:
    """Train ``model`` in place, or load its weights from ``cache``; returns it in eval mode.

    ``cache``: a folder, or None to train always. Raises DataError when ``data`` is empty or the
    loss is not finite.
    """
    if len(data) == 0:
        raise DataError(f"{name}: no samples to pre-train on")
    path = cache / f"{name}-{cache_key(model, data, settings, loss)}.pt" if cache else None
    if path is not None and path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    with one_thread():
        _train(model, data, settings, name, quiet)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        torch.save(model.state_dict(), part)
        part.replace(path)  # a cut-off run leaves no half file
    return model.eval()


def _train(model: nn.Module, data: Dataset, settings: Settings, name: str, quiet: bool) -> None:
    x, y = to_tensor(data.x), to_tensor(data.y)
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(_groups(model, settings), lr=settings.learning_rate)
    order = torch.empty(0, dtype=torch.int64)
    model.train()
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps  loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=quiet, transient=True) as progress:
        task = progress.add_task(f"pre-training {name}", total=settings.steps, loss=math.nan)
        for step in range(settings.steps):
            while len(order) < settings.batch:  # epochs run into each other
                order = torch.cat([order, torch.randperm(len(data), generator=generator)])
            rows, order = order[: settings.batch], order[settings.batch :]
            batch = x[rows]
            if settings.augment is not None:
                batch = settings.augment(batch, generator)
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step)
            optimizer.zero_grad(set_to_none=True)
            value = mean_loss(model(batch), y[rows], settings.label_smoothing)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            if step % 10 == 0 or step == settings.steps - 1:
                if not math.isfinite(value.item()):
                    raise DataError(f"{name}: loss {value.item()} at pre-training step {step}")
                progress.update(task, completed=step + 1, loss=value.item())


def _groups(model: nn.Module, settings: Settings) -> list[dict[str, object]]:
    """Matrices decay; biases, norms' gains and positions do not."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n != "pos"]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or n == "pos"]
    return [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
