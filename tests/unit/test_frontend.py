"""The PyTorch frontend: the float graph gives torch's numbers, names follow the user's modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinytrain.errors import ShapeError
from tinytrain.frontend.torch_export import from_torch
from tinytrain.ir import Graph
from tinytrain.ops.floating import FLOAT_OPS, erf, float_values, run_float
from tinytrain.zoo import CharLM, SensorTransformer

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
        got = run_float(graph, x)
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


# -- attention -----------------------------------------------------------------------------------


def heads(x: Tensor) -> Tensor:
    return x.view(x.shape[0], T, H, -1).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], T, -1)


def core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / math.sqrt(D // H)).softmax(-1) @ v


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


def masked(change: Callable[[Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (heads(p(x)) for p in (m.q, m.k, m.v))
        return merge(change(q @ k.transpose(-2, -1) * 0.3).softmax(-1) @ v)

    return forward


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


# -- around the blocks ---------------------------------------------------------------------------


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


def test_erf() -> None:
    x = np.linspace(-5, 5, 1001)
    np.testing.assert_allclose(erf(x), [math.erf(v) for v in x], atol=2e-7)


def test_samples_of_another_shape() -> None:
    graph = from_torch(nn.Linear(D, 3), np.zeros((T, D)))
    with pytest.raises(ShapeError, match=r"\(3, 8\); the model takes \(6, 8\)"):
        run_float(graph, np.zeros((3, D)))
    assert float_values(graph, np.zeros((T, D)))["linear"].shape == (T, 3)
