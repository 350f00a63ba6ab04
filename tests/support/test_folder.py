"""Folders are written whole or not at all, and what the user changed stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tinytrain.errors import ProjectError
from tinytrain.support.folder import (
    RECORD,
    check_folder,
    folder_name,
    read_record,
    write_folder,
)

FILES = {"src/main.c": "int main;\n", "src/model.c": "/* model */\n", "notes.txt": "a\n"}
OWN = ("src/main.c",)


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_a_new_folder_and_its_record(tmp_path: Path) -> None:
    assert write_folder(tmp_path / "a" / "b", FILES, {"board": "x"}, OWN) == []
    assert content(tmp_path / "a" / "b") == FILES
    assert read_record(tmp_path / "a" / "b")["board"] == "x"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_what_the_user_changed_stays_and_the_rest_is_new(tmp_path: Path) -> None:
    write_folder(tmp_path / "p", FILES, {}, OWN)
    (tmp_path / "p" / "src" / "main.c").write_text("mine\n")
    (tmp_path / "p" / "src" / "extra.c").write_text("mine, too\n")
    newer = {"src/main.c": "int other;\n", "src/model.c": "/* newer */\n"}
    for _ in range(2):  # the second time, what was kept is still the user's
        assert write_folder(tmp_path / "p", newer, {}, OWN) == ["src/main.c"]
        assert content(tmp_path / "p") == {
            "src/main.c": "mine\n", "src/model.c": "/* newer */\n", "src/extra.c": "mine, too\n",
        }  # fmt: skip


def test_folders_of_files_that_are_gone_are_removed(tmp_path: Path) -> None:
    write_folder(tmp_path / "p", {"a/b/c.c": "1\n", "d.c": "2\n"}, {})
    write_folder(tmp_path / "p", {"d.c": "3\n"}, {})
    assert content(tmp_path / "p") == {"d.c": "3\n"} and not (tmp_path / "p" / "a").exists()


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "p" / "src").mkdir(parents=True)
    (tmp_path / "p" / "src" / "model.c").write_text("precious\n")
    with pytest.raises(ProjectError, match=r"src/model\.c is not tinytrain's; choose"):
        write_folder(tmp_path / "p", FILES, {}, OWN)
    assert content(tmp_path / "p") == {"src/model.c": "precious\n"}


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    wrong = {"a.c": "1\n", "a.c/b.c": "a file cannot be a folder\n"}
    with pytest.raises(ProjectError, match=r"new cannot be written"):
        write_folder(tmp_path / "new", wrong, {})
    assert list(tmp_path.iterdir()) == []
    write_folder(tmp_path / "old", FILES, {})
    with pytest.raises(ProjectError, match=r"old cannot be written"):
        write_folder(tmp_path / "old", FILES | wrong, {})
    assert content(tmp_path / "old") == FILES
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match=r"file cannot be written"):
        write_folder(tmp_path / "file", FILES, {})


def test_records_that_are_absent_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"was not written by tinytrain: no tinytrain\.json"):
        read_record(tmp_path)
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(ProjectError, match=r"cannot be read"):
        read_record(tmp_path)
    (tmp_path / RECORD).write_text("[]")
    with pytest.raises(ProjectError, match=r"damaged; build the folder again"):
        read_record(tmp_path)


def test_everything_that_would_be_overwritten_is_listed(tmp_path: Path) -> None:
    """Files that were never ours, and ours that somebody changed, in one message."""
    folder = tmp_path / "p"
    write_folder(folder, FILES, {}, OWN)
    (folder / "src" / "model.c").write_text("mine\n")
    (folder / "new.c").write_text("mine, too\n")
    before = content(folder)
    with pytest.raises(ProjectError, match=r"new\.c is not tinytrain's; src/model\.c is changed"):
        write_folder(folder, FILES | {"new.c": "generated\n"}, {}, OWN)
    with pytest.raises(ProjectError, match=r"new\.c is not tinytrain's"):
        check_folder(folder, ["new.c"])
    assert content(folder) == before
    write_folder(tmp_path / "q", {"a": "1", "b": "2"}, {})
    (tmp_path / "q" / "b").write_text("mine")
    write_folder(tmp_path / "q", {"a": "1"}, {})  # b is no more ours, but the user's
    assert content(tmp_path / "q") == {"a": "1", "b": "mine"}


@pytest.mark.parametrize("name", ["../../esc", "/tmp/esc", "a/../../b", "..", ""])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProjectError, match="leads out of the folder"):
        write_folder(tmp_path / "p", {name: "x"}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_name_becomes_that_of_one_folder() -> None:
    assert folder_name("my_model-2.b") == "my_model-2.b"
    odd = ["../../esc", "..", "a/b", "a_b/", "", "x" * 300, "größe", "con\0", ".hidden", "a\nb"]
    made = [folder_name(name) for name in odd]
    assert len(set(made)) == len(odd)
    for name in made:
        assert Path(name).name == name and len(name) < 80 and not name.startswith(".")


def test_parallel_first_writes_of_one_folder(tmp_path: Path) -> None:
    """All succeed, and what stands in the end is one of them as a whole."""
    texts = [{f"{part}.c": f"{number}\n" * 1000 for part in "abcd"} for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for made in [pool.submit(write_folder, tmp_path / "p", text, {}) for text in texts]:
            assert made.result() == []
    assert content(tmp_path / "p") in texts
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
