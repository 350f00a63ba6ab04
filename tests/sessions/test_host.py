"""What a session promises, of the interpreter and of the generated C alike."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import toys

from tinytrain.compiler import Compiled
from tinytrain.errors import LinkError, ShapeError
from tinytrain.sessions.host_session import HostSession
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.sessions.session import Session
from tinytrain.toolchain.build import Artifact, build

Opener = Callable[[], Session]


@pytest.fixture(scope="module")
def made() -> Compiled:
    return toys.compiled("sensor", "last_k:1", weights="int16")


@pytest.fixture(scope="module")
def artifact(made: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(made.files, made.board, tmp_path_factory.mktemp("session") / "b", guard=True)


@pytest.fixture(params=["numpy", "host"])
def opened(request: pytest.FixtureRequest, made: Compiled, artifact: Artifact) -> Iterator[Opener]:
    sessions: list[Session] = []

    def opener() -> Session:
        if request.param == "numpy":
            sessions.append(numpy_session(made))
        else:
            sessions.append(HostSession(artifact.path, made.codec, guard=True))
        return sessions[-1]

    yield opener
    for session in sessions:
        session.close()


DATA = toys.data("sensor")


def advance(session: Session, start: int, stop: int) -> list[float]:
    return [session.step(DATA.x[i], DATA.y[i]).loss for i in range(start, stop)]


def test_restore_continues_with_the_same_bits(opened: Opener) -> None:
    session = opened()
    advance(session, 0, 10)
    saved = session.snapshot()
    losses = advance(session, 10, 20)
    end = session.snapshot()
    session.restore(saved)
    assert session.snapshot() == saved
    assert advance(session, 10, 20) == losses and session.snapshot() == end
    other = opened()
    other.restore(saved)
    assert advance(other, 10, 20) == losses and other.snapshot() == end


def test_many_steps_in_one_call_are_the_same(made: Compiled, artifact: Artifact) -> None:
    order = np.arange(25) % len(DATA)
    xs, ys = DATA.x[order], DATA.y[order]
    with HostSession(artifact.path, made.codec) as host, numpy_session(made) as numpy:
        one_by_one = numpy.steps(xs, ys)
        assert host.steps(xs[:7], ys[:7]) + host.steps(xs[7:], ys[7:]) == one_by_one
        assert host.snapshot() == numpy.snapshot() and host.steps([], []) == []


def test_many_steps_of_tokens(tmp_path: Path) -> None:
    made, data = toys.compiled("lm", "some"), toys.data("lm")
    artifact = build(made.files, made.board, tmp_path / "b")
    with HostSession(artifact.path, made.codec) as host, numpy_session(made) as numpy:
        assert host.steps(data.x[:9], data.y[:9]) == numpy.steps(data.x[:9], data.y[:9])
        other = np.asfortranarray(data.x[9:14])  # another order in memory, the same samples
        assert host.steps(other, data.y[9:14]) == numpy.steps(data.x[9:14], data.y[9:14])


@pytest.mark.parametrize("change", ["shape", "count", "nan", "label"])
def test_many_steps_refuse_what_one_refuses(
    made: Compiled, artifact: Artifact, change: str
) -> None:
    xs, ys = DATA.x[:4].copy(), DATA.y[:4].copy()
    if change == "nan":
        xs[2, 0, 0] = np.nan
    if change == "label":
        ys[3] = 99
    with HostSession(artifact.path, made.codec) as host:
        before = host.snapshot()
        with pytest.raises(ShapeError):
            host.steps(
                xs[:, :-1] if change == "shape" else xs, ys[:-1] if change == "count" else ys
            )
        assert host.snapshot() == before


def test_snapshots_move_between_targets(made: Compiled, artifact: Artifact) -> None:
    numpy = numpy_session(made)
    advance(numpy, 0, 10)
    with HostSession(artifact.path, made.codec) as host:
        host.restore(numpy.snapshot())
        assert advance(host, 10, 20) == advance(numpy, 10, 20)
        assert host.snapshot() == numpy.snapshot()


@pytest.mark.parametrize("change", [-1, 1, -8])
def test_restore_refuses_another_size(opened: Opener, change: int) -> None:
    session = opened()
    saved = session.snapshot()
    wrong = saved[:change] if change < 0 else saved + bytes(change)
    with pytest.raises(LinkError, match=rf"{len(wrong)} bytes.*{len(saved)}"):
        session.restore(wrong)
    assert session.snapshot() == saved


def test_sessions_do_not_share_weights(opened: Opener) -> None:
    first, second = opened(), opened()
    before = second.snapshot()
    advance(first, 0, 5)
    assert second.snapshot() == before != first.snapshot()
    advance(second, 0, 5)
    assert second.snapshot() == first.snapshot()


def test_given_weights_are_a_copy(opened: Opener) -> None:
    session = opened()
    before = session.weights_sha256()
    for array in session.weights().values():
        array[...] = 1
    assert session.weights_sha256() == before


def test_the_seed_decides(tmp_path: Path) -> None:
    """Same seed, same run; another seed rounds otherwise. (int8 weights, which rounding moves.)"""
    hashes = []
    for seed in (1, 1, 2):
        made = toys.compiled("sensor", "last_k:1", seed=seed)
        session = numpy_session(made)
        advance(session, 0, 12)
        hashes.append(session.weights_sha256())
        with toys.host(made, tmp_path / f"b{len(hashes)}") as host:
            advance(host, 0, 12)
            assert host.weights_sha256() == hashes[-1]
    assert hashes[0] == hashes[1] != hashes[2]


def test_logits_are_those_of_the_interpreter(made: Compiled, artifact: Artifact) -> None:
    numpy = numpy_session(made)
    with HostSession(artifact.path, made.codec, guard=True) as host:
        for i in range(6):
            x, y = DATA.x[i], DATA.y[i]
            assert numpy.predict(x).tobytes() == host.predict(x).tobytes()
            assert numpy.predict(x).shape == (5,)
            assert numpy.step(x, y) == host.step(x, y)


def test_token_logits_have_a_row_a_token(tmp_path: Path) -> None:
    made, samples = toys.compiled("lm", "head_only"), toys.data("lm")
    with toys.host(made, tmp_path / "b") as host:
        got = host.predict(samples.x[0])
    assert got.shape == (8, toys.VOCABULARY) and got.dtype == np.float32
    np.testing.assert_array_equal(got, numpy_session(made).predict(samples.x[0]))


def test_evaluation_changes_nothing(opened: Opener) -> None:
    session = opened()
    advance(session, 0, 3)
    before = session.snapshot()
    found = session.evaluate(DATA.x, DATA.y)
    session.predict(DATA.x[0])
    assert session.snapshot() == before
    assert found.count == len(DATA) and 0 <= found.correct <= found.count
    assert session.score(DATA.x[0], DATA.y[0]).step == 3


def test_evaluation_between_steps_does_not_disturb_training(opened: Opener) -> None:
    plain, watched = opened(), opened()
    for i in range(8):
        watched.score(DATA.x[i + 1], DATA.y[i + 1])
        assert watched.step(DATA.x[i], DATA.y[i]) == plain.step(DATA.x[i], DATA.y[i])
        watched.predict(DATA.x[i + 2])
    assert plain.snapshot() == watched.snapshot()


def test_labels_that_do_not_count(opened: Opener) -> None:
    session = opened()
    before = session.weights_sha256()
    result = session.step(DATA.x[0], -1)
    assert (result.loss, result.correct, result.count, result.step) == (0.0, 0, 0, 1)
    assert session.weights_sha256() == before
    assert session.step(DATA.x[0], 2).count == 1


NAN = np.full((32, 3), np.nan, np.float32)
INFINITE = np.where(np.arange(96).reshape(32, 3) == 50, np.inf, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (DATA.x[0][:-1], 0, r"shape \(31, 3\).*\(32, 3\)"),
        (DATA.x[0].T, 0, r"shape \(3, 32\)"),
        (DATA.x[:1], 0, r"shape \(1, 32, 3\)"),
        (NAN, 0, "NaN or infinity"),
        (INFINITE, 0, "NaN or infinity"),
        (np.full((32, 3), "a"), 0, "numbers are needed"),
        (DATA.x[0], 5, r"label 5 is not within 0\.\.4"),
        (DATA.x[0], -2, r"label -2 is not within 0\.\.4"),
        (DATA.x[0], [0, 1], "1 integers a sample"),
        (DATA.x[0], 1.0, "float64"),
        (DATA.x[0], True, "bool"),
    ],
)
def test_bad_samples_and_labels(opened: Opener, x: object, y: object, text: str) -> None:
    session = opened()
    before = session.snapshot()
    for call in (session.step, session.score):
        with pytest.raises(ShapeError, match=text):
            call(x, y)  # type: ignore[arg-type]
    assert session.snapshot() == before


@pytest.mark.parametrize("token", [-1, toys.VOCABULARY, 255, 256, 1 << 40])
def test_tokens_outside_of_the_vocabulary(tmp_path: Path, token: int) -> None:
    made, samples = toys.compiled("lm", "head_only"), toys.data("lm")
    x = samples.x[0].copy()
    x[3] = token
    with toys.host(made, tmp_path / "b") as host:
        for session in (host, numpy_session(made)):
            with pytest.raises(ShapeError, match=rf"not within 0\.\.{toys.VOCABULARY - 1}"):
                session.predict(x)
            with pytest.raises(ShapeError, match="integer tokens"):
                session.predict(samples.x[0].astype(np.float32))


@pytest.mark.parametrize(("side", "word"), [("first", "below"), ("last", "above")])
def test_damage_of_a_guard_zone_is_noticed(
    made: Compiled, artifact: Artifact, side: str, word: str
) -> None:
    with HostSession(artifact.path, made.codec, guard=True) as host:
        advance(host, 0, 1)
        library = host._lib
        start = ctypes.addressof(ctypes.c_uint8.in_dll(library, "tt_model_arena"))
        size = made.sram.arena_bytes
        # The byte next to the arena, which a kernel that is off by one would write.
        at = start + 63 if side == "first" else start + 64 + size
        ctypes.memset(at, 0, 1)
        with pytest.raises(LinkError, match=f"{word} the arena"):
            host.step(DATA.x[0], DATA.y[0])


def test_inputs_are_not_changed(opened: Opener) -> None:
    x = DATA.x[0].copy()
    opened().step(x, DATA.y[0])
    np.testing.assert_array_equal(x, DATA.x[0])
