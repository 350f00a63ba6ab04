"""Post-training quantization: folded norms, scales, noise, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import toys
from torch import Tensor, nn

from tinytrain.compiler import prepare
from tinytrain.errors import CalibrationError, RecipeError, ShapeError, UnsupportedOp
from tinytrain.frontend.torch_export import from_torch
from tinytrain.ir import Build, Graph, Type
from tinytrain.ir.execute import execute
from tinytrain.ops.linear import linear_s8
from tinytrain.quantize import quantize
from tinytrain.quantize.calibrate import ranges
from tinytrain.quantize.fold import fold_norms

KINDS = (*toys.KINDS, "tied")


def float_graph(kind: str) -> Graph:
    return from_torch(toys.model(kind), toys.data(kind).x[0])


def output(graph: Graph, x: Any) -> Any:
    return execute(graph, {graph.inputs[0].name: x})[graph.outputs[0].name]


# -- folding ---------------------------------------------------------------------------------------


def is_plain(graph: Graph, norm: Any) -> bool:
    gamma, beta = (graph.params[v.name].data for v in norm.inputs[1:])
    return bool((gamma == 1).all() and (beta == 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_folding_keeps_the_function(kind: str) -> None:
    graph, samples = float_graph(kind), toys.data(kind)
    folded = fold_norms(graph)
    norms = [n for n in folded.nodes if n.op.name == "layer_norm"]
    assert norms and all(is_plain(folded, n) for n in norms)
    for x in samples.x[:4]:
        np.testing.assert_allclose(output(folded, x), output(graph, x), atol=2e-5, rtol=2e-5)


def affines(kind: str) -> list[str]:
    return [n.layer for n in fold_norms(float_graph(kind)).nodes if n.op.name == "affine"]


def test_pre_norm_needs_no_affine() -> None:
    for kind in ("sensor", "lm", "relu", "vit", "cct"):
        assert affines(kind) == []


def test_post_norm_keeps_what_a_residual_reads() -> None:
    """The last norm goes through the mean into the head; the others are read by an addition."""
    assert affines("postnorm") == ["layers.0.norm1", "layers.0.norm2", "layers.1.norm1"]


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)
        self.other = nn.Linear(6, 3)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return self.head(y.mean(dim=1)) + self.other(y[:, 0])


def test_one_norm_read_by_several_through_pooling() -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    graph = from_torch(Norm().eval(), x)
    folded = fold_norms(graph)
    assert [n.op.name for n in folded.nodes].count("affine") == 0
    np.testing.assert_allclose(output(folded, x), output(graph, x), atol=1e-5)


def test_folding_leaves_the_graph_alone() -> None:
    graph = float_graph("sensor")
    before = {name: p.data.copy() for name, p in graph.params.items()}
    fold_norms(graph)
    for name, data in before.items():
        np.testing.assert_array_equal(graph.params[name].data, data)


# -- noise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_keeps_its_signal(kind: str) -> None:
    report = toys.quantized(kind).report
    worst = min(report, key=lambda row: row.sqnr_db)
    print(f"{kind}: worst {worst.layer} {worst.op} {worst.sqnr_db:.1f} dB")
    assert worst.sqnr_db > 22, worst
    assert all(row.saturated < 0.02 for row in report)
    linear = {layer.name for layer in toys.layers(kind)}
    assert linear <= {row.layer for row in report}


def uneven() -> nn.Module:
    """Two linear layers, one of whose channels is a hundred times larger than the others."""
    torch.manual_seed(1)
    first, head = nn.Linear(16, 16), nn.Linear(16, 4)
    with torch.no_grad():
        first.weight[0] *= 100
        head.weight[:, 0] /= 100
    return nn.Sequential(first, head)


def weight_noise(weight_scales: str) -> float:
    """Of the small rows: 10 log10(signal / error), in dB."""
    model = uneven()
    rng = np.random.default_rng(0)
    samples = list(rng.normal(size=(8, 3, 16)).astype(np.float32))
    made = quantize(from_torch(model, samples[0]), samples, weight_scales=weight_scales)
    (value,) = (n.inputs[1] for n in made.graph.nodes if n.layer == "0")
    assert value is not None
    scale = np.atleast_1d(np.asarray(value.type.scale))[:, None]
    got = (made.graph.params[value.name].data * scale)[1:]
    want = model[0].weight.detach().numpy()[1:]  # type: ignore[index]
    return float(10 * np.log10((want**2).sum() / ((want - got) ** 2).sum()))


def test_channel_scales_save_small_channels() -> None:
    tensor, channel = weight_noise("tensor"), weight_noise("channel")
    assert tensor < 15 and channel > 40


def test_scales_and_their_ranges() -> None:
    for kind in ("sensor", "channels"):
        graph = toys.quantized(kind).graph
        for node in graph.nodes:
            if node.op.name not in ("linear_s8", "linear_s16"):
                continue
            w = node.inputs[1]
            assert w is not None
            codes = graph.params[w.name].data
            assert codes.dtype == np.int8 and np.abs(codes.astype(int)).max() == 127
            assert isinstance(w.type.scale, tuple) == (kind == "channels")
            if kind == "channels":
                assert (np.abs(codes.astype(int)).max(axis=1) == 127).all()
    assert toys.quantized("lm").graph.outputs[0].type.scale == 2.0**-8


# -- ranges ----------------------------------------------------------------------------------------


def outlier_samples() -> list[Any]:
    samples = [x.copy() for x in toys.data("sensor").x[:8]]
    samples[3][5, 1] = 1000.0
    return samples


def test_percentile_ignores_an_outlier() -> None:
    graph = fold_norms(float_graph("sensor"))
    name = graph.inputs[0].name
    largest = ranges(graph, outlier_samples(), "minmax")[name]
    most = ranges(graph, outlier_samples(), "percentile:99.5")[name]
    assert largest == 1000.0 and 1.5 < most < 5
    quiet = ranges(graph, list(toys.data("sensor").x[:8]), "percentile:100")
    full = ranges(graph, list(toys.data("sensor").x[:8]), "minmax")
    assert quiet == pytest.approx(full)


def test_what_never_varies_has_a_range() -> None:
    graph = fold_norms(float_graph("sensor"))
    found = ranges(graph, [np.zeros((32, 3), np.float32)], "minmax")
    assert found[graph.inputs[0].name] == 1.0 and all(v > 0 for v in found.values())


@pytest.mark.parametrize(
    "method", ["max", "percentile", "percentile:", "percentile:x", "percentile:50",
               "percentile:100.1", "percentile:nan", "entropy:99"]
)  # fmt: skip
def test_unknown_calibrators(method: str) -> None:
    with pytest.raises(CalibrationError, match=r"unknown calibrator.*minmax or percentile:P"):
        quantize(float_graph("sensor"), list(toys.data("sensor").x[:2]), calibrator=method)


# -- what is refused -------------------------------------------------------------------------------


def test_no_samples() -> None:
    with pytest.raises(CalibrationError, match="no calibration samples"):
        quantize(float_graph("sensor"), [])
    empty = toys.recipe("sensor").replace(calibration=toys.data("sensor").x[:0])
    with pytest.raises(RecipeError, match="toy_sensor: calibration is empty"):
        prepare(empty)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_samples_are_named(value: float) -> None:
    samples = [x.copy() for x in toys.data("sensor").x[:4]]
    samples[2][0, 0] = value
    with pytest.raises(CalibrationError, match="calibration sample 2 holds NaN"):
        quantize(float_graph("sensor"), samples)


def test_bad_weights_are_named() -> None:
    graph = float_graph("sensor")
    name = "blocks.1.o.weight"
    graph.params[name].data[2, :3] = np.nan
    with pytest.raises(CalibrationError, match=r"blocks\.1\.o\.weight holds 3 values"):
        quantize(graph, list(toys.data("sensor").x[:2]))


def test_overflow_inside_is_named() -> None:
    graph = float_graph("sensor")
    graph.params["blocks.0.f2.weight"].data[...] = 3e38
    with pytest.raises(CalibrationError, match=r"blocks\.0\.f2 gives NaN or infinity.*sample 0"):
        quantize(graph, list(toys.data("sensor").x[:2]))


def test_the_head_has_to_be_linear() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    x = np.ones((2, 4), np.float32)
    with pytest.raises(UnsupportedOp, match="straight from a linear layer"):
        quantize(from_torch(model, x), [x])


def test_accumulator_bound() -> None:
    """int32 sums hold 127 * 127 * C + the largest bias: C up to 66 577."""
    build = Build()
    channels = 70_000
    x = build.input("x", Type((1, channels), "i8", 0.1))
    w = build.param("w", np.zeros((1, channels), np.int8), scale=0.1)
    b = build.param("b", np.zeros(1, np.int32))
    mult, shift = (build.param(n, np.array([v], np.int32)) for n, v in (("m", 2**30), ("s", 40)))
    (y,) = build.node(linear_s8, [x, w, None, None, b, None, mult, shift], "y", scale=0.1,
                      layer="wide")  # fmt: skip
    with pytest.raises(
        ShapeError, match=r"wide: linear_s8 could reach 2\d{9}.*fewer input channels"
    ):
        build.graph([y])


def test_tied_embedding_is_one_constant() -> None:
    graph = toys.quantized("tied").graph
    tables = {n.inputs[1].name for n in graph.nodes
              if n.op.name in ("embedding_s8", "linear_s16") and n.inputs[1]}  # fmt: skip
    assert len(tables) == 1


def test_quantization_is_deterministic() -> None:
    again = prepare(toys.recipe("sensor")).graph
    graph = toys.quantized("sensor").graph
    assert str(again) == str(graph)
    for name, p in graph.params.items():
        np.testing.assert_array_equal(p.data, again.params[name].data)
