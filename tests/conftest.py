"""Fixtures that several test folders share."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tinytrain.support.assets import firmware_dir
from tinytrain.toolchain.build import kernel_sources

# Before numpy is loaded: products of tiny matrices are several times slower over threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

STRICT = [
    "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wdouble-promotion",
    "-ffp-contract=off",
]  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="accept the generated C as it is")


# The kernels that tests of operators call: those of an arch, compiled with these flags.
VARIANTS = {
    "portable": ("", []),
    "host": ("host", ["-O3", "-march=native"]),
    "any-host": ("host", []),
    "plain-host": ("host", ["-DTT_PLAIN_LANES", "-DTT_SMALL_BLOCKS"]),
}


@pytest.fixture(scope="session", params=VARIANTS)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: Any) -> ctypes.CDLL:
    """All kernels as a shared library, with the address and undefined-behaviour checks that need no
    preloaded runtime: portable ones, and the host's own, for this machine's processor, for any of
    its family, and in blocks of few rows without the instructions that they name."""
    arch, flags = VARIANTS[request.param]
    firmware = firmware_dir()
    library = Path(tmp_path_factory.mktemp("kernels")) / "libkernels.so"
    checks = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    folders = [f"-I{firmware / 'include'}", f"-I{firmware / 'kernels'}"]
    command = ["gcc", *STRICT, *flags, *checks, "-shared", "-fPIC", *folders]
    subprocess.run([*command, "-o", str(library), *map(str, kernel_sources(arch))], check=True)
    return ctypes.CDLL(str(library))
