"""Weights, biases and inputs of any magnitude quantize well, or are refused with their layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tinytrain.errors import CalibrationError
from tinytrain.frontend.torch_export import from_torch
from tinytrain.ir.execute import execute
from tinytrain.quantize import quantize
from tinytrain.quantize.codec import Codec

SAMPLES = np.random.default_rng(0).normal(size=(32, 1, 12)).astype(np.float32)
LAYERS = ("inside", "norm", "outside", "head")


class Net(nn.Module):
    """A norm between linear layers, in a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.norm = nn.Linear(12, 16), nn.LayerNorm(16)
        self.outside, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inside(x)
        y = y + torch.relu(self.outside(self.norm(y)))
        logits: Tensor = self.head(y.mean(dim=1))
        return logits


def made(change: Callable[[Any], object] = lambda m: None) -> nn.Module:
    torch.manual_seed(0)
    model = Net().eval()
    with torch.no_grad():
        model.head.bias.zero_()
        change(model)
    return model


def agreement(model: nn.Module, samples: Any = SAMPLES, weight_scales: str = "tensor") -> float:
    """How many samples have the same largest logit in float32 and int8."""
    graph = quantize(
        from_torch(model, samples[0]), list(samples), weight_scales=weight_scales
    ).graph
    (source,), (logits,) = graph.inputs, graph.outputs
    codec = Codec(source.type, 1, logits.type.shape, True, ())
    with torch.no_grad():
        wanted = model(torch.from_numpy(samples)).numpy().argmax(axis=1)
    got = [execute(graph, {source.name: codec.quantize_input(x)})[logits.name] for x in samples]
    return float((wanted == np.array(got).reshape(len(samples), -1).argmax(axis=1)).mean())


exponents = st.floats(-30, 30)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.tuples(*[exponents] * 4), exponents, st.sampled_from(["tensor", "channel"]))
def test_any_magnitude_is_right_or_refused(
    weights: tuple[float, ...], inputs: float, scales: str
) -> None:
    def change(model: Any) -> None:
        for name, exponent in zip(LAYERS, weights, strict=True):
            getattr(model, name).weight.mul_(10**exponent)

    model, samples = made(change), (SAMPLES * 10**inputs).astype(np.float32)
    try:
        found = agreement(model, samples, scales)
    except CalibrationError as error:
        assert str(error).startswith(LAYERS), error
        return
    assert found > 0.8, (weights, inputs, scales)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(exponents, st.sampled_from(["tensor", "channel"]))
def test_inputs_of_any_magnitude_are_right(exponent: float, scales: str) -> None:
    """Volts or pascals: the first layer's weights make up for the unit."""
    model = made(lambda m: m.inside.weight.mul_(10**-exponent))
    assert agreement(model, (SAMPLES * 10**exponent).astype(np.float32), scales) > 0.9


@pytest.mark.parametrize("scales", ["tensor", "channel"])
@pytest.mark.parametrize("factor", [0.0, 1e-6, 1e-9, 1e-12, 1e-30])
def test_a_bias_beside_weights_near_zero(factor: float, scales: str) -> None:
    """Rows of nearly zero have scales so small that int32 steps of them cannot hold the bias."""

    def change(model: Any) -> None:
        model.inside.weight[:8] *= factor
        model.outside.weight *= factor
        model.inside.bias.normal_()
        model.outside.bias.normal_()

    assert agreement(made(change), weight_scales=scales) > 0.9


@pytest.mark.parametrize("gain", [1e-6, 1e-12])
def test_a_norm_of_small_gain(gain: float) -> None:
    def change(model: Any) -> None:
        model.norm.weight.mul_(gain)
        model.outside.bias.normal_()

    assert agreement(made(change)) > 0.9


@pytest.mark.parametrize("offset", [200.0, -200.0, 2e4])
def test_an_offset_that_softmax_does_not_see(offset: float) -> None:
    assert agreement(made(lambda m: m.head.bias.add_(offset))) > 0.9


def test_logits_that_fit_are_not_centred() -> None:
    model = made(lambda m: m.head.bias.add_(50))
    graph = quantize(from_torch(model, SAMPLES[0]), list(SAMPLES)).graph
    assert not any("centre" in node.attrs for node in graph.nodes)
    raw = execute(graph, {graph.inputs[0].name: np.zeros((1, 12), np.int8)})
    assert np.abs(raw[graph.outputs[0].name] / 256 - 50).max() < 10


def test_logits_beyond_int16_are_refused() -> None:
    model = made(lambda m: m.head.weight.mul_(1e4))
    with pytest.raises(CalibrationError, match=r"^head: logits from -\d+ .*do not fit.*largest"):
        agreement(model)


def test_logits_below_a_step_are_refused() -> None:
    model = made(lambda m: m.head.weight.mul_(1e-6))
    with pytest.raises(CalibrationError, match=r"^head: no logit differs by more.*in 1/256"):
        agreement(model)
    assert agreement(made(lambda m: m.head.weight.zero_())) == 1.0  # to begin anew


def test_squares_beyond_float32_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"^norm: its input reaches .*overflow float32"):
        agreement(made(), SAMPLES * np.float32(1e19))
