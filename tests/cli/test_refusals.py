"""What the command line says when something does not fit or is wrong: one message, exit code 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from command_line import call

from tinytrain.boards import load_board
from tinytrain.compiler import check_budget, compile_recipe
from tinytrain.errors import BudgetError, LinkError, TinytrainError
from tinytrain.planning.fit import Planning
from tinytrain.recipe import Optimizer

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
import numpy as np
from tinytrain.recipe import Dataset, Optimizer, Recipe
from tinytrain.zoo import SensorTransformer


def recipe():
    x = np.random.default_rng(0).normal(size=(4, {window}, 6)).astype(np.float32)
    data = Dataset(x, np.zeros(4, np.int64))
    model = SensorTransformer(window={window}, d={d}, blocks={blocks})
    return Recipe("toy", model, x, data, {{"test": data}}, "classes", "full", Optimizer(steps=5))
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of other tests serve, wherever a test stands."""
    folder = os.environ.get("TINYTRAIN_CACHE") or str(ROOT / "build" / "cache")
    monkeypatch.setenv("TINYTRAIN_CACHE", folder)


def write(folder: Path, text: str, name: str = "toy.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def small(folder: Path) -> Path:
    return write(folder, RECIPE.format(window=16, d=16, blocks=1))


def large(folder: Path) -> Path:
    """Some 400 KB of trained weights alone; the host board has 256 KB."""
    return write(folder, RECIPE.format(window=32, d=128, blocks=2), "large.py")


def flat(text: str) -> str:
    """Without the line breaks of a terminal."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", text))


# -- budgets ---------------------------------------------------------------------------------------


def test_budget_error_says_what_where_and_what_next(tmp_path: Path) -> None:
    from tinytrain.recipe import load_recipe

    recipe = load_recipe(large(tmp_path))
    board = load_board("host")
    made = compile_recipe(recipe, board, check=False)
    with pytest.raises(BudgetError) as caught:
        check_budget(made)
    text = str(caught.value)
    sram = made.sram
    over = sram.sram_bytes - board.sram_budget_bytes
    assert over > 0
    for part in (
        "toy with scheme full", f"{sram.sram_bytes} bytes of SRAM", str(board.sram_budget_bytes),
        f"{over} too many", f"arena {sram.arena_bytes}", f"weights {sram.trained_weight_bytes}",
        "--scheme last_k:1", "largest live values: ", "in the smallest form that was found",
    ):  # fmt: skip
        assert part in text, part
    plan = made.dominant_plan
    node = made.train.nodes[plan.peak_node]
    assert f"peaks at {node.op.name} of " in text
    largest = plan.live_at(plan.peak_node)[:5]
    named = [f"{b.name} {b.bytes} B" for b in largest]
    assert ", ".join(named) in text and len(named) == 5
    assert compile_recipe(recipe, board, made.quantized, check=False).sram == sram
    plain = Planning("off", "off")
    with pytest.raises(BudgetError, match=r"with --recompute off and --tile off[^$]*--tile auto"):
        compile_recipe(recipe, board, made.quantized, planning=plain)
    with pytest.raises(BudgetError):
        compile_recipe(recipe, board, made.quantized)
    # What the message proposes helps.
    compile_recipe(recipe.replace(scheme="head_only"), board, made.quantized)


def test_advice_leaves_out_what_is_already_so(tmp_path: Path) -> None:
    from dataclasses import replace

    made = toys.compiled("sensor", "head_only")
    tiny = replace(made.board, sram_budget_bytes=1024)
    with pytest.raises(BudgetError) as caught:
        check_budget(replace(made, board=tiny))
    assert "--scheme" not in str(caught.value) and "--weights" not in str(caught.value)
    assert "larger board" in str(caught.value)
    wide = toys.compiled("sensor", "full", weights="int16")
    with pytest.raises(BudgetError, match=r"--scheme last_k:1.*--weights int8"):
        check_budget(replace(wide, board=tiny))


@pytest.mark.parametrize("command", ["plan", "build", "run"])
def test_over_budget_in_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = large(tmp_path)
    more = ["--out", tmp_path / "firmware"] if command == "build" else []
    code, _, err = call(capfd, command, source, *more)
    assert code == 2
    assert "BudgetError" in err and "largest live values" in flat(err)
    assert "Traceback" not in err and 'File "' not in err
    assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == {source.name}


def test_a_build_that_fails_leaves_the_folder_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "firmware"
    folder.mkdir()
    (folder / "model.c").write_text("mine")
    code, _, _ = call(capfd, "build", large(tmp_path), "--out", folder)
    assert code == 2 and [p.name for p in folder.iterdir()] == ["model.c"]
    assert (folder / "model.c").read_text() == "mine"


@pytest.mark.parametrize("board", ["host", "qemu_mps2_an386"])
def test_a_build_overwrites_nothing_of_the_users(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], board: str
) -> None:
    folder, source = tmp_path / "firmware", small(tmp_path)
    command = ("build", source, "--board", board, "--form", "firmware", "--out", folder)
    folder.mkdir()
    (folder / "model.c").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    code, _, err = call(capfd, *command)
    assert code == 2 and "model.c is not tinytrain's" in flat(err)
    assert sorted(p.name for p in folder.iterdir()) == ["model.c", "notes.txt"]
    (folder / "model.c").rename(folder / "my_model.c")
    assert call(capfd, *command)[0] == 0 == call(capfd, *command)[0]
    (folder / "model.h").write_text("changed")
    code, _, err = call(capfd, *command)
    assert code == 2 and "model.h is changed since tinytrain wrote it" in flat(err)
    assert (folder / "model.h").read_text() == "changed"
    assert (folder / "my_model.c").read_text() == "mine"


def test_what_fits_is_planned_and_built(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = small(tmp_path)
    code, out, _ = call(capfd, "plan", source, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["fits"] and facts["flash_bytes"] > facts["model_const_bytes"]
    code, _, _ = call(capfd, "build", source, "--out", tmp_path / "firmware")
    assert code == 0
    assert {"model.c", "model.h", "libmodel.so"} <= {
        p.name for p in (tmp_path / "firmware").iterdir()
    }


def test_the_command_as_a_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinytrain.cli", "plan", str(tmp_path / "absent.py")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("RecipeError: ") and "no such file" in flat(done.stderr)
    assert "Traceback" not in done.stderr


# -- recipes ---------------------------------------------------------------------------------------

GOOD = RECIPE.format(window=16, d=16, blocks=1)
WRONG = {
    "absent": (None, "RecipeError", "no such file; give a Python file that defines recipe()"),
    "syntax": ("def recipe(:\n", "RecipeError", "cannot be imported"),
    "import": ("import no_such_module_here\n", "RecipeError", "no_such_module_here"),
    "raises": ("1 / 0\n", "RecipeError", "cannot be imported: ZeroDivisionError"),
    "none": ("x = 1\n", "RecipeError", "defines no recipe(); see examples"),
    "number": ("recipe = 3\n", "RecipeError", "defines no recipe()"),
    "returns": ("def recipe():\n    return 7\n", "RecipeError", "returned int, not a tinytrain"),
    "arguments": ("def recipe(a):\n    return a\n", "RecipeError", "recipe() failed: TypeError"),
    "fails": ("def recipe():\n    return {}['x']\n", "RecipeError", "recipe() failed: KeyError"),
    "lengths": (GOOD.replace("zeros(4,", "zeros(3,"), "RecipeError", "4 samples but 3 labels"),
    "no_samples": (GOOD.replace('model, x, data', 'model, x[:0], data'), "RecipeError",
                   "calibration is empty"),
    "scheme": (GOOD.replace('"full"', '"fool"'), "SchemeError", "unknown scheme 'fool'; known"),
    "rule": (GOOD.replace("steps=5", "rule='adam'"), "RecipeError", "'adam'"),
    "storage": (GOOD.replace("steps=5", "weights='int4'"), "RecipeError", "'int4'"),
    "schedule": (GOOD.replace("steps=5", "schedule='step'"), "RecipeError", "'step'"),
    "steps": (GOOD.replace("steps=5", "steps=0"), "RecipeError", "steps is 0; give an"),
    "seed": (GOOD.replace("steps=5", "seed=-1"), "RecipeError", "seed is -1"),
    "loss": (GOOD.replace('"classes"', '"mse"'), "RecipeError", "'mse'"),
    "scales": (GOOD.replace("Optimizer(steps=5)", "weight_scales='row'"), "RecipeError", "'row'"),
    "metric": (GOOD.replace("Optimizer(steps=5)", "metric='f1'"), "RecipeError", "'f1'"),
    "half_steps": (GOOD.replace("steps=5", "steps=2.5"), "RecipeError", "steps is 2.5; give"),
    "text_steps": (GOOD.replace("steps=5", "steps='3'"), "RecipeError", "steps is '3'; give"),
    "text_rate": (GOOD.replace("steps=5", "learning_rate='2'"), "RecipeError", "rate is '2'; give"),
    "vast_rate": (GOOD.replace("steps=5", "learning_rate=1e39"), "RecipeError", "rate is 1e+39"),
    "half_seed": (GOOD.replace("steps=5", "seed=1.5"), "RecipeError", "seed is 1.5; give"),
    "long": (GOOD.replace('"toy"', '"t" * 300'), "RecipeError", "has 300 bytes; give at most 100"),
    "number_name": (GOOD.replace('"toy"', "7"), "RecipeError", "recipe name is 7; give a string"),
    "path_name": (GOOD.replace('"toy"', '"../../esc"'), "RecipeError", "'../../esc', a path"),
    "no_calibration": (GOOD.replace("model, x, data", "model, None, data"), "RecipeError",
                       "calibration is None; give an array"),
    "no_model": (GOOD.replace('"toy", model', '"toy", None'), "RecipeError", "model is None; give"),
    "path_model": (GOOD.replace('"toy", model', '"toy", "m.pt"'), "RecipeError",
                   "model is a str; load the model"),
    "function": (GOOD.replace('"toy", model', '"toy", print'), "RecipeError", "put the function"),
    "class": (GOOD.replace('"toy", model', '"toy", SensorTransformer'), "RecipeError",
              "this is the class; make one"),
    "leaves": ("import sys\n\ndef recipe():\n    sys.exit(0)\n", "RecipeError",
               "recipe() failed: SystemExit: 0 (line 4)"),
    "leaves_early": ("import sys\nsys.exit(0)\n", "RecipeError", "cannot be imported: SystemExit"),
    "one_logit": (GOOD.replace("blocks=1", "blocks=1, classes=1"), "ShapeError", "give two ("),
    "integers": (GOOD.replace("astype(np.float32)", "astype(np.int32)"), "RecipeError",
                 "Integers are the tokens of a model"),
    "label": (GOOD.replace("np.zeros(4, np.int64)", "np.array([0, 0, 0, 99])"), "ShapeError",
              "train.y: label 99 of sample 3 is not within 0.."),
    "float_labels": (GOOD.replace("np.int64", "np.float32"), "ShapeError", "labels are integers"),
    "shape": (GOOD.replace("    return", "    data = Dataset(x[:, 1:], data.y)\n    return"),
              "ShapeError", "train.x has shape [4, 15, 6]; the model takes [16, 6]"),
    "late_nan": (GOOD.replace("    return", "    late = x.copy()\n    late[3, 0, 0] = np.nan\n"
                 "    data = Dataset(late, data.y)\n    return"), "CalibrationError",
                 "train.x: sample 3 holds NaN"),
    "nan": (GOOD.replace("    data =", "    x[1, 2, 3] = np.nan\n    data ="), "CalibrationError",
            "sample 1 holds NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_recipes(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    text, kind, says = WRONG[name]
    source = tmp_path / f"{name}.py"
    if text is not None:
        source.write_text(text)
    code, out, err = call(capfd, "build", source, "--out", tmp_path / "firmware")
    assert code == 2 and out == "", err
    assert kind in err and says in flat(err), err
    assert "Traceback" not in err
    assert not (tmp_path / "firmware").exists()


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        (["--board", "hots"], "BoardError", "no board 'hots'; did you mean host?"),
        (["--scheme", "last_k:9"], "SchemeError", "the model has 1 blocks"),
        (["--scheme", "most"], "SchemeError", "unknown scheme 'most'"),
        (["--optimizer", "adam"], "RecipeError", "use lsb, sgd or sgd-noqas"),
        (["--optimizer", "sgd"], "RecipeError", "needs --learning-rate"),
        (["--weights", "int4"], "RecipeError", "use int8 or int16"),
        (["--steps", "0"], "RecipeError", "--steps 0"),
        (["--planner", "best"], "RecipeError", "planner is 'best'; give 'auto' or 'heuristic' or"),
        (["--seed", "4294967296"], "RecipeError", "seed is 4294967296"),
        (["--learning-rate", "nan"], "RecipeError", "learning_rate is nan"),
    ],
)
def test_wrong_options(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], kind: str, says: str
) -> None:
    code, _, err = call(capfd, "plan", small(tmp_path), *options)
    assert code == 2 and kind in err and says in flat(err), err
    assert "Traceback" not in err


EMPTY = GOOD.replace("x, data, {", "x, Dataset(x[:0], data.y[:0]), {")


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (GOOD, ["--limit", "0"], "--limit 0: must be positive"),
        (GOOD, ["--limit", "-1"], "--limit -1: must be positive"),
        (EMPTY, [], "train is empty; give at least one sample"),
    ],
)
def test_runs_of_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, options: list[str], says: str
) -> None:
    code, _, err = call(capfd, "run", write(tmp_path, text), "--target", "numpy", *options)
    assert code == 2 and says in flat(err) and "Traceback" not in err, err


def test_an_empty_test_set_has_no_accuracy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path, GOOD.replace('"test": data', '"test": Dataset(x[:0], data.y[:0])'))
    code, out, _ = call(capfd, "run", source, "--target", "numpy", "--steps", "1")
    assert code == 0 and out.count("–") == 2 and "0.000" not in out.partition("loss")[0]
    code, out, _ = call(capfd, "run", source, "--target", "numpy", "--steps", "1", "--json")
    assert code == 0 and '"test": null' in out


@pytest.mark.parametrize("option", ["--jsonl", "--snapshot", "--export"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str], option: str) -> None:
    code, _, err = call(
        capfd, "run", small(tmp_path), "--target", "numpy", "--steps", "1", option, "/dev/full"
    )
    assert code == 2 and "/dev/full: cannot be written" in flat(err), err
    assert "Traceback" not in err


def test_out_is_a_file_or_cannot_be_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").write_text("mine")
    for out in (tmp_path / "there", tmp_path / "there" / "below", Path("/proc/tinytrain")):
        code, _, err = call(capfd, "build", small(tmp_path), "--out", out)
        assert code == 2 and f"--out {out}" in re.sub(r"\n", "", err).replace("  ", " "), err
        assert "Traceback" not in err
    assert (tmp_path / "there").read_text() == "mine"


def test_a_channel_of_another_magnitude_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = GOOD.replace("    data =", "    x[:, :, 2] += 1013\n    data =")
    code, _, err = call(capfd, "run", write(tmp_path, text), "--target", "numpy", "--steps", "1")
    assert code == 0 and "channel 2 reaches 101" in flat(err) and "Normalise" in err, err
    assert ".py:" not in err


def test_unknown_target(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capfd, "run", small(tmp_path), "--target", "moon")
    assert (
        code == 2
        and "no board 'moon'" in flat(err)
        and re.search(r"Known boards: .*\bhost\b", flat(err))
    )


def test_unknown_options_are_the_parsers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capfd, "plan", small(tmp_path), "--bord", "host")
    assert code == 2 and "--bord" in err and "Traceback" not in err


def test_every_error_is_of_one_family() -> None:
    from tinytrain import errors

    kinds = [v for v in vars(errors).values() if isinstance(v, type)]
    assert len(kinds) > 5 and all(issubclass(k, TinytrainError) for k in kinds)
    assert Optimizer().seed == 1


def test_plan_tells_what_fitting_costs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = small(tmp_path)
    for option, told in (("off", False), ("min-memory", True)):
        code, out, _ = call(capfd, "plan", source, "--recompute", option, "--tile", "auto")
        assert code == 0
        text = " ".join(out.split())
        assert bool(re.search(r"of them \(\d+% more\) to make \d+ values again", text)) == told


def test_a_plan_whose_code_does_not_compile_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the compiler says is no figure of the flash."""
    source = small(tmp_path)
    monkeypatch.setenv("TINYTRAIN_CFLAGS", "--no-such-option")
    code, out, err = call(capfd, "plan", source, "--board", "qemu_mps2_an386", "--json")
    assert code == 2 and out == "" and "no-such-option" in err
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = call(capfd, "plan", source, "--board", "qemu_mps2_an386", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["flash_bytes"] is None
    assert facts["flash_note"].startswith("unknown: no arm-none-eabi-gcc on the PATH")


def test_a_message_begins_with_a_public_name(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Private(LinkError):
        pass

    def fails() -> None:
        raise _Private("no answer")

    monkeypatch.setattr(sys.modules["tinytrain.cli.main"], "app", fails)
    code, _, err = call(capfd)
    assert code == 2 and err == "LinkError: no answer\n"
