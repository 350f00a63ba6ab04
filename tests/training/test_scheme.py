"""Update schemes: what a name or a pattern chooses, and that exactly this trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import toys

from tinytrain.errors import SchemeError
from tinytrain.ir.execute import execute
from tinytrain.recipe import UpdateScheme
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.training.scheme import (
    Layer,
    apply_scheme,
    block_of,
    layers_of,
    leads_to_convolution,
    resolve,
    selections,
)

LAYERS = [Layer("embed", 8, 3)]
LAYERS += [Layer(f"blocks.{i}.{x}", 8, 8) for i in range(3) for x in ("q", "o", "f1")]
LAYERS += [Layer("head", 5, 8)]


def chosen(scheme: UpdateScheme | str) -> dict[str, tuple[tuple[int, ...], bool, bool]]:
    found = selections(resolve(scheme, LAYERS), LAYERS)
    return {s.layer: (s.channels, s.weight, s.bias) for s in found}


def every(outputs: int = 8) -> tuple[int, ...]:
    return tuple(range(outputs))


# -- names and patterns ----------------------------------------------------------------------------


def test_full() -> None:
    found = chosen("full")
    assert list(found) == [layer.name for layer in LAYERS]
    assert all(weight and bias for _, weight, bias in found.values())


def test_head_only() -> None:
    assert chosen("head_only") == {"head": (every(5), True, True)}


def test_bias_only() -> None:
    found = chosen("bias_only")
    assert len(found) == len(LAYERS)
    assert all((weight, bias) == (False, True) for _, weight, bias in found.values())


@pytest.mark.parametrize(("k", "blocks"), [(0, ()), (1, (2,)), (2, (1, 2)), (3, (0, 1, 2))])
def test_last_k(k: int, blocks: tuple[int, ...]) -> None:
    expected = {f"blocks.{i}.{x}" for i in blocks for x in ("q", "o", "f1")} | {"head"}
    assert set(chosen(f"last_k:{k}")) == expected


def test_patterns_and_ratios() -> None:
    found = chosen(UpdateScheme({"blocks.*.o": 0.5, "head": 1}, ("blocks.2.*",)))
    assert found["blocks.0.o"] == ((0, 1, 2, 3), True, False)
    assert found["blocks.2.o"] == ((0, 1, 2, 3), True, True)
    assert found["blocks.2.q"] == (every(), False, True)
    assert found["head"] == (every(5), True, False)
    assert set(found) == {"blocks.0.o", "blocks.1.o", "blocks.2.o", "blocks.2.q", "blocks.2.f1",
                          "head"}  # fmt: skip


def test_later_patterns_win() -> None:
    found = chosen(UpdateScheme({"blocks.*": 1.0, "blocks.1.*": (7, 0, 7)}))
    assert found["blocks.0.q"][0] == every() and found["blocks.1.q"][0] == (0, 7)


@pytest.mark.parametrize(("ratio", "count"), [(0.01, 1), (0.3, 2), (0.5, 4), (1, 8)])
def test_a_ratio_is_of_the_first_channels(ratio: float, count: int) -> None:
    assert chosen(UpdateScheme({"embed": ratio}))["embed"][0] == every(count)


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("fool", r"unknown scheme 'fool'; known: full.*last_k:N"),
        ("last_k:", "unknown scheme"),
        ("last_k:-1", "unknown scheme"),
        ("last_k:4", r"last_k:4: the model has 3 blocks: blocks\.0"),
        (UpdateScheme({"block.*": 1.0}), r"'block\.\*' matches no layer; layers are: embed"),
        (UpdateScheme({}, ("nothing",)), "'nothing' matches no layer"),
        (UpdateScheme({"embed": 0.0}), r"ratio 0\.0 is not in \(0, 1\]"),
        (UpdateScheme({"embed": 1.5}), r"embed: channel ratio 1\.5"),
        (UpdateScheme({"embed": float("nan")}), "ratio nan"),
        (UpdateScheme({"embed": (0, 8)}), r"embed: channels \(0, 8\) are not within 0\.\.7"),
        (UpdateScheme({"embed": (-1,)}), r"not within 0\.\.7"),
        (UpdateScheme({"embed": ()}), "embed: channels"),
        (UpdateScheme({}, (), "mine"), "mine trains nothing"),
    ],
)
def test_what_is_refused(scheme: Any, text: str) -> None:
    with pytest.raises(SchemeError, match=text):
        chosen(scheme)


@pytest.mark.parametrize(
    ("layer", "block"),
    [
        ("blocks.3.attn.q", "blocks.3"), ("encoder.layers.10.fc", "encoder.layers.10"),
        ("head", None), ("stage1", "stage1"), ("h.0", "h.0"),
    ],
)  # fmt: skip
def test_blocks(layer: str, block: str | None) -> None:
    assert block_of(layer) == block


# -- convolutions ---------------------------------------------------------------------------------


def test_only_the_last_convolution_can_train() -> None:
    """It gives no gradient to its input: named schemes leave out what leads into one."""
    graph = toys.quantized("cct").graph
    names = [layer.name for layer in layers_of(graph)]
    assert names[0] == "convs.1" and "convs.0" not in names and names[-2:] == ["pool", "head"]
    assert leads_to_convolution(graph) == ["convs.0"]
    split = apply_scheme(graph, "full")
    assert not any(name.startswith("convs.0") and p.kind == "trained"
                   for name, p in split.params.items())  # fmt: skip
    for scheme in (UpdateScheme({"convs.0": 1.0}), UpdateScheme({}, ("*.0",))):
        with pytest.raises(SchemeError, match=r"convs\.0 leads into a convolution.*convs\.1"):
            apply_scheme(graph, scheme)
    apply_scheme(graph, UpdateScheme({"convs.*": 1.0}))


def test_winners_are_made_for_a_convolution_that_trains() -> None:
    graph = toys.quantized("cct").graph
    for scheme, wanted in (("head_only", 0), ({"convs.1": (0, 3)}, 1)):
        chosen_scheme = scheme if isinstance(scheme, str) else UpdateScheme(scheme)
        split = apply_scheme(graph, chosen_scheme)
        assert sum(n.outputs[1] is not None for n in split.nodes
                   if n.op.name == "conv_pool_s8") == wanted  # fmt: skip


# -- what trains -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", toys.KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_meaning_stays(kind: str, seed: int) -> None:
    """The int8 forward right after the split gives the same integers, value by value."""
    graph, samples = toys.quantized(kind).graph, toys.data(kind)
    codec = toys.compiled(kind, "head_only").codec
    split = apply_scheme(graph, toys.random_scheme(layers_of(graph), seed))
    for x in samples.x[:3]:
        inputs = {graph.inputs[0].name: codec.quantize_input(x)}
        before, after = execute(graph, inputs), execute(split, inputs)
        for node in graph.nodes:
            for value in node.outputs:
                if value is not None:
                    np.testing.assert_array_equal(before[value.name], after[value.name])


def whole(graph_layer: str, part: str, values: dict[str, Any], state: dict[str, Any]) -> Any:
    """The full tensor of a layer, put together from its frozen and its trained rows."""
    plain = f"{graph_layer}.{part}"
    trained, frozen = state.get(f"{plain}.trained"), values.get(f"{plain}.frozen")
    if trained is None:
        return None
    if frozen is None:
        return trained
    rows = values[f"{graph_layer}.rows"]
    full = np.empty((len(rows), *trained.shape[1:]), trained.dtype)
    full[rows >= 0], full[rows < 0] = trained[rows[rows >= 0]], frozen[~rows[rows < 0]]
    return full


@pytest.mark.parametrize("seed", range(12))
def test_exactly_what_is_selected_trains(seed: int) -> None:
    kind = ("sensor", "lm", "vit", "postnorm")[seed % 4]
    scheme = toys.random_scheme(toys.layers(kind), seed)
    picked = {s.layer: s for s in selections(scheme, toys.layers(kind))}
    made, samples = toys.compiled(kind, scheme, learning_rate=8.0), toys.data(kind)
    session = numpy_session(made)
    consts = {n: p.data.copy() for n, p in made.train.params.items() if p.kind == "const"}
    initial = {n: p.data for n, p in made.train.params.items()}
    first = session.weights()
    for i in range(14):
        session.step(samples.x[i], samples.y[i])
    now = session.weights()

    # The state is what was selected, of exactly its size, and nothing else.
    expected = set()
    for layer in toys.layers(kind):
        s = picked.get(layer.name)
        if s and s.weight:
            expected.add(f"{layer.name}.weight.trained")
            assert now[f"{layer.name}.weight.trained"].shape == (len(s.channels), layer.inputs)
        if s and s.bias:
            expected.add(f"{layer.name}.bias.trained")
            assert now[f"{layer.name}.bias.trained"].shape == (len(s.channels),)
    assert set(now) == expected

    # Constants are as before, in the graph and in the arrays that it was made of.
    for name, data in consts.items():
        np.testing.assert_array_equal(made.train.params[name].data, data, name)
        assert name not in session.state
    float_names = {p: q.data for p, q in toys.quantized(kind).graph.params.items()}
    for name, data in float_names.items():
        if name in consts:
            np.testing.assert_array_equal(data, consts[name], name)

    # Every selected weight row moves (the gradient of a row may be zero on one sample, not on 14).
    for name in expected:
        changed = now[name] != first[name]
        rows = changed.any(axis=1) if changed.ndim == 2 else changed
        layer = name.removesuffix(".weight.trained").removesuffix(".bias.trained")
        if layer.endswith("linear1") or layer.endswith("f1"):
            assert rows.mean() > 0.8, name  # a unit may be off for all samples
        else:
            assert rows.mean() > (0.6 if "bias" in name else 0.99), name

    # Frozen rows stay where they were in the user's order.
    original = toys.quantized(kind).graph
    for node in original.nodes:
        s = picked.get(node.layer)
        if s is None or node.op.name not in ("linear_s8", "linear_s16"):
            continue
        for part, value, trains in (("weight", node.inputs[1], s.weight),
                                    ("bias", node.inputs[4], s.bias)):  # fmt: skip
            assert value is not None
            if trains:
                full = whole(node.layer, part, initial, dict(now))
                frozen = np.setdiff1d(np.arange(len(full)), s.channels)
                np.testing.assert_array_equal(
                    full[frozen], original.params[value.name].data[frozen]
                )


def test_tied_tables_come_apart_when_the_head_trains() -> None:
    """Embedding and head share a tensor: the head's copy trains, the table stays in flash."""
    frozen = toys.compiled("tied", UpdateScheme({"blocks.1.o": 1.0})).train
    shared = {
        value.name
        for node in frozen.nodes
        for value in node.inputs[1:2]
        if value is not None and node.op.name in ("embedding_s8", "linear_s16")
    }
    assert len(shared) == 1, "one copy in flash while it is frozen"

    made = toys.compiled("tied", "head_only")
    samples = toys.data("tied")
    (table,) = (n.inputs[1] for n in made.train.nodes if n.op.name == "embedding_s8")
    assert table is not None and made.train.params[table.name].kind == "const"
    session = numpy_session(made)
    before = made.train.params[table.name].data.copy()
    np.testing.assert_array_equal(session.weights()["head.weight.trained"], before)
    for i in range(5):
        session.step(samples.x[i], samples.y[i])
    assert (session.weights()["head.weight.trained"] != before).any()
    np.testing.assert_array_equal(made.train.params[table.name].data, before)
