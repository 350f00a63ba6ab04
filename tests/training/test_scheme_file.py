"""Scheme files: what is written is read again; what is wrong is said with its key."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from command_line import call

from tinytrain.errors import SchemeError
from tinytrain.recipe import Layers, Optimizer, UpdateScheme
from tinytrain.selection import runs
from tinytrain.selection.pool import Context
from tinytrain.selection.resolve import with_file
from tinytrain.selection.runs import Job, Outcome
from tinytrain.sessions.session import Evaluation
from tinytrain.training.scheme import Layer, layers_sha256, resolve
from tinytrain.training.scheme_file import SchemeFile, read_scheme

SCHEME = UpdateScheme(
    {"blocks.0.o": 1.0, "blocks.1.f1": tuple(range(0, 64, 2))}, ("blocks.0.o", "head"), "mine",
    {"blocks.1.v": 4},
)  # fmt: skip
RECIPE = """
import toys
from tinytrain.recipe import Optimizer

def recipe():
    return toys.recipe("sensor", "auto", Optimizer("lsb", 2.0, steps=6))
"""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = SchemeFile(SCHEME, "lsb", 1.5, {"model": 'a"b', "sram_bytes": 7, "validation": 0.5})
    path = tmp_path / "deep" / "scheme.toml"
    file.write(path)
    assert read_scheme(path) == file
    assert max(map(len, path.read_text().splitlines())) <= 100
    plain = SchemeFile(SCHEME)
    plain.write(path)
    assert read_scheme(path) == plain


def test_a_scheme_that_was_made_for_other_layers_is_refused(tmp_path: Path) -> None:
    layers = toys.layers("sensor")
    digest = layers_sha256(layers)
    scheme = UpdateScheme({"head": 1.0}, name="mine", made_for=Layers("toy", digest))
    path = tmp_path / "scheme.toml"
    SchemeFile(scheme, "lsb", 1.5).write(path)
    read = read_scheme(path)
    assert read.scheme == scheme and resolve(read.scheme, layers) == scheme
    for others in (
        layers[1:],
        [*layers[:-1], replace(layers[-1], outputs=layers[-1].outputs + 1)],
        [*layers[:-1], replace(layers[-1], name="classifier")],
    ):
        with pytest.raises(
            SchemeError, match=r"mine was made for the layers of model 'toy'.*\[mod"
        ):
            resolve(read.scheme, others)
    by_hand = path.read_text().replace(f'[model]\nname = "toy"\nlayers_sha256 = "{digest}"\n', "")
    path.write_text(by_hand)
    assert resolve(read_scheme(path).scheme, layers[1:]).made_for is None
    path.write_text(by_hand + '[model]\nname = "toy"\nlayers_sha256 = "12"\n')
    with pytest.raises(SchemeError, match=r"model.layers_sha256 is '12'; allowed: 64 hex"):
        read_scheme(path)


def test_the_hash_of_layers_is_that_of_the_specification() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
    layers = [Layer("embed", 32, 24), Layer("blocks.0.q", 32, 32), Layer("head", 4, 32)]
    assert layers_sha256(layers) in text


def test_random_schemes_survive(tmp_path: Path) -> None:
    for seed in range(20):
        scheme = toys.random_scheme(toys.layers("sensor"), seed)
        path = tmp_path / "scheme.toml"
        SchemeFile(scheme).write(path)
        read = read_scheme(path).scheme
        assert read.weights == scheme.weights and set(read.biases) == set(scheme.biases)


def test_a_ratio_is_not_written() -> None:
    with pytest.raises(SchemeError, match=r"a ratio of 0.5 is not written"):
        SchemeFile(UpdateScheme({"head": 0.5})).text()


def test_the_rate_counts_for_its_rule_only() -> None:
    file = SchemeFile(SCHEME, "lsb", 1.5)
    assert with_file(toys.recipe("sensor"), file).optimizer.learning_rate == 1.5
    sgd = toys.recipe("sensor", optimizer=Optimizer("sgd", 0.1))
    assert with_file(sgd, file).optimizer.learning_rate == 0.1
    assert with_file(sgd, file).scheme == SCHEME


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("version = 1", "version = 2", "version is 2; allowed: an integer from 1 to 1"),
        ("version = 1\n", "", "version is missing"),
        ('name = "mine"', "name = 3", "name is 3"),
        ('rule = "lsb"', 'rule = "adam"', "optimizer.rule is 'adam'"),
        ("learning_rate = 1.5", "learning_rate = 0.0", "optimizer.learning_rate is 0.0"),
        ("learning_rate = 1.5", "rate = 1.5", "optimizer.learning_rate is missing"),
        ('channels = "all"', 'channels = "some"', "layers.blocks.0.o.channels is 'some'"),
        ('channels = "all"', "channels = []", "layers.blocks.0.o.channels is \\[\\]"),
        ('channels = "all"', "channels = [1, -2]", "layers.blocks.0.o.channels is"),
        ('channels = "all"', "channels = [true]", "layers.blocks.0.o.channels is"),
        ("adapter_rank = 4", "adapter_rank = 0", "layers.blocks.1.v.adapter_rank is 0"),
        ("adapter_rank = 4", "rank = 4", "unknown key layers.blocks.1.v.rank"),
        ("bias = true", "bias = 1", "bias is 1; allowed: true or false"),
        ("version = 1", "version = [", "not valid TOML"),
        ("version = 1", "version = 1\nmore = 1", "unknown key more"),
        ("version = 1", "version = 1\nlayers.x = 1", "layers"),
    ],
)
def test_what_is_wrong(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "scheme.toml"
    text = SchemeFile(SCHEME, "lsb", 1.5).text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SchemeError, match=told):
        read_scheme(path)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SchemeError, match=r"absent.toml: no such file"):
        read_scheme(tmp_path / "absent.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(SchemeError, match="cannot be written"):
        SchemeFile(SCHEME).write(tmp_path / "file" / "scheme.toml")


# -- command line ----------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose scheme is auto, and trainings whose outcomes are invented."""
    rng = np.random.default_rng(0)
    monkeypatch.setenv("TINYTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runs, "trained", lambda context, job: invented(context, job, rng))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "toy.py"
    file.write_text(RECIPE)
    return file


def invented(context: Context, job: Job, rng: np.random.Generator) -> Outcome:
    return Outcome(tuple(Evaluation(float(rng.uniform(1, 2)), int(rng.integers(20)), 20)
                         for _ in context.tasks))  # fmt: skip


WAY = ("--recompute", "off", "--tile", "off", "--planner", "heuristic")


def test_select_and_plan(source: Path, tmp_path: Path, capfd: Any) -> None:
    file, plot = tmp_path / "found.toml", tmp_path / "front.html"
    code, out, err = call(capfd, "select", source, "--sram", 20000, "--trials", 6, "--out", file,
                          "--plot", plot, "--explain", "--json", *WAY)  # fmt: skip
    assert code == 0, err
    facts = json.loads(out)
    assert facts["sram_bytes"] <= 20000 and facts["front"] and facts["path"] == str(file)
    assert len(facts["explanation"]) == 14 and -1 <= facts["spearman"] <= 1
    assert facts["candidates"] and len(facts["contributions"]) == 55
    page = plot.read_text()
    assert "<svg" in page and "head_only" in page
    code, out, err = call(capfd, "plan", source, "--sram", 20000, "--scheme", file, "--json", *WAY)
    assert code == 0, err
    planned = json.loads(out)
    assert planned["sram_bytes"] == facts["sram_bytes"] and planned["scheme"] == "selected"
    # The recipe says auto: the same search, whose trainings are known.
    code, out, err = call(capfd, "plan", source, "--sram", 20000, "--json", *WAY)
    assert code == 0, err
    assert json.loads(out)["sram_bytes"] <= 20000


def test_tables(source: Path, tmp_path: Path, capfd: Any) -> None:
    plot = tmp_path / "front.svg"
    code, out, err = call(capfd, "select", source, "--sram", 20000, "--trials", 4, "--plot", plot,
                          "--contributions", "estimate", *WAY)  # fmt: skip
    assert code == 0, err
    assert "schemes trained at full length" in out and "of 20,000 bytes" in out
    small = (tmp_path / "scheme.toml").rename(tmp_path / "small.toml")
    assert "<svg" in plot.read_text()
    code, out, err = call(capfd, "select", source, "--sram", 30000, "--trials", 4, "--also", small,
                          "--contributions", "estimate", "--json", *WAY)  # fmt: skip
    assert code == 0, err
    facts = json.loads(out)
    assert "small" in [c["name"] for c in facts["candidates"]] and not facts["left_out"]
    code, out, err = call(capfd, "select", source, "--sram", 6000, "--trials", 2, "--also", small,
                          "--contributions", "estimate", *WAY)  # fmt: skip
    assert code == 0 and re.search(r"not tried, as it needs [\d,]+ bytes of SRAM: small", out), err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("select", "--plot", "front.pdf"), "RecipeError: --plot front.pdf"),
        (("select", "--search", "luck"), "RecipeError: search is 'luck'"),
        (("select", "--also", "absent.toml"), "SchemeError: absent.toml: no such file"),
        (("select", "--also", "all"), "unknown scheme 'all'"),
        (("plan", "--scheme", "absent.toml"), "SchemeError: absent.toml: no such file"),
    ],
)
def test_options_that_are_refused(
    source: Path, capfd: Any, arguments: tuple[str, ...], told: str
) -> None:
    code, out, err = call(capfd, arguments[0], source, *arguments[1:])
    assert code == 2 and out == "" and told in err and "Traceback" not in err
