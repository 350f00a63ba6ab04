"""What kernels and training steps are to reach, and how they are compared with it.

Instructions on the emulated Cortex-M4, per MAC or element; the M7 may need 5 % more. The forward
figure of a product of M x K x N is also that of gradients, times 1.15: the input gradient of a
layer of T x C x O is a product of T x O x C; its weight gradient counts at the layer's shape, and
each weight's step, which no product has, at the figure of a weight's step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

M4, M7, M55 = "qemu_mps2_an386", "qemu_mps2_an500", "qemu_mps3_an547"
M7_ALLOWANCE = 1.05
GRADIENT = 1.15  # times the forward figure
CYCLES = 1.25  # estimated, per MAC of a forward product over 64 channels or more
RATIO = 2.3  # at least, of a peer's instructions to ours
WEIGHT_STEP = 14.0
FORWARD = {
    (64, 64, 64): 0.78, (64, 64, 256): 0.75, (64, 256, 64): 0.70, (128, 128, 128): 0.70,
    (64, 16, 64): 1.07, (64, 64, 16): 0.81, (1, 128, 512): 0.96,
}  # fmt: skip
FORWARDS = ("linear_s8", "linear_packed_s8")  # of one token: with the weight laid out for it
ELEMENT = {
    "softmax forward": 22.0, "softmax backward": 15.0, "layernorm_s8": 25.0,
    "layernorm_dx_s8": 30.0, "lut_s8": 4.0, "lut_dx_s8": 6.0, "add_s8": 8.0,
    "weight_step_s8": WEIGHT_STEP,
}  # fmt: skip
M55_PRODUCT = ((64, 64, 64), 0.35)
STEP_PER_MAC = {"har": 1.35, "char_lm": 1.35}
CODE_BYTES = {"har": 40 * 1024}
HOST_RATIO = {"har": 5.0, "char_lm": 2.0}  # steps a second on the host, times PyTorch's


@dataclass(frozen=True)
class Target:
    """A figure that a key of a row should reach: at most, or at least."""

    key: str
    figure: float
    at_least: bool = False

    def met(self, measured: float) -> bool:
        return measured >= self.figure if self.at_least else measured <= self.figure


def _product(kernel: str, t: int, c: int, o: int) -> float | None:
    """Instructions per MAC of a layer's kernel."""
    if kernel in FORWARDS:
        return FORWARD.get((t, c, o)) if kernel == FORWARDS[t == 1] else None
    if kernel == "linear_dx_s8":
        found = FORWARD.get((t, o, c)) or FORWARD.get((t, c, o))
        return GRADIENT * found if found else None
    if kernel == "linear_update_s8" and (t, c, o) in FORWARD:
        return GRADIENT * FORWARD[t, c, o] + WEIGHT_STEP / t
    return None


def of_kernel(row: Mapping[str, Any]) -> list[Target]:
    """The targets of a row of ``kernels.py``; the first, if any, is that of its instructions."""
    kernel, board = row["kernel"], row["target"]
    shape = tuple(map(int, row["shape"].split("x"))) if kernel.startswith("linear_") else ()
    if row.get("room") == "least":
        return []  # what the fastest variant has no memory for
    if board == M55:
        known = kernel == "linear_s8" and shape == M55_PRODUCT[0]
        return [Target("per_mac", M55_PRODUCT[1])] if known else []
    if board not in (M4, M7):
        return []
    figure = _product(kernel, *shape) if len(shape) == 3 else ELEMENT.get(kernel)
    if figure is None:
        return []
    allowance = M7_ALLOWANCE if board == M7 else 1.0
    found = [Target("per_mac" if shape else "per_element", figure * allowance)]
    if kernel in FORWARDS and board == M4 and shape[1] >= 64:
        found.append(Target("estimated_cycles_per", CYCLES))
    if row.get("ratio") is not None and board == M4:
        found.append(Target("ratio", RATIO, at_least=True))
    return found


def of_step(row: Mapping[str, Any]) -> list[Target]:
    """The targets of a row of ``step.py``."""
    if row["board"] != M4 or row["phase"] != "all":
        return []
    tables = (("per_mac", STEP_PER_MAC), ("code_bytes", CODE_BYTES))
    return [Target(key, table[row["model"]]) for key, table in tables if row["model"] in table]


def of_host(row: Mapping[str, Any]) -> list[Target]:
    """The target of a row of ``host.py``, if there is one."""
    known = HOST_RATIO.get(row["model"])
    return [Target("ratio", known, at_least=True)] if known else []


def compared(
    rows: Iterable[tuple[Mapping[str, Any], list[Target]]], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """A row for each target; ``names``: the keys that say what was measured."""
    return [
        {**{k: row[k] for k in names}, "figure": t.key, "measured": row[t.key],
         "target": t.figure, "at": "least" if t.at_least else "most",
         "met": "met" if t.met(row[t.key]) else "MISSED"}
        for row, targets in rows for t in targets if row[t.key] is not None
    ]  # fmt: skip
