"""Sequence pooling, recognised at ``softmax(scores, dim=tokens)^T x`` with one score a token."""

from __future__ import annotations

from ..ops import floating
from .lowering import POOLING, Lowering
from .records import Act, Weights, counted, in_order


def weights(lo: Lowering, x: Act, dim: int) -> Weights | None:
    """The softmax of one score a token, over the tokens; None when it is another."""
    if x.index.numel() != x.index.shape[dim]:
        return None
    scores = Act(x.source, x.index.reshape(-1, 1), x.factor, x.place, x.node)
    return Weights(scores, counted(*x.index.shape))


def attend(lo: Lowering, w: Weights, x: Act) -> Act:
    """``w[1, 1, T] @ x[1, T, C]`` -> ``[1, 1, C]``."""
    heads, tokens, channels = x.index.shape
    if heads != 1 or w.index.shape != (1, 1, tokens) or not in_order(w.index):
        lo.refuse("the softmax over tokens is not multiplied with all tokens, each once", POOLING)
    rows = lo.gather(x, x.index[0], scaled=False)
    value = lo.emit(floating.sequence_pool, [rows, lo.rows(w.scores)], lo.path)
    return Act(value, counted(1, 1, channels), x.factor, x.place)
