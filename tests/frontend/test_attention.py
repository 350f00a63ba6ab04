"""The PyTorch frontend: attention however it is written gives one node and torch's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.frontend_models import (
    FUTURE,
    D,
    H,
    Model,
    T,
    check,
    core,
    heads,
    layers,
    masked,
    merge,
    only,
    ops,
)


def separate(m: Any, x: Tensor) -> Tensor:
    return m.o(merge(core(heads(m.q(x)), heads(m.k(x)), heads(m.v(x)))))


def chunked(m: Any, x: Tensor) -> Tensor:
    return m.o(merge(core(*(heads(y) for y in m.qkv(x).chunk(3, dim=-1)))))


def sliced(m: Any, x: Tensor) -> Tensor:
    y = m.qkv(x)
    return m.o(merge(core(heads(y[..., :D]), heads(y[..., D : 2 * D]), heads(y[..., 2 * D :]))))


def unbound(m: Any, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).reshape(x.shape[0], T, 3, H, D // H).permute(2, 0, 3, 1, 4).unbind(0)
    return m.o(merge(core(q, k, v)))


def interleaved(m: Any, x: Tensor) -> Tensor:
    return m.o(merge(core(*heads(m.qkv(x)).chunk(3, dim=-1))))


def with_bmm(m: Any, x: Tensor) -> Tensor:
    q, k, v = (heads(p(x)).reshape(-1, T, D // H) for p in (m.q, m.k, m.v))
    mixed = torch.bmm(torch.bmm(q * (D // H) ** -0.5, k.transpose(1, 2)).softmax(-1), v)
    return m.o(merge(mixed.view(x.shape[0], H, T, -1)))


def with_einsum(m: Any, x: Tensor) -> Tensor:
    q, k, v = (p(x).view(x.shape[0], T, H, -1) for p in (m.q, m.k, m.v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (D // H) ** -0.5
    return m.o(torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(2))


def keys_first(m: Any, x: Tensor) -> Tensor:
    q, k, v = (p(x).view(x.shape[0], T, H, -1) for p in (m.q, m.k, m.v))
    scores = torch.einsum("bkhd,bqhd->bhkq", k, q) * (D // H) ** -0.5
    return m.o(torch.einsum("bhkq,bkhd->bqhd", scores.softmax(2), v).flatten(2))


def sdpa(m: Any, x: Tensor) -> Tensor:
    q, k, v = (heads(p(x)) for p in (m.q, m.k, m.v))
    return m.o(merge(F.scaled_dot_product_attention(q, k, v)))


@pytest.mark.parametrize("forward", [separate, with_bmm, with_einsum, keys_first, sdpa])
def test_attention_with_separate_projections(forward: Any) -> None:
    model = Model(forward, **{name: nn.Linear(D, D) for name in "qkvo"})
    graph = check(model)
    node = only(graph, "attention")
    assert (node.attrs["heads"], node.attrs["causal"]) == (H, False)
    assert node.attrs["scale"] == pytest.approx((D // H) ** -0.5)
    assert [v.name for v in node.inputs] == ["q", "k", "v"]
    assert ops(graph) == ["linear"] * 3 + ["attention", "linear"]


@pytest.mark.parametrize(
    ("forward", "bias"), [(chunked, True), (sliced, True), (unbound, False), (interleaved, True)]
)
def test_fused_qkv_becomes_three_layers(forward: Any, bias: bool) -> None:
    graph = check(Model(forward, qkv=nn.Linear(D, 3 * D, bias=bias), o=nn.Linear(D, D)))
    assert layers(graph) == ["qkv.q", "qkv.k", "qkv.v", "o"]
    assert {"qkv.q.weight", "qkv.k.bias", "qkv.v.weight"} <= set(graph.params)
    assert ops(graph) == ["linear"] * 3 + ["attention", "linear"]


def sdpa_with(**options: Any) -> Callable[[Any, Tensor], Tensor]:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (heads(p(x)) for p in (m.q, m.k, m.v))
        return merge(F.scaled_dot_product_attention(q, k, v, **options))

    return forward


ADDED = torch.zeros(T, T).masked_fill(FUTURE, -math.inf)


@pytest.mark.parametrize(
    "forward",
    [
        masked(lambda s: s.masked_fill(FUTURE, -math.inf)),
        masked(lambda s: s.masked_fill(FUTURE, torch.finfo(torch.float32).min)),
        masked(lambda s: s.masked_fill(torch.tril(torch.ones(T, T)) == 0, -1e9)),
        masked(lambda s: torch.where(FUTURE, torch.tensor(-math.inf), s)),
        masked(lambda s: torch.where(~FUTURE, s, -1e10)),
        masked(lambda s: s + ADDED),
        masked(lambda s: ADDED + s),
        sdpa_with(is_causal=True),
        sdpa_with(attn_mask=ADDED, scale=0.7),
        sdpa_with(attn_mask=~FUTURE),
    ],
)
def test_causal_masks(forward: Any) -> None:
    graph = check(Model(forward, **{name: nn.Linear(D, D) for name in "qkv"}))
    assert only(graph, "attention").attrs["causal"] is True
    assert not any("mask" in name or "constant" in name for name in graph.params)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention(causal: bool, batch_first: bool) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        y = m.mha(x, x, x, attn_mask=FUTURE if causal else None)[0]
        return y if batch_first else y.transpose(0, 1)

    graph = check(Model(forward, mha=nn.MultiheadAttention(D, H, batch_first=batch_first)))
    assert layers(graph) == ["mha.q", "mha.k", "mha.v", "mha.out_proj"]
    assert only(graph, "attention").attrs["causal"] is causal
    assert only(graph, "attention").layer == "mha"
    assert len(graph.nodes) == 5


def test_multihead_attention_of_different_inputs() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.mha(m.a(x), m.b(x), x, need_weights=False)[0]

    parts = {"a": nn.Linear(D, D), "b": nn.Linear(D, D)}
    graph = check(Model(forward, mha=nn.MultiheadAttention(D, H, batch_first=True), **parts))
    assert set(layers(graph)) == {"a", "b", "mha.q", "mha.k", "mha.v", "mha.out_proj"}


@pytest.mark.parametrize(
    ("norm_first", "activation", "causal"),
    [(True, "gelu", False), (False, "relu", True), (False, F.gelu, False)],
)
def test_transformer_encoder(norm_first: bool, activation: Any, causal: bool) -> None:
    layer = nn.TransformerEncoderLayer(
        D, H, 16, dropout=0.1, activation=activation, batch_first=True, norm_first=norm_first
    )
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.enc(x, mask=ADDED, is_causal=True) if causal else m.enc(x)
        return m.head(y.mean(1))

    fast = torch.backends.mha.get_fastpath_enabled()
    graph = check(Model(forward, enc=encoder, head=nn.Linear(D, 3)))
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert "enc.layers.1.self_attn.q" in layers(graph)
    assert "enc.layers.0.linear1" in layers(graph)
    assert layers(graph, "layer_norm")[0] == "enc.layers.0.norm1"
    assert ops(graph).count("attention") == 2 and "permute" not in ops(graph)
