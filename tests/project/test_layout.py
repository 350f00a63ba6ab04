"""The shape of the source tree: who imports whom, how long a file is, what texts may name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tinytrain"

# Floors of the house: a room imports from rooms before it, and from itself.
ROOMS = """
errors support ir recipe link boards datasets zoo ops frontend quantize training planning pretrain
toolchain emit compiler sessions deploy baseline reports selection cli __init__
""".split()  # noqa: SIM905 - floors read better in lines
MAX_LINES = 400
SOURCES = [*PACKAGE.rglob("*.py"), *(ROOT / "firmware").rglob("*.[chS]")]
PROJECT = ("tinytrain", "codegen", "firmware", "boards", "tests", "examples", "benchmarks", "docs")
# This machine's own places, and hosts that packages come from.
MACHINE = re.compile(
    r"(?<![\w.])/(?:work|root|home|opt|Users)/\w"
    r"|\b(?:files\.|test\.)?(?:pypi|pythonhosted)\.(?:org|io)|\bdownload\.pytorch\.|\bnpmjs\.(?:org|com)"
    r"|\b(?:deb|ftp|security)\.debian\.org|\bcrates\.io"
)


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def imported(file: Path) -> Iterator[str]:
    """The rooms of this package that a file imports from: the first name below ``tinytrain``."""
    package = ["tinytrain", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            stem = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found = [f"{stem}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in found if name.startswith("tinytrain."))


@pytest.mark.parametrize("name", names(sorted(PACKAGE.rglob("*.py"))))
def test_imports_go_down(name: str) -> None:
    room = Path(name).with_suffix("").parts[1]
    assert room in ROOMS, f"{name}: give its room a floor in ROOMS"
    allowed = {*ROOMS[: ROOMS.index(room) + 1], "__version__"}
    wrong = set(imported(ROOT / name)) - allowed
    assert not wrong, f"{name} imports from {sorted(wrong)}, which stand above it"


@pytest.mark.parametrize("name", names(sorted(SOURCES)))
def test_files_are_short(name: str) -> None:
    lines = len((ROOT / name).read_text().splitlines())
    assert lines <= MAX_LINES, f"{name} has {lines} lines; the limit is {MAX_LINES}"


def test_readme_names_make_targets_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, re.DOTALL))
    named = set(re.findall(r"\bmake +([a-z][a-z-]*)", code))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named, "the README names no make target"
    assert named <= targets, f"not in the Makefile: {sorted(named - targets)}"


def texts() -> Iterator[Path]:
    # In a git worktree .git is a file, which names where the repository is.
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.name != ".git")
    for folder in (".ci", *PROJECT):
        yield from (ROOT / folder).rglob("*")


def test_no_text_names_this_machine() -> None:
    wrong = []
    for path in texts():
        if not path.is_file() or {"__pycache__", "build"} & set(path.relative_to(ROOT).parts):
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # not a text
        wrong += [
            f"{path.relative_to(ROOT)}:{n}" for n, s in enumerate(lines, 1) if MACHINE.search(s)
        ]
    assert not wrong, f"a path of one machine or a package host: {wrong}"


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("see /ho" + "me/me/x", True),
        ("pip install -i https://py" + "pi.org/simple", True),
        ("#!/usr/bin/env python", False),
        ("tinytrain/home/x and https://www.apache.org/", False),
    ],
)
def test_what_counts_as_naming_a_machine(line: str, caught: bool) -> None:
    assert bool(MACHINE.search(line)) == caught
