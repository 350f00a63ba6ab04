"""The splits are honest: no shared samples, no known people, no normalisation by the new person."""

from pathlib import Path

import numpy as np
import pytest

from tinytrain.datasets import load_watch, validation_people, watch, watch_proxies
from tinytrain.errors import DataError

PEOPLE = 4


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> watch.Recordings:
    """Four people, seven exercises, two arms; person p's readings are about p, right or left."""
    rng = np.random.default_rng(0)
    table = [(p, c, a) for p in range(1, PEOPLE + 1) for a in (1, 0) for c in range(7)]
    made = watch.Recordings(
        tuple(p + rng.standard_normal((900 + 37 * c, 6)) for p, c, _ in table),
        np.array([c for _, c, _ in table]),
        np.array([p for p, _, _ in table]),
        np.array([a for _, _, a in table]),
        tuple("abcdefg"),
    )
    monkeypatch.setattr(watch, "read_watch", lambda: made)
    monkeypatch.setattr(watch, "PEOPLE", tuple(range(1, PEOPLE + 1)))
    return made


def samples(table: np.ndarray) -> set[tuple[int, int]]:
    """Every (recording, sample) that the windows of an origin table touch."""
    return {(int(r), s) for r, start in table for s in range(start, start + watch.WINDOW)}


def test_watch_sets_share_no_sample_and_keep_a_gap(recordings: watch.Recordings) -> None:
    split = load_watch(2)
    touched = {name: samples(table) for name, table in split.origins.items()}
    for a in touched:
        for b in touched:
            assert a == b or not touched[a] & touched[b]
    for r in {r for r, _ in touched["adapt"]}:
        last = max(s for q, s in touched["adapt"] if q == r)
        first = min(s for q, s in touched["target"] if q == r)
        assert last < 0.3 * len(recordings.x[r]) and first - last > watch.WINDOW


def test_watch_people_and_arms(recordings: watch.Recordings) -> None:
    split = load_watch(3)
    for name, person_is_new, side in (
        ("pretrain", False, 1),
        ("adapt", True, 0),
        ("target", True, 0),
        ("source", True, 1),
    ):
        chosen = split.origins[name][:, 0]
        assert set(recordings.side[chosen]) == {side}
        assert set(recordings.person[chosen] == 3) == {person_is_new}
        data = getattr(split, name)
        assert data.x.dtype == np.float32 and data.x.shape == (len(chosen), 128, 6)
        assert data.y.dtype == np.int64 and np.array_equal(data.y, recordings.y[chosen])
    assert split.person not in validation_people(3)


def test_watch_windows_are_where_their_origin_says(recordings: watch.Recordings) -> None:
    split = load_watch(1)
    for row in (0, len(split.adapt) - 1):
        r, start = split.origins["adapt"][row]
        raw = recordings.x[r][start : start + watch.WINDOW]
        want = np.clip((raw - split.mean) / split.std, -watch.CLIP, watch.CLIP)
        np.testing.assert_allclose(split.adapt.x[row], want, atol=1e-6)


def test_watch_normalisation_sees_only_pretrain(recordings: watch.Recordings) -> None:
    before = load_watch(4)
    for x, person, side in zip(recordings.x, recordings.person, recordings.side, strict=True):
        if person == 4 or side == 0:
            x *= 100.0
    after = load_watch(4)
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.std, after.std)
    np.testing.assert_array_equal(before.pretrain.x, after.pretrain.x)


def test_watch_stream_is_shuffled_the_same_way_each_time(recordings: watch.Recordings) -> None:
    one, again, other = load_watch(2), load_watch(2), load_watch(2, seed=1)
    assert np.array_equal(one.adapt.x, again.adapt.x)
    assert not np.array_equal(one.adapt.x, other.adapt.x)
    assert sorted(map(tuple, one.origins["adapt"])) == sorted(map(tuple, other.origins["adapt"]))
    assert (np.diff(one.adapt.y) != 0).sum() > 7  # not exercise after exercise


def test_watch_proxies_are_other_people(recordings: watch.Recordings) -> None:
    split = load_watch(4)
    own = {x.tobytes() for data in (split.adapt, split.target, split.source) for x in data.x}
    for proxy, person in zip(watch_proxies(split, (1, 3)), (1, 3), strict=True):
        other = load_watch(person)
        assert len(proxy.train) == len(other.adapt)
        assert len(proxy.validation) == len(other.target)
        # The same readings, normalised as this person's.
        expected = other.target.x * other.std + other.mean
        found = proxy.validation.x * split.std + split.mean
        inside = (np.abs(proxy.validation.x) < watch.CLIP) & (np.abs(other.target.x) < watch.CLIP)
        np.testing.assert_allclose(found[inside], expected[inside], atol=1e-4)
        assert not any(x.tobytes() in own for x in proxy.train.x)
    with pytest.raises(DataError, match="person 4 is no proxy for person 4"):
        watch_proxies(split, (1, 4))


def test_watch_real_data() -> None:
    try:
        watch.find_watch()
    except DataError:
        pytest.skip("seglearn is not installed")
    split = load_watch(5)
    assert [len(split.pretrain), len(split.adapt), len(split.target), len(split.source)] == [
        1547,
        51,
        122,
        181,
    ]
    assert np.abs(split.pretrain.x.mean((0, 1))).max() < 0.05
    assert set(split.adapt.y) == set(range(7)) == set(split.target.y)


def test_absent_watch_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYTRAIN_DATA", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install --no-deps seglearn==1\.2\.5"):
        load_watch(1)
    (tmp_path / "watch_dataset.npy").write_bytes(b"not numpy")
    with pytest.raises(DataError, match="not the watch data"):
        load_watch(1)
    with pytest.raises(DataError, match="people 1 to 10"):
        load_watch(11)
