"""Tiny models with random weights and data, and recipes of them: what several tests compile."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe, prepare
from tinytrain.emit.c_source import arena_bytes, emit
from tinytrain.ir.prune import prune
from tinytrain.planning.fit import Fitted, Planning
from tinytrain.planning.fuse_attention import fused_forms
from tinytrain.planning.lifetimes import plan
from tinytrain.planning.recompute import recompute
from tinytrain.planning.recompute_search import Search
from tinytrain.planning.row_loops import gather, with_rows
from tinytrain.planning.spare_scratch import with_room
from tinytrain.quantize import Quantized
from tinytrain.recipe import Dataset, Optimizer, Recipe, UpdateScheme
from tinytrain.sessions.host_session import HostSession
from tinytrain.sessions.session import Session
from tinytrain.toolchain.build import build
from tinytrain.training.scheme import Layer, layers_of
from tinytrain.zoo import CCT, CharLM, SensorTransformer

torch.set_num_threads(1)

SAMPLES = 32
VOCABULARY = 23
KINDS = ("sensor", "lm", "postnorm", "vit", "relu", "channels", "cct")
OPTIMIZERS = {
    "lsb": Optimizer(rule="lsb", learning_rate=2.0),
    "sgd": Optimizer(rule="sgd", learning_rate=0.02),
    "noqas": Optimizer(rule="sgd", learning_rate=20.0, qas=False),
}
SCHEMES = ("full", "last_k:1", "bias_only", "head_only", "some", "half")


class Encoder(nn.Module):
    """torch's own encoder layers between an embedding and a mean."""

    def __init__(self, activation: str, norm_first: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                16, 2, 24, dropout=0.0, activation=activation, batch_first=True,
                norm_first=norm_first,
            )
            for _ in range(2)
        )  # fmt: skip
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(x.mean(dim=1))
        return logits


class Vit(nn.Module):
    """Patches of an image, a class token before them, which is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 16))
        self.pos = nn.Parameter(0.1 * torch.randn(1, 7, 16))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                16, 4, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.cls.expand(y.shape[0], -1, -1), y], dim=1) + self.pos
        for block in self.blocks:
            y = block(y)
        logits: Tensor = self.head(self.norm(y)[:, 0])
        return logits


def scaled_up(model: nn.Module, factor: float = 1.7) -> nn.Module:
    """Larger weights of all linear layers, so that every part of the model matters."""
    with torch.no_grad():
        for name, part in model.named_parameters():
            if part.ndim > 1 and "pos" not in name and "cls" not in name:
                part.mul_(factor)
            elif part.ndim == 1:  # biases, gamma and beta of norms
                part.add_(0.1 * torch.randn_like(part))
    return model


@lru_cache
def model(kind: str) -> nn.Module:
    torch.manual_seed(3)
    if kind in ("lm", "tied"):
        made: nn.Module = CharLM(VOCABULARY, d=16, blocks=2, heads=2, context=8)
        nn.init.normal_(made.embed.weight)  # type: ignore[arg-type, union-attr]
        if kind == "tied":
            made.head.weight = made.embed.weight  # type: ignore[union-attr]
    elif kind == "postnorm":
        made = Encoder("gelu", norm_first=False)
    elif kind == "relu":
        made = Encoder("relu", norm_first=True)
    elif kind == "vit":
        made = Vit()
    elif kind == "cct":
        made = CCT(size=13, channels=2, d=16, classes=5)
    else:
        made = SensorTransformer(window=32, channels=3, patch=4, d=16, blocks=2, heads=2, classes=5)
    scaled_up(made)
    if kind == "tied":
        made.norm.reset_parameters()  # type: ignore[operator, union-attr]
    return made.eval()


@lru_cache
def data(kind: str) -> Dataset:
    rng = np.random.default_rng(5)
    if kind in ("lm", "tied"):
        tokens = rng.integers(0, VOCABULARY, (SAMPLES, 9))
        labels = tokens[:, 1:].copy()
        labels[::3, :2] = -1  # some that do not count
        return Dataset(tokens[:, :8], labels)
    shapes = {"vit": (3, 8, 12), "cct": (2, 13, 13), "postnorm": (8, 6), "relu": (8, 6)}
    shape = shapes.get(kind, (32, 3))
    return Dataset(rng.normal(size=(SAMPLES, *shape)).astype(np.float32),
                   rng.integers(0, 5, SAMPLES))  # fmt: skip


def recipe(kind: str, scheme: Any = "full", optimizer: Optimizer | None = None) -> Recipe:
    samples = data(kind)
    return Recipe(
        name=f"toy_{kind}", model=model(kind), calibration=samples.x[:16], train=samples,
        tests={"test": samples}, loss="tokens" if kind in ("lm", "tied") else "classes",
        scheme=scheme,
        optimizer=optimizer or OPTIMIZERS["lsb"],
        weight_scales="channel" if kind == "channels" else "tensor",
    )  # fmt: skip


@lru_cache
def quantized(kind: str) -> Quantized:
    return prepare(recipe(kind))


def layers(kind: str) -> list[Layer]:
    return layers_of(quantized(kind).graph)


def random_scheme(found: list[Layer], seed: int) -> UpdateScheme:
    """Of each layer nothing, some channels, all of them; bias or not."""
    rng = np.random.default_rng(seed)
    weights: dict[str, float | tuple[int, ...]] = {}
    biases = []
    for layer in found:
        kind = rng.integers(4)
        if kind == 1:
            weights[layer.name] = 1.0
        elif kind == 2:
            count = int(rng.integers(1, layer.outputs + 1))
            picked = rng.choice(layer.outputs, count, replace=False)
            weights[layer.name] = tuple(int(c) for c in picked)
        if rng.random() < 0.4:
            biases.append(layer.name)
    if not weights and not biases:
        weights[found[-1].name] = 1.0
    return UpdateScheme(weights, tuple(biases), f"random {seed}")


def scheme(kind: str, name: str) -> UpdateScheme | str:
    """``some``: chosen channels of every second layer; ``half``: a ratio of every layer."""
    found = layers(kind)
    if name == "some":
        weights = {
            part.name: tuple(range(i % 3, part.outputs, 2 + i % 3))
            for i, part in enumerate(found)
            if i % 2 == 0
        }
        return UpdateScheme(weights, tuple(part.name for part in found[::3]), "some")
    if name == "half":
        return UpdateScheme({"*": 0.5}, ("*",), "half")
    return name


def compiled(
    kind: str, scheme_name: Any = "full", planning: Planning | None = None, **settings: Any
) -> Compiled:
    """``settings``: fields of the optimizer, ``rule`` one of OPTIMIZERS."""
    optimizer = replace(OPTIMIZERS[settings.pop("rule", "lsb")], **settings)
    chosen = scheme(kind, scheme_name) if isinstance(scheme_name, str) else scheme_name
    made = recipe(kind, chosen, optimizer)
    return compile_recipe(made, load_board("host"), quantized(kind), planning=planning)


def shaped(made: Compiled, seed: int) -> Compiled:
    """The same model with a step of another form: chosen at random what is made again, which
    updates have what they read made for themselves, where loops end and how many rows they take."""
    rng = np.random.default_rng(seed)
    forms = fused_forms(made.plain)
    search = Search(forms[seed % len(forms)])
    names = [*search.forward, *search.own, *search.cuts]
    part = rng.random()
    choice = {name for name in names if rng.random() < part}
    graph = recompute(search.graph, choice)
    assert graph is not None
    graph = gather(graph, choice.intersection(search.cuts))
    loops = {n.loop.name: n.tokens for n in graph.nodes if n.loop is not None}
    rows = {name: int(rng.integers(1, n + 1)) for name, n in loops.items()}
    graph = with_rows(graph, rows)
    graph = prune(graph)
    found = plan(graph)
    step = Fitted(graph, with_room(graph, found, arena_bytes(found)))
    program = made.program.with_training(replace(made.largest, step=step))
    files = emit(made.name, program, made.optimizer, made.knots)
    return replace(made, program=program, files=files)


def host(made: Compiled, out: Path) -> HostSession:
    """A session with guard zones round the arena."""
    artifact = build(made.files, made.board, out, guard=True)
    return HostSession(artifact.path, made.codec, guard=True)


def assert_same(a: Session, b: Session, samples: Dataset, steps: int) -> None:
    """Losses, hits, evaluations, logits, weights and snapshots of both are the same bits."""
    for i in range(steps):
        x, y = samples.x[i % len(samples)], samples.y[i % len(samples)]
        if i % 8 == 0:
            assert a.score(x, y) == b.score(x, y), f"evaluation before step {i}"
            assert a.predict(x).tobytes() == b.predict(x).tobytes(), f"logits before step {i}"
        assert a.step(x, y) == b.step(x, y), f"step {i}"
    ours, theirs = a.weights(), b.weights()
    assert set(ours) == set(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], name)
    assert a.weights_sha256() == b.weights_sha256()
    assert a.snapshot() == b.snapshot()
