"""The PyTorch frontend: convolutions, what joins them, sequence pooling; torch's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.frontend_models import D, Model, T, check, layers, only, ops, weight
from tinytrain.errors import UnsupportedOp
from tinytrain.frontend.torch_export import from_torch
from tinytrain.ops.window import ONE, Window
from tinytrain.zoo import CCT


def tokens(y: Tensor) -> Tensor:
    return y.flatten(2).transpose(1, 2)


def test_zoo_cct() -> None:
    graph = check(CCT(16, 1, 16, 2, 2, 5), (1, 16, 16))
    assert ops(graph)[:4] == ["reshape", "conv_pool", "conv_pool", "add"]
    assert ops(graph)[-4:] == ["layer_norm", "linear", "sequence_pool", "linear"]
    assert layers(graph, "conv_pool") == ["convs.0", "convs.1"]
    assert layers(graph)[-2:] == ["pool", "head"]


def test_parameters_of_the_zoo_cct() -> None:
    count = sum(p.numel() for p in CCT().parameters())
    assert f"{count:,}" in (CCT.__doc__ or "") and round(count, -4) == 280_000


@pytest.mark.parametrize(
    ("form", "relu", "pool"),
    [
        (lambda m, x: m.conv(x), False, ONE),
        (lambda m, x: F.relu(m.conv(x)), True, ONE),
        (lambda m, x: F.max_pool2d(m.conv(x), 2), False, Window((2, 2), (2, 2), (0, 0))),
        (lambda m, x: F.max_pool2d(F.relu(m.conv(x)), 3, 2, 1), True,
         Window((3, 3), (2, 2), (1, 1))),
        (lambda m, x: F.relu(F.max_pool2d(m.conv(x), (2, 3), (1, 2), (0, 1))), True,
         Window((2, 3), (1, 2), (0, 1))),
        (lambda m, x: F.dropout(m.conv(x), 0.5, False).relu_(), True, ONE),
    ],
)  # fmt: skip
def test_what_joins_a_convolution(form: Any, relu: bool, pool: Window) -> None:
    conv = nn.Conv2d(3, D, 3, padding=1)
    graph = check(Model(lambda m, x: tokens(form(m, x)), conv=conv), (3, 7, 6))
    assert ops(graph) == ["reshape", "permute", "conv_pool"]
    node = only(graph, "conv_pool")
    assert (node.layer, node.attrs["relu"], node.attrs["pool"]) == ("conv", relu, pool)
    assert node.attrs["image"] == (7, 6) and node.attrs["conv"] == Window((3, 3), (1, 1), (1, 1))
    assert {"conv.weight", "conv.bias"} <= set(graph.params)


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv2d(1, 4, 3), (1, 5, 5)),
        (nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 0), bias=False), (2, 6, 7)),
        (nn.Conv2d(1, 4, 3, 3, 1), (1, 7, 7)),
        (nn.Conv2d(2, 4, 3, padding="same"), (2, 4, 6)),
        (nn.Conv2d(2, 4, 4, 4), (2, 9, 8)),  # patches, and a row of pixels that none has
        (nn.Conv2d(2, 4, 1, 2), (2, 6, 6)),
    ],
)
def test_forms_of_a_convolution(conv: nn.Module, shape: tuple[int, ...]) -> None:
    graph = check(Model(lambda m, x: tokens(m.conv(x)), conv=conv), shape)
    assert ops(graph)[-1] == "conv_pool" and only(graph, "conv_pool").layer == "conv"


def test_conv1d_with_overlap_and_pooling() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return F.max_pool1d(F.relu(m.conv(x.transpose(1, 2))), 2).transpose(1, 2)

    graph = check(Model(forward, conv=nn.Conv1d(3, D, 5, 2, 2)), (24, 3))
    assert ops(graph) == ["conv_pool"]  # channels are last already
    assert only(graph, "conv_pool").attrs["pool"] == Window((1, 2), (1, 2), (0, 0))


def test_a_pointwise_convolution_is_linear() -> None:
    parts = {"conv": nn.Conv2d(2, D, 3), "mix": nn.Conv2d(D, 4, 1)}
    graph = check(Model(lambda m, x: tokens(m.mix(m.conv(x))), **parts), (2, 5, 5))
    assert ops(graph)[-2:] == ["conv_pool", "linear"] and layers(graph) == ["mix"]


def test_patches_of_a_convolution_are_a_convolution() -> None:
    parts = {"conv": nn.Conv2d(1, D, 3, padding=1), "down": nn.Conv2d(D, 4, 2, 2)}
    graph = check(Model(lambda m, x: tokens(m.down(F.gelu(m.conv(x)))), **parts), (1, 4, 6))
    assert ops(graph) == ["reshape", "conv_pool", "unary", "conv_pool"]


def test_a_convolution_that_two_read_keeps_its_relu_apart() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        return tokens(F.relu(y) + y)

    graph = check(Model(forward, conv=nn.Conv2d(1, D, 3)), (1, 5, 5))
    assert ops(graph) == ["reshape", "conv_pool", "unary", "add"]


def test_mean_over_the_pixels() -> None:
    parts = {"conv": nn.Conv2d(1, D, 3), "head": nn.Linear(D, 3)}
    graph = check(Model(lambda m, x: m.head(m.conv(x).mean((2, 3))), **parts), (1, 5, 5))
    assert ops(graph) == ["reshape", "conv_pool", "mean_tokens", "linear"]


# -- sequence pooling ------------------------------------------------------------------------------


def original(m: Any, x: Tensor) -> Tensor:
    """As the authors of CCT write it."""
    y = m.embed(x)
    pooled = torch.matmul(F.softmax(m.pool(y), dim=1).transpose(-1, -2), y).squeeze(-2)
    return m.head(pooled)


def turned(m: Any, x: Tensor) -> Tensor:
    y = m.embed(x)
    scores = m.pool(y).squeeze(-1).softmax(-1)
    return m.head(torch.einsum("bt,btc->bc", scores, y))


def other_side(m: Any, x: Tensor) -> Tensor:
    y = m.embed(x)
    return m.head((y.transpose(1, 2) @ m.pool(y).softmax(1)).squeeze(2))


def scaled(m: Any, x: Tensor) -> Tensor:
    y = m.embed(x) * 2
    return m.head(((m.pool(y) / 3).softmax(1).mT @ y)[:, 0])


@pytest.mark.parametrize("forward", [original, turned, other_side, scaled])
def test_sequence_pooling(forward: Any) -> None:
    parts = {"embed": nn.Linear(3, D), "pool": nn.Linear(D, 1), "head": nn.Linear(D, 4)}
    graph = check(Model(forward, **parts), (T, 3))
    assert only(graph, "sequence_pool").inputs[0].type.shape == (T, D)
    assert layers(graph) == ["embed", "pool", "head"]


def test_learned_pooling_weights_are_a_product_with_a_constant() -> None:
    """A softmax over parameters is a constant, so there is nothing to pool by."""
    model = Model(lambda m, x: m.w.softmax(1).mT @ m.l(x), l=nn.Linear(D, D), w=weight(1, T, 1))
    with pytest.raises(UnsupportedOp):
        from_torch(model, np.zeros((T, D), np.float32))
