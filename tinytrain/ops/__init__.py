"""Every integer operator, by name. A family is a module with a tuple ``OPS``."""

from __future__ import annotations

from ..ir import Op
from . import (
    accumulate,
    attention,
    attention_fused,
    attention_grad,
    conv,
    elementwise,
    gradient,
    linear,
    loss,
    norm,
    packed,
    pool,
    tokens,
    update,
)

FAMILIES = (
    linear, packed, update, norm, elementwise, tokens, attention, attention_grad, attention_fused,
    loss, gradient, conv, pool, accumulate,
)  # fmt: skip
REGISTRY: dict[str, Op] = {op.name: op for family in FAMILIES for op in family.OPS}
