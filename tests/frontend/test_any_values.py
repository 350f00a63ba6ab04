"""Loading a model depends on its form, not on its weights, and changes nothing of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.frontend_models import D, H, Model, T, heads, merge
from tinytrain.errors import CalibrationError, UnsupportedOp
from tinytrain.frontend.torch_export import from_torch
from tinytrain.ir.execute import execute
from tinytrain.quantize import quantize


class LayerScale(nn.Module):
    """Factors of shape ``shape`` that training makes different."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full(shape, 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def layer_scaled(shape: tuple[int, ...]) -> nn.Module:
    """LayerScale over channels last, or first as in a ConvNeXt block."""
    torch.manual_seed(0)
    first: nn.Module = nn.Linear(D, D) if len(shape) == 1 else nn.Conv2d(2, D, 3)
    scale = LayerScale(shape)
    head = nn.Linear(D, 3)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.scale(m.first(x))
        return m.head(y.mean(1) if y.dim() == 3 else y.mean((2, 3)))  # type: ignore[no-any-return]

    return Model(forward, first=first, scale=scale, head=head).eval()


@pytest.mark.parametrize(("factors", "shape"), [((D,), (T, D)), ((D, 1, 1), (2, 6, 6))])
@pytest.mark.parametrize("value", ["initial", "ones", "trained"])
def test_layer_scale_loads_before_and_after_training(
    factors: tuple[int, ...], shape: tuple[int, ...], value: str
) -> None:
    model = layer_scaled(factors)
    with torch.no_grad():
        if value == "ones":
            model.scale.gamma.fill_(1.0)  # type: ignore[operator, union-attr]
        elif value == "trained":
            model.scale.gamma.normal_()  # type: ignore[operator, union-attr]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    graph = from_torch(model, x)
    assert [n.op.name for n in graph.nodes].count("affine") == 1
    got = execute(graph, {graph.inputs[0].name: x})[graph.outputs[0].name]
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)[None])
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert quantize(graph, [x]).graph.outputs[0].type.dtype == "i16"


def test_factors_of_heads_are_refused_whatever_they_are() -> None:
    """Equal factors are no number for all heads: training makes them differ."""
    scores = nn.Parameter(torch.ones(1, H, 1, 1))

    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (heads(part(x)) for part in (m.q, m.k, m.v))
        return merge(torch.softmax(q @ k.transpose(-1, -2) * m.tau, -1) @ v)

    model = Model(forward, q=nn.Linear(D, D), k=nn.Linear(D, D), v=nn.Linear(D, D))
    model.tau = scores
    with pytest.raises(UnsupportedOp, match="one number for all heads"):
        from_torch(model.eval(), np.zeros((T, D), np.float32))


def test_batch_norm_in_training_mode_keeps_its_statistics() -> None:
    norm = nn.BatchNorm1d(D)
    model = nn.Sequential(nn.Linear(D, D), norm)
    with pytest.raises(UnsupportedOp, match=r"batch_norm in 1: .*model\.eval\(\)"):
        from_torch(model, np.ones(D, np.float32))
    assert norm.num_batches_tracked == 0 and not norm.running_mean.any()  # type: ignore[union-attr]


def test_weights_that_running_changes() -> None:
    model = nn.Sequential(nn.Embedding(5, D, max_norm=0.1), nn.Linear(D, 3))
    before = model[0].weight.clone()  # type: ignore[operator, union-attr]
    with pytest.raises(UnsupportedOp, match=r"embedding in 0: max_norm=0\.1"):
        from_torch(model, np.zeros(T, np.int64))
    assert torch.equal(before, model[0].weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(dtype: torch.dtype) -> None:
    with pytest.raises(UnsupportedOp, match=r"0\.weight is b?float\d\d; .*model\.float\(\)"):
        from_torch(nn.Sequential(nn.Linear(D, 3)).to(dtype), np.ones((T, D), np.float32))


@pytest.mark.parametrize("model", [None, "model.pt", lambda x: x, {"weight": 1}, nn.Linear])
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(UnsupportedOp, match=r"the model is a .*not a torch\.nn\.Module; give"):
        from_torch(model, np.ones((T, D), np.float32))


def test_overflow_names_the_layer() -> None:
    model = nn.Sequential(nn.Linear(D, D), nn.Linear(D, 3))
    with torch.no_grad():
        model[0].bias.fill_(10.0)  # type: ignore[operator, union-attr]
        model[1].weight.fill_(3e38)  # type: ignore[operator, union-attr]
    with pytest.raises(CalibrationError, match=r"^1 gives NaN or infinity"):
        from_torch(model, np.ones((T, D), np.float32))
