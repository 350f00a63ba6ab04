"""What ``kernels.py`` measures: a call of each kernel in the shapes of small transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytrain.ir import Array, Case, Op, Step
from tinytrain.ir.numerics import multiplier
from tinytrain.ops import REGISTRY
from tinytrain.ops.attention_fused import gradient_parts
from tinytrain.ops.norm import gradient_fraction, layernorm_attrs
from tinytrain.ops.packed import pack_weight

# T, C, O: tokens, channels in, channels out. 64x16x64 and 64x64x16 are the products of a head of
# attention; two tokens are what a loop over rows gives a kernel.
LAYERS = (
    (64, 64, 64), (64, 64, 256), (64, 256, 64), (128, 128, 128), (64, 16, 64), (64, 64, 16),
    (1, 128, 512), (2, 64, 256),
)  # fmt: skip
TOKENS, CHANNELS, HEADS, CLASSES = 64, 64, 4, 96
GRADIENT = {"stream": 5, "exp_add": -3, "scale": 0.7}
# Kernel, names of its softmax and of its product, shapes with C and 2C channels, elements.
SOFTMAX = tuple(
    (kernel, softmax, product, f"{TOKENS}x{CHANNELS} h{HEADS}", f"{TOKENS}x{2 * CHANNELS} h{HEADS}",
     HEADS * TOKENS**2)
    for kernel, softmax, product in (
        ("attention_probs_u8", "softmax forward", "attention QK^T"),
        ("attention_ds_s8", "softmax backward", "attention dO V^T"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A case of an op; ``elements``, of its first input or output, the larger: what instructions
    are divided by where there are no MACs."""

    op: Op
    shape: str
    case: Case
    elements: int


class Maker:
    """Random codes, and cases of ops by name."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.made: list[Measured] = []

    def codes(self, *shape: int) -> Array:
        return self.rng.integers(-127, 128, shape).astype(np.int8)

    def exponents(self, *shape: int) -> Array:
        return self.rng.integers(-14, -6, shape).astype(np.int16)

    def add(
        self, name: str, shape: str, inputs: Sequence[Array | None], attrs: dict[str, Any],
        scales: Sequence[float | tuple[float, ...] | None] = (),
    ) -> None:  # fmt: skip
        op, case = REGISTRY[name], Case(tuple(inputs), attrs, tuple(scales))
        types = case.types()
        size = max(t.size for t in (types[0], op.infer(types, attrs)[0]) if t is not None)
        self.made.append(Measured(op, shape, case, size))


def cases() -> list[Measured]:
    """Everything that is measured, in the order of the table."""
    make = Maker()
    for t, c, o in LAYERS:
        _layer(make, t, c, o)
    for channels in (CHANNELS, 2 * CHANNELS):
        _attention(make, channels)
    _elements(make, TOKENS, CHANNELS)
    return make.made


def _layer(make: Maker, t: int, c: int, o: int) -> None:
    shape = f"{t}x{c}x{o}"
    x, w, g = make.codes(t, c), make.codes(o, c), make.codes(t, o)
    bias = make.rng.integers(-3000, 3000, o).astype(np.int32)
    mult, shift = (np.array([v], np.int32) for v in multiplier(1 / (80 * c**0.5)))
    make.add("linear_s8", shape, (x, w, None, None, bias, None, mult, shift), {"scale": 0.05})
    make.add("linear_dx_s8", shape, (g, make.exponents(t), w, None, None), GRADIENT)
    if t == 1:
        packed = (x, pack_weight(w), bias, mult, shift)
        make.add("linear_packed_s8", shape, packed, {"scale": 0.05})
    e = np.array([-12], np.int16)
    moment = np.array([(2.0**-12 * 73**2) ** 2 * t], np.float32)  # of such sums
    ins = (g, e, x, w, None, moment, None, None)
    make.add("linear_update_s8", shape, ins, {"stream": 5})


def _attention(make: Maker, c: int) -> None:
    t, shape = TOKENS, f"{TOKENS}x{c} h{HEADS}"
    kind = {"heads": HEADS, "causal": False}
    root = (c // HEADS) ** -0.5
    mult, shift = multiplier(2**-7 * root)
    probs = {**kind, "mult": mult, "shift": shift, "softmax_scale": root}
    mix_mult, mix_shift = multiplier(0.1 / 0.06 / 255)
    mix = {**kind, "mult": mix_mult, "shift": mix_shift, "scale": 0.06}
    q, k, v, g = (make.codes(t, c) for _ in range(4))
    e, s, es = make.exponents(t), make.codes(HEADS, t, t), make.exponents(HEADS, t)
    (p,) = REGISTRY["attention_probs_u8"].ref((q, k), probs, Step())
    parts = gradient_parts(kind, "qkv")
    make.add("attention_probs_u8", shape, (q, k), probs, (0.1, 0.1))
    make.add("attention_ds_s8", shape, (g, e, v, p), parts["ds"])
    if c != CHANNELS:
        return  # for the softmax only
    make.add("attention_mix_s8", shape, (p, v), mix, (1 / 255, 0.1))
    make.add("attention_dq_s8", shape, (s, es, k), parts["dq"])
    make.add("attention_dk_s8", shape, (s, es, q), parts["dk"])
    make.add("attention_dv_s8", shape, (g, e, p), parts["dv"])
    make.add("attention_s8", shape, (q, k, v), {"probs": probs, "mix": mix}, (0.1, 0.1, 0.1))
    attrs = {"probs": probs, "keys": t, **parts}
    make.add("attention_grad_s8", shape, (g, e, q, k, v), attrs)


def _elements(make: Maker, t: int, c: int) -> None:
    shape, x, g, e = f"{t}x{c}", make.codes(t, c), make.codes(t, c), make.exponents(t)
    norm = layernorm_attrs(0.03, 4 / 127, c)
    y, r = REGISTRY["layernorm_s8"].ref((x,), norm, Step())
    fraction = gradient_fraction(c, norm["scale"])
    mult, shift = multiplier(float(norm["scale"] ** 2 * 2.0**fraction))
    make.add("layernorm_s8", shape, (x,), norm, (0.03,))
    attrs = {**GRADIENT, "mult": mult, "shift": shift, "fraction": fraction, "exp_add": -31}
    make.add("layernorm_dx_s8", shape, (g, e, y, r), attrs)
    wide = f"{t}x{4 * c}"
    table = make.codes(256)
    make.add("lut_s8", wide, (make.codes(t, 4 * c), table), {"scale": 0.04}, (0.035, None))
    ins = (make.codes(t, 4 * c), e, make.codes(t, 4 * c), table)
    make.add("lut_dx_s8", wide, ins, GRADIENT)
    for name, inputs in (
        ("add_s8", (x, g)), ("grad_add_s8", (x, e, g, make.exponents(t))),
        ("align_grad_s8", (g, e)), ("clip_mask_u8", (x,)), ("mean_tokens_s8", (x,)),
    ):  # fmt: skip
        like = _example(name)
        make.add(name, shape, inputs, like.attrs, like.scales)
    mask = make.rng.integers(0, 256, (t, -(-c // 8))).astype(np.uint8)
    make.add("clip_grad_s8", shape, (g, mask), {})
    ids = make.rng.integers(0, CLASSES, t).astype(np.uint8)
    make.add("embedding_s8", shape, (ids, make.codes(CLASSES, c)), {}, (None, 0.03))
    make.add("weight_sums_s32", f"{t}x{c}x16", (make.codes(t, 16), e, x), {})
    sums = make.rng.integers(-(2**17), 2**17, (c, c)).astype(np.int32)
    moment = np.array([(2.0**-12 * 40000) ** 2], np.float32)
    one = np.array([-12], np.int16)
    step = (sums, one, make.codes(c, c), None, moment, None)
    make.add("weight_step_s8", f"{c}x{c}", step, {"stream": 5, "tokens": t})
    bias = make.rng.integers(-5000, 5000, c).astype(np.int32)
    make.add("linear_bias_update_s32", shape, (g, one, bias, moment, None, None), {"unit": 21.5})
    logits = make.rng.integers(-3000, 3000, (t, CLASSES)).astype(np.int16)
    labels = make.rng.integers(0, CLASSES, t).astype(np.int16)
    for name in ("row_loss_s16", "cross_entropy_grad_s16"):
        like = _example(name)
        make.add(name, f"{t}x{CLASSES}", (logits, labels), like.attrs, like.scales)


def _example(name: str) -> Case:
    """The first example of an op, for its attributes and scales."""
    op = REGISTRY[name]
    assert op.examples
    return op.examples(np.random.default_rng(1))[0]
