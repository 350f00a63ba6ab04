"""Several schemes in one firmware: each trains as if it were alone; all targets choose alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from tinytrain.boards import load_board, with_sram
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import BudgetError, SchemeError
from tinytrain.ir.execute import execute
from tinytrain.planning.fit import Planning
from tinytrain.recipe import Optimizer, UpdateScheme
from tinytrain.sessions.host_session import HostSession
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.toolchain.build import build
from tinytrain.training.fisher import terms_of

OTHERS = UpdateScheme({"*.q": 1.0}, ("embed", "*.q", "*.f?"), "q and biases")
SOME = UpdateScheme({"*.o": (1, 4, 9), "head": 1.0}, ("*.o", "head"), "some of o")
SCHEMES = ("last_k:1", "bias_only", "head_only")


def several(
    kind: str, *schemes: Any, board: Any = None, planning: Planning | None = None, **optimizer: Any
) -> Compiled:
    made = toys.recipe(kind, schemes[0], Optimizer(**({"learning_rate": 2.0} | optimizer)))
    made = made.replace(alternatives=schemes[1:])
    target = board or load_board("host")
    return compile_recipe(made, target, toys.quantized(kind), planning=planning)


def host(made: Compiled, out: Path) -> HostSession:
    return toys.host(made, out)


@pytest.mark.parametrize(
    ("kind", "schemes", "weights", "planning"),
    [
        ("sensor", SCHEMES, "int8", None),
        ("lm", ("last_k:1", "lora:2+head"), "int16", None),
        ("channels", (SOME, OTHERS), "int8", None),
        ("cct", ("full", "head_only"), "int8", Planning("min-memory", "auto")),
    ],
)
def test_same_choice_and_same_bits(
    tmp_path: Path, kind: str, schemes: tuple[Any, ...], weights: str, planning: Planning | None
) -> None:
    """Train, probe, let it choose, train, go over to another one, train; numpy against C."""
    made, data = several(kind, *schemes, weights=weights, planning=planning), toys.data(kind)
    numpy = numpy_session(made)
    with host(made, tmp_path / "b") as session:
        toys.assert_same(session, numpy, data, 6)
        before = numpy.weights_sha256()
        for i in range(5):
            assert session.probe(data.x[i], data.y[i]) == numpy.probe(data.x[i], data.y[i])
        assert numpy.weights_sha256() == before, "a probe changes no weight"
        choice = numpy.choose()
        assert session.choose() == choice and choice.probed == 5
        assert choice.scheme == max(choice.worth, key=lambda name: choice.worth[name])
        assert all(worth > 0 for worth in choice.worth.values())
        toys.assert_same(session, numpy, data, 6)
        for name in numpy.schemes:
            session.use(name)
            numpy.use(name)
            toys.assert_same(session, numpy, data, 3)


@pytest.mark.parametrize("rule", ["lsb", "sgd"])
def test_a_scheme_trains_as_if_it_were_alone(rule: str) -> None:
    data = toys.data("sensor")
    optimizer: dict[str, Any] = {"rule": rule, "learning_rate": 2.0 if rule == "lsb" else 0.02}
    among = numpy_session(several("sensor", *SCHEMES, **optimizer))
    first = among.snapshot()
    for scheme in SCHEMES:
        alone = numpy_session(several("sensor", scheme, **optimizer))
        among.restore(first)
        among.use(scheme)
        for i in range(8):
            assert among.step(data.x[i], data.y[i]) == alone.step(data.x[i], data.y[i])
        everything = among.weights()
        for name, array in alone.weights().items():
            np.testing.assert_array_equal(array, everything[name], name)


def test_probes_leave_no_trace() -> None:
    """Training after a choice is that after being told."""
    made, data = several("sensor", *SCHEMES), toys.data("sensor")
    chosen, told = numpy_session(made), numpy_session(made)
    for i in range(4):
        chosen.probe(data.x[i], data.y[i])
    told.use(chosen.choose().scheme)
    toys.assert_same(chosen, told, data, 8)


def test_only_what_the_scheme_trains_changes() -> None:
    made, data = several("sensor", "head_only", "last_k:1"), toys.data("sensor")
    session = numpy_session(made)
    before = session.weights()
    for i in range(6):
        session.step(data.x[i], data.y[i])
    changed = {n for n, array in session.weights().items() if (array != before[n]).any()}
    assert changed == {"head.weight.trained", "head.bias.trained"}


def test_moments_are_means_over_what_was_probed() -> None:
    """So the worth is that of the mean over samples, in whatever order."""
    made, data = several("sensor", *SCHEMES), toys.data("sensor")
    session, ones = numpy_session(made), []
    for i in range(3):
        session.probe(data.x[i], data.y[i])
        alone = numpy_session(made)
        alone.state["choice"][1] = 0
        alone.clock = type(alone.clock)(seed=alone.clock.seed, step=i)
        alone.probe(data.x[i], data.y[i])
        ones.append({n: float(v[0]) for n, v in alone.state.items() if n.endswith("moment")})
    for name in ones[0]:
        mean = np.mean([one[name] for one in ones])
        assert float(session.state[name][0]) == pytest.approx(float(mean), rel=1e-4), name


def test_worth_by_macs_prefers_the_cheap() -> None:
    base = toys.recipe("sensor", "last_k:1").replace(alternatives=("head_only",))
    x, y = toys.data("sensor").x[0], toys.data("sensor").y[0]
    shares = []
    for worth in ("step", "mac"):
        made = compile_recipe(
            base.replace(worth=worth), load_board("host"), toys.quantized("sensor")
        )
        session = numpy_session(made)
        session.probe(x, y)
        found = session.choose().worth
        shares.append(found["head_only"] / found["last_k:1"])
    macs = {f["scheme"]: f["macs"] for f in made.facts()["schemes"]}
    assert shares[1] / shares[0] == pytest.approx(macs["last_k:1"] / macs["head_only"], rel=1e-2)


def test_worth_is_the_squared_gradient_by_lsb() -> None:
    """Of the head, whose gradient is known: probabilities less the label, times its input."""
    made, data = several("sensor", "head_only", "last_k:1"), toys.data("sensor")
    entries = (
        replace(e, terms=terms_of(e.plain)) if e.kind == "train" else e
        for e in made.program.entries
    )
    made = replace(made, program=replace(made.program, entries=tuple(entries)))
    session, expected = numpy_session(made), 0.0
    (node,) = [n for n in made.evaluate.nodes if n.layer == "head" and n.op.name == "linear_s16"]
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    for i in range(8):
        given = session._inputs(made.evaluate, data.x[i], data.y[i])
        values = execute(made.evaluate, given, dict(session.state))
        logits = session.predict(data.x[i]).astype(np.float64)
        g = np.exp(logits - logits.max())
        g = g / g.sum() - (np.arange(len(g)) == data.y[i])
        real = values[x.name].astype(np.float64) * x.type.tensor_scale
        lsb = w.type.tensor_scale
        expected += (np.outer(g, real) ** 2).sum() * lsb**2 + (g**2).sum() * lsb**2
        session.probe(data.x[i], data.y[i])
    assert session.choose().worth["head_only"] == pytest.approx(expected / 8, rel=0.05)


def test_a_choice_outlives_a_restart(tmp_path: Path) -> None:
    made = several("sensor", *SCHEMES)
    with host(made, tmp_path / "b") as session:
        session.use("head_only")
        blob = session.snapshot()
    other = numpy_session(made)
    other.restore(blob)
    x, y = toys.data("sensor").x[0], toys.data("sensor").y[0]
    other.step(x, y)
    other.step(x, y)
    changed = [
        n for n, a in other.weights().items() if (a != numpy_session(made).weights()[n]).any()
    ]
    assert changed and all(name.startswith("head.") for name in changed)


# -- memory ----------------------------------------------------------------------------------------


def test_arena_is_the_largest_and_trained_weights_are_the_union() -> None:
    made = several("sensor", *SCHEMES)
    alone = [several("sensor", scheme) for scheme in SCHEMES]
    assert made.sram.arena_bytes == max(a.sram.arena_bytes for a in alone)
    names = {t.name for a in alone for t in a.codec.state if t.kind == "trained"}
    assert {t.name for t in made.codec.state if t.kind == "trained"} == names
    for facts, one in zip(made.facts()["schemes"], alone, strict=True):
        assert facts["alone_bytes"] == one.sram.sram_bytes
        assert facts["trained_parameters"] == one.trained_parameters
        assert facts["arena_bytes"] == one.sram.arena_bytes
    assert made.others_bytes == made.sram.sram_bytes - max(a.sram.sram_bytes for a in alone)


def test_planned_is_measured(tmp_path: Path) -> None:
    made = several("sensor", *SCHEMES)
    artifact = build(made.files, made.board, tmp_path / "b")
    states = {n: s for n, s in artifact.symbols.items() if n.startswith("s_")}
    assert sum(states.values()) == made.codec.state_bytes
    assert artifact.symbols["tt_model_arena"] == made.sram.arena_bytes
    constants = {n: s for n, s in artifact.symbols.items() if n.startswith("k_")}
    assert sum(constants.values()) == made.const_bytes


def test_one_of_a_list_is_the_same_firmware() -> None:
    assert several("sensor", "last_k:1").files == toys.compiled("sensor", "last_k:1").files


# -- refusals --------------------------------------------------------------------------------------


def test_what_does_not_fit_is_named() -> None:
    plain = Planning("off", "off", "heuristic")
    made = several("sensor", "head_only", "full", planning=plain)
    small = made.facts()["schemes"][0]["arena_bytes"]
    board = load_board("qemu_mps2_an386")
    stack = board.stack_bytes - made.board.stack_bytes
    board = with_sram(board, made.sram.sram_bytes - made.sram.arena_bytes + small + stack + 64)
    with pytest.raises(BudgetError, match=r"with scheme full \(arena \d+\) beside 1 that fits"):
        several("sensor", "head_only", "full", board=board, planning=plain)


@pytest.mark.parametrize(
    ("schemes", "message"),
    [
        (("head_only", "head_only"), "two schemes are called head_only"),
        ((SOME, UpdateScheme({"*.o": 1.0}, (), "all of o")), "trains other channels of"),
        (("lora:2", "lora:4"), "adapter of rank 4"),
        (("head_only", "auto"), "auto is selected"),
        ((UpdateScheme({"*.o": (1, 2)}, (), "a"), UpdateScheme({}, ("*.o",), "b")), None),
        ((UpdateScheme({"*.o": (1, 2)}, (), "a"),
          UpdateScheme({"*.f1": (1, 2, 3)}, ("*.f1",), "b")), None),
    ],
)  # fmt: skip
def test_schemes_that_do_not_go_together(schemes: tuple[Any, ...], message: str | None) -> None:
    if message is None:
        assert several("sensor", *schemes).codec.schemes == ("a", "b")
        return
    with pytest.raises(SchemeError, match=message):
        several("sensor", *schemes)


def test_sessions_refuse_what_is_not_there(tmp_path: Path) -> None:
    data = toys.data("sensor")
    one = several("sensor", "head_only")
    with host(one, tmp_path / "b") as session:
        session.use("head_only")
        with pytest.raises(SchemeError, match="no scheme 'full'; it has head_only"):
            session.use("full")
        with pytest.raises(SchemeError, match="one scheme"):
            session.probe(data.x[0], data.y[0])
        with pytest.raises(SchemeError, match="one scheme"):
            session.choose()
