"""The PyTorch frontend: what it refuses, and how the message says what, where and what next."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
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
    core,
    heads,
    masked,
    merge,
    weight,
)
from tinytrain.errors import CalibrationError, ShapeError, TinytrainError, UnsupportedOp
from tinytrain.frontend.explain import nearest
from tinytrain.frontend.rules import RULES
from tinytrain.frontend.torch_export import from_torch
from tinytrain.zoo import CharLM


def refused(model: nn.Module, shape: tuple[int, ...] = (T, D), dtype: Any = np.float32) -> str:
    with pytest.raises(TinytrainError) as caught:
        from_torch(model.eval(), np.zeros(shape, dtype))
    assert isinstance(caught.value, UnsupportedOp)
    return str(caught.value)


def apply(**parts: nn.Module) -> Model:
    """The parts one after the other, channels first for convolutions and pools."""
    (part,) = parts.values()
    return Model(lambda m, x: part(x), **parts)


@pytest.mark.parametrize(
    ("model", "shape", "wanted"),
    [
        (apply(bn=nn.BatchNorm1d(T)), (T, D), ["batch_norm", "in bn", "nn.LayerNorm"]),
        (apply(conv=nn.Conv2d(4, 4, 3, groups=4)), (4, 8, 8), ["in conv", "4 groups", "groups 1"]),
        (apply(conv=nn.Conv2d(3, 4, 3, dilation=2)), (3, 8, 8), ["dilation [2, 2]", "dilation 1"]),
        (apply(conv=nn.ConvTranspose2d(3, 4, 3)), (3, 8, 8), ["transposed", "in conv"]),
        (apply(conv=nn.Conv3d(1, 4, 3)), (1, 4, 4, 4), ["in conv", "nn.Conv2d"]),
        (apply(conv=nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")), (1, 4, 4), ["in conv"]),
        (apply(pool=nn.MaxPool2d(2)), (3, 8, 8), ["max_pool2d", "in pool", "behind a convolution"]),
        (apply(pool=nn.AvgPool2d(2)), (3, 8, 8), ["avg_pool2d", "in pool", "MaxPool2d behind"]),
        (Model(lambda m, x: F.max_pool2d(m.c(x), 2, ceil_mode=True), c=nn.Conv2d(1, 2, 2)),
         (1, 8, 8), ["max_pool2d", "ceil_mode"]),
        (Model(lambda m, x: F.max_pool2d(F.gelu(m.c(x)), 2), c=nn.Conv2d(1, 2, 2)), (1, 8, 8),
         ["max_pool2d", "nothing but ReLU"]),
        (Model(lambda m, x: (lambda y: F.max_pool2d(y, 3, 1, 1) + y)(m.c(x)), c=nn.Conv2d(1, 2, 2)),
         (1, 8, 8), ["max_pool2d", "no other reader"]),
        (Model(lambda m, x: m.l(x).softmax(1) * x, l=nn.Linear(D, 1)), (T, D),
         ["softmax over tokens may only be multiplied"]),
        (Model(lambda m, x: m.l(x).flip(1).softmax(1).mT @ x, l=nn.Linear(D, 1)), (T, D),
         ["aten.flip"]),
        (apply(lstm=nn.LSTM(D, D, batch_first=True)), (T, D), ["aten.lstm in lstm", "nn.Trans"]),
        (apply(act=nn.Hardswish()), (T, D), ["in act", "nn.SiLU"]),
        (apply(n=nn.GroupNorm(2, T)), (T, D), ["group_norm", "in n", "nn.LayerNorm"]),
        (apply(n=nn.RMSNorm(D)), (T, D), ["rms_norm", "in n", "nn.LayerNorm"]),
        (Model(lambda m, x: F.softplus(x)), (T, D), ["softplus"]),
        (Model(lambda m, x: torch.erf(x)), (T, D), ["aten.erf", "nn.GELU"]),
        (apply(act=nn.ELU()), (T, D), ["in act"]),
        (apply(out=nn.Softmax(-1)), (T, D), ["_softmax in out", "return the logits"]),
        (apply(out=nn.LogSoftmax(-1)), (T, D), ["_log_softmax in out", "return the logits"]),
        (apply(n=nn.LayerNorm((T, D))), (T, D), ["native_layer_norm in n", "channels alone"]),
        (Model(lambda m, x: x.softmax(-1) @ m.w, w=weight(D, D)), (T, D), ["inside attention"]),
        (Model(lambda m, x: x * m.w, w=weight(T, D)), (T, D), ["aten.mul", "frontend_models.py"]),
        (Model(lambda m, x: m.l(x) * x, l=nn.Linear(D, D)), (T, D), ["gated"]),
        (Model(lambda m, x: m.l(x) + x.mean(1, True), l=nn.Linear(D, D)), (T, D), ["repeats"]),
        (Model(lambda m, x: m.l(m.l(x)), l=nn.Linear(D, D)), (T, D), ["'l'", "second time"]),
        (Model(lambda m, x: m.l(m.l(x).transpose(1, 2)), l=nn.Linear(D, D)), (D, D), ["moves"]),
        (Model(lambda m, x: m.l(x)[:, 1:], l=nn.Linear(D, D)), (T, D), ["leaves out"]),
        (Model(lambda m, x: torch.cat([m.l(x), x], -1), l=nn.Linear(D, D)), (T, D), ["aten.cat"]),
        (Model(lambda m, x: m.l(x).cumsum(1), l=nn.Linear(D, D)), (T, D), ["aten.cumsum"]),
        (Model(lambda m, x: (m.l(x), x), l=nn.Linear(D, D)), (T, D), ["one tensor"]),
        (Model(lambda m, x: m.w, w=weight(1, D)), (T, D), ["output"]),
        (Model(lambda m, x: m.l(x) if x.sum() > 0 else x, l=nn.Linear(D, D)), (T, D),
         ["torch.export cannot follow"]),
        (Model(masked(lambda s: s + torch.linspace(0, 1, T * T).view(T, T)), q=nn.Linear(D, D),
               k=nn.Linear(D, D), v=nn.Linear(D, D)), (T, D), ["bias on the attention scores"]),
        (Model(masked(lambda s: s.masked_fill(FUTURE.T, -math.inf)), q=nn.Linear(D, D),
               k=nn.Linear(D, D), v=nn.Linear(D, D)), (T, D), ["neither causal nor empty"]),
    ],
)  # fmt: skip
def test_what_is_refused(model: nn.Module, shape: tuple[int, ...], wanted: list[str]) -> None:
    message = refused(model, shape)
    assert all(part in message for part in wanted), message
    assert "Traceback" not in message and len(message.splitlines()) == 1


class Summed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1)


def test_a_message_has_the_users_line() -> None:
    message = refused(nn.Sequential(nn.Linear(D, D), Summed()))
    assert "aten.cumsum in 1 (test_refusals.py:" in message
    assert "x.cumsum(1)" in message


def test_grouped_queries_are_refused() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        k = m.k(x).view(x.shape[0], T, 1, -1).transpose(1, 2).expand(-1, H, -1, -1)
        return merge(core(heads(m.q(x)), k, heads(m.v(x))))

    parts = {"q": nn.Linear(D, D), "k": nn.Linear(D, D // H), "v": nn.Linear(D, D)}
    assert "grouped-query" in refused(Model(forward, **parts))


def test_attention_over_the_batch_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match=r"mixes the samples of a batch.*batch_first"):
        from_torch(nn.TransformerEncoderLayer(D, H, 16).eval(), np.ones((T, D), np.float32))
    with pytest.raises(UnsupportedOp, match="mixes the samples"):
        from_torch(Model(lambda m, x: x - x.mean(0, True)), np.ones((T, D), np.float32))


def test_dropout_in_training_mode() -> None:
    model = Model(lambda m, x: m.drop(m.l(x)), l=nn.Linear(D, D), drop=nn.Dropout(0.1))
    with pytest.raises(UnsupportedOp, match=r"in drop.*dropout 0\.1.*model\.eval\(\)"):
        from_torch(model.train(), np.zeros((T, D), np.float32))
    with pytest.raises(UnsupportedOp, match=r"model\.eval\(\)"):
        from_torch(nn.TransformerEncoderLayer(D, H, 16, batch_first=True), np.zeros((T, D)))
    with pytest.raises(UnsupportedOp, match=r"model\.eval\(\)"):
        from_torch(Model(lambda m, x: F.dropout(x, 0.5)), np.zeros((T, D)))
    from_torch(Model(lambda m, x: m.l(x), l=nn.Linear(D, D)).train(), np.zeros((T, D)))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite(bad: float) -> None:
    model = Model(lambda m, x: m.l(x), l=nn.Linear(D, D))
    with torch.no_grad():
        model.l.weight[1, 2] = bad
    with pytest.raises(CalibrationError, match=r"l\.weight \[8, 8\] holds 1 NaN"):
        from_torch(model, np.zeros((T, D), np.float32))


@pytest.mark.parametrize(
    "example",
    [np.zeros((T, D + 1)), np.zeros((T, D), bool), np.zeros((2, T), np.int64), np.zeros(()),
     np.zeros((0, D)), np.zeros(T, np.int64)],
)  # fmt: skip
def test_examples_that_do_not_fit(example: Any) -> None:
    with pytest.raises(ShapeError) as caught:
        from_torch(Model(lambda m, x: m.proj(x), proj=nn.Linear(D, D)), example)
    assert len(str(caught.value).splitlines()) == 1
    if example.shape == (T, D + 1):
        assert "proj does not take an example of shape (6, 9)" in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_heads_that_do_not_divide() -> None:
    model = Model(lambda m, x: m.l(x).view(-1, T, 3, D // 3), l=nn.Linear(D, D))
    with pytest.raises(ShapeError, match="invalid for input of size"):
        from_torch(model, np.zeros((T, D)))


def test_tokens_beyond_the_vocabulary() -> None:
    with pytest.raises(ShapeError, match="index out of range"):
        from_torch(CharLM(5, 8, 1, 2, T), np.full(T, 5))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("native_dropout", "model.eval()"), ("avg_pool2d", "mean(dim=1)"), ("gelu_", "nn.GELU"),
        ("relu_", "nn.ReLU"), ("einsum", ""), ("layer_norm_2", "nn.LayerNorm"), ("xyzzy", ""),
    ],
)  # fmt: skip
def test_the_nearest_operator(name: str, wanted: str) -> None:
    found = nearest(name, RULES)
    assert wanted in found if wanted else not found
