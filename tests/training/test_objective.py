"""Objectives and update rules: the integers do what the float meanings say."""

from __future__ import annotations

import numpy as np
import pytest

from tinytrain.errors import RecipeError
from tinytrain.ir import Build, Step, Type, Value
from tinytrain.ir.execute import execute
from tinytrain.ops.loss import LOGIT_SCALE
from tinytrain.recipe import Optimizer
from tinytrain.training.autodiff import BackwardBuild
from tinytrain.training.objective import OBJECTIVES, objective_of
from tinytrain.training.update_rule import LsbNormalised, Sgd, Units, rule_of


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("rows", [1, 7])
def test_loss_and_gradient_follow_the_float_meaning(name: str, rows: int) -> None:
    rng = np.random.default_rng(rows)
    objective, kind = objective_of(name), Type((rows, 5), "i16", LOGIT_SCALE)
    build = Build()
    output = build.input("logits", kind)
    target = build.input("labels", objective.target(kind), "labels")
    back = BackwardBuild(build.graph([output]), Optimizer())
    back.inputs = build.inputs
    metrics = objective.metrics(back, output, target)
    grad = objective.gradient(back, output, target, "grad")
    graph = back.graph([metrics, grad.value, grad.exponent])
    logits = rng.integers(-900, 900, kind.shape).astype(np.int16)
    labels = rng.integers(-1, 5, rows).astype(np.int16)
    values = execute(graph, {"logits": logits, "labels": labels}, {}, Step())
    loss, gradient = objective.real(logits * LOGIT_SCALE, labels)
    sums = values[metrics.name]
    assert abs(int(sums[0]) / 65536 / rows - loss) < 1e-3
    assert sums[2] == (labels >= 0).sum()
    scale = values[grad.exponent.name].astype(np.float64)[:, None]
    found = values[grad.value.name] * 2.0**scale * grad.value.type.tensor_scale
    np.testing.assert_allclose(found, gradient, atol=np.abs(gradient).max() / 60)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(RecipeError, match="loss is 'hinge'; give 'classes' or 'tokens'"):
        objective_of("hinge")


def test_rules() -> None:
    assert isinstance(rule_of(Optimizer()), LsbNormalised)
    units = Units(np.array([0.5]), np.array([0.25]))
    for qas, coefficient in ((True, 2.0), (False, 0.125)):
        rule = rule_of(Optimizer(rule="sgd", qas=qas))
        assert isinstance(rule, Sgd)
        np.testing.assert_array_equal(rule.coefficients(units), np.float32([coefficient]))
        # One accumulator unit at rate 1: its coefficient is how far the integer moves.
        np.testing.assert_allclose(rule.real(units.gradient, 0.25, 1.0, 0.0), coefficient)
    lsb = rule_of(Optimizer())
    assert lsb.coefficients(units) is None
    moved = lsb.real(np.array([3.0, -4.0, 0.0, 100.0]), 0.25, 2.0, 25.0)
    np.testing.assert_allclose(moved, [1.2, -1.6, 0.0, 16.0])


def test_a_second_objective_recomputes_like_the_first() -> None:
    """No pass looks for the op of a loss: the backward pass begins where phases say so."""
    from tinytrain.planning.recompute import backward_start

    build = Build()
    x = build.input("x", Type((1, 4), "i16", LOGIT_SCALE))
    labels = build.input("labels", Type((1,), "i16"), "labels")
    back = BackwardBuild(build.graph([x]), Optimizer())
    back.inputs = build.inputs
    back.phase = "loss"
    OBJECTIVES["classes"].metrics(back, x, labels)
    back.phase = "backward"
    grad = OBJECTIVES["classes"].gradient(back, x, labels, "grad")
    graph = back.graph([grad.value])
    assert isinstance(grad.value, Value)
    assert [n.phase for n in graph.nodes] == ["loss", "loss", "backward"]
    assert graph.nodes[backward_start(graph)].outputs[0] == grad.value
