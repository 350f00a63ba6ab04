"""The training steps of a firmware: one a scheme, over one forward graph and one arena.

All that any scheme trains lies in SRAM, so that evaluation is the same for all and what one scheme
has learned stays when another goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..ir import Graph
from ..ir.prune import prune
from ..recipe import Optimizer
from .autodiff import CLASSES, differentiate
from .fisher import Term, terms_of
from .objective import Objective


def steps_of(
    forward: Graph, optimizer: Optimizer, trained: Mapping[str, frozenset[str]],
    objective: Objective = CLASSES,
) -> dict[str, Graph]:  # fmt: skip
    """The training step of each scheme by its name. ``trained``: what ``scheme.apply_schemes`` says
    that it trains. Several schemes have moments of their own: each trains as if it were alone."""
    owns = {name: f"{name}/" if len(trained) > 1 else "" for name in trained}
    return {
        name: prune(differentiate(forward, optimizer, chosen, owns[name], objective))
        for name, chosen in trained.items()
    }


def terms_by_scheme(
    steps: Mapping[str, Graph], by: Literal["step", "mac"]
) -> dict[str, tuple[Term, ...]]:
    """Of several schemes the terms of their worth, by MAC in units of the dearest step."""
    if len(steps) == 1:
        return dict.fromkeys(steps, ())
    dearest = max(step.macs() for step in steps.values())
    shares = {n: dearest / step.macs() if by == "mac" else 1.0 for n, step in steps.items()}
    return {name: terms_of(step, shares[name]) for name, step in steps.items()}
