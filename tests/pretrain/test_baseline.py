"""The float baseline trains exactly what a scheme selects; pre-training repeats and is cached."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tinytrain import pretrain as pretraining
from tinytrain.baseline import (
    Problem,
    all_parameters,
    evaluate,
    finetune_fp32,
    parameters_of,
    pick_learning_rate,
)
from tinytrain.errors import DataError, RecipeError, SchemeError
from tinytrain.pretrain import Augment, Settings, pretrain
from tinytrain.recipe import Dataset, UpdateScheme
from tinytrain.zoo import CharLM, SensorTransformer

SMALL = Settings(steps=30, batch=8, learning_rate=3e-3, warmup=5)


def sensor() -> SensorTransformer:
    return SensorTransformer(window=16, channels=2, patch=4, d=8, blocks=2, heads=2, classes=3)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Three classes that a mean tells apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60).astype(np.int64)
    x = rng.standard_normal((60, 16, 2)) + (y - 1.0)[:, None, None]
    return Dataset(x.astype(np.float32), y)


SCHEMES = [
    UpdateScheme({"blocks.*.o": 1.0, "head": 1.0}, ("blocks.*.o", "head")),
    UpdateScheme({"blocks.1.f2": 0.25, "head": (2, 0)}, ("blocks.1.f2",)),
    UpdateScheme({"blocks.*.f1": 0.5, "blocks.0.f1": (3,)}, ("blocks.0.*", "head")),
]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_trains_the_selected_entries_and_nothing_else(
    scheme: UpdateScheme, optimizer: str, data: Dataset
) -> None:
    model = sensor()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = parameters_of(model, scheme)
    done = finetune_fp32(
        model,
        data,
        {"all": data},
        steps=40,
        parameters=masks,
        optimizer=optimizer,  # type: ignore[arg-type]
        learning_rate=1e-2,
    )
    for name, value in done.model.state_dict().items():
        changed = value != before[name]
        allowed = masks.get(name, torch.zeros_like(changed))
        assert not (changed & ~allowed).any(), name
        if allowed.any() and not name.endswith(("q.bias", "k.bias")):
            assert changed[allowed].float().mean() > 0.5, name
        assert torch.equal(model.state_dict()[name], before[name])  # the caller's model stays
    assert done.trained_parameters == sum(int(mask.sum()) for mask in masks.values())


def test_scheme_patterns() -> None:
    masks = parameters_of(sensor(), SCHEMES[2])
    assert set(masks) >= {
        "blocks.0.f1.weight",
        "blocks.1.f1.weight",
        "head.bias",
        "blocks.0.q.bias",
    }
    assert masks["blocks.0.f1.weight"].any(1).nonzero().flatten().tolist() == [3]  # later wins
    assert masks["blocks.0.f1.bias"].nonzero().flatten().tolist() == [3]
    assert masks["blocks.1.f1.weight"].any(1).nonzero().flatten().tolist() == list(range(16))
    assert not any(".ln" in name or name.startswith("norm") for name in masks)  # as on the device
    assert masks["blocks.0.q.bias"].all() and "blocks.1.f1.bias" not in masks


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (UpdateScheme({"blocks.*.attn": 1.0}), "blocks.0.q"),
        (UpdateScheme({"head": 0.0}), r"\(0, 1\]"),
        (UpdateScheme({"head": (0, 3)}), r"0\.\.2"),
        (UpdateScheme({}, ("nothing",)), "matches no layer"),
    ],
)
def test_bad_schemes_say_why(scheme: UpdateScheme, message: str) -> None:
    with pytest.raises(SchemeError, match=message):
        parameters_of(sensor(), scheme)


def test_stream_order_schedule_and_step(data: Dataset) -> None:
    """Two SGD steps by hand: sample 0, then sample 0 again (one sample), at half the rate."""
    one = Dataset(data.x[:1], data.y[:1])
    model = sensor()
    hand = sensor().eval()
    for rate in (0.1, 0.05):
        loss = torch.nn.functional.cross_entropy(
            hand(torch.from_numpy(one.x)), torch.from_numpy(one.y)
        )
        hand.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in hand.parameters():
                if parameter.grad is not None:
                    parameter.sub_(rate * parameter.grad)
    done = finetune_fp32(model, one, {}, steps=2, optimizer="sgd", learning_rate=0.1)
    for name, value in hand.state_dict().items():
        torch.testing.assert_close(done.model.state_dict()[name], value)
    assert (
        len(done.losses) == 2
        and set(all_parameters(model)) == dict(model.named_parameters()).keys()
    )


def test_evaluate_counts_only_real_labels() -> None:
    model = CharLM(11, d=8, blocks=1, heads=2, context=6).eval()
    x = np.arange(12, dtype=np.int32).reshape(2, 6) % 11
    y = np.where(x % 2 == 0, x, -1)
    got = evaluate(model, Dataset(x, y))
    with torch.no_grad():
        logits = model(torch.from_numpy(x).long()).log_softmax(-1).numpy()
    rows, columns = np.nonzero(y >= 0)
    want = -logits[rows, columns, y[rows, columns]].mean()
    assert got.count == len(rows) and got.loss == pytest.approx(want, rel=1e-5)
    assert got.bits == pytest.approx(want / np.log(2.0), rel=1e-5)


def test_language_model_does_not_see_the_future() -> None:
    model = CharLM(11, d=8, blocks=2, heads=2, context=6).eval()
    x = torch.randint(0, 11, (1, 6), generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[0, 4:] = (changed[0, 4:] + 1) % 11
    assert torch.equal(model(x)[:, :4], model(changed)[:, :4])
    assert not torch.equal(model(x)[:, 4:], model(changed)[:, 4:])


def test_zoo_exports_with_a_batch_of_one() -> None:
    for model, x in (
        (sensor(), torch.zeros(1, 16, 2)),
        (CharLM(11, d=8, blocks=1, heads=2, context=6), torch.zeros(1, 6, dtype=torch.int64)),
    ):
        model.eval()
        exported = torch.export.export(model, (x,))
        torch.testing.assert_close(exported.module()(x), model(x))


def test_pretraining_repeats_learns_and_is_cached(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained = evaluate(sensor(), data).loss
    model = pretrain(sensor(), data, SMALL, cache=tmp_path, quiet=True)
    again = pretrain(sensor(), data, SMALL, quiet=True)
    assert evaluate(model, data).loss < 0.7 * untrained
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(pretraining, "_train", lambda *_: pytest.fail("trained again"))
    cached = pretrain(sensor(), data, SMALL, cache=tmp_path, quiet=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, cached.state_dict()[name])


def test_training_runs_on_one_thread_and_gives_the_others_back(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = torch.get_num_threads(), []
    forward = SensorTransformer.forward

    def watched(self: SensorTransformer, x: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return forward(self, x)

    monkeypatch.setattr(SensorTransformer, "forward", watched)
    try:
        torch.set_num_threads(2)
        model = pretrain(sensor(), data, SMALL, quiet=True)
        finetune_fp32(model, data, {}, steps=2, learning_rate=1e-3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
    assert len(seen) == SMALL.steps + 2


def test_cache_key_tells_models_data_and_settings_apart(data: Dataset) -> None:
    other = Dataset(data.x + 1, data.y)
    noisy = dataclasses.replace(SMALL, augment=Augment(noise=0.1))
    wide = SensorTransformer(window=16, channels=2, patch=4, d=16, blocks=2, heads=2, classes=3)
    keys = [
        pretraining.cache_key(sensor(), data, SMALL, "classes"),
        pretraining.cache_key(wide, data, SMALL, "classes"),
        pretraining.cache_key(sensor(), other, SMALL, "classes"),
        pretraining.cache_key(sensor(), data, noisy, "classes"),
    ]
    assert len(set(keys)) == 4
    assert keys[0] == pretraining.cache_key(sensor(), data, SMALL, "classes")


def test_picks_the_rate_of_the_lowest_validation_loss(data: Dataset) -> None:
    problem = Problem(sensor().eval(), data, data)
    best, losses = pick_learning_rate(
        [problem], steps=40, scheme=SCHEMES[0], grid=(1e-5, 1e-2, 10.0)
    )
    assert best == 1e-2 and set(losses) == {1e-5, 1e-2, 10.0}


def test_nothing_to_train_is_refused(data: Dataset) -> None:
    with pytest.raises(RecipeError, match="0 parameters"):
        finetune_fp32(sensor(), data, {}, steps=1, parameters={}, learning_rate=1.0)
    with pytest.raises(DataError, match="no samples"):
        pretrain(sensor(), Dataset(data.x[:0], data.y[:0]), SMALL, quiet=True)
