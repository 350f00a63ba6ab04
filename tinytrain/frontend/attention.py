"""Attention, recognised at ``softmax(mask(scale(q k^T))) v``: the rules for products and scores."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..ops import floating
from . import pooling
from .explain import short_name
from .lowering import ATTENTION, POOLING, Lowering
from .records import Act, Const, Projection, Record, Scores, Weights, counted, in_order, move

SHAPES = ("view", "permute", "squeeze", "unsqueeze", "clone", "select", "alias")
HIDES = -1e4  # a mask that adds this or less hides, as -inf does
MASKS = "is_causal=True, a causal mask (True or -inf above the diagonal), or no mask"


def mm(lo: Lowering, a: Record, b: Record) -> Record:
    """``[n, m] @ [m, p]``."""
    product = bmm(lo, move(a, lambda t: t.unsqueeze(0)), move(b, lambda t: t.unsqueeze(0)))
    return move(product, lambda t: t.squeeze(0))


def bmm(lo: Lowering, a: Record, b: Record) -> Record:
    """``[H, n, m] @ [H, m, p]``: a linear layer, attention scores, or attention."""
    if isinstance(a, Act) and isinstance(b, Const):
        if len(b.tensor) > 1:
            lo.refuse("a product with a constant in each head (learned queries, weights of a "
                      "head) is not one linear layer", "nn.Linear")  # fmt: skip
        return project(lo, a, move(b, lambda t: t[0].T), None)
    if isinstance(a, Scores) and isinstance(b, Act) and a.done:
        return attend(lo, a, b)
    if isinstance(a, Weights) and isinstance(b, Act):
        return pooling.attend(lo, a, b)
    if isinstance(a, Act) and isinstance(b, Act):
        heads, tokens, _ = a.index.shape
        k = move(b, lambda t: t.transpose(1, 2))
        index = counted(heads, tokens, k.index.shape[1])
        return Scores(a, k, 1.0, torch.zeros(index.shape), index)
    if isinstance(b, Scores | Weights) or (isinstance(a, Const) and isinstance(b, Act)):
        swapped = bmm(lo, *(move(r, lambda t: t.transpose(1, 2)) for r in (b, a)))
        return move(swapped, lambda t: t.transpose(1, 2))
    lo.refuse("a product of this kind is neither a linear layer nor attention", ATTENTION)


def project(lo: Lowering, x: Act, weight: Const, bias: Const | None) -> Act:
    """A linear layer on the last axis: ``x[..., C]``, weight ``[O, C]``, bias ``[O]``."""
    outs = weight.tensor.shape[0]
    value = lo.rows(x)
    layer = lo.layer_of(weight)
    part = bool(weight.name) and _whole(lo, weight.name) != weight.tensor.numel()
    offsets = bias.tensor if bias else None
    source = Projection(value, weight.tensor, offsets, layer, part, lo.current)
    return Act(source, counted(*x.index.shape[:-1], outs))


def _whole(lo: Lowering, name: str) -> int:
    try:
        return lo.model.get_parameter(name).numel()
    except AttributeError:
        return lo.model.get_buffer(name).numel()


def masked(lo: Lowering, scores: Scores, mask: Tensor) -> Scores:
    """Scores with ``mask`` (broadcast to the shape that torch sees) added."""
    if scores.done:
        lo.refuse("a mask after the softmax is not supported", MASKS)
    hidden = scores.hidden.reshape(-1).clone()
    flat = scores.index.reshape(-1)
    hidden[flat] += mask.to(torch.float32).expand(scores.index.shape).reshape(-1)
    return replace(scores, hidden=hidden.reshape(scores.hidden.shape))


def scaled(lo: Lowering, scores: Scores, factor: float) -> Scores:
    if scores.done or (factor <= 0 and bool((scores.hidden != 0).any())):
        lo.refuse("scores may be scaled before the softmax only, by a positive number")
    return replace(scores, factor=scores.factor * factor, hidden=scores.hidden * factor)


def softmax(lo: Lowering, x: Record, dim: int, half_to_float: bool = False) -> Scores | Weights:
    """The softmax of attention, over the keys of each query; or that of sequence pooling."""
    if not isinstance(x, Scores) or x.done:
        node = lo.current
        while node is not None and len(node.users) == 1 and node.op != "output":
            node = next(iter(node.users))
            if node.op != "output" and short_name(node) not in SHAPES:
                break
        if node is not None and node.op == "output":
            lo.refuse("a softmax over the logits at the end is part of the loss and is not lowered",
                      "the model without it: return the logits")  # fmt: skip
        if isinstance(x, Act) and (found := pooling.weights(lo, x, dim)) is not None:
            return found
        lo.refuse("softmax is known inside attention and sequence pooling only",
                  f"{ATTENTION}, or {POOLING}")  # fmt: skip
    x = x if _over_keys(x, dim) else _transposed(x)
    if not _over_keys(x, dim):
        lo.refuse("this softmax does not run over the keys of attention", "softmax(dim=-1)")
    return replace(x, done=True)


def _over_keys(scores: Scores, dim: int) -> bool:
    keys = scores.hidden.shape[2]
    rows = scores.index.movedim(dim, -1)
    if rows.shape[-1] != keys:
        return False
    rows = rows.reshape(-1, keys)
    return bool((rows[:, :1] % keys == 0).all()) and torch.equal(
        rows, rows[:, :1] + torch.arange(keys)
    )


def _transposed(scores: Scores) -> Scores:
    """The same scores as k q^T."""
    heads, queries, keys = scores.hidden.shape
    swap = counted(heads, keys, queries).transpose(1, 2).reshape(-1)
    return replace(scores, q=scores.k, k=scores.q, hidden=scores.hidden.transpose(1, 2),
                   index=swap[scores.index])  # fmt: skip


def attend(lo: Lowering, weights: Scores, v: Act) -> Act:
    """``weights[H, T, T] @ v[H, T, d]``: the attention node; its output is ``[T, H d]``."""
    heads, tokens, keys = weights.hidden.shape
    q, k = weights.q, weights.k
    if not (in_order(weights.index) and v.index.shape[:2] == (heads, keys)):
        lo.refuse("the softmax is not multiplied with the values of its own heads and keys")
    width = q.index.shape[2]
    if tokens != keys or v.index.shape[2] != width:
        lo.refuse(f"{tokens} queries and {keys} keys of {width}, values of {v.index.shape[2]} "
                  "channels; attention needs as many queries as keys and equal widths",
                  "self-attention with equal head sizes")  # fmt: skip
    for act in (q, k, v):
        if act.source_shape[0] != tokens:
            lo.refuse(f"attention runs over {tokens} tokens of {act.source_shape[0]}; the batch "
                      "axis or a window was taken for the tokens",
                      "batch_first=True for [1, T, C], and full attention")  # fmt: skip
    causal = _causal(lo, weights.hidden)
    values = [
        lo.gather(a, a.index.permute(1, 0, 2).reshape(tokens, -1), role, scaled=False)
        for role, a in (("q", q), ("k", k), ("v", v))
    ]
    scale = weights.factor * q.factor * k.factor
    out = lo.emit(
        floating.attention, values, lo.path, heads=heads, causal=causal, scale=float(scale)
    )
    index = counted(tokens, heads, width).permute(1, 0, 2)
    return Act(out, index, v.factor, v.place)


def _causal(lo: Lowering, hidden: Tensor) -> bool:
    """Whether what was added hides the future (True) or nothing (False)."""
    hides = hidden <= HIDES
    if bool((hidden.masked_fill(hides, 0.0).abs() > 1e-6).any()):
        lo.refuse("a bias on the attention scores is not supported", MASKS)
    if not bool(hides.any()):
        return False
    future = torch.ones(hidden.shape, dtype=torch.bool).triu(diagonal=1)
    if not torch.equal(hides, future):
        lo.refuse("this attention mask is neither causal nor empty", MASKS)
    return True


def replaced(lo: Lowering, scores: Scores, where: Tensor, value: float) -> Record:
    """Scores with ``value`` where the constant ``where`` is True."""
    where = where.expand(scores.index.shape)
    if not bool(where.any()):
        return scores
    if scores.done or not value <= HIDES:
        lo.refuse(f"sets attention scores to {value}; a mask hides with -inf", MASKS)
    return masked(lo, scores, torch.where(where, -math.inf, 0.0))


def compared(lo: Lowering, x: Record, value: float) -> Const:
    """``x == value``: for scores and -inf it asks what the mask hides (torch's safe softmax)."""
    if not isinstance(x, Scores) or value != -math.inf:
        lo.refuse("a comparison of activations depends on the input",
                  "a mask that does not depend on the input")  # fmt: skip
    return Const((x.hidden == -math.inf).reshape(-1)[x.index])
