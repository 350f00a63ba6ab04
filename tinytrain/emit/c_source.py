"""Graph + Plan -> {file name: C text}. Pure: no disk but the templates, no clock; same input, same
bytes."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import __version__
from ..ir import Graph, Node, Param, Value
from ..ops.tokens import embedding_s8
from ..planning.lifetimes import Plan, scratch_name
from ..planning.placement import aligned
from ..recipe import Optimizer
from ..support.templates import environment
from ..training.update_rule import rule_of
from .call_table import MAIN, Argument, Caller, KernelCall, callers_of
from .program import Entry, Program, choice_name

CTYPES = {"f32": "float", "i8": "int8_t", "u8": "uint8_t", "i16": "int16_t", "u16": "uint16_t",
          "i32": "int32_t", "u32": "uint32_t"}  # fmt: skip
CONST_ALIGN = 4


@dataclass(frozen=True)
class Array:
    """A C array of the generated file; ``text`` is its name as the inside of a C string literal.
    ``body`` is empty where the content is zero."""

    name: str
    symbol: str
    ctype: str
    length: int
    bytes: int
    text: str
    comment: str
    body: str


@dataclass(frozen=True)
class Call:
    """A kernel call, or C text (the head or end of a loop; empty for a view), and what is said
    above it."""

    comment: tuple[str, ...]
    made: KernelCall | str
    indent: str = " " * 4

    def code(self, callers: Mapping[tuple[object, ...], Caller]) -> str:
        """The C text."""
        if isinstance(self.made, str):
            return self.made
        caller = callers.get(self.made.form)
        return caller.call(self.made, self.indent) if caller else self.made.code(self.indent)


def symbols_of(names: Sequence[str], prefix: str) -> dict[str, str]:
    """C identifiers by name. Names that differ in punctuation alone get a number."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = f"{prefix}_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
        wish, count = plain, 1
        while wish in taken:
            count += 1
            wish = f"{plain}_{count}"
        taken.add(wish)
        found[name] = wish
    return found


def c_text(text: str) -> str:
    """The inside of a C string literal."""
    plain = {code: chr(code) for code in range(32, 127) if chr(code) not in '"\\?'}
    return "".join(plain.get(byte, f"\\{byte:03o}") for byte in text.encode())


def commented(text: str) -> str:
    """Text that ends no comment and begins none."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("\n", " ")


def table_bytes(
    states: Sequence[Param], knots: int, trainings: Sequence[Entry], pointer_bytes: int = 4
) -> int:
    """Flash of the tables beside the constants: names and places of the state, the schedule;
    several schemes, and the terms of their worth.

    ``pointer_bytes`` 0: the places are not constant (position-independent code relocates them).
    """
    schemes = trainings if len(trainings) > 1 else ()
    names = sum(len(p.value.name.encode()) + 1 for p in states)
    names += sum(len(t.scheme.encode()) + 1 for t in schemes)
    places = 0
    if pointer_bytes:
        places = len(states) * (2 * pointer_bytes + 4)
        places += sum(3 * pointer_bytes + 4 + len(t.terms) * (pointer_bytes + 4) for t in schemes)
        places += pointer_bytes if schemes else 0
    counts = 2 * 4
    return names + places + knots * 8 + counts


def padded_bytes(param: Param, align: int) -> int:
    return aligned(param.data.nbytes, align)


def is_weight(param: Param) -> bool:
    """Of the constants: a frozen weight, or a table of embeddings; not one of a function."""
    return param.value.type.dtype == "i8" and len(param.value.type.shape) > 1


def weight_bytes(const: Sequence[Param]) -> int:
    """Of the frozen weights among the constants, as one array after the other."""
    return sum(padded_bytes(p, CONST_ALIGN) for p in const if is_weight(p))


def float_literal(value: float) -> str:
    """A C float constant with exactly these bits."""
    return f"{float(np.float32(value)).hex()}f"


def array(param: Param, symbol: str, align: int) -> Array:
    """``param`` as the C array ``symbol``, its bytes padded to a multiple of ``align``."""
    data = param.data.reshape(-1)
    size = padded_bytes(param, align)
    literal = float_literal if param.value.type.dtype == "f32" else str
    items = [literal(v) for v in data.tolist()]
    lines = [", ".join(items[i : i + 24]) for i in range(0, len(items), 24)]
    zero = param.kind != "const" and not data.any()
    return Array(
        name=param.value.name,
        symbol=symbol,
        ctype=CTYPES[param.value.type.dtype],
        length=size // data.itemsize,
        bytes=size,
        text=c_text(param.value.name),
        comment=commented(f"{param.value.name} {param.value.type}"),
        body="" if zero else "    " + ",\n    ".join(lines),
    )


class Emitter:
    """Calls of one graph; ``where`` gives the C expression of every value."""

    def __init__(
        self, graph: Graph, plan: Plan, symbols: dict[str, str], psram: Collection[str] = ()
    ) -> None:
        self.graph, self.plan, self.inner = graph, plan, graph.inner()
        self.pointer = dict(symbols)
        self.place: dict[str, str] = {
            name: "flash" if p.kind == "const" else "state" for name, p in graph.params.items()
        }
        self.place |= dict.fromkeys(psram, "psram")
        for value in graph.inputs:
            name = f"tt_model_{value.role}"
            self.pointer[value.name] = f"({self._ctype(value)} *)(void *){name}"
            self.place[value.name] = "input"
        for new, old in graph.updated().items():
            self.pointer[new], self.place[new] = self.pointer[old], "state"

    @staticmethod
    def _ctype(value: Value) -> str:
        return CTYPES[value.type.dtype]

    def where(self, value: Value) -> str:
        """The C expression of a value."""
        if value.name in self.plan.offset:
            at, region = self.plan.offset[value.name], self.plan.region[value.name]
            ctype = self._ctype(value)
            return f"AT({ctype}, {at})" if region == MAIN else f"IN({region}, {ctype}, {at})"
        return self.pointer[value.name]

    def _address(self, name: str) -> str:
        """Where a value or scratch of the arena is, for readers."""
        at, region = self.plan.offset[name], self.plan.region[name]
        return f"@{at}" if region == MAIN else f"@{region}+{at}"

    def argument(self, node: Node, name: str, value: Value | None, by_row: bool) -> Argument:
        """Where a value is; in a loop, the first of its rows that this pass reads or writes."""
        if value is None:
            return Argument(name, "null")
        by_row = by_row and self._looped(node) and value.name not in self.inner
        stride = value.type.size // value.type.shape[0] if by_row else 0
        ctype = ("" if name.startswith("out") else "const ") + f"{self._ctype(value)} *"
        if value.name in self.plan.offset:
            at, region = self.plan.offset[value.name], self.plan.region[value.name]
            return Argument(name, "arena", ctype, str(at), region, stride)
        return Argument(name, "symbol", ctype, self.pointer[value.name], stride=stride)

    def _describe(self, value: Value) -> str:
        stored = value.name in self.plan.offset
        place = self._address(value.name) if stored else self.place[value.name]
        shape = "x".join(map(str, value.type.shape))
        return f"{value.name} {value.type.dtype}[{shape}] {place}"

    def call(self, index: int, node: Node) -> Call:
        op = node.op
        if op.alias:
            self._see_through(node)
        ins = [f"<- {self._describe(v)}" for v in node.inputs if v is not None]
        outs = ", ".join(self._describe(v) for v in node.outputs if v is not None)
        title = f"{index}: {op.name}" + (f" of {node.layer}" if node.layer else "")
        comment: tuple[str, ...] = (title, outs, *ins)
        if op.alias:
            return Call((*map(commented, comment), "the same bytes"), "")
        updated = {inp for _, inp in op.updates}
        by_row = op.rowwise or ()
        arguments = [self.argument(node, f"out{i}", v, not op.sums)
                     for i, v in enumerate(node.outputs)]  # fmt: skip
        arguments += [self.argument(node, f"in{i}", v, i in by_row)
                      for i, v in enumerate(node.inputs) if i not in updated]  # fmt: skip
        size, name = self.plan.scratch.get(node.name, 0), scratch_name(node)
        if size:
            at, region = self.plan.offset[name], self.plan.region[name]
            arguments.append(Argument("scratch", "arena", "void *", str(at), region))
            comment = (*comment, f"scratch {size} bytes {self._address(name)}")
        elif op.room:
            arguments.append(Argument("scratch", "null"))
        if op.uses_step:
            arguments.append(Argument("st", "step"))
        body = node.body()
        dims = op.dims(body.in_types(), body.out_types(), node.attrs) if op.dims else {}
        if dims:
            comment = (*comment, " ".join(f"{k}={int(v)}" for k, v in dims.items()))
        numbers = ({"room": size} if op.room else {}) | dims
        arguments += [Argument(k, "number", value=str(int(v))) for k, v in numbers.items()]
        arguments += [Argument(name, "float", "float", float_literal(node.attrs[name]))
                      for name in op.floats]  # fmt: skip
        made = KernelCall(op.name, tuple(arguments), self._looped(node), commented(node.name))
        return Call(tuple(map(commented, comment)), made, self._indent(node))

    @staticmethod
    def _looped(node: Node) -> bool:
        """Whether the node runs more than once, for some of its rows each time."""
        return node.loop is not None and node.loop.rows < node.tokens

    def _indent(self, node: Node) -> str:
        return " " * (8 if self._looped(node) else 4)

    def run(self, first: int, end: int) -> list[Call]:
        """The call of a node, or a loop over rows with its calls."""
        nodes = self.graph.nodes[first:end]
        calls = [self.call(first + i, node) for i, node in enumerate(nodes)]
        loop, tokens = nodes[0].loop, nodes[0].tokens
        if loop is None or not self._looped(nodes[0]):
            return calls
        head = f"    for (int32_t row = 0; row < {tokens}; row += {loop.rows}) {{"
        if any(node.op.uses_step for node in nodes):
            head += "\n        at.row = row;"
        title = f"{loop.name}: {tokens} rows, {loop.rows} at a time"
        return [Call((title,), head), *calls, Call((), "    }")]

    def _see_through(self, node: Node) -> None:
        """The output of a view of something outside of the arena is where its input is."""
        source, value = node.inputs[0], node.outputs[0]
        assert source is not None and value is not None
        if value.name not in self.plan.offset:
            self.pointer[value.name] = self.where(source)
            self.place[value.name] = self.place[source.name]

    def function(self) -> dict[str, Any]:
        calls = [call for first, end in self.graph.runs() for call in self.run(first, end)]
        outputs = self.graph.outputs
        summary = (f"{len(self.graph.nodes)} nodes, {self.graph.macs()} MACs, arena "
                   f"{self.plan.arena_bytes} bytes.")  # fmt: skip
        looped = any(self._looped(n) and n.op.uses_step for n in self.graph.nodes)
        found = {"calls": calls, "metrics": self.where(outputs[0]), "summary": summary,
                 "looped": looped}  # fmt: skip
        if len(outputs) > 1:
            found["logits"] = self.where(outputs[1])
        return found


def train_symbols(trainings: Sequence[Entry]) -> dict[str, str]:
    """C functions of the training steps by scheme, where there are several."""
    return symbols_of([t.scheme for t in trainings], "train")


def _train_functions(
    trainings: Sequence[Entry], symbols: dict[str, str], psram: Collection[str]
) -> list[dict[str, Any]]:
    """``tt_model_train`` of one scheme; of several, a function each, with the terms of its worth:
    (moment, factor) in C."""
    names = train_symbols(trainings)
    return [
        Emitter(t.graph, t.plan, symbols, psram).function()
        | {"symbol": names[t.scheme], "scheme": c_text(t.scheme), "title": commented(t.scheme),
           "terms": [(symbols[term.moment], float_literal(float(term.factor))) for term in t.terms]}
        for t in trainings
    ]  # fmt: skip


def query_symbols(queries: Sequence[str]) -> dict[str, str]:
    """C functions of the queries by name: what stands behind ``tt_model_``."""
    return symbols_of(queries, "query")


def _query_functions(
    queries: Sequence[Entry], symbols: dict[str, str], psram: Collection[str]
) -> list[dict[str, Any]]:
    """``tt_model_query_...`` of each query: its type in C and where its answer is."""
    names = query_symbols([q.name for q in queries])
    return [
        Emitter(q.graph, q.plan, symbols, psram).function()
        | {"symbol": names[q.name], "title": commented(q.name), "ctype": CTYPES[q.answer.dtype],
           "length": q.answer.size, "about": commented(str(q.answer))}
        for q in queries
    ]  # fmt: skip


def vocabulary(graph: Graph) -> int | None:
    """How many token ids the model knows; None when its input is not tokens."""
    tables = [n.inputs[1] for n in graph.nodes if n.op is embedding_s8]
    return None if not tables or tables[0] is None else tables[0].type.shape[0]


def arena_bytes(*plans: Plan) -> dict[str, int]:
    """Bytes of each region's arena, which the plans share; the last is that of the main memory."""
    regions = plans[0].placement.regions
    used = [max(sizes) for sizes in zip(*(p.placement.used for p in plans), strict=True)]
    return {region.name: size for region, size in zip(regions, used, strict=True)}


def uses(optimizer: Optimizer, graphs: Sequence[Graph]) -> dict[str, bool]:
    """What the calls pass to kernels, by the names of ``tt_uses.h``."""
    nodes = [node for graph in graphs for node in graph.nodes]
    params = [param for graph in graphs for param in graph.params.values()]
    dims = [n.op.dims(n.in_types(), n.out_types(), n.attrs) for n in nodes if n.op.dims]
    return {
        **{macro: rule_of(optimizer).macro == macro for macro in ("LSB", "SGD")},
        "FRACTIONS": optimizer.weights == "int16",
        "ROWS": any(p.role == "rows" for p in params),
        "PER_CHANNEL": any(d.get("per_channel") for d in dims),
    }  # fmt: skip


def emit(
    name: str, program: Program, optimizer: Optimizer,
    knots: Sequence[tuple[int, Any]], weights_section: str = "", iram: bool = False,
) -> dict[str, str]:  # fmt: skip
    """``model.c`` and ``model.h`` of a program: its entries over the same arenas.
    ``weights_section``: of the frozen weights, where they are copied to PSRAM; ``iram``: hot
    kernels go to the IRAM of an ESP32."""
    trainings, evaluation, plans = program.trainings, program.evaluation, program.plans
    evaluate = evaluation.graph
    const, state = program.parameters()
    symbols = symbols_of([p.value.name for p in const], "k")
    arrays = [array(p, symbols[p.value.name], CONST_ALIGN) for p in const]
    moved = {p.value.name for p in const if weights_section and is_weight(p)}
    symbols |= {name: f"frozen.{symbols[name]}" for name in moved}
    symbols |= symbols_of([p.value.name for p in state], "s")
    states = [array(p, symbols[p.value.name], 8) for p in state]
    x = evaluate.outside("input").type
    logits = evaluate.outputs[1].type
    labels = logits.shape[0]
    arenas = arena_bytes(*plans)
    facts: dict[str, Any] = {
        "version": __version__, "name": commented(name), "text": c_text(name),
        "seed": optimizer.seed,
        "optimizer": f"{optimizer.rule}, {optimizer.weights} weights, "
                     f"{optimizer.schedule} rate from {optimizer.learning_rate:g}",
        "arena_bytes": arenas.pop(MAIN),
        "beside": {name: size for name, size in arenas.items() if size},
        "lower_bound_bytes": max(plan.lower_bound_bytes for plan in plans),
        "trained_bytes": sum(a.bytes for a, p in zip(states, state, strict=True)
                             if p.kind == "trained"),
        "optimizer_bytes": sum(a.bytes for a, p in zip(states, state, strict=True)
                               if p.kind == "optimizer"),
        "const_bytes": sum(a.bytes for a in arrays), "state_bytes": sum(a.bytes for a in states),
        "input_bytes": x.bytes, "token_bytes": x.bytes // x.size, "input_padded": aligned(x.bytes),
        "labels": labels, "labels_padded": aligned(2 * labels) // 2, "logits": logits.size,
        "constants": [a for a in arrays if a.name not in moved], "states": states,
        "placed": [a for a in arrays if a.name in moved], "psram_bytes": weight_bytes(const),
        "weights_section": weights_section, "iram": iram,
        "knots": [(step, float_literal(rate)) for step, rate in knots],
        "tokens": vocabulary(evaluate),
        "trains": _train_functions(trainings, symbols, moved),
        "choice": symbols.get(choice_name(state)),
        "evaluate": Emitter(evaluate, evaluation.plan, symbols, moved).function(),
        "queries": _query_functions(program.queries, symbols, moved),
    }  # fmt: skip
    facts["callers"] = callers_of([
        call.made for function in (*facts["trains"], facts["evaluate"], *facts["queries"])
        for call in function["calls"] if isinstance(call.made, KernelCall)
    ])  # fmt: skip
    facts["uses"] = uses(optimizer, program.graphs)
    templates = environment()
    source = templates.get_template("model.c.j2").render(facts)
    facts["hash"] = zlib.crc32(source.encode())
    headers = {name: templates.get_template(f"{name}.j2").render(facts)
               for name in ("model.h", "model_uses.h")}  # fmt: skip
    return {"model.c": source, **headers}
