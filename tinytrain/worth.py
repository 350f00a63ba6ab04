"""What a step of a scheme is worth, to first order, from the moments that its training keeps.

The LSB-normalised step moves a weight by ``rate * g / sqrt(V)`` weight LSBs, with V the mean of g^2
over its tensor. To first order that lowers the loss of the sample by the sum over tensors of

    rate * n * sqrt(V),    n: weights of the tensor, g and V in nats by LSB

V is what the step measures anyway. A firmware of several schemes runs the steps of all at rate 0,
which changes nothing but V, and takes the scheme that is worth most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .ir import Graph
from .numerics import sqrtf

ONE = np.float32(65536)  # of a worth: nat * 2^-16 at rate 1
MOST = 2**32 - 1


@dataclass(frozen=True)
class Term:
    """Of one tensor: its moment, whose root times ``nats`` is its part of the worth."""

    moment: str
    nats: np.float32


def terms_of(graph: Graph, share: float = 1.0) -> tuple[Term, ...]:
    """The terms of a training step, times ``share``; none where its rule keeps no moments."""
    found = []
    for node in graph.nodes:
        moments = [v for v in node.inputs if v and v.name.endswith(".moment")]
        if node.op.updates and moments:
            (size,) = (old.type.size for old, _ in node.overwrites()[:1])
            nats = np.float32(share * size * node.attrs["nats"])
            found.append(Term(moments[0].name, nats))
    return tuple(found)


def worth_q16(terms: Sequence[Term], state: Mapping[str, Any]) -> int:
    """Nats * 2^16 that a step at rate 1 takes off the loss; float32 sums in order, as in C."""
    total = np.float32(0)
    for term in terms:
        total = np.float32(total + np.float32(term.nats * sqrtf(state[term.moment][0])))
    scaled = np.float32(total * ONE)
    return MOST if scaled >= np.float32(2**32) else int(scaled)
