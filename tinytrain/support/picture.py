"""Pictures by matplotlib, without a screen and with the same bytes each time."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any


def pyplot() -> ModuleType:
    """``matplotlib.pyplot``, set up; imported late, as that takes half a second."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tinytrain"
    import matplotlib.pyplot as plt

    return plt


def rendered(figure: Any, kind: str, **metadata: str) -> bytes:
    """``figure`` as ``svg`` or ``png``; then it is closed. ``metadata``: of an SVG, which has no
    date."""
    held = io.BytesIO()
    undated = {"Date": None, **metadata} if kind == "svg" else None
    figure.savefig(held, format=kind, dpi=130, metadata=undated)
    pyplot().close(figure)
    return held.getvalue()
