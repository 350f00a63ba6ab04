"""Why each layer is in a selected scheme, or out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..compiler import silent
from .choose import Selected
from .options import NOTHING, Choice, Option


@dataclass(frozen=True)
class Reason:
    """``gain``: of what trains, or of what would pay best, on its own; nats a label."""

    layer: str
    trains: str
    gain: float
    state_bytes: int
    why: str


def explain(found: Selected, say: Callable[[str], None] = silent) -> list[Reason]:
    """One reason a layer, in forward order. Asks the planner about what could be added and has a
    better gain per byte than something that is in."""
    memory, inside = found.memory, found.choice
    least = min((_rate(found, n, o) for n, o in inside.items() if o != NOTHING), default=0.0)
    reasons = []
    for layer in memory.layers:
        option = inside.get(layer.name, NOTHING)
        if option != NOTHING:
            reasons.append(_inside(found, layer.name, option))
        else:
            say(f"explaining {layer.name}")
            reasons.append(_outside(found, layer.name, least))
    return reasons


def _gain(found: Selected, name: str, option: Option) -> float:
    return found.analysis.values.gain[name].get(option, 0.0)


def _bytes(found: Selected, name: str, option: Option) -> int:
    """Of an option that is none of the search's, those of the smallest that covers it."""
    sizes = found.memory.bytes[name]
    if option in sizes:
        return sizes[option]
    return min((size for o, size in sizes.items() if o.covers(option)), default=max(sizes.values()))


def _rate(found: Selected, name: str, option: Option) -> float:
    """Gain per KB of states."""
    return 1024 * _gain(found, name, option) / max(1, _bytes(found, name, option))


def _inside(found: Selected, name: str, option: Option) -> Reason:
    gain, rate = _gain(found, name, option), _rate(found, name, option)
    why = f"{rate:+.3f} nats a KB"
    if gain <= 0:
        why = "no gain alone; in the best scheme that was trained"
    return Reason(name, str(option), gain, _bytes(found, name, option), why)


def _outside(found: Selected, name: str, least: float) -> Reason:
    memory = found.memory
    options = [o for o in memory.options[name] if o != NOTHING]
    option = max(options, key=lambda o: _gain(found, name, o))
    gain, size = _gain(found, name, option), memory.bytes[name][option]
    rate = _rate(found, name, option)
    if gain <= 0:
        why = "training it alone does not lower the validation loss"
    elif (over := _over(found, {**found.choice, name: option})) > 0:
        why = f"{option} would need {over:,} bytes more than there are"
    elif rate < least:
        why = f"{rate:+.3f} nats a KB, less than anything that is in"
    elif any(name in c.choice for c in found.candidates):
        why = "it would fit; what was trained with it validated lower"
    else:
        why = "it would fit; no scheme with it was tried"
    return Reason(name, "nothing", gain, size, why)


def _over(found: Selected, choice: Choice) -> int:
    """Bytes beyond the budget: by the states and the facts if that settles it, or by a plan."""
    memory = found.memory
    known = all(o in memory.bytes[name] for name, o in choice.items())
    budget = memory.board.sram_budget_bytes
    if known and (least := memory.least_bytes(choice)) > budget:
        return least - budget
    return memory.need(memory.scheme(choice)).sram_bytes - budget
