"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from tinytrain import cli


def call(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)."""
    before = sys.argv
    sys.argv = ["tinytrain", *map(str, arguments)]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    finally:
        sys.argv = before
    return code, *capfd.readouterr()
