"""PyTorch model -> float graph, by way of ``torch.export`` and its decomposition to aten operators.

The model is called with a batch of one; the graph has no batch dimension. Weights that several
places share (an embedding tied to the head) become one parameter for each place.
"""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from ..errors import CalibrationError, ShapeError, UnsupportedOp
from ..ir import Array, Graph, Type
from .explain import first_line, hint, nearest, original_name, place, short_name
from .lowering import Lowering
from .records import Act, Const, counted
from .rules import RULES


def from_torch(model: nn.Module, example: Array) -> Graph:
    """The float graph of ``model`` for samples like ``example``.

    ``example``: one sample without batch dimension, float32 ``[...]`` or integer tokens ``[T]``.
    The model maps ``[1, ...]`` to logits ``[1, K]`` or ``[1, T, V]``, the graph to ``[1, K]`` or
    ``[T, V]``. Raises ShapeError when the model does not take the example, CalibrationError when
    weights or example hold NaN or infinity, UnsupportedOp naming the operator and its place.
    """
    program, sample = exported(model, example)
    return lower(program, model, sample)


def exported(model: nn.Module, example: Array) -> tuple[ExportedProgram, Tensor]:
    """The decomposed program of a checked model, and the example as a tensor; raises as
    ``from_torch``."""
    _check_model(model)
    sample = _tensor(example)
    with torch.no_grad(), _no_fast_path(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _try_batches(model, sample)
        return _export(model, sample[None]), sample


def lower(program: ExportedProgram, model: nn.Module, sample: Tensor) -> Graph:
    """The float graph of a decomposed program that takes ``sample[None]``.

    Raises UnsupportedOp and CalibrationError as ``from_torch`` does.
    """
    lo = Lowering(model)
    graph = program.graph_module.graph
    graph.eliminate_dead_code()
    known = _inputs(lo, program, sample)
    result: Any = None
    for node in graph.nodes:
        lo.current = node
        if node.op == "call_function":
            known[node] = _evaluate(lo, node, known)
        elif node.op == "output":
            result = fx.map_arg(node.args[0], lambda n: known[n])
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    if kinds != [OutputKind.USER_OUTPUT]:
        raise UnsupportedOp("the model must return one tensor of logits, and write to no buffer")
    if not isinstance(result[0], Act):
        raise UnsupportedOp("the model's output is not made from its input by supported layers")
    if result[0].index.dim() < 2 or result[0].index.shape[0] != 1:
        shape = list(result[0].index.shape)
        raise ShapeError(f"the model returns {shape}; it must return [1, K] or [1, T, V]")
    output = lo.rows(result[0])
    return _pruned(lo.build.graph([output]))


def _tensor(example: Any) -> Tensor:
    array = np.asarray(example.detach().cpu() if isinstance(example, Tensor) else example)
    if array.ndim == 0 or array.size == 0:
        raise ShapeError(f"an example has shape {array.shape}; give one sample without batch axis")
    if array.dtype.kind in "iu":
        if array.ndim != 1:
            raise ShapeError(f"integer tokens have shape {array.shape}; one sample is [T]")
        return torch.from_numpy(array.astype(np.int64))
    if array.dtype.kind != "f":
        raise ShapeError(f"an example is {array.dtype}; give float32 or integer tokens")
    if not np.isfinite(array).all():
        raise CalibrationError("the example holds NaN or infinity")
    return torch.from_numpy(array.astype(np.float32))


def _check_model(model: Any) -> None:
    """Refuse what is no model, recurrent layers, what only training does, weights that are not
    finite or not float32. Nothing of the model is run or changed."""
    if not isinstance(model, nn.Module):
        kind = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
        raise UnsupportedOp(
            f"the model is a {kind}, not a torch.nn.Module; give the module itself with its "
            "weights loaded (model = Net(); model.load_state_dict(torch.load(path)); model.eval())"
        )
    for path, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            name = type(module).__name__.lower()
            raise UnsupportedOp(f"aten.{name} in {path} is not supported; use {hint(name)}")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise UnsupportedOp(
                f"aten.batch_norm in {path or 'the model'}: the model is in training mode, in "
                "which its running statistics would change; call model.eval() before the conversion"
            )
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            raise UnsupportedOp(
                f"aten.embedding in {path or 'the model'}: max_norm={module.max_norm} changes the "
                "weights while the model runs; use max_norm=None with the weights as they are"
            )
        rate = getattr(module, "p" if isinstance(module, nn.modules.dropout._DropoutNd) else
                       "dropout", 0.0)  # fmt: skip
        if module.training and isinstance(rate, float) and rate > 0:
            raise UnsupportedOp(
                f"aten.dropout in {path or 'the model'}: the model is in training mode with "
                f"dropout {rate}; call model.eval() before the conversion"
            )
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and weight.dtype != torch.float32:
            raise UnsupportedOp(
                f"parameter {name} is {str(weight.dtype).removeprefix('torch.')}; float32 is "
                "needed: call model.float() before the conversion"
            )
        bad = int((~torch.isfinite(weight)).sum())
        if bad:
            raise CalibrationError(
                f"parameter {name} {list(weight.shape)} holds {bad} NaN or infinite numbers of "
                f"{weight.numel()}; train it again"
            )


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """torch's fused encoder kernels are not decomposed; without them the plain operators run."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _running(model: nn.Module) -> Iterator[list[str]]:
    """Paths of the modules that are running, outermost first; after an error, where it was."""
    stack: list[str] = []
    hooks = []

    def left(*_: object) -> None:  # what a hook returns would replace the module's output
        stack.pop()

    for path, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, p=path: stack.append(p)))
        hooks.append(module.register_forward_hook(left))
    try:
        yield stack
    finally:
        for hook in hooks:
            hook.remove()


def _try_batches(model: nn.Module, sample: Tensor) -> None:
    """Run the model on one sample, then on two: the first row must not change."""
    with _running(model) as stack:
        try:
            one = model(sample[None].clone())
        except Exception as error:
            where = stack[-1] if stack and stack[-1] else "the model"
            raise ShapeError(
                f"{where} does not take an example of shape {tuple(sample.shape)} "
                f"({'tokens' if sample.dtype == torch.int64 else 'float32'}, called with a batch "
                f"of one): {first_line(error)}"
            ) from None
    if isinstance(one, Tensor) and not torch.isfinite(one).all():
        raise CalibrationError(
            f"{_first_overflow(model, sample)} gives NaN or infinity for the example: its weights "
            "or what it reads are too large for float32; scale them down"
        )
    other = sample.max() - sample
    if sample.dtype == torch.float32:
        other = other + torch.linspace(-1, 1, sample.numel()).reshape(sample.shape)
    try:
        two = model(torch.stack([sample, other]))
    except Exception:
        return  # written for a batch of one, which is all that is needed
    if not (isinstance(one, Tensor) and isinstance(two, Tensor)):
        return
    near = 1e-3 * float(one.abs().max()) if one.numel() else 0.0  # of logits of any magnitude
    if two.shape[:1] != (2,) or not torch.allclose(two[:1], one, rtol=1e-3, atol=near):
        raise UnsupportedOp(
            "an operator mixes the samples of a batch: the output of a sample changes when another "
            "one is beside it; activations must stay [B, T, C] with B on its own "
            "(nn.MultiheadAttention and nn.TransformerEncoderLayer need batch_first=True)"
        )


def _first_overflow(model: nn.Module, sample: Tensor) -> str:
    """Path of the first module whose output is not finite."""
    found: list[str] = []

    def look(path: str, output: object) -> None:
        if isinstance(output, Tensor) and not torch.isfinite(output).all():
            found.append(path)

    hooks = [
        module.register_forward_hook(lambda _m, _i, output, p=path: look(p, output))
        for path, module in model.named_modules()
    ]
    try:
        model(sample[None].clone())
    finally:
        for hook in hooks:
            hook.remove()
    return next(filter(None, found), "the model")


def _export(model: nn.Module, x: Tensor) -> ExportedProgram:
    try:
        program: ExportedProgram = torch.export.export(model, (x,)).run_decompositions()
    except Exception as error:
        raise UnsupportedOp(
            f"torch.export cannot follow the model: {first_line(error)}; use no control flow that "
            "depends on the data"
        ) from None
    return program


def _inputs(lo: Lowering, program: ExportedProgram, sample: Tensor) -> dict[fx.Node, Any]:
    """Records of the parameters, buffers, constants and the one input."""
    known: dict[fx.Node, Any] = {}
    stores: Mapping[str, Any] = {**program.constants, **program.state_dict}
    placeholders = [n for n in program.graph_module.graph.nodes if n.op == "placeholder"]
    for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
        if spec.kind == InputKind.USER_INPUT:
            dtype = _id_type(node, program) if sample.dtype == torch.int64 else "f32"
            value = lo.input(lo.build.input(node.name, Type(tuple(sample.shape), dtype)))
            known[node] = Act(value, counted(1, *sample.shape))
        else:
            assert spec.target is not None
            fixed = spec.kind == InputKind.CONSTANT_TENSOR
            known[node] = Const(stores[spec.target], "" if fixed else spec.target)
    return known


def _id_type(tokens: fx.Node, program: ExportedProgram) -> str:
    """u8 or u16, by the largest table that the tokens look up."""
    found = program.graph_module.graph.find_nodes(
        op="call_function", target=torch.ops.aten.embedding.default
    )
    sizes = [n.args[0].meta["val"].shape[0] for n in found if tokens in _ancestors(n)]
    if max(sizes, default=0) > 65536:
        raise UnsupportedOp(f"a vocabulary of {max(sizes)} tokens; at most 65536 are supported")
    return "u8" if max(sizes, default=0) <= 256 else "u16"


def _ancestors(node: fx.Node) -> set[fx.Node]:
    """What ``node`` depends on by way of its own arguments, the node apart."""
    found: set[fx.Node] = set()
    todo = list(node.all_input_nodes)
    while todo:
        if (here := todo.pop()) not in found:
            found.add(here)
            todo += here.all_input_nodes
    return found


def _evaluate(lo: Lowering, node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """The records of a node's results: computed by torch when constant, by a rule otherwise."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: known[n])
    given = [known[n] for n in node.all_input_nodes]
    if node.target is operator.getitem:
        results: Any = args[0]
        return results[args[1]]
    if all(isinstance(record, Const) for record in given):
        return _fold(node, given, known)
    rule = RULES.get(short_name(node))
    if rule is None:
        whole = original_name(node).rsplit(".", 1)[-1]
        near = hint(whole) or nearest(short_name(node), RULES)
        raise UnsupportedOp(f"{place(node)} is not supported" + (f"; use {near}" if near else ""))
    try:
        inspect.signature(rule).bind(lo, *args, **kwargs)
    except TypeError as error:
        raise UnsupportedOp(f"{place(node)}: this form of it is not supported ({error})") from None
    return rule(lo, *args, **kwargs)


def _fold(node: fx.Node, given: list[Const], known: dict[fx.Node, Any]) -> Any:
    names = {record.name for record in given if record.name}
    name = names.pop() if len(names) == 1 else ""
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: known[n].tensor)
    assert callable(node.target)
    result = node.target(*args, **kwargs)
    if isinstance(result, Tensor):
        return Const(result, name)
    if isinstance(result, (tuple, list)):
        return tuple(Const(part, name) for part in result)
    return result


def _pruned(graph: Graph) -> Graph:
    """Without the nodes that lead to no output."""
    wanted = {value.name for value in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if any(v is not None and v.name in wanted for v in node.outputs):
            kept.append(node)
            wanted |= set(node.reads)
    return graph.with_nodes(kept[::-1])
