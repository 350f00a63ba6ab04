"""The documents: their Python compiles, the README's recipe runs, links and options exist."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import sys
from contextlib import redirect_stdout
from functools import lru_cache
from pathlib import Path

import pytest
import typer.main

from tinytrain import cli
from tinytrain.cli import demo
from tinytrain.link.protocol import Frame, decode

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "DESIGN.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
# Options of other programs that the documents name.
FOREIGN = {"--index-url"}


@lru_cache
def blocks(name: str) -> list[tuple[str, int, str]]:
    """(language, line, text) of each fenced block of a page."""
    found, language, start = [], None, 0
    held: list[str] = []
    for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
        if line.startswith("```"):
            if language is None:
                language, start, held = line[3:].strip(), number, []
            else:
                found.append((language, start, "\n".join(held) + "\n"))
                language = None
        elif language is not None:
            held.append(line)
    assert language is None, f"{name}:{start}: the block does not end"
    return found


def prose(name: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.DOTALL | re.MULTILINE)


def python_blocks() -> list[tuple[str, int, str]]:
    return [(n, line, text) for n in NAMES for kind, line, text in blocks(n) if kind == "python"]


PYTHON = python_blocks()


def readme_recipe() -> str:
    (found,) = [text for name, _, text in PYTHON if name == "README.md" and "def recipe" in text]
    return found


# -- python ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "line", "text"), PYTHON, ids=lambda v: str(v)[:40])
def test_python_compiles_and_imports_what_there_is(name: str, line: int, text: str) -> None:
    tree = ast.parse(text, f"{name}:{line}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinytrain"):
            exec(compile(ast.Module([node], []), name, "exec"), {})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a reader's own, with the README's recipe in it."""
    (tmp_path / "my_model.py").write_text(readme_recipe())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TINYTRAIN_CACHE", raising=False)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """stdout of the command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["tinytrain", *arguments])
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code in (0, None)
    return out.getvalue()


def test_the_recipe_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json.loads(call(monkeypatch, "plan", "my_model.py", "--json"))
    assert facts["model"] == "my_model" and facts["fits"]
    assert 0 < facts["trained_parameters"] < facts["parameters"]
    assert facts["flash_bytes"] > facts["model_const_bytes"]


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, _, text in PYTHON if 'load_recipe("my_model.py")' in text],
    ids=lambda v: str(v)[:24],
)
def test_python_that_uses_the_recipe_runs(folder: Path, name: str, text: str) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(text, name, "exec"), {"__name__": "__main__"})
    assert out.getvalue().strip()


# -- links -----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The names that headings get."""
    titles = re.findall(r"^#+ (.+)$", prose(page.relative_to(ROOT).as_posix()), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert page.exists(), f"{name}: no {target}"
        assert not anchor or anchor in anchors(page), f"{name}: {path} has no #{anchor}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    folders = "tinytrain|firmware|codegen|boards|tests|examples|benchmarks|docs"
    for path in re.findall(rf"`((?:{folders})/[\w./]+)`", prose(name)):
        if "an385" not in path:  # the example of a board that does not ship
            assert (ROOT / path).exists(), f"{name}: no {path}"


# -- commands --------------------------------------------------------------------------------------


@lru_cache
def commands() -> dict[str, set[str]]:
    """Each command with its options."""
    group = typer.main.get_command(cli.app)
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found[name] = {"--help"} | {
            text for p in command.params for text in p.opts if text.startswith("--")
        }
    return found


@lru_cache
def known_options() -> set[str]:
    app = typer.Typer()
    app.command()(demo.command)
    options = {text for p in typer.main.get_command(app).params for text in p.opts}
    scripts = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    options |= set(re.findall(r'"(--[a-z-]+)"', scripts))
    return set().union(*commands().values(), options, FOREIGN)


def called(name: str) -> list[str]:
    """Calls of tinytrain: in console blocks behind a ``$``, in prose between backticks."""
    lines = [
        line[2:].partition("#")[0]
        for kind, _, text in blocks(name)
        if kind == "console"
        for line in text.replace("\\\n", " ").splitlines()
        if line.startswith("$ ")
    ]
    spans = re.findall(r"`([^`]+)`", prose(name))
    return [text for text in (*lines, *spans) if re.search(r"(?:^|\s|/)tinytrain \w", text)]


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_options_exist(name: str) -> None:
    for text in called(name):
        words = shlex.split(text.rpartition("tinytrain ")[2])
        assert words[0] in commands(), f"{name}: {text}"
        for word in words[1:]:
            if word.startswith("--"):
                assert word.partition("=")[0] in commands()[words[0]], f"{name}: {text}"


@pytest.mark.parametrize("name", NAMES)
def test_options_in_the_text_exist(name: str) -> None:
    for span in re.findall(r"`([^`]+)`", prose(name)):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span):
            assert option in known_options(), f"{name}: {span}"


def test_every_option_is_documented() -> None:
    text = "\n".join((ROOT / name).read_text() for name in NAMES)
    for command, options in commands().items():
        for option in options - {"--help"}:
            assert re.search(rf"{option}\b", text), f"no page names {option} of {command}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in NAMES:
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", (ROOT / name).read_text()):
            assert target in targets, f"{name}: make {target}"


# -- facts -----------------------------------------------------------------------------------------


def test_the_frames_of_the_protocol_page() -> None:
    found = [text for kind, _, text in blocks("docs/protocol.md") if text.startswith("c0 ")]
    bodies = [bytes.fromhex(line)[1:-1] for line in found[0].splitlines()]
    frames = [decode(body) for body in bodies]
    assert frames[0] == Frame(ord("i"), 1, b"")
    assert frames[1] == Frame(ord("z"), 2, b"\xc0\0\0\0\0\0\0\0")


def test_every_board_and_error_is_documented() -> None:
    from tinytrain import errors
    from tinytrain.boards import all_boards

    readme = (ROOT / "README.md").read_text()
    assert all(f"| `{board.name}` |" in readme for board in all_boards())
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    kinds = [n for n, v in vars(errors).items() if isinstance(v, type) and n != "TinytrainError"]
    assert all(f"## {kind}\n" in page for kind in kinds)


def test_every_field_of_a_recipe_is_documented() -> None:
    from dataclasses import fields

    from tinytrain.recipe import Optimizer, Recipe

    page = (ROOT / "docs" / "recipes.md").read_text()
    for kind in (Recipe, Optimizer):
        for field in fields(kind):
            assert f"| `{field.name}` |" in page, f"{kind.__name__}.{field.name}"


def test_every_board_key_is_documented(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "boards.md").read_text()
    text = (ROOT / "boards" / "qemu_mps2_an386" / "board.toml").read_text()
    for key in re.findall(r"^(\w+) = ", text, re.MULTILINE):
        assert re.search(rf"`(?:\w+\.)?{key}`", page), key


def test_the_board_of_the_example_is_valid(tmp_path: Path) -> None:
    from tinytrain.boards import read_board

    tables = [text for kind, _, text in blocks("docs/boards.md") if kind == "toml"]
    (text,) = [text for text in tables if "[compiler]" in text]
    file = tmp_path / "qemu_mps2_an385" / "board.toml"
    file.parent.mkdir()
    file.write_text(text)
    assert read_board(file).cpu == "cortex-m3"
