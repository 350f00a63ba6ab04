"""Drive PlatformIO: find it, find the board's port, upload a project, say what went wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from ..errors import LinkError, ProjectError
from ..link.wire import SerialWire

INSTALL = "python -m pip install platformio==6.2.0"
# USB vendors of the adapters that boards of a platform carry.
ST, ESPRESSIF = 0x0483, 0x303A
BRIDGES = (0x10C4, 0x1A86, 0x0403)  # Silicon Labs, WCH, FTDI
VENDORS = {"ststm32": (ST,), "espressif32": (ESPRESSIF, *BRIDGES)}
# Platforms whose boards are programmed through the serial port itself.
BY_SERIAL = ("espressif32",)
TAIL_LINES = 12

# What programs say, and what it means. The first that is found counts.
BUSY, NONE, GONE, FETCH = "busy", "none", "gone", "fetch"
SIGNS = (
    (FETCH, r"HTTPClientError|Could not install|Unknown development platform|"
            r"UnknownPackageError|Could not find the package"),
    (BUSY, r"[Rr]esource busy|port is busy|LIBUSB_ERROR_BUSY|"
           r"Access is denied|could not exclusively lock"),
    (GONE, r"LIBUSB_ERROR_NO_DEVICE|LIBUSB_ERROR_IO|Input/output error|Device not configured|"
           r"device reports readiness to read but returned no data|communication failure|"
           r"[Ff]ailed to write memory|Lost connection|disconnected|Serial data stream stopped"),
    (NONE, r"Please specify `?upload_port|open failed|[Cc]ouldn't find any ST-?[Ll]ink|"
           r"No ST-?L(?:ink|INK) detected|LIBUSB_ERROR_ACCESS|unable to open ftdi|"
           r"No such file or directory: '/dev/|could not open port|[Ff]ailed to connect to"),
)  # fmt: skip


def find_pio() -> str:
    """The path of ``pio``. Raises ProjectError with the line that installs it."""
    folders = [sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]
    found = shutil.which("pio", path=os.pathsep.join(folders))
    if found is None:
        raise ProjectError(
            f"PlatformIO is not installed: no pio on the PATH; install it: {INSTALL}"
        )
    return found


def find_port(platform: str = "") -> str:
    """The serial port of the one board that is connected, of this platform where several are.

    Raises ProjectError when there is none, or no way to choose.
    """
    ports = [port for port in list_ports.comports() if port.vid is not None]
    if len(ports) > 1:
        vendors = VENDORS.get(platform, ())
        ports = [port for port in ports if port.vid in vendors] or ports
    if not ports:
        raise ProjectError(
            "no board found: no USB serial port is there; connect the board by a cable that "
            "carries data, or name the port with --port"
        )
    if len(ports) > 1:
        named = ", ".join(f"{port.device} ({port.description})" for port in ports)
        raise ProjectError(f"several boards found: {named}; choose one with --port")
    return str(ports[0].device)


def unheard(_: str) -> None:
    """Tells nobody."""


def upload(
    folder: Path, record: dict[str, Any], port: str | None = None,
    say: Callable[[str], None] = unheard,
) -> str:  # fmt: skip
    """``pio run -t upload`` in a project; gives what PlatformIO said; ``say`` is told each line.

    Raises ProjectError: PlatformIO absent or failed, no board found, board gone; LinkError: port
    busy.
    """
    pio, serial = find_pio(), record["platform"] in BY_SERIAL
    if port is None and serial:
        port = find_port(record["platform"])
    if port is not None and serial:
        SerialWire(port, record["baud"]).close()  # busy, absent and forbidden ports say so here
    command = [pio, "run", "-d", str(folder), "-t", "upload"]
    command += ["--upload-port", port] if port else []
    return run_pio(command, record["board"], say)


def run_pio(command: Sequence[str], board: str, say: Callable[[str], None] = unheard) -> str:
    """Run it; its output. Raises ProjectError or LinkError with what its output means."""
    lines = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip("\n"))
            lines.append(line)
    if process.returncode == 0:
        return "".join(lines)
    raise explained("".join(lines), board)


def explained(output: str, board: str) -> LinkError | ProjectError:
    """The error that a failed run of PlatformIO means; its last lines are quoted."""
    kind = next((name for name, sign in SIGNS if re.search(sign, output)), "")
    lines = [line.strip() for line in output.splitlines() if line.strip(" =-\t")]
    telling = [line for line in lines if kind and re.search(dict(SIGNS)[kind], line)] or lines
    said = "\n  ".join(telling[-TAIL_LINES:])
    if kind == BUSY:
        return LinkError(
            f"the port of {board} is busy: close the program (a serial monitor) that holds it. "
            f"PlatformIO said:\n  {said}"
        )
    what = {
        GONE: f"{board} went away while it was flashed: check cable and supply, connect it and "
              "flash again; until then its program may be incomplete",
        NONE: f"no board found for {board}: connect it, and on Linux let PlatformIO's udev rules "
              "give you access to its programmer",
        FETCH: "PlatformIO could not fetch the platform or compiler that platformio.ini names; the "
               "first build needs its registry",
    }.get(kind, "PlatformIO failed")  # fmt: skip
    return ProjectError(f"{what}. It said:\n  {said}")
