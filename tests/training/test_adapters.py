"""Adapters: they start as nothing, only they train, and their scales are as stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import toys

from tinytrain.baseline import parameters_of
from tinytrain.errors import SchemeError
from tinytrain.ir import Graph, Value
from tinytrain.ir.execute import execute
from tinytrain.ops.base import scales_of
from tinytrain.recipe import UpdateScheme
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.training.adapters import DOWN, HEADROOM, UP
from tinytrain.training.scheme import apply_scheme

KINDS = (*toys.KINDS, "tied")
SCALE_KINDS = ("sensor", "channels", "postnorm")


def adapted(kind: str, scheme: UpdateScheme | str = "lora:4") -> Graph:
    made = toys.quantized(kind)
    return apply_scheme(made.graph, scheme, made.samples)


def weights(graph: Graph, layer: str) -> tuple[Value, Value, Value]:
    """The weight of a layer, A and B."""
    found = {n.layer: n.inputs[1] for n in graph.nodes if n.op.name.startswith("linear")}
    w, a, b = (found[name] for name in (layer, f"{layer}.{DOWN}", f"{layer}.{UP}"))
    assert w and a and b
    return w, a, b


# -- at the start ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["lora:4", "lora:1+head"])
def test_it_starts_as_it_was(kind: str, scheme: str) -> None:
    """Every value of the model has the bits that it has without adapters."""
    plain, graph = toys.quantized(kind), adapted(kind, scheme)
    for sample in plain.samples[:4]:
        inputs = {plain.graph.inputs[0].name: sample}
        before, after = execute(plain.graph, inputs), execute(graph, inputs)
        for node in plain.graph.nodes:
            for value in node.outputs:
                if value is not None:
                    np.testing.assert_array_equal(before[value.name], after[value.name])
    linear = [layer for layer in toys.layers(kind) if not layer.convolution]
    assert len(graph.nodes) == len(plain.graph.nodes) + 3 * (len(linear) - 1)


def test_a_convolution_has_no_adapter() -> None:
    with pytest.raises(SchemeError, match=r"convs\.1: a convolution has no adapter"):
        adapted("cct", UpdateScheme(adapters={"convs.*": 2}))


def test_a_depends_on_the_layer_alone() -> None:
    every, one = adapted("sensor"), adapted("sensor", UpdateScheme(adapters={"blocks.1.q": 4}))
    q, k = (every.params[weights(every, f"blocks.1.{x}")[1].name].data for x in "qk")
    np.testing.assert_array_equal(one.params[weights(one, "blocks.1.q")[1].name].data, q)
    assert (q != k).mean() > 0.9


@pytest.mark.parametrize("kind", SCALE_KINDS)
def test_scales(kind: str) -> None:
    """A has variance 1 / C; a random B of single steps moves W by one step in the mean square."""
    graph, rng = adapted(kind), np.random.default_rng(0)
    for layer in toys.layers(kind)[:-1]:
        w, a, b = weights(graph, layer.name)
        down = graph.params[a.name].data * a.type.tensor_scale
        assert np.mean(down**2) * layer.inputs == pytest.approx(1.0, rel=0.5)
        assert np.abs(graph.params[a.name].data).max() == 127
        assert not graph.params[b.name].data.any()
        update = rng.choice([-1, 1], (2000, layer.outputs, len(down))) @ down
        steps = update * (scales_of(b.type) / scales_of(w.type))[:, None]
        np.testing.assert_allclose(np.sqrt(np.mean(steps**2)), 1.0, rtol=0.05)


@pytest.mark.parametrize("kind", SCALE_KINDS)
def test_calibration_samples_fill_half_of_the_range(kind: str) -> None:
    graph = adapted(kind)
    peaks = dict.fromkeys((n.name for n in graph.nodes if n.layer.endswith(DOWN)), 0)
    for sample in toys.quantized(kind).samples:
        values = execute(graph, {graph.inputs[0].name: sample})
        for name in peaks:
            peaks[name] = max(peaks[name], int(np.abs(values[name].astype(int)).max()))
    assert set(peaks.values()) <= {round(127 / HEADROOM) + d for d in (-1, 0, 1)}


# -- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "storage"),
    [("sensor", "int8"), ("lm", "int16"), ("vit", "int16"), ("channels", "int8")],
)
def test_only_adapters_train(kind: str, storage: str) -> None:
    made, samples = toys.compiled(kind, "lora:2", weights=storage, steps=40), toys.data(kind)
    consts = {n: p.data.copy() for n, p in made.train.params.items() if p.kind == "const"}
    session = numpy_session(made)
    first = session.weights()
    names = [f"{layer.name}.{part}" for layer in toys.layers(kind)[:-1] for part in (DOWN, UP)]
    endings = ("trained",) if storage == "int8" else ("trained", "fraction")
    assert set(first) == {f"{name}.weight.{end}" for name in names for end in endings}

    session.step(samples.x[0], samples.y[0])  # measures the gradient of B
    session.step(samples.x[0], samples.y[0])  # moves B; that of A is zero as long as B is
    for name, array in session.weights().items():
        if DOWN in name:
            np.testing.assert_array_equal(array, first[name], name)
    losses = [session.step(samples.x[i % 4], samples.y[i % 4]).loss for i in range(38)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    for name, array in session.weights().items():
        assert (array != first[name]).mean() > 0.5, name
    for name, data in consts.items():
        np.testing.assert_array_equal(made.train.params[name].data, data, name)


def test_counts() -> None:
    layers = toys.layers("sensor")
    made = toys.compiled("sensor", "lora:2+head", weights="int16")
    adapters = sum(2 * (part.inputs + part.outputs) for part in layers[:-1])
    head = layers[-1].outputs * layers[-1].inputs + layers[-1].outputs
    facts = made.facts()
    assert facts["adapter_parameters"] == adapters
    assert facts["trained_parameters"] == adapters + head
    assert facts["scheme"] == "lora:2+head"
    assert facts["parameters"] == toys.compiled("sensor", "full").parameters
    assert (
        0 <= facts["trained_weight_bytes"] - 2 * (adapters + head) - 2 * 5 <= 16 * len(layers) * 4
    )
    assert toys.compiled("sensor", "full").facts()["adapter_parameters"] == 0


def test_a_layer_below_the_lowest_adapter_costs_nothing() -> None:
    made = toys.compiled("sensor", UpdateScheme({}, ("head",), "top", {"blocks.1.f2": 3}))
    backward = [n.layer for n in made.train.nodes if "dx" in n.name or "update" in n.op.name]
    assert backward and all(x.startswith(("blocks.1.f2", "head", "norm", "")) for x in backward)
    assert not any("blocks.0" in x or ".q" in x or ".f1" in x for x in backward)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("lora:0", r"lora:0: the rank of an adapter is 1 to 16"),
        ("lora:17+head", r"lora:17: the rank of an adapter is 1 to 16"),
        ("lora:", "unknown scheme 'lora:'.*lora:R, lora:R\\+head"),
        ("lora:4+o", "unknown scheme"),
        (UpdateScheme(adapters={"head": 4}), r"head: the head has no adapter.*'head': 1\.0"),
        (UpdateScheme(adapters={"*": 4}), "head: the head has no adapter"),
        (UpdateScheme(adapters={"blocks.*.x": 4}), r"'blocks\.\*\.x' matches no layer"),
        (UpdateScheme(adapters={"embed": 0}), r"embed: adapter rank 0 is not .* within 1\.\.12"),
        (UpdateScheme(adapters={"embed": 13}), r"embed: adapter rank 13 is not .* within 1\.\.12"),
        (UpdateScheme(adapters={"embed": 0.5}), r"rank 0\.5 is not an integer"),  # type: ignore[dict-item]
        (UpdateScheme({"blocks.0.o": 0.5}, adapters={"blocks.*": 2}),
         r"blocks\.0\.o: its weight trains, so it has no adapter"),
    ],
)  # fmt: skip
def test_what_is_refused(scheme: Any, text: str) -> None:
    with pytest.raises(SchemeError, match=text):
        adapted("sensor", scheme)


def test_ranks_end_at_those_of_the_layers() -> None:
    graph = adapted("sensor", "lora:16")
    shapes = [weights(graph, part.name)[1].type.shape for part in toys.layers("sensor")[:-1]]
    assert shapes[0] == (12, 12) and set(shapes[1:]) == {(16, 16), (16, 64)}


def test_later_patterns_win_and_biases_train_beside() -> None:
    scheme = UpdateScheme({}, ("blocks.0.q",), adapters={"blocks.*": 2, "blocks.1.*": 3})
    graph = adapted("sensor", scheme)
    assert weights(graph, "blocks.0.q")[1].type.shape == (2, 16)
    assert weights(graph, "blocks.1.q")[1].type.shape == (3, 16)
    assert graph.params["blocks.0.q.bias.trained"].kind == "trained"


def test_samples_are_needed_and_the_float_model_has_none() -> None:
    with pytest.raises(SchemeError, match="adapters need calibration samples"):
        apply_scheme(toys.quantized("sensor").graph, "lora:4")
    with pytest.raises(SchemeError, match="embed has no adapter in the float model"):
        parameters_of(toys.model("sensor"), "lora:4")
