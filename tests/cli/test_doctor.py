"""The doctor tells what is there, and for what is not, what it would enable and what to type."""

import dataclasses
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tinytrain.cli import doctor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No tool is on the path, no Python package and no serial port is found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(doctor, "_package_version", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(doctor, "_ports", list)
    monkeypatch.setattr(doctor, "FASHION", tmp_path)


def test_every_check_is_json_and_says_what_to_do() -> None:
    found = doctor.checks()
    names = [check.name for check in found]
    assert len(names) == len(set(names)) == 19
    for check in json.loads(json.dumps([dataclasses.asdict(check) for check in found])):
        assert check["enables"] and check["install"], check["name"]
        assert check["version"] is None or re.match(r"\d|unknown", check["version"])


def test_finds_this_interpreter_and_its_packages() -> None:
    found = {check.name: check for check in doctor.checks()}
    assert found["python"].ok and found["python"].required
    assert found["python"].version == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"].ok and found["pyserial"].ok


@pytest.mark.skipif(not shutil.which("gcc"), reason="no host C compiler")
def test_finds_the_host_compiler() -> None:
    compiler = next(check for check in doctor.checks() if check.name == "host C compiler")
    assert compiler.ok and compiler.version is not None and compiler.version[0].isdigit()


@pytest.mark.usefixtures("bare_machine")
def test_a_bare_machine_lacks_all_but_python() -> None:
    assert [check.name for check in doctor.checks() if check.ok] == ["python"]
    assert all(check.version is None for check in doctor.checks() if check.name != "python")


def test_a_tool_that_fails_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "npm"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda _: str(tmp_path))
    npm = next(check for check in doctor.checks() if check.name == "npm")
    assert not npm.ok and npm.version is None


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("gcc (Debian 12.2.0-14+deb12u1) 12.2.3", "12.2.3"),
        ("arm-none-eabi-gcc (15:12.2.rel1-1) 12.2.1 20221205", "12.2.1"),
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"),
        ("PlatformIO Core, version 6.2.0", "6.2.0"),
        ("11.19.1", "11.19.1"),
        ("no number", "unknown"),
    ],
)
def test_version_of_a_tool(tmp_path: Path, line: str, version: str) -> None:
    tool = tmp_path / "tool"
    tool.write_text(f"#!/bin/sh\necho '{line}'\necho 'Copyright 1.2'\n")
    tool.chmod(0o755)
    assert doctor._tool_version(str(tool)) == version


def test_install_lines_agree_with_the_project_files() -> None:
    script = (ROOT / ".ci" / "system-packages.sh").read_text()
    lines = " ".join(check.install for check in doctor.checks())
    for package in re.findall(r"^    (?:need|want) (\S+)", script, re.MULTILINE):
        assert package in lines.split(), f"doctor names no {package}"
    project = (ROOT / "pyproject.toml").read_text()
    constraints = (ROOT / "constraints.txt").read_text().split()
    for pin in (doctor.PLATFORMIO, doctor.SEGLEARN):
        assert f'"{pin}"' in project and pin in constraints
