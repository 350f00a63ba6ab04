"""Fashion-MNIST: sets share no image, only the camera's are turned, absence names the command."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe
from tinytrain.datasets import fashion, load_fashion
from tinytrain.errors import DataError
from tinytrain.pretrain import Settings
from tinytrain.recipe import load_recipe
from tinytrain.sessions.numpy_session import numpy_session

ROOT = Path(__file__).resolve().parents[2]
SETS = ("pretrain", "adapt", "validation", "target", "source")


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), 1)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Four files as in the package, of a few random images; 12 adapt and 6 validate."""
    rng = np.random.default_rng(0)
    made = tmp_path / "fashion-mnist"
    made.mkdir()
    for name, count in (("train", 60), ("t10k", 24)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (made / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(images))
        labels = rng.integers(0, 10, count).astype(np.uint8)
        (made / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path))
    monkeypatch.setattr(fashion, "ADAPT", 12)
    monkeypatch.setattr(fashion, "VALIDATION", 6)
    return made


@pytest.mark.usefixtures("folder")
def test_sets_share_no_image() -> None:
    split = load_fashion(pretrain_images=40, test_images=10)
    train, test = fashion.read_fashion()
    y = np.concatenate([train.y, test.y])
    sizes = {"pretrain": 40, "adapt": 12, "validation": 6, "target": 10, "source": 10}
    for name in SETS:
        data, origin = getattr(split, name), split.origins[name]
        assert len(data) == len(set(origin)) == sizes[name]
        assert data.x.shape[1:] == (1, 32, 32) and data.x.dtype == np.float32
        np.testing.assert_array_equal(data.y, y[origin])
        assert data.y.dtype == np.int64
        assert (origin < 60).all() == (name in ("pretrain", "adapt", "validation"))
    everything = np.concatenate([split.origins[name] for name in SETS])
    assert len(everything) == len(set(everything))


@pytest.mark.usefixtures("folder")
def test_only_what_the_camera_sees_is_turned() -> None:
    split, straight = (load_fashion(d, pretrain_images=40, test_images=10) for d in (30.0, 0.0))
    for name in SETS:
        same = np.array_equal(getattr(split, name).x, getattr(straight, name).x)
        assert same == (name in ("pretrain", "source")), name
    assert (split.mean, split.std) == (straight.mean, straight.std)
    assert abs(float(split.pretrain.x.mean())) < 1e-4
    border = (0 - split.mean) / split.std
    assert split.source.x[:, :, :2].max() == np.float32(border)


@pytest.mark.usefixtures("folder")
def test_the_stream_has_the_same_order_each_time() -> None:
    one, again, other = (
        load_fashion(pretrain_images=40, test_images=10, seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.adapt.x, again.adapt.x)
    assert not np.array_equal(one.origins["adapt"], other.origins["adapt"])
    assert sorted(one.origins["adapt"]) == sorted(other.origins["adapt"])


def test_turning() -> None:
    x = np.random.default_rng(1).random((2, 9, 9)).astype(np.float32)
    for quarter in range(4):
        want = np.rot90(x, quarter, (1, 2))
        np.testing.assert_allclose(fashion.turned(x, 90.0 * quarter), want, atol=1e-6)
    smooth = np.add.outer(np.arange(9), np.arange(9)).astype(np.float32)[None]
    middle = np.s_[:, 3:6, 3:6]
    there_and_back = fashion.turned(fashion.turned(smooth, 30), -30)
    np.testing.assert_allclose(there_and_back[middle], smooth[middle], atol=1e-4)
    corner = fashion.turned(np.ones((1, 9, 9), np.float32), 45)
    assert corner[0, 0, 0] == 0 and corner[0, 4, 4] == pytest.approx(1)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("sizes", [(0, 10), (43, 10), (40, 13), (40, 0)])
def test_more_images_than_there_are(sizes: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"pretrain_images is 1 to 42.*test_images 1 to 12"):
        load_fashion(pretrain_images=sizes[0], test_images=sizes[1])


def test_absence_names_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = folder / "t10k-labels-idx1-ubyte.gz"
    for content in (b"no gzip", gzip.compress(b"\0\0\x08"), gzip.compress(b"\0\0\x0d\0xxxxxxxx")):
        broken.write_bytes(content)
        with pytest.raises(DataError, match="not an IDX file"):
            load_fashion(pretrain_images=40, test_images=10)
    broken.write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"t10k has images \(24, 28, 28\) and 3 labels"):
        load_fashion(pretrain_images=40, test_images=10)
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(fashion, "SYSTEM", tmp_path / "nothing")
    with pytest.raises(DataError, match=r"apt-get install .*dataset-fashion-mnist$"):
        load_fashion()


def test_real_data() -> None:
    try:
        train, test = fashion.read_fashion()
    except DataError:
        pytest.skip("Fashion-MNIST is not installed")
    assert train.x.shape == (60_000, 28, 28) and test.x.shape == (10_000, 28, 28)
    assert (np.bincount(test.y) == 1000).all() and len(fashion.LABELS) == 10


def test_the_example_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a pre-training of one step."""
    try:
        fashion.find_fashion()
    except DataError:
        pytest.skip("Fashion-MNIST is not installed")
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path))
    brief = Settings(steps=1, batch=2)
    recipe = load_recipe(ROOT / "examples" / "cct.py", test_images=4, pretraining=brief)
    made = compile_recipe(recipe.replace(scheme="head_only"), load_board("qemu_mps2_an386"))
    session = numpy_session(made)
    assert made.evaluate.macs() == 34_161_920 and made.sram.sram_bytes < 64 * 1024
    session.step(recipe.train.x[0], recipe.train.y[0])
    assert session.predict(recipe.tests["upright"].x[0]).shape == (10,)
