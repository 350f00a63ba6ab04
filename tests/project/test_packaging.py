"""The wheel holds the C, the templates and the boards, and works away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import tomllib

from tinytrain.support import assets

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ("boards", "codegen", "firmware")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]

# What a user does first, from a folder of their own.
PROBE = """
import json, tinytrain
from tinytrain.cli import doctor
from tinytrain.support import assets
print(json.dumps({
    "package": tinytrain.__file__,
    "boards": str(assets.boards_dir()),
    "codegen": str(assets.codegen_dir()),
    "firmware": str(assets.firmware_dir()),
    "checks": len(doctor.checks()),
}))
"""


def files_under(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix()
        for path in found
        if "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def test_a_checkout_uses_its_own_folders() -> None:
    assert assets.boards_dir() == ROOT / "boards"
    assert assets.codegen_dir() == ROOT / "codegen"
    assert assets.firmware_dir() == ROOT / "firmware"


def test_every_python_package_is_listed() -> None:
    folders = {init.parent for init in (ROOT / "tinytrain").rglob("*.py")}
    names = {folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders}
    assert names | {f"tinytrain.bundled.{name}" for name in BUNDLED} == set(SETUPTOOLS["packages"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the tree: the checkout gets no build/ folder from it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tinytrain", *BUNDLED):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*pip, "--no-index", "--wheel-dir", str(out), str(source)], check=True, timeout=120
    )
    (made,) = out.glob("tinytrain_mcu-*.whl")
    return made


@pytest.mark.slow
def test_the_wheel_holds_every_file_once(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    expected = {f"tinytrain/{name}" for name in files_under(ROOT / "tinytrain")}
    for folder in BUNDLED:
        expected |= {f"tinytrain/bundled/{folder}/{name}" for name in files_under(ROOT / folder)}
    assert sorted(names) == sorted(expected)


@pytest.mark.slow
def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "env", tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.create(home, with_pip=False)
    inside = {"base": str(home), "platbase": str(home)}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=inside))
    python = Path(sysconfig.get_path("scripts", scheme="venv", vars=inside)) / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, timeout=120)
    # numpy, torch and the others are borrowed; a path entry behind the installed package's own.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TINYTRAIN"))}
    done = subprocess.run(
        [str(python), "-c", PROBE],
        cwd=elsewhere,
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["package"]).is_relative_to(site)
    for name in BUNDLED:
        bundled = Path(found[name])
        assert bundled == (site / "tinytrain" / "bundled" / name).resolve()
        assert files_under(bundled) == files_under(ROOT / name)
    assert (python.parent / "tinytrain").is_file(), "the command is missing"
