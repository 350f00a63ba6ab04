"""Cross entropy over int16 logits ``[T, V]`` whose scale is fixed at 2**-8 nat, and its gradient.

Labels are int16 ``[T]``; -1, or any that is no class, means that the row does not count. Loss and
gradient go row by row; ``metrics_s32`` sums what is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Build, Case, Op, Step, Type, Types, Value
from ..ir.numerics import bit_length, quantize_rows, split_scale, stream_key
from ..ir.tables import EXP16, EXP256, LN128
from .base import Backward, Grad, need

LOGIT_SCALE = 2.0**-8
LOSS_SCALE = 2.0**-16  # nat of one step of a loss
MAX_CLASSES = 32767
ONE = 2**15  # a probability of one


def gradient_attrs(rows: int) -> dict[str, Any]:
    """Scale and exponent of the gradient of the loss averaged over ``rows``."""
    scale, exp_add = split_scale(1 / (ONE * rows))
    return {"scale": scale, "exp_add": exp_add}


def loss_metrics(b: Build, logits: Value, labels: Value) -> Value:
    """The nodes of the reported ``i32[3]``: sum of the losses, rows that are right, that count."""
    loss, verdict = b.node(row_loss_s16, [logits, labels], "loss")
    (metrics,) = b.node(metrics_s32, [loss, verdict], "metrics")
    return metrics


def loss_gradient(b: Backward, logits: Value, labels: Value, name: str, layer: str = "") -> Grad:
    """The node where the backward pass starts: gradient of the mean loss over all T rows."""
    attrs = {**gradient_attrs(logits.type.shape[0]), "stream": b.stream()}
    return Grad(*b.node(cross_entropy_grad_s16, [logits, labels], name, layer=layer, **attrs))


def _check(types: Types) -> tuple[Type, Type]:
    logits, labels = need(types[0], "i16", 2), need(types[1], "i16", 1)
    if labels.shape[0] != logits.shape[0]:
        raise ShapeError(f"cross_entropy: labels {labels} for logits {logits}")
    if logits.shape[1] > MAX_CLASSES:
        raise ShapeError(f"cross_entropy: {logits.shape[1]} classes (limit {MAX_CLASSES})")
    if logits.scale not in (None, LOGIT_SCALE):
        raise ShapeError(f"cross_entropy: the scale of logits is 2**-8, not {logits.scale}")
    return logits, labels


def _exponentials(logits: Array) -> tuple[Array, Array]:
    """65535 exp(a - max a) for each logit, and their sum by row."""
    wide = logits.astype(np.int64)
    d = np.minimum(wide.max(axis=1, keepdims=True) - wide, 4095)
    e = (EXP16[d >> 4].astype(np.int64) * EXP256[d & 15] + 2**14) >> 15
    return e, e.sum(axis=1, keepdims=True)


def _counted(labels: Array, classes: int) -> Array:
    return np.flatnonzero((labels >= 0) & (labels < classes))


def log_q16(x: int) -> int:
    """2**16 ln(x), x in [1, 2**32): the exponent, seven bits by table, linear between."""
    exponent = bit_length(x) - 1
    m = x << (31 - exponent)
    i, part = (m >> 24) & 127, (m >> 8) & 0xFFFF
    low, high = int(LN128[i]), int(LN128[i + 1])
    return exponent * int(LN128[128]) + low + (((high - low) * part + 2**15) >> 16)


def _row_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    logits, labels = ins
    _, sums = _exponentials(logits)
    loss = np.zeros(len(labels), np.int32)
    verdict = np.full(len(labels), -1, np.int8)
    for t in _counted(labels, logits.shape[1]):
        best = int(logits[t].argmax())
        far = int(logits[t, best]) - int(logits[t, labels[t]])
        loss[t] = log_q16(int(sums[t, 0])) - log_q16(65535) + far * 256
        verdict[t] = best == labels[t]
    return loss, verdict


def _metrics_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
    loss, verdict = ins
    total = min(int(loss.sum(dtype=np.int64)), 2**31 - 1)
    return (np.array([total, np.sum(verdict == 1), np.sum(verdict >= 0)], np.int32),)


def _grad_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    logits, labels = ins
    e, sums = _exponentials(logits)
    rows = _counted(labels, logits.shape[1])
    acc = np.zeros(logits.shape, np.int64)
    acc[rows] = (e[rows] * ONE + sums[rows] // 2) // sums[rows]
    acc[rows, labels[rows]] -= ONE
    key = stream_key(step.seed, step.step, attrs["stream"])
    return quantize_rows(acc, np.zeros(len(labels)), attrs["exp_add"], key)


def _row_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    rows = _check(types)[0].shape[0]
    return Type((rows,), "i32"), Type((rows,), "i8")


def _metrics_infer(types: Types, attrs: Attrs) -> tuple[Type]:
    loss, verdict = need(types[0], "i32", 1), need(types[1], "i8", 1)
    if loss.shape != verdict.shape:
        raise ShapeError(f"metrics: losses {loss} and verdicts {verdict} differ in shape")
    return (Type((3,), "i32"),)


def _grad_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    logits, labels = _check(types)
    return Type(logits.shape, "i8", attrs["scale"]), Type(labels.shape, "i16")


def _row_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    rows, classes = need(ins[0]).shape
    return {"T": rows, "V": classes}


def _grad_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    return {**_row_dims(ins, outs, attrs), "exp_add": attrs["exp_add"], "stream": attrs["stream"]}


def _examples(attrs: dict[str, Any]) -> Any:
    def examples(rng: np.random.Generator) -> list[Case]:
        cases = []
        for t, v in ((1, 1), (1, 3), (3, 17), (17, 5), (16, 97), (3, 1)):
            for spread in (3, 700, 32767):
                logits = rng.integers(-spread - 1, spread + 1, (t, v)).astype(np.int16)
                labels = rng.integers(0, v, t).astype(np.int16)
                cases.append((logits, labels, f"T{t} V{v} spread {spread}"))
                masked = rng.choice([-1, 0, v - 1, v, 32767, -32768], t).astype(np.int16)
                cases.append((logits, masked, f"T{t} V{v} spread {spread} masked"))
        top = np.full((3, 4), 32767, np.int16)
        top[:, 2] = -32768
        cases.append((top, np.full(3, 2, np.int16), "the largest loss"))
        cases.append((top, np.full(3, -1, np.int16), "no row counts"))
        cases.append((np.zeros((5, 40), np.int16), np.zeros(5, np.int16), "all equal"))
        cases.append((np.zeros((1, 32767), np.int16), np.zeros(1, np.int16), "most classes"))
        scales = (LOGIT_SCALE, None)
        return [Case((a, y), dict(attrs), scales, label) for a, y, label in cases]

    return examples


def _metrics_examples(rng: np.random.Generator) -> list[Case]:
    cases = [
        Case((rng.integers(0, 2**24, t).astype(np.int32), rng.integers(-1, 2, t).astype(np.int8)),
             label=f"T{t}")
        for t in (1, 3, 17)
    ]  # fmt: skip
    full, wrong = np.full(130, 2**24, np.int32), np.zeros(130, np.int8)
    cases.append(Case((full, wrong), label="the sum of losses saturates"))
    exact = np.array([2**31 - 1, 0, 1], np.int32)
    return [*cases, Case((exact, np.zeros(3, np.int8)), label="the largest loss")]


row_loss_s16 = Op(
    "row_loss_s16", _row_infer, _row_ref, _row_dims, rowwise=(0, 1), examples=_examples({}),
)  # fmt: skip
metrics_s32 = Op(
    "metrics_s32", _metrics_infer, _metrics_ref,
    lambda ins, outs, a: {"T": need(ins[0]).shape[0]}, examples=_metrics_examples,
)  # fmt: skip
cross_entropy_grad_s16 = Op(
    "cross_entropy_grad_s16", _grad_infer, _grad_ref, _grad_dims, uses_step=True, rowwise=(0, 1),
    examples=_examples({**gradient_attrs(7), "stream": 4}),
)  # fmt: skip
OPS = (row_loss_s16, metrics_s32, cross_entropy_grad_s16)
