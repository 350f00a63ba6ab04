"""Checks of what a user hands over: each names the field, shows the value and says what to give.

All raise RecipeError. They give back the plain Python or numpy value, so that a field holds one
kind of object whatever kind it was made from.
"""

from __future__ import annotations

import math
import numbers
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError

NAME_BYTES = 100  # a name stands in file names, which have 255 bytes at most, beside other words


def shown(value: object) -> str:
    """A value in a message: its ``repr``, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # the repr of a user's object may fail
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_of(what: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse what is not among ``known``."""
    if not isinstance(value, str) or value not in known:
        raise RecipeError(f"{what} is {shown(value)}; give {' or '.join(map(repr, known))}")


def whole(what: str, value: object, low: int, high: int) -> int:
    """An integer within ``low..high``; numpy's count, booleans do not."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise RecipeError(f"{what} is {shown(value)}; give an integer from {low} to {high}")
    if not low <= int(value) <= high:
        raise RecipeError(f"{what} is {int(value)}; give an integer from {low} to {high}")
    return int(value)


def rate(what: str, value: object) -> float:
    """A finite number of 0 or more that a float32 can hold."""
    most = float(np.finfo(np.float32).max)
    wrong = isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real)
    if wrong or not 0 <= float(value) <= most:  # type: ignore[arg-type]
        raise RecipeError(f"{what} is {shown(value)}; give a finite number from 0 to {most:.3g}")
    found = value if isinstance(value, (int, float)) else float(value)  # type: ignore[arg-type]
    if found and math.ldexp(1.0, -126) > found:
        raise RecipeError(f"{what} is {shown(value)}; give 0, or a number of 1.2e-38 or more")
    return found


def flag(what: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise RecipeError(f"{what} is {shown(value)}; give True or False")
    return bool(value)


def text(what: str, value: object) -> str:
    """A string that can be written into a file."""
    if not isinstance(value, str):
        raise RecipeError(f"{what} is {shown(value)}; give a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecipeError(f"{what} is {shown(value)}, which UTF-8 cannot hold") from None
    return value


def name(what: str, value: object) -> str:
    """A string that may stand in generated C and, by ``folder_name``, in file names: one line, no
    path out of a folder."""
    found = text(what, value)
    advice = "give a short name such as 'my_model'"
    if not found.strip():
        raise RecipeError(f"{what} is {shown(found)}; {advice}")
    if len(found.encode()) > NAME_BYTES:
        raise RecipeError(
            f"{what} {shown(found)} has {len(found.encode())} bytes; give at most {NAME_BYTES}"
        )
    parts = found.replace("\\", "/").split("/")
    if not parts[0] or {".", ".."} & set(parts):
        raise RecipeError(f"{what} is {shown(found)}, a path; {advice}")
    hidden = [c for c in found if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
    if hidden:
        raise RecipeError(f"{what} is {shown(found)}, with U+{ord(hidden[0]):04X} in it; {advice}")
    return found


def array(what: str, value: object) -> npt.NDArray[Any]:
    """Numbers as a numpy array with at least one axis; tensors are detached."""
    if value is None:
        raise RecipeError(f"{what} is None; give an array of samples [N, ...]")
    detach = getattr(value, "detach", None)
    try:
        found = np.asarray(detach().cpu().numpy() if callable(detach) else value)
    except Exception as error:
        why = (str(error).splitlines() or [""])[0]
        raise RecipeError(f"{what} is {shown(value)}, no array of numbers: {why}") from error
    if found.dtype.kind not in "iuf":
        raise RecipeError(
            f"{what} holds {found.dtype}, and {'' if found.ndim else 'no array of '}numbers are "
            "needed: float32 samples [N, ...], or integers [N, ...]"
        )
    if found.ndim == 0:
        raise RecipeError(f"{what} is one number; give an array of samples [N, ...]")
    return found


def folder(what: str, path: Path) -> None:
    """Refuse a folder that is a file, or that cannot be made."""
    there = Path(path).absolute()
    try:
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            raise RecipeError(f"{what} {path}: {there} is a file; name a folder")
        if there != Path(path).absolute():  # the nearest that exists: can something be made in it?
            probe = there / f".{Path(path).name[:40]}.{id(path):x}"
            probe.mkdir()
            probe.rmdir()
    except OSError as error:
        raise RecipeError(f"{what} {path}: cannot be written: {error.strerror}") from error


def module(what: str, value: object) -> None:
    """Refuse what is not a ``torch.nn.Module``, with what to do with what it is. Imports no torch:
    where a module exists, torch is imported already."""
    nn = getattr(sys.modules.get("torch"), "nn", None)
    if nn is not None and isinstance(value, nn.Module):
        return
    kind = type(value).__name__
    if value is None:
        advice = "give a torch.nn.Module"
    elif isinstance(value, (str, Path)):
        advice = "load the model in the recipe and give the torch.nn.Module itself"
    elif kind == "ModelProto":
        advice = "ONNX is not read; give the torch.nn.Module that it was exported from"
    elif kind == "ExportedProgram":
        advice = "give the torch.nn.Module that it was exported from; tinytrain exports it itself"
    elif isinstance(value, dict):
        advice = "make the model, call its load_state_dict with this, and give the torch.nn.Module"
    elif isinstance(value, type):
        advice = f"this is the class; make one: {value.__name__}()"
    elif callable(value):
        advice = "put the function into the forward of a torch.nn.Module and give that"
    else:
        advice = "give a torch.nn.Module"
    raise RecipeError(f"{what} is {shown(value) if value is None else f'a {kind}'}; {advice}")
