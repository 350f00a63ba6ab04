"""Messages about what tinytrain does not have: what, where in the user's code, what next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.fx import Node

# Part of an aten operator's name -> what to use in its place. The first that fits is taken.
HINTS = {
    "batch_norm": "nn.LayerNorm, or fold it into the layer before it "
    "(torch.nn.utils.fusion.fuse_conv_bn_eval, fuse_linear_bn_eval)",
    "group_norm": "nn.LayerNorm",
    "instance_norm": "nn.LayerNorm",
    "rms_norm": "nn.LayerNorm",
    "rsqrt": "nn.LayerNorm",
    "var": "nn.LayerNorm",
    "dropout": "model.eval() before the conversion",
    "bernoulli": "model.eval() before the conversion",
    "rand": "model.eval() before the conversion",
    "max_pool": "nn.MaxPool1d or nn.MaxPool2d behind a convolution, with nothing but ReLU between "
    "and no other reader of that convolution; without dilation and ceil_mode",
    "pool": "x.mean(dim=1) over the tokens, nn.MaxPool2d behind a convolution, or a convolution "
    "with a stride",
    "lstm": "nn.TransformerEncoderLayer",
    "gru": "nn.TransformerEncoderLayer",
    "rnn": "nn.TransformerEncoderLayer",
    "erf": "nn.GELU()",
    "leaky_relu": "nn.ReLU",
    "prelu": "nn.ReLU",
    "logical": "a mask that does not depend on the input",
    "elu": "nn.ReLU or nn.GELU",
    "clamp": "nn.ReLU",
    "hardtanh": "nn.ReLU",
    "hardswish": "nn.SiLU",
    "softplus": "nn.ReLU",
    "exp": "softmax inside attention, nn.Sigmoid or nn.SiLU",
    "pow": "nn.GELU(approximate='tanh') where a GELU is written out, nn.LayerNorm where the "
    "squares normalise; other powers have no int8 form",
    "topk": "logits; the comparison is the host's",
    "argmax": "logits; the comparison is the host's",
    "sum": "x.mean(dim=1) over the tokens",
    "max": "x.mean(dim=1) over the tokens",
    "pad": "a window length that is a multiple of the kernel",
    "upsample": "a fixed input size",
    "fft": "features computed before the model",
    "sin": "positions computed once and kept in a buffer",
    "cos": "positions computed once and kept in a buffer",
    "cumsum": "causal attention",
    "eq": "a mask that does not depend on the input",
    "ne": "a mask that does not depend on the input",
}

# The names that the nearest one is looked for in, beside those of the lowering rules.
SPOKEN = {
    "native_layer_norm": "nn.LayerNorm", "addmm": "nn.Linear", "mm": "nn.Linear",
    "convolution": "nn.Conv1d or nn.Conv2d with stride = kernel", "gelu": "nn.GELU",
    "relu": "nn.ReLU", "tanh": "nn.Tanh", "sigmoid": "nn.Sigmoid", "silu": "nn.SiLU",
    "embedding": "nn.Embedding", "_softmax": "softmax inside attention", "mean": "x.mean(dim=1)",
}  # fmt: skip


def op_name(node: Node) -> str:
    """``aten.gelu`` for a call of that operator."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(packet if packet is not None else getattr(node.target, "__name__", node.target))


def short_name(node: Node) -> str:
    return op_name(node).rsplit(".", 1)[-1]


def original_name(node: Node) -> str:
    """``aten.hardswish`` for a node that it was decomposed to; otherwise the node's own name."""
    function = str((node.meta.get("torch_fn") or ("", ""))[1]).rsplit(".", 1)[-1]
    packet = getattr(node.meta.get("original_aten"), "overloadpacket", None)
    if hint(function):
        return f"aten.{function}"
    return str(packet) if packet is not None else op_name(node)


def hint(name: str) -> str:
    """What to use in place of an operator that a hint is written for; empty when there is none."""
    fits = (use for part, use in HINTS.items() if re.search(rf"(?:^|_){part}", name))
    return next(fits, "")


def nearest(name: str, supported: Iterable[str]) -> str:
    """The supported operator that is meant most likely; empty when nothing is near."""
    if use := hint(name):
        return use
    close = difflib.get_close_matches(name, sorted({*supported, *SPOKEN}), 1, 0.5)
    return SPOKEN.get(close[0], f"aten.{close[0]}") if close else ""


def module_path(node: Node) -> str:
    """Path of the user's innermost module that the node comes from; empty for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(list(stack.values())[-1][0]) if stack else ""
    path = re.sub(r"^L\['self'\]\.?", "", path)
    return re.sub(r"@\d+", "", path)


def source_line(node: Node) -> str:
    """``model.py:12 "x = self.pool(x)"``, the user's innermost line; empty when it is not known."""
    library = str(Path(torch.__file__).parent)
    trace = node.meta.get("stack_trace") or ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)', trace)
    for file, line, code in reversed(frames):
        if not file.startswith(library):
            return f'{Path(file).name}:{line} "{code.strip()[:80]}"'
    return ""


def place(node: Node) -> str:
    """``aten.max_pool2d in features.2 (model.py:12 "x = self.pool(x)")``."""
    path, line, name = module_path(node), source_line(node), original_name(node)
    step = "" if name == op_name(node) else f" (its {short_name(node)})"
    return f"{name}{step} in {path or 'the model'}" + (f" ({line})" if line else "")


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, without its class name's package."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
