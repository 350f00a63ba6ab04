"""``tinytrain init``: the recipe that it writes runs as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import call

from tinytrain.recipe import load_recipe


@pytest.mark.slow
def test_the_recipe_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capfd, "init", "my-gestures.py")
    assert code == 0 and "tinytrain run my-gestures.py" in out
    assert load_recipe("my-gestures.py").name == "my_gestures"
    code, out, _ = call(
        capfd, "run", "my-gestures.py", "--steps", 40, "--limit", 100, "--json"
    )  # fmt: skip
    facts = json.loads(out)
    assert code == 0 and facts["after"]["turned"] > facts["before"]["turned"]


def test_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_model.py").write_text("mine\n")
    code, _, err = call(capfd, "init")
    assert code == 2 and "my_model.py exists; name another file" in err
    assert Path("my_model.py").read_text() == "mine\n"
    code, _, err = call(capfd, "init", "absent/my_model.py")
    assert code == 2 and "cannot be written: No such file" in err
