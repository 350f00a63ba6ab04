"""The PyTorch frontend: the float graph gives torch's numbers, names follow the user's modules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.frontend_models import (
    D,
    Model,
    T,
    check,
    layers,
    only,
    ops,
    weight,
)
from tinytrain.errors import ShapeError
from tinytrain.frontend.torch_export import from_torch
from tinytrain.quantize.calibrate import ranges
from tinytrain.zoo import CharLM, SensorTransformer


def test_zoo_sensor() -> None:
    graph = check(SensorTransformer(32, 6, 4, 16, 2, 2, 5), (32, 6))
    assert layers(graph)[:5] == ["embed", *(f"blocks.0.{name}" for name in "qkvo")]
    assert "pos" in graph.params and graph.params["pos"].data.shape == (8, 16)
    assert graph.inputs[0].type.shape == (32, 6)


@pytest.mark.parametrize(("vocabulary", "dtype"), [(27, "u8"), (256, "u8"), (257, "u16")])
def test_zoo_language_model(vocabulary: int, dtype: str) -> None:
    graph = check(CharLM(vocabulary, 16, 1, 2, 12), (12,), vocabulary)
    assert graph.inputs[0].type.dtype == dtype
    assert only(graph, "embedding").layer == "embed"
    assert only(graph, "attention").attrs["causal"] is True
    assert graph.outputs[0].type.shape == (12, vocabulary)


def test_embedding_of_positions_and_scaling() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.tok(x) * math.sqrt(D) + m.pos(torch.arange(x.shape[1]))
        return m.head(y)

    graph = check(Model(forward, tok=nn.Embedding(11, D), pos=nn.Embedding(20, D),
                        head=nn.Linear(D, 11, bias=False)), (T,), 11)  # fmt: skip
    assert ops(graph) == ["embedding", "scale", "add", "linear"]
    assert graph.params["pos.weight"].data.shape == (T, D)
    assert not graph.params["head.bias"].data.any()
    assert graph.nodes[1].attrs["factor"] == pytest.approx(math.sqrt(D))


def test_tied_embedding_becomes_two_parameters() -> None:
    tok, head = nn.Embedding(11, D), nn.Linear(D, 11, bias=False)
    head.weight = tok.weight
    graph = check(Model(lambda m, x: m.head(m.tok(x)), tok=tok, head=head), (T,), 11)
    assert {"tok.weight", "head.weight"} <= set(graph.params)


def test_tied_by_a_product() -> None:
    graph = check(Model(lambda m, x: m.tok(x) @ m.tok.weight.T, tok=nn.Embedding(11, D)), (T,), 11)
    assert layers(graph) == ["tok.linear"]
    assert {"tok.weight", "tok.linear.weight"} <= set(graph.params)


def test_conv1d_frames() -> None:
    conv = nn.Conv1d(3, D, kernel_size=4, stride=4)
    model = Model(lambda m, x: m.conv(x.transpose(1, 2)).transpose(1, 2), conv=conv)
    graph = check(model, (24, 3))
    assert layers(graph) == ["conv"] and graph.outputs[0].type.shape == (6, D)


@pytest.mark.parametrize("pointwise", [True, False])
def test_conv2d_patches(pointwise: bool) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.mix(F.relu(m.patch(x))) if pointwise else m.patch(x)
        return y.flatten(2).transpose(1, 2)

    graph = check(Model(forward, patch=nn.Conv2d(3, D, 4, 4), mix=nn.Conv2d(D, 5, 1)), (3, 8, 12))
    assert ops(graph)[:4] == ["reshape", "permute", "reshape", "linear"]
    assert ops(graph).count("permute") == 1


def test_normalised_image() -> None:
    conv = nn.Conv2d(3, D, 4, 4)
    graph = check(Model(lambda m, x: m.conv((x - 0.5) / 0.25).flatten(2).mT, conv=conv), (3, 8, 8))
    assert ops(graph) == ["reshape", "add", "reshape", "permute", "reshape", "scale", "linear"]


def test_patches_by_reshape() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = x.reshape(-1, 3, 2, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(x.shape[0], 6, 48)
        return m.patch(y)

    graph = check(Model(forward, patch=nn.Linear(48, D)), (3, 8, 12))
    assert ops(graph) == ["reshape", "permute", "reshape", "linear"]


def test_patches_by_unfold() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.patch(x.unfold(1, 4, 4).flatten(2))

    graph = check(Model(forward, patch=nn.Linear(12, D)), (24, 3))
    assert layers(graph) == ["patch"]


@pytest.mark.parametrize("token", [0, -1])
def test_class_token(token: int) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.embed(x)
        cls = m.cls.expand(x.shape[0], -1, -1)
        y = torch.cat([cls, y] if token == 0 else [y, cls], dim=1) + m.pos
        return m.head(m.norm(y)[:, token])

    params = {"cls": weight(1, 1, D), "pos": weight(1, T + 1, D)}
    layers = {"embed": nn.Linear(3, D), "norm": nn.LayerNorm(D), "head": nn.Linear(D, 4)}
    graph = check(Model(forward, **params, **layers), (T, 3))
    assert ops(graph) == ["linear", "concat_tokens", "add", "layer_norm", "select_token", "linear"]
    assert only(graph, "select_token").attrs["index"] == (0 if token == 0 else T)
    assert graph.params["cls"].data.shape == (1, D)


@pytest.mark.parametrize(
    ("fn", "module"),
    [
        ("gelu", nn.GELU()), ("gelu_tanh", nn.GELU("tanh")), ("relu", nn.ReLU()),
        ("tanh", nn.Tanh()), ("sigmoid", nn.Sigmoid()), ("silu", nn.SiLU()),
    ],
)  # fmt: skip
def test_activations(fn: str, module: nn.Module) -> None:
    graph = check(Model(lambda m, x: m.out(m.act(m.up(x))), up=nn.Linear(D, 16), act=module,
                        out=nn.Linear(16, D)))  # fmt: skip
    node = only(graph, "unary")
    assert (node.attrs["fn"], node.layer) == (fn, "act")
    assert ops(graph) == ["linear", "unary", "linear"]


@pytest.mark.parametrize(
    ("forward", "wanted"),
    [
        (lambda m, x: m.a(x) - m.b(x), ["linear", "linear", "scale", "add"]),
        (lambda m, x: m.a(x).mean(1), ["linear", "mean_tokens"]),
        (lambda m, x: m.a(x).mean(dim=(1,), keepdim=True) * 3, ["linear", "mean_tokens", "scale"]),
        (lambda m, x: m.a(x @ m.w + m.c), ["linear", "linear"]),
        (lambda m, x: m.a(x) + m.c + 1.0, ["linear", "add", "add"]),
        (lambda m, x: m.n(x) / 2, ["layer_norm", "scale"]),
        (lambda m, x: F.dropout(m.a(x), 0.5, m.training), ["linear"]),
        (lambda m, x: m.a(x).flatten(1) @ m.f, ["linear", "reshape", "linear"]),
        (lambda m, x: F.adaptive_avg_pool1d(m.a(x).transpose(1, 2), 1)[..., 0],
         ["linear", "mean_tokens"]),
        (lambda m, x: torch.einsum("btc,chd->bthd", x, m.w.view(D, 2, -1)).flatten(2), ["linear"]),
        (lambda m, x: torch.cat([m.a(x), m.b(x)], 1), ["linear", "linear", "concat_tokens"]),
    ],
)  # fmt: skip
def test_small_forms(forward: Any, wanted: list[str]) -> None:
    model = Model(forward, a=nn.Linear(D, D), b=nn.Linear(D, D), w=weight(D, D), c=weight(D),
                  n=nn.LayerNorm(D, bias=False), f=weight(T * D, 3))  # fmt: skip
    assert ops(check(model)) == wanted


def test_perceptron_of_a_flat_sample() -> None:
    graph = check(nn.Sequential(nn.Linear(D, 4), nn.ReLU(), nn.Linear(4, 2)), (D,))
    assert layers(graph) == ["0", "2"]


def test_names_of_a_bare_linear_layer() -> None:
    assert set(check(nn.Linear(D, 3)).params) == {"weight", "bias"}


# -- the float operators -------------------------------------------------------------------------


def test_samples_of_another_shape() -> None:
    graph = from_torch(nn.Linear(D, 3), np.zeros((T, D)))
    with pytest.raises(ShapeError, match=r"\(3, 8\); the model takes \(6, 8\)"):
        ranges(graph, [np.zeros((T, D)), np.zeros((3, D))], "minmax")
    assert set(ranges(graph, [np.ones((T, D))], "minmax")) == {graph.inputs[0].name, "linear"}
