"""``tinytrain init | flash | monitor``: a recipe to begin with, and a real board."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..boards import Board
from ..deploy import platformio
from ..errors import RecipeError
from ..link.monitor import listen, shown
from ..link.protocol import FORGET, Frame, Link, Noise
from ..link.wire import SerialWire
from ..support.folder import read_record
from ..support.templates import environment

Folder = Annotated[Path, typer.Argument(help="folder that tinytrain build wrote for the board")]
Port = Annotated[
    str | None, typer.Option(help="serial port, as /dev/ttyACM0, COM3 or socket://HOST:PORT")
]

FLASH_TIMEOUT_S = 30.0  # two sectors of 128 KB are erased in some seconds


def chosen_port(port: str, board: Board) -> str:
    """A port as the user names it; ``auto`` looks for it."""
    if port != "auto":
        return port
    return platformio.find_port(board.platformio.platform if board.platformio else "")


def init(
    file: Annotated[Path, typer.Argument(help="Python file to write")] = Path("my_model.py"),
) -> None:
    """Start a recipe for a model of your own: a commented file that runs as it is."""
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in file.stem) or "model"
    text = environment().get_template("recipe.py.j2").render(name=name)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise RecipeError(f"{file} exists; name another file") from None
    except OSError as error:
        raise RecipeError(f"{file}: cannot be written: {error.strerror}") from error
    print(f"wrote {file}; it runs as it is:\n  tinytrain run {file}\nThen put your model into it.")


def flash(folder: Folder, port: Port = None) -> None:
    """Build a project and put it on the connected board, by PlatformIO."""
    record = read_record(folder)
    if "platform" not in record:
        raise RecipeError(f"{folder} is no PlatformIO project; build one with --form project")
    platformio.upload(folder, record, port, lambda line: print(line, file=sys.stderr))
    print(f"{record['board']} runs {record['model']} {record['hash']:08x}")


def monitor(
    folder: Annotated[
        Path | None, typer.Argument(help="folder that tinytrain build wrote (default: any board)")
    ] = None,
    port: Port = None,
    baud: Annotated[int | None, typer.Option(help="baud rate (default: the board's)")] = None,
    seconds: Annotated[float | None, typer.Option(help="stop after so long")] = None,
    passive: Annotated[bool, typer.Option("--passive", help="send nothing, only listen")] = False,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Show what a board says: steps, scores, errors. Ctrl-C ends it."""
    record: dict[str, Any] = read_record(folder) if folder else {}
    url = port or platformio.find_port(record.get("platform", ""))
    wire = SerialWire(url, baud or record.get("baud", 115200))
    try:
        for item in listen(wire, seconds, ask=not passive):
            print(_json(item) if json_ else shown(item), flush=True)
    finally:
        wire.close()


def forget(folder: Folder, port: Port = None) -> None:
    """Empty the flash in which a board keeps what it learned: it then starts as it was built."""
    record = read_record(folder)
    url = port or platformio.find_port(record.get("platform", ""))
    wire = SerialWire(url, record.get("baud", 115200))
    try:
        link = Link(wire, url, FLASH_TIMEOUT_S)
        link.find()
        link.request(FORGET)
    finally:
        wire.close()
    print(f"{record['board']} keeps nothing; its next start has the weights of the build")


def _json(item: dict[str, Any] | Frame | Noise) -> str:
    if isinstance(item, Noise):
        return json.dumps({"event": "text", "text": item.data.decode("utf-8", "backslashreplace")})
    if isinstance(item, Frame):
        return json.dumps({"event": "frame", **asdict(item), "payload": item.payload.hex()})
    return json.dumps(item)
