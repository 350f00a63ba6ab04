"""Selection: what may train, the tasks, the estimate, what parts are worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import toys
from selection_cases import (
    LAYERS,
    OPTIONS,
    ORDER,
    SHORT,
    random_choice,
)

from tinytrain.boards import load_board
from tinytrain.errors import BoardError, RecipeError
from tinytrain.recipe import Dataset, Proxy, UpdateScheme
from tinytrain.selection.contribution import channel_order, parts_of, values_of
from tinytrain.selection.estimate import Estimate, estimate, spearman
from tinytrain.selection.options import (
    BIAS,
    NOTHING,
    Option,
    choice_of,
    covers,
    explicit,
    full,
    options_of,
    scheme_of,
    state_bytes,
)
from tinytrain.selection.proxy import assigned, tasks_of
from tinytrain.selection.steps import twin
from tinytrain.training.autodiff import differentiate
from tinytrain.training.scheme import Layer, apply_scheme, selections

# -- options ---------------------------------------------------------------------------------------


def test_options_of_layers() -> None:
    assert options_of(Layer("f", 16, 8), head=False) == [
        NOTHING, BIAS, *(Option(n, bias=True) for n in (2, 4, 8, 16)),
        *(Option(rank=r, bias=True) for r in (2, 4)),
    ]  # fmt: skip
    for layer, head in ((Layer("head", 3, 16), True), (Layer("conv", 8, 27, True), False)):
        assert not any(option.rank for option in options_of(layer, head))
    assert [o.channels for o in options_of(Layer("head", 3, 16), True)] == [0, 0, 1, 2, 3]


def test_one_choice_covers_another() -> None:
    assert covers({"a": Option(4, bias=True), "b": BIAS}, {"a": Option(2, bias=True)})
    assert not covers({"a": Option(4)}, {"a": Option(2, bias=True)})
    assert not covers({"a": Option(rank=4)}, {"a": Option(2)})
    assert not covers({}, {"a": BIAS}) and covers({}, {"a": NOTHING})


def test_a_scheme_trains_the_first_channels_of_the_order() -> None:
    order = {name: tuple(reversed(channels)) for name, channels in ORDER.items()}
    choice = {"blocks.0.o": Option(4, bias=True), "blocks.1.v": Option(rank=2), "head": BIAS}
    scheme = scheme_of(choice, LAYERS, order)
    assert scheme.weights == {"blocks.0.o": (12, 13, 14, 15)}
    assert scheme.biases == ("blocks.0.o", "head") and scheme.adapters == {"blocks.1.v": 2}
    assert choice_of(scheme, LAYERS) == choice


def test_an_explicit_scheme_is_the_same_without_patterns() -> None:
    scheme = UpdateScheme({"blocks.*.o": 0.25, "head": 1.0}, ("blocks.0.*",), "x",
                          {"blocks.?.q": 2})  # fmt: skip
    made = explicit(scheme, LAYERS, "y")
    assert made.name == "y" and made.weights["blocks.1.o"] == (0, 1, 2, 3)
    assert selections(made, LAYERS) == selections(scheme, LAYERS)


@pytest.mark.parametrize("weights", ["int8", "int16"])
def test_states_add_up(weights: Any) -> None:
    optimizer = replace(SHORT, weights=weights)
    quantized = toys.quantized("sensor")
    sizes = state_bytes(quantized, LAYERS, OPTIONS, optimizer)
    rng = np.random.default_rng(0)
    for _ in range(5):
        choice = random_choice(rng)
        scheme = scheme_of(choice, LAYERS, ORDER)
        graph = differentiate(apply_scheme(quantized.graph, scheme, quantized.samples[:1]),
                              optimizer)  # fmt: skip
        real = sum(-(-p.data.nbytes // 8) * 8 for p in graph.params.values() if p.kind != "const")
        assert real == sum(sizes[name][option] for name, option in choice.items())


# -- proxies ---------------------------------------------------------------------------------------


def test_folds_have_every_class_in_each() -> None:
    labels = np.repeat(np.arange(4), (9, 6, 3, 12))
    fold = assigned(labels, 3, 0)
    for part in range(3):
        assert list(np.bincount(labels[fold == part])) == [3, 2, 1, 4]
    assert not np.array_equal(fold, assigned(labels, 3, 1))


def test_tasks_are_parts_of_the_adaptation_samples_only() -> None:
    recipe = toys.recipe("sensor")
    tasks = tasks_of(recipe, 4)
    found = np.sort(np.concatenate([t.validation.x for t in tasks]).ravel())
    assert np.array_equal(found, np.sort(recipe.train.x.ravel()))
    for task in tasks:
        assert len(task.train) + len(task.validation) == len(recipe.train)
        seen = {x.tobytes() for x in task.train.x}
        assert not any(x.tobytes() in seen for x in task.validation.x)


def test_proxies_of_the_recipe_come_first() -> None:
    data = toys.data("sensor")
    proxy = Proxy(data, data)
    assert tasks_of(toys.recipe("sensor").replace(proxies=(proxy,)), 3) == (proxy,)
    with pytest.raises(RecipeError, match="proxy 0 has 0 samples"):
        tasks_of(toys.recipe("sensor").replace(proxies=(Proxy(Dataset(data.x[:0], data.y[:0]),
                                                              data),)), 3)  # fmt: skip
    with pytest.raises(RecipeError, match="too few for 20 folds"):
        tasks_of(toys.recipe("sensor"), 20)


# -- the estimate ----------------------------------------------------------------------------------


def test_rank_correlation() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 25]) == pytest.approx(0.8)
    assert spearman([3, 2, 1], [1, 5, 9]) == pytest.approx(-1)
    assert spearman([1, 1, 2], [1, 1, 5]) == pytest.approx(1)
    assert spearman([1, 2], [7, 7]) == 0 and spearman([], []) == 0


def test_the_estimate_is_the_mean_squared_gradient() -> None:
    recipe = toys.recipe("sensor")
    graph, tasks = toys.quantized("sensor").graph, tasks_of(recipe, 2)[:1]
    found = estimate(recipe, graph, LAYERS, tasks)
    assert set(found.weight) == {layer.name for layer in LAYERS}
    model = toys.model("sensor")
    assert all(p.grad is None for p in model.parameters())
    head = model.head
    step = next(n for n in graph.nodes if n.layer == "head").inputs[1].type.tensor_scale
    total = np.zeros(5)
    for x, y in zip(tasks[0].train.x, tasks[0].train.y, strict=True):
        logits = model(torch.tensor(x[None]))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([y]))
        total += (torch.autograd.grad(loss, head.bias)[0].numpy() * step) ** 2
    np.testing.assert_allclose(found.bias["head"], total / len(tasks[0].train), rtol=1e-4)


def test_the_estimate_does_not_depend_on_the_scale_of_a_layer() -> None:
    """f1 is not linear in its output, but v and o are: v times 4, o by 4."""
    recipe = toys.recipe("sensor")
    before = estimate(recipe, toys.quantized("sensor").graph, LAYERS, tasks_of(recipe, 2))
    model = toys.model.__wrapped__("sensor")
    with torch.no_grad():
        model.blocks[0].v.weight.mul_(4), model.blocks[0].v.bias.mul_(4)
        model.blocks[0].o.weight.div_(4)
    from tinytrain.compiler import prepare

    other = recipe.replace(model=model)
    after = estimate(other, prepare(other).graph, LAYERS, tasks_of(recipe, 2))
    for name in ("blocks.0.v", "blocks.0.o", "blocks.1.f1"):
        np.testing.assert_allclose(before.weight[name], after.weight[name], rtol=0.02)


def test_channels_by_contribution_magnitude_or_chance() -> None:
    layers = [Layer("a", 3, 2)]
    guess = Estimate({"a": np.array([1.0, 3.0, 2.0])}, {"a": np.zeros(3)})
    sizes = {"a": np.array([5, 1, 9])}

    def order(kind: str, seed: int = 0) -> list[int]:
        return channel_order(kind, layers, guess, sizes, seed)["a"]

    assert order("contribution") == [1, 2, 0] and order("magnitude") == [2, 0, 1]
    assert order("random") == order("random")
    assert len({tuple(order("random", seed)) for seed in range(9)}) > 1


# -- values ----------------------------------------------------------------------------------------


def test_parts_are_measured_beside_the_head() -> None:
    parts = parts_of(LAYERS, full(LAYERS[-1]))
    kinds = {kind: sum(p.kind == kind for p in parts) for kind in {p.kind for p in parts}}
    assert kinds == {"tensor": 14, "channels": 13, "bias": 13, "adapter": 13, "block": 2}
    assert all("head" in part.choice for part in parts)


def test_values_lie_between_what_was_measured() -> None:
    layers = [Layer("a", 16, 16), Layer("b", 16, 16), Layer("head", 4, 16)]
    guess = Estimate({n.name: np.ones(n.outputs) for n in layers},
                     {n.name: np.zeros(n.outputs) for n in layers})  # fmt: skip
    order = {n.name: range(n.outputs) for n in layers}
    gains = {("a", Option(4, bias=True)): 0.2, ("a", Option(16, bias=True)): 0.6}
    found = values_of(layers, gains, {"blocks.0": -0.1}, guess, order)
    a = [found.gain["a"][Option(n, bias=True)] for n in (2, 4, 8, 16)]
    assert a[1] == 0.2 and a[3] == 0.6 and 0 < a[0] < a[1] < a[2] < a[3]
    b = [found.gain["b"][Option(n, bias=True)] for n in (2, 4, 8, 16)]
    assert b == sorted(b) and b[0] > 0 and b[3] == pytest.approx(0.6, rel=0.3)
    assert found.most == {"blocks.0": 0.0} and found.gain["a"][NOTHING] == 0


def test_where_steps_are_counted() -> None:
    emulated = load_board("qemu_rv32")
    assert twin(emulated) is emulated
    nucleo = load_board("nucleo_f446re")
    assert twin(nucleo).name == "qemu_mps2_an386"
    assert twin(nucleo).sram_budget_bytes == nucleo.sram_budget_bytes
    assert twin(load_board("host")).cpu == "cortex-m4"
    assert twin(load_board("nucleo_f746zg")).cpu == "cortex-m7"
    assert twin(load_board("esp32-c6-devkitc-1")).name == "qemu_rv32"
    split = load_board("nucleo_l476rg")
    assert twin(split).sram_budget_bytes == sum(memory.length_bytes for memory in split.ram)
    with pytest.raises(BoardError, match=r"--count: no board with a xtensa-lx7 .* is emulated"):
        twin(load_board("esp32-s3-devkitc-1"))
