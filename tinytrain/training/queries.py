"""Further entries of a program: what a firmware can be asked beside training and evaluation.

Each is made of the forward graph, and shares its parameters and the arena: ``compile_recipe(...,
queries={"features": features})``. ``Session.query`` asks, and C calls ``tt_model_query_features``.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import SchemeError
from ..ir import Graph


def features(forward: Graph) -> Graph:
    """What the head reads, int8 ``[T, C]``: of a classifier ``[1, C]``, the pooled vector.

    Raises SchemeError for a model whose output comes from nothing that has an input.
    """
    (logits,) = forward.outputs
    for node in forward.nodes:
        if logits in node.outputs and (source := node.inputs[0]) is not None:
            return replace(forward, outputs=(source,))
    raise SchemeError("the model has no layer before its logits, so there are no features to ask")
