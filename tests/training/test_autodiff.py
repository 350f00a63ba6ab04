"""The backward pass: nothing more than is asked for, and the gradient of the float model."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import toys
from torch import nn

from tinytrain.errors import SchemeError
from tinytrain.ir import Graph, Node, Step
from tinytrain.ir.execute import execute
from tinytrain.ops.accumulate import weight_sums_s32
from tinytrain.ops.base import exact_matmul, scales_of
from tinytrain.ops.conv import conv_update_s8, weight_gradient
from tinytrain.ops.gradient import align_grad_s8
from tinytrain.ops.update import linear_bias_update_s32, linear_update_s8
from tinytrain.recipe import UpdateScheme
from tinytrain.training.autodiff import differentiate
from tinytrain.training.scheme import apply_scheme

SAMPLES = 24


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def of_layer(graph: Graph, op: str) -> set[str]:
    return {node.layer for node in graph.nodes if node.op.name == op}


# -- only what leads to a trained parameter --------------------------------------------------------


def test_head_only_has_no_gradient_of_the_body() -> None:
    found = ops(toys.compiled("sensor", "head_only").train)
    assert "linear_dx_s8" not in found and "layernorm_dx_s8" not in found
    assert not any("attention" in name and ("_d" in name or "grad" in name) for name in found)
    assert found.count("linear_update_s8") == found.count("linear_bias_update_s32") == 1


def test_output_projection_of_the_last_block_stops_there() -> None:
    scheme = UpdateScheme({"blocks.1.o": 1.0})
    graph = toys.compiled("sensor", scheme).train
    found = ops(graph)
    assert not any(name.startswith("attention") and "_d" in name for name in found)
    assert found.count("linear_update_s8") == 1 and "linear_bias_update_s32" not in found
    assert of_layer(graph, "linear_dx_s8") == {"head", "blocks.1.f2", "blocks.1.f1"}


def test_value_projection_needs_no_gradient_of_the_scores() -> None:
    graph = toys.compiled("sensor", UpdateScheme({"blocks.1.v": 1.0})).train
    full = set(ops(toys.compiled("sensor", "full").train))
    backward = {name for name in full if name.startswith("attention") and "_d" in name}
    here = {name for name in ops(graph) if name in backward}
    assert here < backward and len(here) == 1
    assert "blocks.1.q" not in of_layer(graph, "linear_dx_s8")


def test_saved_values_follow_the_scheme() -> None:
    arenas = [
        toys.compiled("sensor", name).train_plan.lower_bound_bytes
        for name in ("head_only", "last_k:1", "full")
    ]
    assert arenas[0] < arenas[1] < arenas[2]


def test_gradients_are_aligned_once_and_only_for_sums_over_rows() -> None:
    graph = toys.compiled("sensor", "full").train
    made = {v.name: node.op for node in graph.nodes for v in node.outputs if v is not None}
    for node in graph.nodes:
        if node.op in (linear_update_s8, linear_bias_update_s32):
            gradient, exponent = node.inputs[:2]
            assert gradient is not None and exponent is not None
            assert exponent.type.shape == (1,)
            one_row = gradient.type.shape[0] == 1
            assert (made[gradient.name] is align_grad_s8) != one_row
    sources = [node.inputs[0] for node in graph.nodes if node.op is align_grad_s8]
    assert len(sources) == len({v.name for v in sources if v is not None}) > 0
    below_the_head = toys.compiled("lm", UpdateScheme({"blocks.1.o": 1.0})).train
    assert ops(below_the_head).count("align_grad_s8") == 1


def test_each_random_stream_is_used_once() -> None:
    graph = toys.compiled("lm", "some").train
    streams = [n.attrs["stream"] for n in graph.nodes if n.op.uses_step and "stream" in n.attrs]
    assert len(streams) == len(set(streams)) > 10


def test_int16_weights_have_a_fraction_and_lsb_a_moment() -> None:
    def kinds(**settings: Any) -> set[str]:
        params = toys.compiled("sensor", "head_only", **settings).train.params
        return {name for name, p in params.items() if p.kind != "const"}

    weights = {"head.weight.trained", "head.bias.trained"}
    assert kinds(rule="sgd") == weights
    assert kinds(rule="lsb") == weights | {"head.weight.moment", "head.bias.moment"}
    assert kinds(rule="sgd", weights="int16") == weights | {"head.weight.fraction"}


def test_nothing_trained_is_refused() -> None:
    graph = toys.quantized("sensor").graph
    with pytest.raises(SchemeError, match="no trained parameter"):
        differentiate(graph, toys.OPTIMIZERS["lsb"])


def test_what_has_no_gradient_is_named() -> None:
    forward = apply_scheme(toys.quantized("sensor").graph, "full")
    deaf = {n.op: dataclasses.replace(n.op, grad=None) for n in forward.nodes}
    nodes = [
        dataclasses.replace(n, op=deaf[n.op]) if n.op.name == "layernorm_s8" else n
        for n in forward.nodes
    ]
    with pytest.raises(SchemeError, match=r"norm: layernorm_s8 has no gradient.*behind it"):
        differentiate(forward.with_nodes(nodes), toys.OPTIMIZERS["lsb"])


# -- the gradient of the float model ---------------------------------------------------------------


@dataclass
class Compared:
    """Got and wanted gradients as vectors over several samples."""

    dot: Any
    got: Any
    want: Any

    @property
    def cosines(self) -> Any:
        return self.dot / (self.got * self.want)

    @property
    def cosine(self) -> float:
        """Of all samples' gradients laid end to end."""
        return float(self.dot.sum() / np.sqrt((self.got**2).sum() * (self.want**2).sum()))

    @property
    def size(self) -> float:
        """How long the projection on the wanted one is, relative to it: 1 whatever the noise."""
        return float(self.dot.sum() / (self.want**2).sum())


def norms_before(kind: str) -> dict[str, str]:
    """Layer -> the norm whose gamma and beta were folded into it."""
    if kind in ("sensor", "lm", "channels", "cct"):
        pairs = {f"blocks.{i}.{x}": f"blocks.{i}.ln1" for i in range(2) for x in "qkv"}
        pairs |= {f"blocks.{i}.f1": f"blocks.{i}.ln2" for i in range(2)} | {"head": "norm"}
        return pairs | ({"pool": "norm"} if kind == "cct" else {})
    if kind == "postnorm":
        return {"head": "layers.1.norm2"}
    place = "blocks" if kind == "vit" else "layers"
    pairs = {
        f"{place}.{i}.self_attn.{x}": f"{place}.{i}.norm1" for i in range(2) for x in "qkv"
    } | {f"{place}.{i}.linear1": f"{place}.{i}.norm2" for i in range(2)}
    return pairs | ({"head": "norm"} if kind == "vit" else {})


def torch_gradients(kind: str, x: Any, y: Any) -> dict[str, Any]:
    """Of the layers as the compiler has them: q, k, v apart, norms folded.

    y = W (g n + b_n) + b, so W' = W g has the gradient (dW - db b_n^T) / g.
    """
    model = toys.model(kind)
    model.zero_grad()
    logits = model(torch.as_tensor(x)[None])[0]
    labels = torch.as_tensor(np.atleast_1d(y))
    rows = logits.reshape(len(labels), -1)
    loss = nn.functional.cross_entropy(rows, labels, ignore_index=-1, reduction="sum")
    (loss / len(labels)).backward()
    found: dict[str, Any] = {}
    parameters = dict(model.named_parameters())
    for name, part in parameters.items():
        assert part.grad is not None or name == "embed.weight"
        grad = np.asarray(part.grad, np.float64)
        if ".in_proj_" in name:
            for letter, third in zip("qkv", np.split(grad, 3), strict=True):
                found[name.replace("in_proj_", f"{letter}.")] = third
        else:
            if grad.ndim == 4 and kind == "cct":  # channels last
                grad = np.moveaxis(grad, 1, -1)
            found[name] = grad.reshape(grad.shape[0], -1) if grad.ndim > 2 else grad
    for layer, norm in norms_before(kind).items():
        gamma, beta = (
            parameters[f"{norm}.{p}"].detach().numpy().astype(np.float64)
            for p in ("weight", "bias")
        )
        found[f"{layer}.weight"] = (
            found[f"{layer}.weight"] - np.outer(found[f"{layer}.bias"], beta)
        ) / gamma
    return found


UPDATES = (linear_update_s8, conv_update_s8, linear_bias_update_s32, weight_sums_s32)


def integer_gradient(node: Node, values: dict[str, Any]) -> tuple[str, Any]:
    """(name, real gradient) of what an update node steps, from the integers that it reads."""
    g, e = node.inputs[0], node.inputs[1]
    assert g is not None and e is not None
    if node.op is weight_sums_s32:
        (acc, exponent), x = node.outputs, node.inputs[2]
        assert acc is not None and exponent is not None and x is not None
        unit = scales_of(g.type)[:, None] * 2.0 ** int(values[exponent.name][0])
        return f"{node.layer}.weight", values[acc.name] * unit * x.type.tensor_scale
    unit = scales_of(g.type)[:, None] * 2.0 ** int(values[e.name][0])
    if node.op in (linear_update_s8, conv_update_s8):
        x, winners = node.inputs[2], node.inputs[-1]
        assert x is not None
        if node.op is conv_update_s8 and winners:
            acc = weight_gradient(*(values[v.name] for v in (g, x, winners)), node.attrs)
        else:
            acc = exact_matmul(values[g.name].T, values[x.name])
        return f"{node.layer}.weight", acc * unit * x.type.tensor_scale
    return f"{node.layer}.bias", (values[g.name].astype(np.int64).sum(axis=0)[:, None] * unit)[:, 0]


def compare(kind: str, scheme: Any = "full") -> dict[str, Compared]:
    made, samples = toys.compiled(kind, scheme), toys.data(kind)
    graph = made.train
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for x, y in zip(samples.x[:SAMPLES], samples.y[:SAMPLES], strict=True):
        wanted = torch_gradients(kind, x, y)
        inputs = {
            graph.inputs[0].name: made.codec.quantize_input(x),
            "labels": made.codec.encode_labels(y),
        }
        values = execute(graph, inputs, {}, Step())
        for node in graph.nodes:
            if node.op not in UPDATES:
                continue
            name, got = integer_gradient(node, values)
            want = wanted[name]
            assert got.shape == want.shape, name
            sizes = float(np.linalg.norm(got)), float(np.linalg.norm(want))
            found[name].append((float((got * want).sum()), *sizes))
    return {name: Compared(*np.array(rows).T) for name, rows in found.items()}


@pytest.mark.parametrize("kind", toys.KINDS)
def test_gradient_is_that_of_the_float_model(kind: str) -> None:
    """Direction and size of every tensor's gradient.

    The size is held over all samples: a wrong scale factor shifts each of them, noise does not. A
    single sample is further off where its gradient is small. The bias of k has no gradient (softmax
    does not see what is the same for all keys), nor that of pooling scores: what is there is
    rounding noise.
    """
    found = compare(kind)
    parts = ("weight", "bias")
    assert set(found) == {f"{layer.name}.{part}" for layer in toys.layers(kind) for part in parts}
    last = tuple(layer.name for layer in toys.layers(kind)[-2:])
    print(f"\n{kind}: tensor, cosine (worst sample), size")
    for name, of in found.items():
        if name.endswith("k.bias") or name == "pool.bias":
            beside = "pool.weight" if name == "pool.bias" else name.replace("k.bias", "q.bias")
            noise = np.mean(of.got) / np.mean(found[beside].got)
            print(f"  {name:36} {noise:.4f} of the size of {beside}")
            assert noise < 0.05, name
            continue
        print(f"  {name:36} {of.cosine:.4f} ({of.cosines.min():.4f})  {of.size:.4f}")
        assert of.cosine > (0.99 if name.startswith(last) else 0.97), name
        assert np.median(of.cosines) > 0.97 and np.mean(of.cosines > 0.95) > 0.8, name
        assert abs(of.size - 1) < 0.05, name
