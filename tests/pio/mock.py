"""A PlatformIO core folder that needs no network: a stand-in for the platform ``ststm32`` around
the installed compiler. It shows that the configuration and sources of a project build under
PlatformIO's own core, not that ST's builder does. Its flags are those of that builder without a
framework."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tinytrain.boards import Board
from tinytrain.deploy.platformio import find_pio
from tinytrain.errors import ProjectError

SCONS, COMPILER, PLATFORM = "4.41101.0", "1.120301.0", "19.4.0"
TOOLS = ("gcc", "g++", "ar", "ranlib", "objcopy", "size", "as")

BUILDER = """
from SCons.Script import AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
tool = lambda name: "arm-none-eabi-" + name
env.Replace(AR=tool("ar"), AS=tool("as"), CC=tool("gcc"), CXX=tool("g++"), RANLIB=tool("ranlib"),
            OBJCOPY=tool("objcopy"), SIZETOOL=tool("size"), ARFLAGS=["rc"], PROGNAME="firmware",
            PROGSUFFIX=".elf", SIZEPRINTCMD="$SIZETOOL -B -d $SOURCES")
cpu = "-mcpu=" + env.BoardConfig().get("build.cpu")
if not env.get("PIOFRAMEWORK"):
    env.Append(
        CCFLAGS=["-Os", "-ffunction-sections", "-fdata-sections", "-Wall", "-mthumb", cpu],
        CXXFLAGS=["-fno-rtti", "-fno-exceptions"], CPPDEFINES=[("F_CPU", "$BOARD_F_CPU")],
        LINKFLAGS=["-Os", "-Wl,--gc-sections,--relax", "-mthumb", cpu],
        LIBS=["c", "gcc", "m"])
env.Append(BUILDERS=dict(ElfToBin=Builder(
    action=env.VerboseAction("$OBJCOPY -O binary $SOURCES $TARGET", "Building $TARGET"),
    suffix=".bin")))
program = env.BuildProgram()
image = env.ElfToBin("$BUILD_DIR/firmware", program)
size = env.Alias("size", program, env.VerboseAction("$SIZEPRINTCMD", "Calculating size $SOURCE"))
AlwaysBuild(size)
upload = env.VerboseAction("$UPLOADCMD", "Uploading $SOURCE")
env.AddPlatformTarget("upload", image, upload, "Upload")
Default([env.Alias("buildprog", image), size])
"""


def installed() -> bool:
    try:
        return (Path(find_pio()).parent / "scons").exists()
    except ProjectError:
        return False


def make_core(core: Path, uploader: str = "true") -> None:
    """Fill ``core``, the value of PLATFORMIO_CORE_DIR. ``uploader``: the command that stands for a
    programmer."""
    scons = _package(core / "packages" / "tool-scons", "tool", "tool-scons", SCONS)
    (scons / "scons.py").write_text("import SCons.Script\nSCons.Script.main()\n")
    name = "toolchain-gccarmnoneeabi"
    compiler = _package(core / "packages" / name, "tool", name, COMPILER) / "bin"
    compiler.mkdir()
    for tool in TOOLS:
        found = shutil.which(f"arm-none-eabi-{tool}")
        if found:
            (compiler / f"arm-none-eabi-{tool}").symlink_to(found)
    platform = _package(core / "platforms" / "ststm32", "platform", "ststm32", PLATFORM)
    _json(platform / "platform.json", {
        "name": "ststm32", "title": "mock", "version": PLATFORM, "license": "Apache-2.0",
        "frameworks": {},
        "packages": {
            name: {"type": "toolchain", "owner": "platformio", "version": ">=1.60301.0"},
            "tool-scons": {"type": "tool", "owner": "platformio", "version": "~4.41101.0"},
        },
    })  # fmt: skip
    (platform / "builder").mkdir()
    upload = f"\nenv.Replace(UPLOADCMD={uploader!r})\n"
    (platform / "builder" / "main.py").write_text(BUILDER.replace("\ncpu =", upload + "cpu ="))
    (platform / "boards").mkdir()


def add_board(core: Path, board: Board) -> None:
    """A board of the platform; of the real file's keys, those that the core reads."""
    assert board.platformio and board.flash
    name = board.platformio.id
    _json(core / "platforms" / "ststm32" / "boards" / f"{name}.json", {
        "build": {"cpu": board.cpu, "f_cpu": f"{board.clock_hz}L", "mcu": board.mcu},
        "frameworks": ["arduino"], "name": board.title, "url": "", "vendor": "mock",
        "upload": {
            "maximum_ram_size": board.ram[0].length_bytes,
            "maximum_size": board.flash.length_bytes,
        },
    })  # fmt: skip


def _package(folder: Path, kind: str, name: str, version: str) -> Path:
    folder.mkdir(parents=True)
    _json(folder / "package.json", {"name": name, "version": version, "system": "*"})
    spec = {"owner": "platformio", "id": None, "name": name, "requirements": None, "uri": None}
    _json(folder / ".piopm", {"type": kind, "name": name, "version": version, "spec": spec})
    return folder


def _json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data))
