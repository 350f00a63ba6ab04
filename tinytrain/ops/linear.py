"""Linear layers: forward and input gradient.

A layer's weight ``[O, C]`` may be split: frozen rows packed in flash (``w``), trained rows packed
in SRAM (``wt``), ``rows[o]`` >= 0 the index of a trained row, otherwise ``~rows[o]`` that of a
frozen one. Without ``rows``, ``w`` is the whole weight. The bias is split the same way where ``bt``
is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types, Value
from ..ir.numerics import clamp, multiplier, quantize_rows, requantize, stream_key
from .accumulate import collects
from .base import Backward, Grad, exact_matmul, need, need_gradient, scales_of
from .elementwise import spread_rows
from .update import (
    BIAS_LIMIT,
    SHAPES,
    codes,
    linear_bias_update_s32,
    linear_update_s8,
    panel_bytes,
    split_rows,
)


def merge_rows(whole: Array, trained: Array | None, rows: Array | None) -> Array:
    """The full ``[O, ...]`` tensor of a split one."""
    if rows is None or trained is None:
        return whole
    full = np.empty((len(rows), *whole.shape[1:]), whole.dtype)
    full[rows >= 0] = trained[rows[rows >= 0]]
    full[rows < 0] = whole[~rows[rows < 0]]
    return full


def out_channels(w: Type, wt: Type | None, rows: Type | None) -> int:
    return rows.shape[0] if rows is not None and wt is not None else w.shape[0]


def _infer(dtype: str) -> Any:
    def infer(types: Types, attrs: Attrs) -> tuple[Type]:
        x, w, wt, rows, b, bt, mult, shift = types
        x, w = need(x, "i8", 2), need(w, "i8", 2)
        outs = out_channels(w, wt, rows)
        mult = need(mult, "i32", 1)
        if w.shape[1] != x.shape[1]:
            raise ShapeError(f"linear: weight {w} does not fit input {x} (channels differ)")
        if mult.shape[0] not in (1, outs) or shift is None or shift.shape != mult.shape:
            raise ShapeError(f"linear: {mult.shape[0]} multipliers for {outs} output channels")
        if b is None or out_channels(b, bt, rows) != outs:
            raise ShapeError(f"linear: bias {b} for {outs} output channels")
        return (Type((x.shape[0], outs), dtype, attrs["scale"]),)

    return infer


def _forward(limit: int, dtype: Any) -> Any:
    def ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array]:
        x, w, wt, rows, b, bt, mult, shift = ins
        acc = exact_matmul(x, merge_rows(w, wt, rows).T) + merge_rows(b, bt, rows)
        return (clamp(requantize(acc, mult, shift), limit, dtype),)

    return ref


def _dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    x, mult, y = ins[0], ins[6], outs[0]
    assert x and mult and y
    return {"T": x.shape[0], "C": x.shape[1], "O": y.shape[1], "per_channel": mult.shape[0] > 1}


def _real(ins: Sequence[Any], attrs: Attrs) -> Array:
    x, w, wt, rows, b, bt, *_ = ins
    return np.asarray(x @ merge_rows(w, wt, rows).T + merge_rows(b, bt, rows))


def _macs(types: Types, attrs: Attrs) -> int:
    x, w, wt, rows = types[:4]
    assert x and w
    return x.size * out_channels(w, wt, rows)


def _grad(b: Backward, node: Node, grads: tuple[Grad | None, ...], wanted: tuple[bool, ...]) -> Any:
    """dX, then the updates: the input gradient reads the weights of before the step. A sum over
    rows needs one exponent for all of them."""
    x, w, wt, rows, bias, bt, *_ = node.inputs
    gy = grads[0]
    assert gy and x and w and bias
    if node.op is linear_s8:
        gy = b.clip(gy, node)
    scales = w.type.scale
    if isinstance(scales, tuple):
        gy = b.fold_channel_scales(gy, scales, node)
    name = node.layer or node.name
    gx = b.input_gradient(linear_dx_s8, gy, [w, wt, rows], w_scale(gy, w), f"{name}.dx", node) \
        if wanted[0] else None  # fmt: skip
    trains_w, trains_b = wanted[2 if wt else 1], wanted[5 if bt else 4]
    if trains_w and not wt and collects(x.type.shape[0], *w.type.shape):
        b.collect_weight(gy, x, w, node)
        trains_w = False
    if trains_w or trains_b:
        gy = b.aligned(gy)
    if trains_w:
        b.update_weight(linear_update_s8, gy, x, wt or w, rows if wt else None, node)
    if trains_b:
        b.update_bias(linear_bias_update_s32, gy, x, bt or bias, rows if bt else None, node)
    return (gx, *[None] * 7)


def w_scale(gy: Grad, w: Value) -> float:
    """Real factor of sum_o G[o] * Wq[o]: the product of both scales, which is one for all o (taken
    where the weight's scale is largest and the gradient's was rounded least)."""
    g, s = scales_of(gy.value.type), scales_of(w.type)
    widest = int(np.argmax(s))
    return float(g[widest if len(g) > 1 else 0] * s[widest])


def _dx_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, e, w, wt, rows = types
    g, w = need_gradient(need(g, rank=2), e), need(w, "i8", 2)
    if out_channels(w, wt, rows) != g.shape[1]:
        raise ShapeError(f"linear_dx: gradient {g} does not fit weight {w}")
    return Type((g.shape[0], w.shape[1]), "i8", attrs["scale"]), need(e)


def _dx_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, w, wt, rows = ins
    acc = exact_matmul(g, merge_rows(w, wt, rows))
    key = stream_key(step.seed, step.step, attrs["stream"])
    return quantize_rows(acc, e, attrs["exp_add"], key)


def _dx_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, gx = ins[0], outs[0]
    assert g and gx
    return {"T": g.shape[0], "C": gx.shape[1], "O": g.shape[1],
            "exp_add": attrs["exp_add"], "stream": attrs["stream"]}  # fmt: skip


def _forward_room(ins: Types, attrs: Attrs) -> int:
    """Panels of two rows of the weight and of all rows of x; of two rows where there are few."""
    rows, channels = need(ins[0]).shape
    pair = panel_bytes(channels)
    return pair if rows <= 3 else pair * (1 + (rows + 1) // 2)


def _dx_scratch(ins: Types, attrs: Attrs) -> int:
    """Accumulators of two rows, which share the loads of the weight."""
    return 4 * min(2, need(ins[0]).shape[0]) * need(ins[2]).shape[1]


def _dx_room(ins: Types, attrs: Attrs) -> int:
    """A panel of two rows of g, and panels of columns of the weight and sums of rows: all columns
    and two rows, or 16 columns and all rows."""
    (rows, outs), channels = need(ins[0]).shape, need(ins[2]).shape[1]
    pair, columns = panel_bytes(outs), (channels + 3) // 4 * 4
    by_weight = columns // 2 * pair + 2 * 4 * columns
    by_rows = min(16, columns) // 2 * pair + (rows + 1) // 2 * 2 * 4 * columns
    return pair + min(by_weight, by_rows)


def _forward_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c, o in SHAPES:
        for split in (False, True):
            for channels in (1, o):
                x, w = codes(rng, t, c), codes(rng, o, c)
                bias = rng.integers(-3000, 3000, o).astype(np.int32)
                pairs = [multiplier(r) for r in rng.uniform(0.5, 2.0, channels) / (80 * c**0.5)]
                mult, shift = (np.array(p, np.int32) for p in zip(*pairs, strict=True))
                wt = bt = rows = None
                if split and o > 1:
                    w, wt, rows = split_rows(rng, w)
                    b_frozen, bt = bias[rows < 0], bias[rows >= 0]
                    bias = b_frozen
                ins = (x, w, wt, rows, bias, bt, mult, shift)
                cases.append(Case(ins, {"scale": 0.05}, label=f"T{t} C{c} O{o} split={split}"))
    return cases


def _dx_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c, o in SHAPES:
        w, wt, rows = codes(rng, o, c), None, None
        if o > 1:
            w, wt, rows = split_rows(rng, w)
        attrs = {"stream": int(rng.integers(99)), "exp_add": -3, "scale": 0.7}
        ins = (*spread_rows(rng, codes(rng, t, o)), w, wt, rows)
        cases.append(Case(ins, attrs, label=f"T{t} C{c} O{o}"))
    return cases


def _forward_bound(types: Types, attrs: Attrs) -> int:
    x = types[0]
    assert x
    return x.shape[-1] * 127 * 127 + BIAS_LIMIT


linear_s8 = Op(
    "linear_s8", _infer("i8"), _forward(127, np.int8), _dims, real=_real, macs=_macs, grad=_grad,
    room=_forward_room, bound=_forward_bound, rowwise=(0,), examples=_forward_examples,
)  # fmt: skip
linear_s16 = Op(
    "linear_s16", _infer("i16"), _forward(32767, np.int16), _dims, real=_real, macs=_macs,
    grad=_grad, room=_forward_room, bound=_forward_bound, rowwise=(0,),
    examples=_forward_examples,
)  # fmt: skip
linear_dx_s8 = Op(
    "linear_dx_s8", _dx_infer, _dx_ref, _dx_dims, uses_step=True, scratch=_dx_scratch,
    room=_dx_room, inplace=((1, 1),),
    macs=lambda ins, a: need(ins[0]).size * need(ins[2]).shape[1],
    bound=lambda ins, a: 2 * 127 * 127 * need(ins[0]).shape[1],  # stochastic rounding: 2**30
    rowwise=(0, 1), examples=_dx_examples,
)  # fmt: skip
OPS = (linear_s8, linear_s16, linear_dx_s8)
