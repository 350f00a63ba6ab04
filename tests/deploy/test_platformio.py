"""Finding, flashing and watching boards: what is said when PlatformIO, a port or a board is not
there."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import command_line
import pytest
from serial.tools import list_ports

from tinytrain.deploy import platformio
from tinytrain.deploy.platformio import explained, find_pio, find_port, upload
from tinytrain.errors import LinkError, ProjectError
from tinytrain.link.monitor import listen, shown
from tinytrain.link.protocol import Frame, Noise, encode
from tinytrain.link.wire import SerialWire
from tinytrain.support.folder import write_folder

STM32 = {"board": "nucleo_f446re", "platform": "ststm32", "baud": 115200, "model": "m", "hash": 1}
ESP32 = {**STM32, "board": "esp32dev", "platform": "espressif32"}


@dataclass
class Port:
    device: str
    vid: int | None
    description: str = "port"


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> list[Port]:
    found: list[Port] = []
    monkeypatch.setattr(list_ports, "comports", lambda: found)
    return found


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """(our end, the name of the serial port at the other)."""
    ours, theirs = os.openpty()
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def pio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in PlatformIO's place: notes its arguments, and fails where there is a file of what
    it says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "pio"
    program.write_text(
        '#!/bin/sh\necho "$@" > "$0.args"\ncat "$0.says" 2>/dev/null && exit 1\nexit 0\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(platformio, "find_pio", lambda: str(program))
    return program


def call(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr as one line."""
    code, out, err = command_line.call(capfd, *arguments)
    return code, out, " ".join(err.split())


# -- ports -----------------------------------------------------------------------------------------


def test_the_one_board_that_is_there(ports: list[Port]) -> None:
    ports += [Port("/dev/ttyS0", None), Port("/dev/ttyACM0", 0x1234)]
    assert find_port() == find_port("ststm32") == "/dev/ttyACM0"


def test_no_board_found(ports: list[Port]) -> None:
    ports.append(Port("/dev/ttyS0", None))
    with pytest.raises(ProjectError, match=r"no board found: .*connect the board.*--port"):
        find_port()


def test_of_several_the_one_of_the_platform(ports: list[Port]) -> None:
    ports += [Port("A", 0x0483, "ST-LINK"), Port("B", 0x10C4, "CP2102")]
    assert find_port("ststm32") == "A" and find_port("espressif32") == "B"
    with pytest.raises(ProjectError, match=r"several boards found: A \(ST-LINK\), B \(CP2102\);"):
        find_port()
    ports.append(Port("C", 0x303A, "ESP32-S3"))
    with pytest.raises(ProjectError, match=r"several boards found: B .*, C .*choose one with --po"):
        find_port("espressif32")


# -- flash -----------------------------------------------------------------------------------------


def test_platformio_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(ProjectError, match=r"PlatformIO is not installed: .*pip install platform"):
        find_pio()
    with pytest.raises(ProjectError, match=r"PlatformIO is not installed"):
        upload(tmp_path, STM32)


def test_a_probe_needs_no_serial_port(pio: Path, ports: list[Port], tmp_path: Path) -> None:
    upload(tmp_path, STM32)
    assert Path(f"{pio}.args").read_text().split() == ["run", "-d", str(tmp_path), "-t", "upload"]
    upload(tmp_path, STM32, "/dev/ttyACM7")
    assert Path(f"{pio}.args").read_text().split()[-2:] == ["--upload-port", "/dev/ttyACM7"]


def test_an_esp32_is_looked_for_and_its_port_opened_first(
    pio: Path, ports: list[Port], pty: tuple[int, str], tmp_path: Path
) -> None:
    with pytest.raises(ProjectError, match="no board found"):
        upload(tmp_path, ESP32)
    ports.append(Port(pty[1], 0x10C4))
    upload(tmp_path, ESP32)
    assert Path(f"{pio}.args").read_text().split()[-2:] == ["--upload-port", pty[1]]


def test_a_busy_port(pio: Path, pty: tuple[int, str], tmp_path: Path) -> None:
    held = SerialWire(pty[1])
    with pytest.raises(LinkError, match=r"cannot open .*no other program .*holds the port"):
        upload(tmp_path, ESP32, pty[1])
    assert not Path(f"{pio}.args").exists()
    held.close()
    upload(tmp_path, ESP32, pty[1])


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        ("Error: Please specify `upload_port` for environment", ProjectError, "no board found"),
        ("Error: open failed", ProjectError, "no board found"),
        ("Error: No ST-LINK detected!", ProjectError, "no board found"),
        ("A fatal error occurred: Failed to connect to ESP32: No serial data", ProjectError,
         "no board found"),
        ("could not open port '/dev/ttyUSB0': [Errno 16] Device or resource busy: '/dev/ttyUSB0'",
         LinkError, "port of b is busy: close the program"),
        ("A fatal error occurred: Could not open /dev/ttyUSB0, the port is busy or doesn't exist.",
         LinkError, "is busy"),
        ("libusb_open() failed with LIBUSB_ERROR_ACCESS", ProjectError, "udev rules"),
        ("Error: Failed to write memory at 0x08004000", ProjectError, "went away while"),
        ("A serial exception error occurred: device reports readiness to read but returned no data",
         ProjectError, "went away while it was flashed"),
        ("OSError: [Errno 5] Input/output error", ProjectError, "went away"),
        ("HTTPClientError:", ProjectError, "first build needs its registry"),
        ("src/main.c:1:1: error: unknown type name", ProjectError, "PlatformIO failed"),
    ],
)  # fmt: skip
def test_what_platformio_says_and_means(said: str, kind: type[Exception], says: str) -> None:
    error = explained(f"Processing b (platform: x)\n{said}\n=== [FAILED] Took 1 s ===\n", "b")
    assert type(error) is kind and says in str(error) and said in str(error)


def test_flash_of_the_command_line(
    pio: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capfd, "flash", tmp_path)
    assert code == 2 and "was not written by tinytrain" in err
    write_folder(tmp_path / "p", {"a": ""}, STM32)
    code, out, _ = call(capfd, "flash", tmp_path / "p")
    assert code == 0 and out == "nucleo_f446re runs m 00000001\n"
    Path(f"{pio}.says").write_text("Error: open failed\n")
    code, out, err = call(capfd, "flash", tmp_path / "p")
    assert code == 2 and not out and "no board found" in err and "open failed" in err
    write_folder(tmp_path / "library", {"a": ""}, {"model": "m"})
    code, _, err = call(capfd, "flash", tmp_path / "library")
    assert code == 2 and "is no PlatformIO project" in err


# -- monitor ---------------------------------------------------------------------------------------

INFO = {
    "event": "info", "seq": 0, "protocol": 1, "model": "har", "hash": 0xAB, "input_bytes": 8,
    "labels": 1, "logits": 4, "arena_bytes": 144, "state_bytes": 104, "step": 7, "seed": 1,
    "stack_bytes": 1024, "stack_used": 444, "refused": 0,
}  # fmt: skip
STEP = {
    "event": "step", "seq": 2, "step": 8, "loss": 0.5, "loss_q16": 65536, "correct": 1, "count": 2,
    "time_us": 7695,
}  # fmt: skip


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (INFO, "info: model har 000000ab, step 7, state 104 bytes, arena 144 bytes, stack 444 of "
               "1024 bytes"),
        (STEP, "step 8: loss 0.5000, 1 of 2 right, 7.7 ms"),
        ({**STEP, "event": "score", "time_us": 0}, "score 8: loss 0.5000, 1 of 2 right"),
        ({"event": "error", "seq": -1, "code": "crc", "message": "wrong"}, "error crc: wrong"),
        ({"event": "error", "seq": 1, "code": "length", "message": "other", "expected": 3},
         "error length: other, expected 3"),
        ({"event": "write", "seq": 1, "offset": 0, "bytes": 4}, "write: offset 0, bytes 4"),
        ({"event": "quit", "seq": 1}, "quit"),
        ({"event": "step", "seq": 1}, "step"),  # of another version: what there is
        (Frame(ord("p"), 3, b"12345678"), "frame predict, 8 bytes"),
        (Noise(b"I (31) boot: ESP-IDF\r"), "I (31) boot: ESP-IDF"),
        (Noise(b"\xff\xfe"), "\\xff\\xfe"),
    ],
)  # fmt: skip
def test_lines_for_people(item: Any, text: str) -> None:
    assert shown(item) == text


def test_listening_asks_and_decodes(pty: tuple[int, str]) -> None:
    wire, (ours, _) = SerialWire(pty[1]), pty
    os.set_blocking(ours, True)

    def device() -> None:
        asked = os.read(ours, 100)
        assert asked == b"\xc0" + encode(ord("i"), 0)
        os.write(ours, json.dumps(INFO).encode() + b"\n" + json.dumps(STEP).encode() + b"\n")

    thread = threading.Thread(target=device)
    thread.start()
    tty.setraw(ours)
    found = []
    for item in listen(wire, 5.0):
        found.append(item)
        if len(found) == 2:
            break
    thread.join()
    wire.close()
    assert found == [INFO, STEP]


def test_a_board_unplugged_while_it_is_watched(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    name, opened = os.ttyname(theirs), threading.Event()

    def opening(*arguments: Any) -> SerialWire:
        wire = SerialWire(*arguments)
        opened.set()
        return wire

    monkeypatch.setattr("tinytrain.cli.board.SerialWire", opening)

    def unplug() -> None:
        opened.wait(60)
        time.sleep(0.3)
        os.close(ours)

    thread = threading.Thread(target=unplug)
    thread.start()
    code, _, err = call(capfd, "monitor", "--port", name, "--passive", "--seconds", 60)
    thread.join()
    os.close(theirs)
    assert code == 2 and f"the link {name} is gone" in err
    assert "was the board unplugged" in err


def test_monitor_of_the_command_line(
    pty: tuple[int, str], ports: list[Port], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capfd, "monitor")
    assert code == 2 and "no board found" in err
    code, _, err = call(capfd, "monitor", tmp_path)
    assert code == 2 and "was not written by tinytrain" in err
    held = SerialWire(pty[1])
    code, _, err = call(capfd, "monitor", "--port", pty[1])
    assert code == 2 and "no other program" in err
    held.close()

    write_folder(tmp_path / "p", {"a": ""}, STM32)
    ports.append(Port(pty[1], 0x0483))

    def speak() -> None:
        time.sleep(0.3)
        os.write(pty[0], json.dumps(STEP).encode() + b"\nhello\n" + encode(ord("p"), 1, b"ab"))

    for option, expected in ((), "step 8: loss"), (("--json",), '"loss_q16": 65536'):
        thread = threading.Thread(target=speak)
        thread.start()
        code, out, _ = call(capfd, "monitor", tmp_path / "p", "--passive", "--seconds", 3, *option)
        thread.join()
        assert code == 0 and expected in out and "hello" in out and "frame" in out
