"""PlatformIO projects as text: what is in them, for which board, what is refused; and the ports of
the frameworks against stand-ins of their headers."""

from __future__ import annotations

import ast
import configparser
import json
import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import command_line
import pytest
import toys

from tinytrain.boards import PlatformIO, all_boards, load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.deploy.project import OWN, form_of, framework_of, project_files, write_form
from tinytrain.errors import BoardError, BudgetError
from tinytrain.support.assets import firmware_dir
from tinytrain.support.folder import read_record

STUBS = Path(__file__).resolve().parents[1] / "pio" / "stubs"
KNOWN = [board.name for board in all_boards() if board.platformio]
STRICT = ("-Wall", "-Wextra", "-Werror", "-Wmissing-declarations", "-fsyntax-only")


@lru_cache
def compiled(name: str) -> Compiled:
    return compile_recipe(toys.recipe("sensor"), load_board(name), toys.quantized("sensor"))


def files(name: str, framework: str) -> dict[str, str]:
    facts = compiled(name).facts() | {"flash_bytes": None}
    return project_files(compiled(name), framework, facts, "toy.py")


def ini(text: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(comment_prefixes=(";",))
    parser.read_string(text)
    return parser[f"env:{parser['platformio']['default_envs']}"]


@pytest.mark.parametrize("name", KNOWN)
def test_a_project_of_each_board(name: str) -> None:
    board = load_board(name)
    assert board.platformio
    made = files(name, framework_of(board, None))
    env = ini(made["platformio.ini"])
    assert env["board"] == board.platformio.id
    assert env["platform"].startswith(board.platformio.platform + "@")
    flags = set(env["build_flags"].split())
    own = set(env.get("build_src_flags", "").split())
    assert "-Iinclude" in flags
    if board.on_framework:  # whose own sources are compiled with these, too
        assert not {"-std=c11", "-ffreestanding"} & flags
        assert {"-std=gnu11", "-ffp-contract=off"} <= own
    else:
        assert {"-std=c11", "-ffp-contract=off", "-ffreestanding"} <= flags
    ast.parse(made["flags.py"])
    manifest = json.loads(made["lib/tinytrain/library.json"])
    assert manifest["name"] == "tinytrain" and manifest["build"]["libArchive"] is False
    assert {"src/model.c", "include/model.h", "lib/tinytrain/library.properties"} <= set(made)
    assert board.title in made["README.md"] and f"--target {name}" in made["README.md"]
    assert ("link.ld" in made) != board.on_framework


def test_bare_metal_brings_its_start_and_its_linker_script() -> None:
    made = files("nucleo_f446re", "none")
    env = ini(made["platformio.ini"])
    assert env["board_build.ldscript"] == "link.ld" and "framework" not in env
    assert "LENGTH = 131072" in made["link.ld"]
    assert "-DTT_UART_BASE=0x40004400u" in env["build_flags"]
    assert '"-mfpu=fpv4-sp-d16"' in made["flags.py"] and "LINKFLAGS" in made["flags.py"]
    assert {"src/main.c", "lib/tinytrain/src/port/cortex_m/startup.c",
            "lib/tinytrain/src/port/stm32/port.c", "lib/tinytrain/src/port/stm32/stm32.h",
            "lib/tinytrain/src/runtime/memory.c"} <= set(made)  # fmt: skip


def test_arduino_brings_neither() -> None:
    made = files("nucleo_f446re", "arduino")
    env = ini(made["platformio.ini"])
    assert env["framework"] == "arduino" and "board_build.ldscript" not in env
    assert "LINKFLAGS" not in made["flags.py"] and "link.ld" not in made
    assert "-DTT_UART_BAUD=115200" in env["build_flags"] and "TT_UART_BASE" not in str(dict(env))
    assert {"src/main.cpp", "lib/tinytrain/src/port/arduino/port.cpp"} <= set(made)
    assert not {"src/main.c", "lib/tinytrain/src/runtime/memory.c"} & set(made)


def test_hot_kernels_of_an_esp32_go_to_iram_under_both_frameworks() -> None:
    """By the generated header, as a linker script of either is not the project's."""
    for framework in ("espidf", "arduino"):
        made = files("esp32dev", framework)
        assert "#define TT_USES_IRAM 1\n" in made["include/model_uses.h"]
        assert "TT_HOT void tt_linear_s8(" in made["lib/tinytrain/src/kernels/linear.c"]
        assert "lib/tinytrain/src/tinytrain/tt_hot.h" in made
    assert "TT_USES_IRAM" not in files("nucleo_f746zg", "arduino")["include/model_uses.h"]
    shared, own = compiled("esp32-c3-devkitm-1").facts(), compiled("esp32dev").facts()
    assert (shared["fast_code_bytes"], own["fast_code_bytes"]) == (0x1400, 0)
    assert shared["sram_bytes"] == own["sram_bytes"] + 0x1400
    assert "| fast code (reserved) | 5,120 |" in files("esp32-c3-devkitm-1", "espidf")["README.md"]
    assert "fast code" not in files("esp32dev", "espidf")["README.md"]


def test_psram_is_configured_where_frozen_weights_lie_there() -> None:
    made = files("esp32-s3-devkitc-1-n8r8", "espidf")
    set_to = dict(line.split("=") for line in made["sdkconfig.defaults"].splitlines()
                  if not line.startswith("#"))  # fmt: skip
    wanted = ("SPIRAM", "SPIRAM_MODE_OCT", "SPIRAM_SPEED_80M",
              "SPIRAM_ALLOW_BSS_SEG_EXTERNAL_MEMORY")  # fmt: skip
    assert all(set_to[f"CONFIG_{name}"] == "y" for name in wanted)
    assert ini(made["platformio.ini"])["board"] == "esp32-s3-devkitc-1"
    size = compiled("esp32-s3-devkitc-1-n8r8").psram_bytes
    assert f"| frozen weights in PSRAM | {size:,} of 8,388,608 |" in made["README.md"]
    assert "SPIRAM" not in files("esp32-s3-devkitc-1", "espidf")["sdkconfig.defaults"]
    with pytest.raises(BoardError, match=r"esp32-s3-devkitc-1-n8r8 allows espidf"):
        framework_of(load_board("esp32-s3-devkitc-1-n8r8"), "arduino")


def test_forms_and_frameworks_that_a_board_has_not() -> None:
    host, nucleo = load_board("host"), load_board("nucleo_f446re")
    assert (form_of(host, None), form_of(nucleo, None)) == ("firmware", "project")
    assert form_of(host, "library") == "library" and framework_of(nucleo, "none") == "none"
    for board, form, framework, says in (
        (host, "project", None, r"host is no board of PlatformIO; build it with --form firmware"),
        (host, "box", None, r"--form box: use firmware, project, library"),
        (nucleo, "project", "zephyr", r"--framework zephyr: nucleo_f446re allows none or arduino"),
        (nucleo, "library", "arduino", r"--framework arduino is for --form project"),
    ):
        with pytest.raises(BoardError, match=says):
            form_of(board, form, framework)


def test_the_record_serves_flash_and_monitor(tmp_path: Path) -> None:
    made = compiled("nucleo_f446re")
    facts, kept = write_form(made, "project", None, "toy.py", tmp_path / "p")
    record = read_record(tmp_path / "p")
    assert record["hash"] == made.model_hash and record["board"] == "nucleo_f446re"
    assert (record["platform"], record["env"]) == ("ststm32", "nucleo_f446re")
    assert set(OWN) & set(record["files"]) == {"platformio.ini", "README.md", "src/main.c",
                                               ".gitignore"}  # fmt: skip
    assert not kept and facts["path"] == str(tmp_path / "p")
    assert f"{facts['flash_bytes']:,} bytes" in (tmp_path / "p" / "README.md").read_text()


def test_no_project_where_the_firmware_does_not_fit(tmp_path: Path) -> None:
    board = load_board("qemu_mps2_an386")
    assert board.flash
    pio = PlatformIO("some", "ststm32", ())
    small = replace(board, platformio=pio, flash=replace(board.flash, length_bytes=4096))
    made = replace(compiled("qemu_mps2_an386"), board=small)
    with pytest.raises(BudgetError, match=r"bytes over the flash of 4096 bytes"):
        write_form(made, "project", None, "toy.py", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_build_and_errors_of_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinytrain.cli.options.load_recipe", lambda _: toys.recipe("sensor"))
    monkeypatch.chdir(tmp_path)
    board = ("--board", "nucleo_f446re")
    code, out, _ = command_line.call(capfd, "build", "toy.py", *board, "--json")
    facts = json.loads(out)
    assert code == 0 and (facts["form"], facts["path"]) == ("project", "build/project")
    (tmp_path / "build" / "project" / "src" / "main.c").write_text("/* mine */\n")
    code, out, _ = command_line.call(capfd, "build", "toy.py", *board)
    assert code == 0 and "left as you changed it: src/main.c" in out
    code, out, _ = command_line.call(capfd, "build", "toy.py", "--form", "library", "--out", "lib")
    assert code == 0 and out.endswith("built lib\n") and Path("lib/src/tinytrain.h").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link.ld").write_text("mine\n")
    code, _, err = command_line.call(capfd, "build", "toy.py", *board, "--out", "mine")
    assert code == 2 and "mine holds files that would be overwritten: link.ld is not" in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["link.ld"]


# -- ports of frameworks ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("port.c", "main.c"))
def test_syntax_of_the_espidf_port(name: str) -> None:
    firmware, generated = firmware_dir(), Path(__file__).resolve().parents[1] / "qemu" / "fake"
    paths = [f"-I{folder}" for folder in (STUBS / "espidf", firmware / "include", generated)]
    source = firmware / "port" / "espidf" / name
    flags = ["-std=gnu11", "-Wmissing-prototypes", "-DTT_UART_BAUD=115200"]
    subprocess.run(["gcc", *flags, *STRICT, *paths, str(source)], check=True)


def test_syntax_of_a_model_with_weights_in_psram(tmp_path: Path) -> None:
    """Where ESP-IDF was not told to place such arrays there, it is an error of the compiler."""
    for name, text in compiled("esp32-s3-devkitc-1-n8r8").files.items():
        (tmp_path / name).write_text(text)
    paths = [f"-I{folder}" for folder in (STUBS / "espidf", firmware_dir() / "include")]
    command = ["gcc", "-std=gnu11", "-DESP_PLATFORM", *STRICT, *paths, str(tmp_path / "model.c")]
    subprocess.run(command, check=True)
    done = subprocess.run(
        [*command, "-DWITHOUT_PSRAM"], capture_output=True, text=True, check=False
    )
    assert (
        done.returncode and "CONFIG_SPIRAM_ALLOW_BSS_SEG_EXTERNAL_MEMORY is not set" in done.stderr
    )


@pytest.mark.parametrize("name", ("port.cpp", "main.cpp"))
def test_syntax_of_the_arduino_port(name: str) -> None:
    firmware = firmware_dir()
    paths = [f"-I{folder}" for folder in (STUBS / "arduino", firmware / "include")]
    source = firmware / "port" / "arduino" / name
    flags = ["-std=gnu++11", "-DTT_UART_BAUD=115200"]
    subprocess.run(["g++", *flags, *STRICT, *paths, str(source)], check=True)
