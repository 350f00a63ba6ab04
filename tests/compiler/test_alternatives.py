"""Several schemes on the command line and in a library; the benchmark of choices."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from command_line import call

from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe
from tinytrain.deploy.library import FLAGS, write_library
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.training.scheme_file import SchemeFile

RECIPE = """
import toys
from tinytrain.recipe import Optimizer

def recipe():
    return toys.recipe("sensor", "full", Optimizer("{rule}", 2.0, steps=4))
"""
WAY = ("--recompute", "off", "--tile", "off", "--planner", "heuristic")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "toy.py"
    file.write_text(RECIPE.format(rule="lsb"))
    return file


def test_plan_of_several(source: Path, tmp_path: Path, capfd: Any) -> None:
    SchemeFile(toys.random_scheme(toys.layers("sensor"), 3)).write(tmp_path / "mine.toml")
    chosen = ("--scheme", "head_only", "--scheme", "mine.toml")
    code, out, err = call(capfd, "plan", source, *chosen, "--json", *WAY)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["scheme"] == "head_only, random 3"
    assert [row["scheme"] for row in facts["schemes"]] == ["head_only", "random 3"]
    assert all(row["code_bytes"] > 0 for row in facts["schemes"])
    assert facts["chooser_code_bytes"] > 0
    most = max(row["alone_bytes"] for row in facts["schemes"])
    assert facts["others_bytes"] == facts["sram_bytes"] - most
    code, out, err = call(capfd, "plan", source, *chosen, *WAY)
    assert code == 0 and "2 schemes over one arena" in out, err


@pytest.mark.parametrize("target", ["numpy", "host"])
def test_run_with_a_choice(source: Path, capfd: Any, target: str) -> None:
    two = ("--scheme", "head_only", "--scheme", "last_k:1", "--target", target, "--limit", 2)
    code, out, err = call(capfd, "run", source, *two, "--probe", 5, "--json", *WAY)
    assert code == 0, err
    facts = json.loads(out)
    choice = facts["choice"]
    assert choice["probed"] == 5 and set(choice["worth"]) == {"head_only", "last_k:1"}
    assert facts["scheme"] == choice["scheme"]
    code, out, err = call(capfd, "run", source, *two, "--use", "last_k:1", "--json", *WAY)
    assert code == 0 and json.loads(out)["scheme"] == "last_k:1", err
    code, out, err = call(capfd, "run", source, *two, "--probe", 5, *WAY)
    assert code == 0 and "chosen on 5 samples" in out, err


@pytest.mark.parametrize(
    ("rule", "arguments", "told"),
    [
        ("lsb", ("--use", "full", "--probe", "3"), "RecipeError: --use and --probe"),
        ("lsb", ("--probe", "0"), "RecipeError: --probe 0: must be positive"),
        ("lsb", ("--probe", "3"), "SchemeError: the firmware holds one scheme"),
        ("lsb", ("--use", "none"), "SchemeError: the firmware has no scheme 'none'; it has full"),
        ("sgd", ("--scheme", "full", "--scheme", "head_only", "--probe", "2"), "sgd measures no"),
        ("lsb", ("--scheme", "full", "--scheme", "full"), "two schemes are called full"),
    ],
)
def test_what_is_refused(
    source: Path, capfd: Any, rule: str, arguments: tuple[str, ...], told: str
) -> None:
    source.write_text(RECIPE.format(rule=rule))
    code, _, err = call(capfd, "run", source, "--target", "numpy", "--limit", 1, *arguments, *WAY)
    assert code == 2 and told in " ".join(err.split()) and "Traceback" not in err


def test_library_chooses_as_a_session(tmp_path: Path) -> None:
    recipe = toys.recipe("sensor", "head_only").replace(alternatives=("last_k:1", "bias_only"))
    made = compile_recipe(recipe, load_board("host"), toys.quantized("sensor"))
    write_library(made, tmp_path / "lib")
    header = (tmp_path / "lib" / "src" / "tinytrain.h").read_text()
    assert "#define TT_SCHEMES 3" in header and "TT_SCHEME_LAST_K_1," in header
    sources, shared = sorted(map(str, (tmp_path / "lib" / "src").rglob("*.c"))), tmp_path / "l.so"
    command = ["gcc", "-std=c11", *FLAGS, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    include = f"-I{tmp_path / 'lib' / 'src'}"
    subprocess.run([*command, include, "-o", str(shared), *sources], check=True)
    library, session, data = ctypes.CDLL(str(shared)), numpy_session(made), toys.data("sensor")
    library.tt_worth_q24.restype = ctypes.c_uint32
    library.tt_init()
    metrics = (ctypes.c_int32 * 3)()
    for i in range(4):
        x, y = data.x[i].astype(np.float32), np.array([data.y[i]], np.int16)
        library.tt_set_input(np.ascontiguousarray(x).ctypes.data_as(ctypes.c_void_p))
        library.tt_set_labels(y.ctypes.data_as(ctypes.c_void_p))
        assert library.tt_probe(metrics) == 0
        assert metrics[0] / 65536 == session.probe(data.x[i], data.y[i]).loss
    choice = session.choose()
    worth = [library.tt_worth_q24(i) / 2**24 for i in range(3)]
    assert session.schemes[library.tt_choose()] == choice.scheme
    assert worth == list(choice.worth.values())
    assert library.tt_use(3) == 6, "TT_BAD_SCHEME"
    assert library.tt_use(2) == 0
