"""Fixtures that several test folders share."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tinytrain.assets import firmware_dir

# Before numpy is loaded: products of tiny matrices are several times slower over threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

STRICT = [
    "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wdouble-promotion",
    "-ffp-contract=off",
]  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="accept the generated C as it is")


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: Any) -> ctypes.CDLL:
    """All portable kernels as a shared library, with the address and undefined-behaviour checks
    that need no preloaded runtime."""
    firmware = firmware_dir()
    library = Path(tmp_path_factory.mktemp("kernels")) / "libkernels.so"
    sources = sorted(str(path) for path in (firmware / "kernels").glob("*.c"))
    checks = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    command = ["gcc", *STRICT, *checks, "-shared", "-fPIC", f"-I{firmware / 'include'}"]
    subprocess.run([*command, "-o", str(library), *sources], check=True)
    return ctypes.CDLL(str(library))
