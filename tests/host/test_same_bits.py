"""The generated C on the host against the numpy interpreter, bit for bit over whole runs."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import compile_recipe
from tinytrain.planning.fit import Planning
from tinytrain.recipe import Dataset, Optimizer, Recipe
from tinytrain.sessions.host_session import HostSession
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.support.assets import firmware_dir
from tinytrain.toolchain.build import build
from tinytrain.zoo import SensorTransformer

STEPS = 25
PLAIN, SMALLEST = Planning("off", "off"), Planning("min-memory", "auto")
ROOT = Path(__file__).resolve().parents[2]

# model, rule, storage, scheme, schedule, warmup: every pair of the first four meets at least once
# with its neighbours; the whole product is below.
PICKED = [
    ("sensor", "lsb", "int8", "full", "linear", 0),
    ("sensor", "sgd", "int16", "some", "cosine", 3),
    ("sensor", "noqas", "int8", "half", "constant", 0),
    ("lm", "lsb", "int16", "full", "cosine", 5),
    ("lm", "sgd", "int8", "last_k:1", "linear", 2),
    ("lm", "noqas", "int16", "bias_only", "constant", 4),
    ("postnorm", "lsb", "int8", "some", "linear", 3),
    ("postnorm", "sgd", "int16", "full", "constant", 0),
    ("postnorm", "noqas", "int16", "head_only", "cosine", 1),
    ("vit", "lsb", "int16", "half", "cosine", 0),
    ("vit", "sgd", "int8", "full", "linear", 4),
    ("vit", "noqas", "int8", "some", "constant", 2),
    ("relu", "lsb", "int8", "bias_only", "constant", 0),
    ("relu", "sgd", "int16", "half", "linear", 0),
    ("relu", "noqas", "int8", "full", "cosine", 3),
    ("channels", "lsb", "int16", "some", "linear", 1),
    ("channels", "sgd", "int8", "full", "cosine", 2),
    ("channels", "noqas", "int16", "last_k:1", "constant", 0),
    ("channels", "sgd", "int16", "some", "constant", 0),
    ("lm", "lsb", "int8", "head_only", "linear", 0),
    ("cct", "lsb", "int8", "head_only", "linear", 0),
    ("cct", "lsb", "int16", "full", "cosine", 2),
    ("cct", "sgd", "int8", "half", "constant", 0),
    ("cct", "noqas", "int16", "bias_only", "linear", 0),
]


def check(tmp_path: Path, kind: str, rule: str, weights: str, scheme: str, **more: object) -> None:
    if (rule, scheme) == ("noqas", "bias_only"):
        more["learning_rate"] = 1e6  # an integer bias has a tiny step, which QAS would divide by
    made = toys.compiled(kind, scheme, rule=rule, weights=weights, **more)
    numpy = numpy_session(made)
    before = numpy.weights_sha256()
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy, toys.data(kind), STEPS)
    assert numpy.weights_sha256() != before, "nothing was trained"


@pytest.mark.parametrize(("kind", "rule", "weights", "scheme", "schedule", "warmup"), PICKED)
def test_picked(
    tmp_path: Path, kind: str, rule: str, weights: str, scheme: str, schedule: str, warmup: int
) -> None:
    check(tmp_path, kind, rule, weights, scheme, schedule=schedule, warmup=warmup, steps=20)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("kind", "rule", "weights", "scheme"),
    list(itertools.product(toys.KINDS, toys.OPTIMIZERS, ("int8", "int16"), toys.SCHEMES)),
)
def test_product(tmp_path: Path, kind: str, rule: str, weights: str, scheme: str) -> None:
    check(tmp_path, kind, rule, weights, scheme, steps=STEPS)


@pytest.mark.parametrize("seed", range(4))
def test_random_schemes(tmp_path: Path, seed: int) -> None:
    kind = ("sensor", "lm", "vit", "channels")[seed]
    made = toys.compiled(kind, toys.random_scheme(toys.layers(kind), seed), seed=77 + seed)
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), toys.data(kind), STEPS)


@pytest.mark.parametrize("scheme", ["full", "last_k:1"])
def test_smallest_form_of_images(tmp_path: Path, scheme: str) -> None:
    """With loops over rows, attention by heads and values made again; numpy runs the plain step."""
    made = toys.compiled("cct", scheme, Planning(recompute="min-memory", tile="auto"))
    assert made.step.tiled and made.step.again
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), toys.data("cct"), STEPS)


@pytest.mark.parametrize("seed", range(10))
def test_every_form_of_a_step_gives_the_same_bits(tmp_path: Path, seed: int) -> None:
    """Whatever is made again, and however loops are cut, the weights are those of the plain step,
    which the numpy session runs."""
    kind = toys.KINDS[seed % len(toys.KINDS)]
    scheme = ("full", "some", "half")[seed % 3]
    made = toys.shaped(toys.compiled(kind, scheme, weights=("int8", "int16")[seed % 2]), seed)
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), toys.data(kind), STEPS)


@pytest.mark.parametrize(
    ("kind", "rule", "weights", "scheme", "planning"),
    [
        ("sensor", "lsb", "int8", "lora:4", PLAIN),
        ("lm", "sgd", "int16", "lora:2+head", PLAIN),
        ("vit", "lsb", "int16", "lora:3", PLAIN),
        ("channels", "sgd", "int8", "lora:4+head", PLAIN),
        ("sensor", "lsb", "int8", "lora:2+head", SMALLEST),
        ("lm", "lsb", "int16", "lora:4", SMALLEST),
    ],
)
def test_adapters(
    tmp_path: Path, kind: str, rule: str, weights: str, scheme: str, planning: Planning
) -> None:
    made = toys.compiled(kind, scheme, planning, rule=rule, weights=weights, steps=30)
    assert bool(made.step.again) == (planning is SMALLEST)
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), toys.data(kind), 30)


@pytest.mark.slow
def test_long_run_of_a_real_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(24, 128, 6)).astype(np.float32)
    samples = Dataset(x, rng.integers(0, 7, 24))
    recipe = Recipe(
        "har_shaped", toys.scaled_up(SensorTransformer()), x[:8], samples, {"test": samples},
        "classes", "last_k:2", Optimizer(steps=200, warmup=10, schedule="cosine"),
    )  # fmt: skip
    made = compile_recipe(recipe, load_board("host"), check=False)
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), samples, 200)


# -- compilers and their options -------------------------------------------------------------------

STRICT = "-Wall -Wextra -Werror -Wdouble-promotion -Wmissing-prototypes"
FLAGS = {
    "O0": f"-O0 {STRICT}",
    "O2": f"-O2 {STRICT}",
    "O3": f"-O3 {STRICT}",
    "Os": f"-Os {STRICT} -Wpedantic -Wconversion -Wno-sign-conversion -Wno-error=conversion",
    "native": f"-O3 -march=native {STRICT}",
    "undefined": f"-O1 {STRICT} -fsanitize=undefined -fsanitize-undefined-trap-on-error",
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize("kind", ["lm", "channels", "cct"])
def test_every_optimization_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, flags: str
) -> None:
    monkeypatch.setenv("TINYTRAIN_CFLAGS", flags)
    made = toys.compiled(kind, "some", weights="int16")
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), toys.data(kind), STEPS)


@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
@pytest.mark.parametrize("kind", ["lm", "vit"])
def test_clang_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("CC", "clang")
    monkeypatch.setenv("TINYTRAIN_CFLAGS", f"-O2 {STRICT}")
    made = toys.compiled(kind, "full")
    with toys.host(made, tmp_path / "b") as host:
        toys.assert_same(host, numpy_session(made), toys.data(kind), STEPS)


@pytest.mark.parametrize("bits", ["-m32"])
def test_other_word_sizes_compile(tmp_path: Path, bits: str) -> None:
    trial = tmp_path / "trial.c"
    trial.write_text("#include <stdint.h>\nint32_t one(void);\nint32_t one(void) { return 1; }\n")
    gcc = ["gcc", bits, "-c", "-o", str(tmp_path / "x.o")]
    if subprocess.run([*gcc, str(trial)], capture_output=True, check=False).returncode:
        pytest.skip(f"gcc has no {bits} here")
    for name, text in toys.compiled("lm", "some").files.items():
        (tmp_path / name).write_text(text)
    sources = [tmp_path / "model.c", *(firmware_dir() / "kernels").glob("*.c")]
    include = [f"-I{firmware_dir() / 'include'}", f"-I{tmp_path}"]
    for source in sources:
        strict = ["-std=c11", "-msse2", "-mfpmath=sse", "-ffp-contract=off", *STRICT.split()]
        subprocess.run([*gcc, *strict, *include, str(source)], check=True)


ASAN_RUN = """
import pickle, sys
from pathlib import Path
from tinytrain.sessions.host_session import HostSession
from tinytrain.planning.fit import Planning
library, codec, samples, steps = pickle.loads(Path(sys.argv[1]).read_bytes())
with HostSession(Path(library), codec) as session:
    for i in range(steps):
        session.step(samples.x[i], samples.y[i])
        session.score(samples.x[i], samples.y[i])
    session.restore(session.snapshot())
    print(session.weights_sha256())
"""


@pytest.mark.parametrize(
    ("kind", "scheme"), [("sensor", "some"), ("lm", "full"), ("vit", "half"), ("cct", "full")]
)
def test_address_sanitizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, scheme: str
) -> None:
    """In a process of its own, since the sanitizer has to be loaded before everything else."""
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip("gcc has no address sanitizer here")
    checks = "-fsanitize=address,undefined -fsanitize-undefined-trap-on-error -O1 -g"
    monkeypatch.setenv("TINYTRAIN_CFLAGS", f"{checks} {STRICT}")
    made = toys.compiled(kind, scheme, weights="int16")
    samples = toys.data(kind)
    artifact = build(made.files, made.board, tmp_path / "b")
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps((str(artifact.path), made.codec, samples, STEPS)))
    environment = {**os.environ, "LD_PRELOAD": str(Path(found).resolve()),
                   "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ASAN_RUN, str(job)], capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    numpy = numpy_session(made)
    for i in range(STEPS):
        numpy.step(samples.x[i], samples.y[i])
    assert done.stdout.strip() == numpy.weights_sha256()


def test_host_session_has_its_own_library(tmp_path: Path) -> None:
    made = toys.compiled("sensor", "head_only")
    artifact = build(made.files, made.board, tmp_path / "b")
    with HostSession(artifact.path, made.codec) as session:
        artifact.path.unlink()
        session.predict(toys.data("sensor").x[0])
