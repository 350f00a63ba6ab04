"""Weight and bias updates of linear layers, fused with their gradient; the step of any weight.

A sum over rows needs one exponent for all of them: ``g`` and ``e`` are an aligned gradient.
``rows[o]`` >= 0 is the trained row of output channel ``o`` (see ``linear.py``). int16-stored
weights are two int8 planes: ``w`` = (W16 + 128) >> 8, which all products read, and ``fraction`` =
W16 - 256 * w, which only the update reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir import Array, Attrs, Case, Op, Step, Type, Types
from ..ir.numerics import (
    ZERO_EXPONENT,
    apply_multiplier,
    clamp,
    float_multiplier,
    pow2f,
    random16,
    scaled_float,
    sqrtf,
    stream_key,
)
from .base import exact_matmul, need, need_aligned

BIAS_LIMIT = 2**30 - 1
PRODUCT = 127 * 127
STEP_LIMIT = 8.0  # a normalised gradient is clamped to this many standard deviations


def panel_bytes(columns: int) -> int:
    """Bytes of an int16 panel of two rows, columns in groups of four."""
    return 4 * ((columns + 3) // 4 * 4)


def trained_channels(rows: Array | None, count: int) -> Array:
    """The output channels of ``count`` trained rows, rising."""
    return np.arange(count) if rows is None else np.flatnonzero(rows >= 0)


def _update_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array | None, ...]:
    """dW = G^T X and the step."""
    g, e, x, w, fraction, moment, coefs, rows = ins
    order = trained_channels(rows, len(w))
    acc = exact_matmul(g[:, order].T, x)
    key = stream_key(step.seed, step.step, attrs["stream"])
    return step_weights(acc, order, int(e[0]), w, fraction, moment, coefs, key, step)


def step_weights(
    acc: Array, order: Array, exponent: int, w: Array, fraction: Array | None,
    moment: Array | None, coefs: Array | None, key: int, step: Step,
) -> tuple[Array | None, ...]:  # fmt: skip
    """New weights, fractions and moment from accumulators worth ``2**exponent``; row k of all is
    output channel ``order[k]``. Numerics: header, docs/specification/numerics.md."""
    unit = np.float32(256.0 if fraction is not None else 65536.0)
    eta = np.float32(step.learning_rate * unit)
    power = pow2f(exponent)
    if moment is not None:
        factor, limit = _lsb_factor(eta, power, moment), int(np.float32(STEP_LIMIT) * eta)
        delta = apply_multiplier(acc, *float_multiplier(factor), limit)
    else:
        assert coefs is not None
        delta = _sgd_steps(acc, coefs, order, eta, power, 254 * int(unit))
    if fraction is not None:
        wide = np.clip(w.astype(np.int64) * 256 + fraction - delta, -32512, 32512)
        new = ((wide + 128) >> 8).astype(np.int8)
        new_fraction = (wide - new.astype(np.int64) * 256).astype(np.int8)
    else:
        noise = random16(key, w.size)
        new = clamp((w.astype(np.int64) * 65536 - delta + noise.reshape(w.shape)) >> 16, 127)
        new_fraction = None
    return new, new_fraction, _next_moment(moment, acc, exponent, step)


def _sgd_steps(
    acc: Array, coefs: Array, order: Array, eta: np.float32, power: np.float32, limit: int
) -> Array:
    """eta * coefs[o] * 2^E * acc for each trained channel ``o``; one coefficient may serve all."""
    each = coefs[order] if len(coefs) > 1 else np.repeat(coefs, len(order))
    rates = [np.float32(np.float32(eta * c) * power) for c in each]
    return np.array([
        apply_multiplier(a, *float_multiplier(r), limit) for a, r in zip(acc, rates, strict=True)
    ])  # fmt: skip


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
    g, x, w = need(types[0], "i8", 2), need(types[2], "i8", 2), need(types[3], "i8", 2)
    if g.shape[0] != x.shape[0] or w.shape[1] != x.shape[1]:
        raise ShapeError(f"linear_update: gradient {g}, input {x} and weight {w} do not fit")
    return update_types(types)


def update_types(types: Types) -> tuple[Type | None, ...]:
    """Types of what ``step_weights`` gives, for the inputs of a weight update."""
    g, e, _, w, fraction, moment, coefs, rows = types
    g, w = need_aligned(g, e), need(w)
    if g.shape[1] != (rows.shape[0] if rows else w.shape[0]):
        raise ShapeError(f"weight update: gradient {g} does not fit weight {w}")
    if (moment is None) == (coefs is None):
        raise ShapeError("weight update: give either the moment (lsb rule) or coefficients (sgd)")
    return w, fraction, moment


def _update_dims(ins: Types, outs: Types, attrs: Attrs) -> dict[str, int]:
    g, x, coefs = ins[0], ins[2], ins[6]
    assert g and x
    many = int(coefs is not None and coefs.shape[0] > 1)
    return {"T": g.shape[0], "C": x.shape[1], "O": g.shape[1], "per_channel": many,
            "stream": attrs["stream"]}  # fmt: skip


def _bias_ref(ins: Sequence[Any], attrs: Attrs, step: Step) -> tuple[Array | None, ...]:
    g, e, b, moment, coefs, rows = ins
    order = trained_channels(rows, len(b))
    acc = g[:, order].astype(np.int64).sum(axis=0)
    power = pow2f(int(e[0]))
    if moment is not None:
        eta = np.float32(step.learning_rate * np.float32(attrs["unit"]))
        limit = int(min(np.float32(STEP_LIMIT) * eta, np.float32(2**24)))
        delta = apply_multiplier(acc, *float_multiplier(_lsb_factor(eta, power, moment)), limit)
    else:
        delta = _sgd_steps(acc, coefs, order, step.learning_rate, power, 2**24)
    new = np.clip(b.astype(np.int64) - delta, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    return new, _next_moment(moment, acc, int(e[0]), step)


def _bias_infer(types: Types, attrs: Attrs) -> tuple[Type | None, ...]:
    g, e, b, moment, coefs, rows = types
    g, b = need_aligned(g, e), need(b, "i32", 1)
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


def codes(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-127, 128, shape).astype(np.int8)


def split_rows(rng: np.random.Generator, full: Array) -> tuple[Array, Array, Array]:
    """Random trained channels: (frozen, trained, rows)."""
    trained = rng.random(len(full)) < 0.5
    trained[rng.integers(len(full))] = True
    rows = np.where(trained, np.cumsum(trained) - 1, ~(np.cumsum(~trained) - 1)).astype(np.int16)
    return full[~trained], full[trained], rows


def update_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for t, c, o in SHAPES:
        for wide in (False, True):
            for rule in ("lsb", "first", "none", "sgd", "sgd_channels"):
                g, w, rows = codes(rng, t, o), codes(rng, o, c), None
                if o > 1 and wide:
                    _, w, rows = split_rows(rng, w)
                e = rng.integers(-20, -8, 1).astype(np.int16)
                level = (2.0 ** int(e[0]) * 4000) ** 2 if rule != "first" else 0.0
                if rule == "none":
                    g, e = g * np.int8(0), np.array([ZERO_EXPONENT], np.int16)
                coefs = rng.uniform(0.5, 2, o if rule == "sgd_channels" else 1).astype(np.float32)
                ins = (
                    g, e, codes(rng, t, c), w,
                    rng.integers(-128, 128, w.shape).astype(np.int8) if wide else None,
                    None if "sgd" in rule else np.array([level], np.float32),
                    coefs if "sgd" in rule else None, rows,
                )  # fmt: skip
                cases.append(Case(ins, {"stream": 5}, label=f"T{t} C{c} O{o} {rule} {wide}"))
    return cases


def _bias_examples(rng: np.random.Generator) -> list[Case]:
    cases = []
    for case in update_examples(rng):
        g, e, _, w, _, moment, coefs, rows = case.inputs
        assert w is not None
        b = rng.integers(-5000, 5000, len(w)).astype(np.int32)
        cases.append(Case((g, e, b, moment, coefs, rows), {"unit": 21.5}, label=case.label))
    return cases


def _update_room(ins: Types, attrs: Attrs) -> int:
    """Panels of four columns of g and all of x, sums of two channels."""
    rows, channels = need(ins[0]).shape[0], need(ins[2]).shape[1]
    pair, columns = panel_bytes(rows), (channels + 3) // 4 * 4
    return 2 * pair + columns // 2 * pair + 2 * 4 * columns


def update_bound(types: Types, attrs: Attrs) -> int:
    """The int32 accumulator; and the int64 sum of its squares, in units of 2**32."""
    worst = PRODUCT * need(types[0]).shape[0]
    return max(worst, worst**2 * need(types[3]).size >> 32)


linear_update_s8 = Op(
    "linear_update_s8", _update_infer, _update_ref, _update_dims, uses_step=True,
    scratch=lambda ins, a: 4 * need(ins[2]).shape[1],
    room=_update_room,
    updates=((0, 3), (1, 4), (2, 5)),
    macs=lambda ins, a: need(ins[0]).shape[0] * need(ins[3]).size,
    bound=update_bound,
    examples=update_examples,
)  # fmt: skip
linear_bias_update_s32 = Op(
    "linear_bias_update_s32", _bias_infer, _bias_ref, _bias_dims, uses_step=True,
    floats=("unit",), updates=((0, 2), (1, 3)),
    bound=lambda ins, a: 127 * need(ins[0]).shape[0],
    examples=_bias_examples,
)  # fmt: skip
OPS = (linear_update_s8, linear_bias_update_s32)
