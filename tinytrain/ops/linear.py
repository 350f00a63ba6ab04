"""Linear layers: forward, input gradient, updates of weight and bias fused with their gradient.

A layer's weight ``[O, C]`` may be split: frozen rows packed in flash (``w``), trained rows packed
in SRAM (``wt``), ``rows[o]`` >= 0 the index of a trained row, otherwise ``~rows[o]`` that of a
frozen one. Without ``rows``, ``w`` is the whole weight. The bias is split the same way where ``bt``
is given.

int16-stored weights are two int8 planes: ``w`` = (W16 + 128) >> 8, which all products read, and
``fraction`` = W16 - 256 * w, which only the update reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Node, Op, Step, Type, Types, Value
from ..numerics import (
    apply_multiplier,
    clamp,
    float_multiplier,
    multiplier,
    pow2f,
    quantize_gradient,
    random16,
    requantize,
    scaled_float,
    sqrtf,
    stream_key,
)
from .base import Backward, Grad, exact_matmul, need, scales_of

BIAS_LIMIT = 2**30 - 1
STEP_LIMIT = 8.0  # a normalised gradient is clamped to this many standard deviations


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
    """dX, then the updates: the input gradient reads the weights of before the step."""
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
    trained_w, trained_b = (wt or w, 2 if wt else 1), (bt or bias, 5 if bt else 4)
    if wanted[trained_w[1]]:
        b.update_weight(linear_update_s8, gy, x, trained_w[0], rows if wt else None, node)
    if wanted[trained_b[1]]:
        b.update_bias(linear_bias_update_s32, gy, x, trained_b[0], rows if bt else None, node)
    return (gx, *[None] * 7)


def w_scale(gy: Grad, w: Value) -> float:
    """Real factor of sum_o G[o] * Wq[o]: the product of both scales, which is one for all o (taken
    where the weight's scale is largest and the gradient's was rounded least)."""
    g, s = scales_of(gy.value.type), scales_of(w.type)
    widest = int(np.argmax(s))
    return float(g[widest if len(g) > 1 else 0] * s[widest])


def _dx_infer(types: Types, attrs: Attrs) -> tuple[Type, Type]:
    g, e, w, wt, rows = types
    g, w, _ = need(g, "i8", 2), need(w, "i8", 2), need(e, "i32", 1)
    if out_channels(w, wt, rows) != g.shape[1]:
        raise ShapeError(f"linear_dx: gradient {g} does not fit weight {w}")
    return Type((g.shape[0], w.shape[1]), "i8", attrs["scale"]), Type((1,), "i32")


def _dx_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array, Array]:
    g, e, w, wt, rows = ins
    acc = exact_matmul(g, merge_rows(w, wt, rows))
    out, shift = quantize_gradient(acc, stream_key(step.seed, step.step, attrs["stream"]))
    return out, np.array([e[0] + shift + attrs["exp_add"]], np.int32)


def _dx_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, gx = ins[0], outs[0]
    assert g and gx
    return {"T": g.shape[0], "C": gx.shape[1], "O": g.shape[1],
            "scratch_rows": _scratch_rows(ins, attrs), "exp_add": attrs["exp_add"],
            "stream": attrs["stream"]}  # fmt: skip


def _scratch_rows(ins: Types, attrs: Attrs) -> int:
    """Rows of accumulators that ``linear_dx_s8`` holds: all of them unless told otherwise."""
    return min(need(ins[0]).shape[0], int(attrs.get("scratch_rows", 2**15)))


def _dx_scratch(ins: Types, attrs: Attrs) -> int:
    return 4 * _scratch_rows(ins, attrs) * need(ins[2]).shape[1]


def _update_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array | None, ...]:
    """dW = G^T X and the step, numerics of the module's header and DESIGN.md."""
    g, e, x, w, fraction, moment, coefs, rows = ins
    order = np.arange(len(w)) if rows is None else np.flatnonzero(rows >= 0)
    acc = exact_matmul(g[:, order].T, x)
    unit = np.float32(256.0 if fraction is not None else 65536.0)
    eta = np.float32(step.learning_rate * unit)
    power = pow2f(int(e[0]))
    if moment is not None:
        factors, limit = _lsb_factor(eta, power, moment), int(np.float32(STEP_LIMIT) * eta)
        delta = apply_multiplier(acc, *float_multiplier(factors), limit)
    else:
        limit = 254 * int(unit)
        rates = [float_multiplier(np.float32(np.float32(eta * c) * power)) for c in coefs]
        each = rates if len(rates) > 1 else rates * len(w)
        channel = order if len(rates) > 1 else np.arange(len(w))
        delta = np.stack([
            apply_multiplier(a, *each[o], limit) for a, o in zip(acc, channel, strict=True)
        ])  # fmt: skip
    if fraction is not None:
        wide = np.clip(w.astype(np.int64) * 256 + fraction - delta, -32512, 32512)
        new = ((wide + 128) >> 8).astype(np.int8)
        new_fraction = (wide - new.astype(np.int64) * 256).astype(np.int8)
    else:
        noise = random16(stream_key(step.seed, step.step, attrs["stream"]), w.size)
        new = clamp((w.astype(np.int64) * 65536 - delta + noise.reshape(w.shape)) >> 16, 127)
        new_fraction = None
    return new, new_fraction, _next_moment(moment, acc, int(e[0]), step)


def _lsb_factor(eta: np.float32, power: np.float32, moment: Array) -> np.float32:
    """eta * 2^E / sqrt(V); 0 before the first moment is known."""
    if not moment[0] > 0:
        return np.float32(0)
    return np.float32(np.float32(eta * power) / sqrtf(moment[0]))


def _next_moment(moment: Array | None, acc: Array, exponent: int, step: Step) -> Array | None:
    """V <- beta V + (1 - beta) mean((2^E acc)^2); the first one is taken whole."""
    if moment is None:
        return None
    total = scaled_float(int(np.sum(acc * acc)), 2 * exponent)
    mean = np.float32(total / np.float32(acc.size))
    if not moment[0] > 0:
        return np.array([mean], np.float32)
    kept = np.float32(step.beta * moment[0])
    fresh = np.float32(np.float32(np.float32(1) - step.beta) * mean)
    return np.array([np.float32(kept + fresh)], np.float32)


def _update_infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    g, _, x, w, fraction, moment, coefs, rows = types
    g, x, w = need(g, "i8", 2), need(x, "i8", 2), need(w, "i8", 2)
    channels = rows.shape[0] if rows else w.shape[0]
    if g.shape != (x.shape[0], channels) or w.shape[1] != x.shape[1]:
        raise ShapeError(f"linear_update: gradient {g}, input {x} and weight {w} do not fit")
    if (moment is None) == (coefs is None):
        raise ShapeError("linear_update: give either the moment (lsb rule) or coefficients (sgd)")
    return w, fraction, moment


def _update_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, x, coefs = ins[0], ins[2], ins[6]
    assert g and x
    many = int(coefs is not None and coefs.shape[0] > 1)
    return {"T": g.shape[0], "C": x.shape[1], "O": g.shape[1], "per_channel": many,
            "stream": attrs["stream"]}  # fmt: skip


def _bias_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array | None, ...]:
    g, e, b, moment, coefs, rows = ins
    order = np.arange(len(b)) if rows is None else np.flatnonzero(rows >= 0)
    acc = g[:, order].astype(np.int64).sum(axis=0)
    power = pow2f(int(e[0]))
    if moment is not None:
        eta = np.float32(step.learning_rate * np.float32(attrs["unit"]))
        limit = int(min(np.float32(STEP_LIMIT) * eta, np.float32(2**24)))
        delta = apply_multiplier(acc, *float_multiplier(_lsb_factor(eta, power, moment)), limit)
    else:
        each = coefs[order] if len(coefs) > 1 else np.repeat(coefs, len(b))
        rate = [np.float32(np.float32(step.learning_rate * c) * power) for c in each]
        delta = np.array([
            apply_multiplier(a, *float_multiplier(r), 2**24) for a, r in zip(acc, rate, strict=True)
        ])  # fmt: skip
    new = np.clip(b.astype(np.int64) - delta, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    return new, _next_moment(moment, acc, int(e[0]), step)


def _bias_infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    g, _, b, moment, coefs, rows = types
    g, b = need(g, "i8", 2), need(b, "i32", 1)
    if g.shape[1] != (rows.shape[0] if rows else b.shape[0]):
        raise ShapeError(f"linear_bias_update: gradient {g} does not fit bias {b}")
    if (moment is None) == (coefs is None):
        raise ShapeError("linear_bias_update: give either the moment or coefficients")
    return b, moment


def _bias_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, coefs = ins[0], ins[4]
    assert g
    many = int(coefs is not None and coefs.shape[0] > 1)
    return {"T": g.shape[0], "O": g.shape[1], "per_channel": many}


SHAPES = ((1, 1, 1), (1, 3, 17), (3, 17, 3), (17, 5, 9), (8, 16, 12))  # T, C, O


def _codes(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-127, 128, shape).astype(np.int8)


def _split(rng: np.random.Generator, full: Array) -> tuple[Array, Array, Array]:
    """Random trained channels: (frozen, trained, rows)."""
    trained = rng.random(len(full)) < 0.5
    trained[rng.integers(len(full))] = True
    rows = np.where(trained, np.cumsum(trained) - 1, ~(np.cumsum(~trained) - 1)).astype(np.int16)
    return full[~trained], full[trained], rows


def _forward_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c, o in SHAPES:
        for split in (False, True):
            for channels in (1, o):
                x, w = _codes(rng, t, c), _codes(rng, o, c)
                bias = rng.integers(-3000, 3000, o).astype(np.int32)
                pairs = [multiplier(r) for r in rng.uniform(0.5, 2.0, channels) / (80 * c**0.5)]
                mult, shift = (np.array(p, np.int32) for p in zip(*pairs, strict=True))
                wt = bt = rows = None
                if split and o > 1:
                    w, wt, rows = _split(rng, w)
                    b_frozen, bt = bias[rows < 0], bias[rows >= 0]
                    bias = b_frozen
                ins = (x, w, wt, rows, bias, bt, mult, shift)
                cases.append(Case(ins, {"scale": 0.05}, label=f"T{t} C{c} O{o} split={split}"))
    return cases


def _dx_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c, o in SHAPES:
        w, wt, rows = _codes(rng, o, c), None, None
        if o > 1:
            w, wt, rows = _split(rng, w)
        e = rng.integers(-40, 4, 1).astype(np.int32)
        ins = (_codes(rng, t, o), e, w, wt, rows)
        for held in {1, 2, t}:
            attrs = {"stream": int(rng.integers(99)), "exp_add": -3, "scale": 0.7}
            attrs["scratch_rows"] = held
            cases.append(Case(ins, attrs, label=f"T{t} C{c} O{o} rows {held}"))
    return cases


def _update_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c, o in SHAPES:
        for wide in (False, True):
            for rule in ("lsb", "first", "sgd", "sgd_channels"):
                w, rows = _codes(rng, o, c), None
                if o > 1 and wide:
                    _, w, rows = _split(rng, w)
                e = rng.integers(-20, -8, 1).astype(np.int32)
                level = (2.0 ** int(e[0]) * 4000) ** 2 if rule == "lsb" else 0.0
                coefs = rng.uniform(0.5, 2, o if rule == "sgd_channels" else 1).astype(np.float32)
                ins = (
                    _codes(rng, t, o), e, _codes(rng, t, c), w,
                    rng.integers(-128, 128, w.shape).astype(np.int8) if wide else None,
                    None if "sgd" in rule else np.array([level], np.float32),
                    coefs if "sgd" in rule else None, rows,
                )  # fmt: skip
                cases.append(Case(ins, {"stream": 5}, label=f"T{t} C{c} O{o} {rule} {wide}"))
    return cases


def _bias_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for case in _update_examples(rng):
        g, e, _, w, _, moment, coefs, rows = case.inputs
        assert w is not None
        b = rng.integers(-5000, 5000, len(w)).astype(np.int32)
        cases.append(Case((g, e, b, moment, coefs, rows), {"unit": 21.5}, label=case.label))
    return cases


def _forward_bound(types: Types, attrs: Attrs) -> int:
    x = types[0]
    assert x
    return x.shape[-1] * 127 * 127 + BIAS_LIMIT


linear_s8 = Op(
    "linear_s8", _infer("i8"), _forward(127, np.int8), _dims, real=_real, macs=_macs, grad=_grad,
    bound=_forward_bound, examples=_forward_examples,
)  # fmt: skip
linear_s16 = Op(
    "linear_s16", _infer("i16"), _forward(32767, np.int16), _dims, real=_real, macs=_macs,
    grad=_grad, bound=_forward_bound, examples=_forward_examples,
)  # fmt: skip
linear_dx_s8 = Op(
    "linear_dx_s8", _dx_infer, _dx_ref, _dx_dims, uses_step=True,
    scratch=_dx_scratch,
    macs=lambda ins, a: need(ins[0]).size * need(ins[2]).shape[1],
    bound=lambda ins, a: 2 * 127 * 127 * need(ins[0]).shape[1],  # stochastic rounding: 2**30
    examples=_dx_examples,
)  # fmt: skip
linear_update_s8 = Op(
    "linear_update_s8", _update_infer, _update_ref, _update_dims, uses_step=True,
    scratch=lambda ins, a: 4 * need(ins[2]).shape[1],
    updates=((0, 3), (1, 4), (2, 5)),
    macs=lambda ins, a: need(ins[0]).shape[0] * need(ins[3]).size,
    bound=lambda ins, a: 127 * 127 * need(ins[0]).shape[0],
    examples=_update_examples,
)  # fmt: skip
linear_bias_update_s32 = Op(
    "linear_bias_update_s32", _bias_infer, _bias_ref, _bias_dims, uses_step=True,
    floats=("unit",), updates=((0, 2), (1, 3)),
    bound=lambda ins, a: 127 * need(ins[0]).shape[0],
    examples=_bias_examples,
)  # fmt: skip
OPS = (linear_s8, linear_s16, linear_dx_s8, linear_update_s8, linear_bias_update_s32)
