"""Each public header stands alone, in C11 and in C++17; x87 is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tinytrain.support.assets import firmware_dir

INCLUDE = firmware_dir() / "include"
STRICT = ("-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{INCLUDE}")


@pytest.mark.parametrize("compiler", (("gcc", "-std=c11", "-xc"), ("g++", "-std=c++17", "-xc++")))
def test_compiles_alone(compiler: tuple[str, ...]) -> None:
    headers = sorted(INCLUDE.rglob("*.h"))
    assert len(headers) > 20
    for header in headers:
        text = f'#include "{header.relative_to(INCLUDE).as_posix()}"\n'
        done = subprocess.run(
            [*compiler, *STRICT, "-"], input=text, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{header.name}: {done.stderr}"


def test_wider_float_arithmetic_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "x87.c"
    source.write_text('#undef __FLT_EVAL_METHOD__\n#define __FLT_EVAL_METHOD__ 2\n'
                      '#include "tinytrain/tt_math.h"\n')  # fmt: skip
    done = subprocess.run(
        ["gcc", "-std=c11", *STRICT, "-Wno-builtin-macro-redefined", source],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "float arithmetic" in done.stderr
