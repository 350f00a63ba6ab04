"""What was learned, written back: the float model follows the device, and nothing else changed."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from torch import Tensor, nn

from tinytrain import cli
from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.deploy import float_model
from tinytrain.deploy.float_model import Exporter
from tinytrain.deploy.snapshot import write_snapshot
from tinytrain.errors import RecipeError
from tinytrain.frontend.origins import origins
from tinytrain.recipe import Dataset, Recipe, UpdateScheme
from tinytrain.sessions.numpy_session import numpy_session

STEPS = 30


def logits(model: nn.Module, x: Any) -> Any:
    sample = torch.from_numpy(np.ascontiguousarray(x))
    sample = sample.long() if x.dtype.kind in "iu" else sample
    with torch.no_grad():
        return model(sample[None])[0].numpy()


def trained(made: Compiled, samples: Dataset, steps: int = STEPS) -> Any:
    session = numpy_session(made)
    for i in range(steps):
        session.step(samples.x[i % len(samples)], samples.y[i % len(samples)])
    return session


def loaded(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    made = copy.deepcopy(model)
    made.load_state_dict(state)
    return made


def distance(session: Any, model: nn.Module, samples: Dataset) -> float:
    """Root mean square of the difference of the logits, nats."""
    apart = [session.predict(x) - logits(model, x) for x in samples.x]
    return float(np.sqrt(np.mean(np.square(apart))))


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        *((kind, "lora:3+head") for kind in toys.KINDS), ("sensor", "full"), ("lm", "half"),
        ("postnorm", "full"), ("vit", "half"), ("channels", "half"), ("relu", "bias_only"),
        ("cct", "full"), ("cct", "half"),
    ],
)  # fmt: skip
def test_the_float_model_follows_the_device(kind: str, scheme: str) -> None:
    made, samples, model = (
        toys.compiled(kind, scheme, steps=STEPS),
        toys.data(kind),
        toys.model(kind),
    )
    before = distance(numpy_session(made), model, samples)
    session = trained(made, samples)
    exporter = Exporter(toys.recipe(kind), made)
    after = distance(session, loaded(model, exporter.state_dict(session.weights())), samples)
    apart = distance(session, model, samples)
    print(f"{kind} {scheme}: {before:.3f} before, {after:.3f} after, {apart:.3f} without export")
    assert after < 0.1 + before and after < 0.2 * apart


def test_a_convolution_has_what_it_learned() -> None:
    """A kernel [O, C, kh, kw] gets the codes of its row [kh*kw*C], times their scales."""
    made = toys.compiled("cct", UpdateScheme({"convs.1": 1.0}, ("convs.1",)))
    session = trained(made, toys.data("cct"))
    before = toys.model("cct").state_dict()
    state = Exporter(toys.recipe("cct"), made).state_dict(session.weights())
    changed = {name for name in before if not torch.equal(before[name], state[name])}
    assert changed == {n for n in before if n.startswith("convs.1.")} and changed
    kernel = next(n for n in changed if state[n].dim() == 4)
    codes, scale = next(
        (codes, made.forward.params[name].value.type.scale)
        for name, codes in session.weights().items()
        if codes.dtype == np.int8 and codes.size == state[kernel].numel()
    )
    real = codes * np.reshape(scale, (-1, 1))
    rows = state[kernel].permute(0, 2, 3, 1).flatten(1)
    np.testing.assert_allclose(rows, real, rtol=1e-6)


def test_what_cannot_be_written_back_is_an_error() -> None:
    made, recipe = toys.compiled("cct", "full"), toys.recipe("cct")
    exporter = Exporter(recipe, made)
    with pytest.raises(RecipeError, match=r"convs\.\d learns, but cannot be exported: nothing in"):
        float_model._check_all(
            made.forward, [layer for layer in exporter._layers if "conv" not in layer.name]
        )


def test_what_has_not_learned_keeps_its_bits() -> None:
    scheme = UpdateScheme({"blocks.0.o": (1, 3)}, ("head",), adapters={"blocks.1.q": 2})
    made, model = toys.compiled("sensor", scheme), toys.model("sensor")
    state = Exporter(toys.recipe("sensor"), made).state_dict(
        trained(made, toys.data("sensor")).weights()
    )
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, state[n])}
    # q reads a norm with an offset, which reaches the bias when the weight changes
    assert changed == {"blocks.0.o.weight", "head.bias", "blocks.1.q.weight", "blocks.1.q.bias"}
    rows = (state["blocks.0.o.weight"] != model.state_dict()["blocks.0.o.weight"]).any(1)
    assert rows.nonzero().flatten().tolist() == [1, 3]


def test_the_start_of_an_adapter_is_the_model() -> None:
    made, model = toys.compiled("vit", "lora:4"), toys.model("vit")
    state = Exporter(toys.recipe("vit"), made).state_dict(numpy_session(made).weights())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_trained_weight_has_its_real_value() -> None:
    """The codes times their scale; one step moves a weight by one scale."""
    made = toys.compiled("sensor", UpdateScheme({"blocks.1.o": 1.0}))
    weights = numpy_session(made).weights()
    (name,) = weights
    exporter = Exporter(toys.recipe("sensor"), made)
    scale = made.forward.params[name].value.type.tensor_scale
    state = exporter.state_dict(weights)
    np.testing.assert_allclose(state["blocks.1.o.weight"], weights[name] * scale, rtol=1e-6)
    original = toys.model("sensor").state_dict()["blocks.1.o.weight"]
    assert (state["blocks.1.o.weight"] - original).abs().max() <= 0.51 * scale


def test_snapshots_hold_the_same() -> None:
    made = toys.compiled("lm", "lora:2")
    session, exporter = trained(made, toys.data("lm"), 5), Exporter(toys.recipe("lm"), made)
    one = exporter.state_dict(session.weights())
    two = exporter.state_dict(made.codec.split_state(session.snapshot()))
    assert all(torch.equal(one[name], two[name]) for name in one)


# -- where weights come from -----------------------------------------------------------------------


def test_origins_of_all_forms() -> None:
    """A plain layer, a third of a fused projection, a flattened kernel: each by its elements."""
    found = origins(toys.model("vit"), toys.data("vit").x[0])
    state = toys.model("vit").state_dict()
    flat = np.zeros(1 + sum(t.numel() for t in state.values()))
    for name, first in found.first.items():
        flat[first : first + state[name].numel()] = state[name].flatten()
    whole = state["blocks.0.self_attn.in_proj_weight"].numpy()
    third = found.layers["blocks.0.self_attn.k"].weight
    np.testing.assert_array_equal(flat[third], whole[16:32])
    kernel = found.layers["patch"].weight
    assert kernel is not None and kernel.shape == (16, 48)
    assert {"patch", "head", "blocks.1.linear2"} <= set(found.layers)
    assert not any(origin.shared for origin in found.layers.values())


class Odd(nn.Module):
    """``x @ w + b``, then a norm, then a layer without a bias."""

    def __init__(self, offset: float = 0.3, gain: float = 0.7) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w, self.b = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(8))
        self.norm = nn.LayerNorm(8)
        nn.init.constant_(self.norm.bias, offset)
        nn.init.constant_(self.norm.weight, gain)
        self.norm.weight.data[3] *= 2
        self.bare = nn.Linear(8, 8, bias=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.w + self.b
        logits: Tensor = self.head(torch.relu(self.bare(self.norm(x))).mean(dim=1))
        return logits


def odd(scheme: UpdateScheme, model: nn.Module | None = None) -> tuple[Recipe, Compiled]:
    rng = np.random.default_rng(0)
    samples = Dataset(rng.normal(size=(24, 5, 6)).astype(np.float32), rng.integers(0, 3, 24))
    recipe = Recipe("odd", (model or Odd()).eval(), samples.x, samples, {}, "classes", scheme)
    return recipe, compile_recipe(recipe, load_board("host"))


def test_a_written_out_product() -> None:
    recipe, made = odd(UpdateScheme({"*": 1.0}, ("w", "head")), Odd(offset=0.0))
    session = trained(made, recipe.train)
    state = Exporter(recipe, made).state_dict(session.weights())
    assert distance(session, loaded(recipe.model, state), recipe.train) < 0.1
    assert not torch.equal(state["w"], recipe.model.state_dict()["w"]) and state["w"].shape == (
        6,
        8,
    )


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8, 6))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head((x @ (2 * self.w).T).mean(dim=1))
        return logits


@pytest.mark.parametrize(
    ("model", "scheme", "text"),
    [
        (Odd, UpdateScheme({"bare": 1.0}), "bare learns, but cannot.*that takes a bias"),
        (Odd, UpdateScheme(adapters={"bare": 2}), "that takes a bias, and it has none"),
        (Odd, UpdateScheme({}, ("bare",)), "that takes a bias, and it has none"),
        (lambda: Odd(0.0, 0.0), UpdateScheme({"bare": 1.0}), "gain of 0 in 8 channels"),
        (Scaled, UpdateScheme({"w": 1.0}), "its weight is computed from parameters"),
    ],
)  # fmt: skip
def test_what_is_refused(model: Any, scheme: UpdateScheme, text: str) -> None:
    recipe, made = odd(scheme, model())
    with pytest.raises(RecipeError, match=text):
        Exporter(recipe, made)
    recipe, made = odd(UpdateScheme({"head": 1.0}), model())
    Exporter(recipe, made).state_dict(numpy_session(made).weights())


def test_tied_weights_are_refused() -> None:
    made = toys.compiled("tied", "head_only")
    with pytest.raises(RecipeError, match=r"head.*learns, but cannot.*shares its weight"):
        Exporter(toys.recipe("tied"), made)
    Exporter(toys.recipe("tied"), toys.compiled("tied", "lora:2"))  # of the tied ones none learns


# -- the command -----------------------------------------------------------------------------------


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tinytrain", *arguments, "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


RUN = ("run", "toy.py", "--target", "numpy", "--steps", "5", "--limit", "2")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("toy.py").write_text("import toys\n\n\ndef recipe():\n    return toys.recipe('sensor')\n")


def test_export_of_a_run_and_of_its_snapshot(
    toy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scheme = ("--scheme", "lora:2")
    assert call(monkeypatch, *RUN, *scheme, "--export", "run.pt", "--snapshot", "state") == 0
    capsys.readouterr()
    assert call(monkeypatch, "export", "toy.py", "state", *scheme, "--out", "later.pt") == 0
    facts = json.loads(capsys.readouterr().out)
    before = toys.model("sensor").state_dict()
    run, later = (torch.load(name, weights_only=True) for name in ("run.pt", "later.pt"))
    loaded(toys.model("sensor"), later)
    assert all(torch.equal(run[name], later[name]) for name in before)
    changed = {name for name in before if not torch.equal(before[name], later[name])}
    assert set(facts["changed"]) == changed
    assert "blocks.0.q.weight" in changed and "head.weight" not in changed


def test_export_names_what_is_wrong_with_its_files(
    toy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *RUN, "--export", "no/folder.pt") == 2
    assert "no/folder.pt: cannot be written" in capsys.readouterr().err
    assert call(monkeypatch, "export", "toy.py", "absent") == 2
    assert "absent: cannot be read" in capsys.readouterr().err
    Path("state").write_bytes(bytes(99))
    assert call(monkeypatch, "export", "toy.py", "state", "--scheme", "lora:3") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "state: 99 bytes that do not begin as a snapshot does" in message
    made = toys.compiled("sensor", "lora:3")
    Path("raw").write_bytes(numpy_session(made).snapshot())  # the right length, and no more
    assert call(monkeypatch, "export", "toy.py", "raw", "--scheme", "lora:3") == 2
    write_snapshot(made, numpy_session(made).snapshot(), Path("state"))
    assert call(monkeypatch, "export", "toy.py", "state", "--scheme", "lora:2") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "state: a snapshot of another model: 'toy_sensor', id" in message
