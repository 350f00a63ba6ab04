"""What a scheme is worth on the samples that a device has seen: Fisher information by MAC.

The mean over samples of the squared gradient of the loss, by weight LSBs, of all that the scheme
trains (Theis et al. 2018), divided by the MACs of its step (TinyTrain, Kwon et al. 2024; memory is
the same for all, as they share one arena). A training step measures squared gradients anyway: the
moment V of the LSB-normalised step is their mean over a tensor. A firmware of several schemes runs
the steps of all at rate 0, which changes nothing but V, and takes the scheme that is worth most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import Graph

ONE = np.float32(2**24)  # of a worth: nat^2 * 2^-24
MOST = 2**32 - 1


@dataclass(frozen=True)
class Term:
    """Of one tensor: its moment, which counts ``factor`` times."""

    moment: str
    factor: np.float32


def terms_of(graph: Graph, share: float = 1.0) -> tuple[Term, ...]:
    """The terms of a training step, times ``share``; none where its rule keeps no moments."""
    found = []
    for node in graph.nodes:
        moments = [n for n in node.reads if n in graph.params and graph.params[n].role == "moment"]
        if node.op.updates and moments:
            weight, _ = node.overwrites()[0]
            factor = np.float32(share * weight.type.size * node.attrs["nats"] ** 2)
            found.append(Term(moments[0], factor))
    return tuple(found)


def worth_q24(terms: Sequence[Term], state: Mapping[str, Any]) -> int:
    """Fisher information in nat^2 * 2^-24; float32 sums in order, as in C."""
    total = np.float32(0)
    for term in terms:
        total = np.float32(total + np.float32(term.factor * state[term.moment][0]))
    scaled = np.float32(total * ONE)
    return MOST if scaled >= np.float32(2**32) else int(scaled)
