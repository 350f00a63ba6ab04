"""Small models that the frontend tests convert, and what they look at in the graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinytrain.frontend.torch_export import from_torch
from tinytrain.ir import Graph
from tinytrain.ir.execute import execute
from tinytrain.ops.floating import FLOAT_OPS

T, D, H = 6, 8, 2
FUTURE = torch.ones(T, T, dtype=torch.bool).triu(1)


class Model(nn.Module):
    """Modules by keyword and a forward written beside them."""

    def __init__(self, forward: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.body = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def check(model: nn.Module, shape: tuple[int, ...] = (T, D), vocabulary: int = 0) -> Graph:
    """Convert; compare with torch on several samples."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model.eval()

    def sample() -> Any:
        if vocabulary:
            return rng.integers(0, vocabulary, shape)
        return rng.normal(size=shape).astype(np.float32)

    graph = from_torch(model, sample())
    for _ in range(2):
        x = sample()
        wanted = model(torch.from_numpy(x)[None])[0].detach().numpy()
        got = execute(graph, {graph.inputs[0].name: x})[graph.outputs[0].name]
        np.testing.assert_allclose(got, wanted.reshape(got.shape), atol=1e-4, rtol=1e-4)
    assert all(node.op in FLOAT_OPS.values() for node in graph.nodes)
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def layers(graph: Graph, op: str = "linear") -> list[str]:
    return [node.layer for node in graph.nodes if node.op.name == op]


def only(graph: Graph, op: str) -> Any:
    (node,) = (node for node in graph.nodes if node.op.name == op)
    return node


def heads(x: Tensor) -> Tensor:
    return x.view(x.shape[0], T, H, -1).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], T, -1)


def core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / math.sqrt(D // H)).softmax(-1) @ v


def masked(change: Callable[[Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (heads(p(x)) for p in (m.q, m.k, m.v))
        return merge(change(q @ k.transpose(-2, -1) * 0.3).softmax(-1) @ v)

    return forward
