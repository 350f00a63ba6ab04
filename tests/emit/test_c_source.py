"""The generated C as text: the same for the same input, readable, and as large as planned."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.emit.c_source import c_text, commented, float_literal, symbols_of
from tinytrain.recipe import Optimizer
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.toolchain.build import build

GOLDEN = Path(__file__).resolve().parent / "golden"


def golden_model() -> Compiled:
    """Of a graph that is written out here, so that it depends on no other library's numbers."""
    from tinytrain.ir import Build, Type
    from tinytrain.ir.numerics import multiplier
    from tinytrain.ops.elementwise import lut_node
    from tinytrain.ops.functions import UNARY
    from tinytrain.ops.linear import linear_s8, linear_s16
    from tinytrain.quantize import Quantized
    from tinytrain.quantize.codec import LOGIT_SCALE
    from tinytrain.recipe import UpdateScheme

    b = Build()
    x = b.input("x", Type((2, 4), "i8", 0.0625))

    def layer(source: object, name: str, outs: int, scale: float, op: object) -> object:
        ins = source.type.shape[1]  # type: ignore[attr-defined]
        codes = (np.arange(outs * ins) * 37 % 255 - 127).reshape(outs, ins).astype(np.int8)
        w = b.param(f"{name}.weight", codes, scale=0.03125)
        bias = b.param(f"{name}.bias", np.arange(outs, dtype=np.int32) * 10 - 5)
        m, s = multiplier(source.type.tensor_scale * 0.03125 / scale)  # type: ignore[attr-defined]
        more = [b.param(f"{name}.{k}", np.array([v], np.int32)) for k, v in
                (("mult", m), ("shift", s))]  # fmt: skip
        ins_ = [source, w, None, None, bias, None, *more]
        return b.node(op, ins_, name, scale=scale, layer=name)[0]  # type: ignore[arg-type]

    y = layer(x, "body", 6, 0.125, linear_s8)
    z = lut_node(b, y, *UNARY["relu"], 0.125, "relu", "relu")  # type: ignore[arg-type]
    graph = b.graph([layer(z, "head", 3, LOGIT_SCALE, linear_s16)])  # type: ignore[list-item]
    scheme = UpdateScheme({"head": 1.0, "body": (1, 4)}, ("head",), "golden")
    optimizer = Optimizer(weights="int16", steps=100, warmup=10, schedule="linear")
    recipe = replace(toys.recipe("lm"), name="golden", scheme=scheme, optimizer=optimizer)
    return compile_recipe(recipe, load_board("host"), Quantized(graph, ()))


@pytest.mark.parametrize("name", ["model.c", "model.h", "model_uses.h"])
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    """Shows what a change does to the generated C. `pytest --update-golden` accepts it."""
    from tinytrain import __version__

    text = golden_model().files[name].replace(f"tinytrain {__version__}", "tinytrain VERSION")
    text = re.sub(r"(TT_MODEL_HASH) 0x\w+", r"\1 HASH", text)
    file = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), "changed; --update-golden accepts it"


def test_golden_model_runs(tmp_path: Path) -> None:
    made = golden_model()
    rng = np.random.default_rng(0)
    samples = replace(toys.data("lm"), x=rng.normal(size=(32, 2, 4)).astype(np.float32),
                      y=rng.integers(0, 3, (32, 2)))  # fmt: skip
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), samples, 20)


@pytest.mark.parametrize("kind", ["sensor", "lm", "vit"])
def test_same_input_gives_the_same_bytes(kind: str) -> None:
    a, b = (toys.compiled(kind, "some", weights="int16") for _ in range(2))
    assert a.files == b.files and set(a.files) == {"model.c", "model.h", "model_uses.h"}
    other = toys.compiled(kind, "some", weights="int16", seed=9)
    assert other.files["model.c"] == a.files["model.c"]
    assert other.files["model.h"] != a.files["model.h"]


def test_every_call_is_explained() -> None:
    made = toys.compiled("lm", "some")
    source = made.files["model.c"]
    for graph, function in ((made.train, "tt_model_train"), (made.evaluate, "tt_model_evaluate")):
        body = source.split(f"{function}(")[1].split("\n}\n")[0]
        for i, node in enumerate(graph.nodes):
            where = f" of {node.layer}" if node.layer else ""
            assert f"/* {i}: {node.op.name}{where}\n" in body
            if not node.op.alias:
                assert re.search(rf"\b(tt_)?{node.op.name}(_\d+)?\(", body)
    assert "@0" in source and "flash" in source and "state" in source and "scratch" in source
    assert f"Arena: {made.sram.arena_bytes} bytes" in source
    assert all(len(line) < 400 for line in source.splitlines())
    assert source.isascii() and not re.search(r"[ \t]\n", source)


def test_calls_that_differ_in_little_are_made_from_a_table() -> None:
    made = toys.compiled("lm", "some")
    source = made.files["model.c"]
    for name in ("layernorm_s8", "lut_s8", "attention_mix_s8"):
        assert source.count(f"    tt_{name}(") == 1, "one call, in the function that makes them"
        rows = source.split(f"{name}_calls[] = {{\n")[1].split("\n};")[0].count("/*")
        train, evaluate = source.split("tt_model_evaluate(")
        used = {int(i) for i in re.findall(rf" {name}\((\d+)", train.split("tt_model_train(")[1])}
        again = {int(i) for i in re.findall(rf" {name}\((\d+)", evaluate)}
        assert used == set(range(rows)) and again and again <= used, "both read the same rows"


def test_frozen_model_has_no_backward_code() -> None:
    source = toys.compiled("sensor", "head_only").files["model.c"]
    assert "linear_dx" not in source and "layernorm_dx" not in source


# -- sizes -----------------------------------------------------------------------------------------


def float_arguments(made: Compiled) -> int:
    """Distinct float constants in calls. Those that stand in no table, 4 bytes each, are among the
    constants on x86."""
    return len({float_literal(n.attrs[name]) for g in (made.train, made.evaluate)
                for n in g.nodes for name in n.op.floats})  # fmt: skip


CASES = [("sensor", "full", "lsb"), ("lm", "some", "sgd"), ("channels", "half", "noqas"),
         ("vit", "head_only", "lsb")]  # fmt: skip


@pytest.mark.parametrize(("kind", "scheme", "rule"), CASES)
def test_planned_constants_are_those_of_the_library(
    tmp_path: Path, kind: str, scheme: str, rule: str
) -> None:
    made = toys.compiled(kind, scheme, rule=rule, schedule="cosine", warmup=3)
    artifact = build(made.files, made.board, tmp_path / "b")
    constants = {n: s for n, s in artifact.symbols.items() if n.startswith("k_")}
    states = {n: s for n, s in artifact.symbols.items() if n.startswith("s_")}
    assert sum(constants.values()) == made.const_bytes
    assert sum(states.values()) == made.codec.state_bytes
    assert artifact.symbols["tt_model_arena"] == made.sram.arena_bytes
    assert artifact.symbols["tt_model_schedule"] == 8 * len(made.knots)
    io = artifact.symbols["tt_model_input"] + artifact.symbols["tt_model_labels"]
    assert io == made.sram.io_bytes
    planned = made.facts()["model_const_bytes"]
    assert planned == made.const_bytes + made.table_bytes
    literals = artifact.model_const_bytes - planned
    assert literals in range(0, 4 * float_arguments(made) + 1, 4)


@pytest.mark.parametrize("board", ["qemu_mps2_an386", "qemu_mps2_an500"])
@pytest.mark.parametrize(("kind", "scheme", "rule"), CASES[:2])
def test_planned_constants_are_those_of_the_firmware(
    tmp_path: Path, board: str, kind: str, scheme: str, rule: str
) -> None:
    """On a board the tables of the state are constants too: to the byte."""
    target = load_board(board)
    if shutil.which(f"{target.prefix}gcc") is None:
        pytest.skip(f"needs {target.prefix}gcc")
    host = toys.compiled(kind, scheme, rule=rule)
    recipe = toys.recipe(kind, toys.scheme(kind, scheme), host.optimizer)
    made = compile_recipe(recipe, target, toys.quantized(kind))
    artifact = build(made.files, target, tmp_path / "b")
    assert artifact.model_const_bytes == made.facts()["model_const_bytes"]
    assert made.files == host.files, "the same C for every board"
    constants = sum(s for n, s in artifact.symbols.items() if n.startswith("k_"))
    assert constants == made.const_bytes


# -- names -----------------------------------------------------------------------------------------


def test_symbols_stay_apart() -> None:
    found = symbols_of(["a.b", "a_b", "a b", "a_b_2", "größe", "1"], "k")
    assert len(set(found.values())) == 6
    assert all(re.fullmatch(r"k_[A-Za-z0-9_]+", s) for s in found.values())
    assert found["a.b"] == "k_a_b" and found["1"] == "k_1"


@pytest.mark.parametrize("text", ["a*/b", "/* x", "*/*/", "a\nb", "end \\"])
def test_comments_cannot_be_left(text: str) -> None:
    made = commented(text)
    assert "*/" not in made and "/*" not in made and "\n" not in made and "\\" not in made


def test_odd_names_compile(tmp_path: Path) -> None:
    name = 'a "quoted" \\ näme */ int x; /* ??/'
    recipe = toys.recipe("sensor", "head_only").replace(name=name)
    made = compile_recipe(recipe, load_board("host"), toys.quantized("sensor"))
    build(made.files, made.board, tmp_path / "b")
    literal = re.search(r'TT_MODEL_NAME "(.*)"\n', made.files["model.h"])
    assert literal
    program = tmp_path / "name.c"
    program.write_text(
        f'#include <stdio.h>\nint main(void) {{ puts("{literal[1]}"); return 0; }}\n'
    )
    subprocess.run(
        ["gcc", "-Werror", "-std=c11", str(program), "-o", str(tmp_path / "n")], check=True
    )
    done = subprocess.run([str(tmp_path / "n")], capture_output=True, check=True)
    assert done.stdout.decode() == f"{name}\n"
    assert c_text("plain.name") == "plain.name"


@pytest.mark.parametrize("value", [0.1, 1.0, 1e-30, 3.4e38, -2.5, 1 / 3, 1e-42])
def test_float_literals_are_exact(value: float) -> None:
    literal = float_literal(value)
    assert literal.endswith("f") and np.float32(float.fromhex(literal[:-1])) == np.float32(value)
