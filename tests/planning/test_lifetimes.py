"""The plan: nothing alive is overwritten, shown by running whole steps in the planned bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.emit.c_source import arena_bytes
from tinytrain.ir import DTYPES, Graph, Node, Step, Value
from tinytrain.ir.execute import execute
from tinytrain.ops.gradient import clip_mask_u8
from tinytrain.planning.fit import Planning, fit
from tinytrain.planning.lifetimes import Plan, lifetimes, plan, scratch_name
from tinytrain.planning.placement import BOUND_MET, Region
from tinytrain.planning.recompute import forward_nodes, recompute
from tinytrain.planning.spare_scratch import with_room
from tinytrain.recipe import Dataset, Optimizer, Recipe
from tinytrain.zoo import CharLM, SensorTransformer

# -- compiled graphs -------------------------------------------------------------------------------


def graphs(made: Compiled) -> Iterator[tuple[Graph, Plan]]:
    yield made.train, made.train_plan
    yield made.evaluate, made.evaluate_plan


def cases() -> list[tuple[str, Any]]:
    named = [(kind, name) for kind in ("sensor", "channels") for name in ("full", "some")]
    more = [("lm", "last_k:1"), ("postnorm", "full"), ("vit", "half"), ("relu", "bias_only")]
    return named + more + [(kind, seed) for kind in ("sensor", "lm", "postnorm", "vit")
                           for seed in (1, 2)]  # fmt: skip


def compiled(kind: str, scheme: Any) -> Compiled:
    chosen = toys.random_scheme(toys.layers(kind), scheme) if isinstance(scheme, int) else scheme
    return toys.compiled(kind, chosen, weights="int16" if kind == "lm" else "int8")


@pytest.mark.parametrize(("kind", "scheme"), cases())
def test_live_values_have_their_own_bytes(kind: str, scheme: Any) -> None:
    made = compiled(kind, scheme)
    for graph, found in graphs(made):
        at = {b.name: found.offset[b.values[0] if b.values else b.name] for b in found.buffers}
        for a, b in itertools.combinations(found.buffers, 2):
            if a.overlaps(b):
                x, y = at[a.name], at[b.name]
                assert x + a.bytes <= y or y + b.bytes <= x, (a, b)
        for b in found.buffers:
            assert all(found.offset[v] == at[b.name] for v in b.values)
            assert at[b.name] + b.bytes <= made.sram.arena_bytes
        planned = {name for b in found.buffers for name in b.values}
        elsewhere = {v.name for v in graph.inputs} | set(graph.params) | set(graph.updated())
        for node in graph.nodes:
            for value in node.outputs:
                assert value is None or value.name in planned | elsewhere or node.op.alias
            if node.scratch_bytes():
                assert scratch_name(node) in found.offset


@pytest.mark.parametrize(("kind", "scheme"), cases()[:6])
def test_values_that_share_bytes_are_in_place_or_views(kind: str, scheme: Any) -> None:
    """Two values of one buffer: the first is dead when the second is made, or it is a view."""
    for graph, found in graphs(compiled(kind, scheme)):
        made = {v.name: (i, n) for i, n in enumerate(graph.nodes) for v in n.outputs if v}
        last = {v.name: i for i, n in enumerate(graph.nodes) for v in n.inputs if v}
        for buffer in found.buffers:
            for first, second in itertools.pairwise(buffer.values):
                at, node = made[second]
                if not node.op.alias:
                    assert last[first] <= at, (first, second)
                    pairs = [(node.outputs[o], node.inputs[i]) for o, i in node.op.inplace]
                    assert any(o and i and o.name == second and i.name in buffer.values
                               for o, i in pairs)  # fmt: skip


def split(found: Plan) -> tuple[Region, ...]:
    """Memories of which two hold a third and a quarter of a plan, and one the rest."""
    whole = found.arena_bytes
    return (Region("a", whole // 3), Region("b", whole // 4), Region("rest"))


class ByteArena:
    """Runs a graph with its values at their planned addresses, against values known to be right.

    Before a node reads, its scratch and those outputs that overwrite no input of theirs are filled
    with rubbish: a kernel may write them before it has read everything.
    """

    def __init__(
        self, graph: Graph, found: Plan, right: dict[str, Any],
        arenas: dict[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.graph, self.plan, self.right = graph, found, right
        self.rng = np.random.default_rng(0)
        self.bytes = {
            name: self.rng.integers(0, 256, size, dtype=np.uint8)
            for name, size in (arenas or arena_bytes(found)).items()
        }
        self.elsewhere: dict[str, Any] = {}

    def at(self, value: Value) -> Any:
        start = self.plan.offset[value.name]
        raw = self.bytes[self.plan.region[value.name]][start : start + value.type.bytes]
        assert len(raw) == value.type.bytes, f"{value.name} ends outside of the arena"
        return raw.view(DTYPES[value.type.dtype]).reshape(value.type.shape)

    def rubbish(self, name: str, size: int) -> None:
        arena, start = self.bytes[self.plan.region[name]], self.plan.offset[name]
        assert start + size <= len(arena)
        arena[start : start + size] = self.rng.integers(0, 256, size, dtype=np.uint8)

    def read(self, value: Value | None, node: Node) -> Any:
        if value is None:
            return None
        stored = value.name in self.plan.offset
        array = self.at(value).copy() if stored else self.elsewhere[value.name]
        want = np.asarray(self.right[value.name])
        assert array.tobytes() == want.tobytes(), f"{value.name} was overwritten before {node}"
        return array

    def place(self, value: Value) -> tuple[str | None, int | None]:
        return self.plan.region.get(value.name), self.plan.offset.get(value.name)

    def run(self, node: Node, step: Step) -> None:
        offset = self.plan.offset
        if node.op.alias:
            source, value = node.inputs[0], node.outputs[0]
            assert source is not None and value is not None
            array = self.read(source, node)
            if value.name in offset:
                assert self.place(value) == self.place(source)
            else:
                self.elsewhere[value.name] = array.reshape(value.type.shape)
            return
        if size := self.plan.scratch.get(node.name, 0):
            self.rubbish(scratch_name(node), size)
        for i, value in enumerate(node.outputs):
            if value is not None and value.name in offset:
                sources = [node.inputs[j] for o, j in node.op.inplace if o == i]
                over = [s for s in sources if s and self.place(s) == self.place(value)]
                if not over:
                    self.rubbish(value.name, value.type.bytes)
        arrays = [self.read(v, node) for v in node.inputs]
        results = node.op.ref(arrays, node.attrs, step)
        for value, array in zip(node.outputs, results, strict=True):
            if value is None:
                continue
            if value.name in offset:
                self.at(value)[...] = array
            else:
                self.elsewhere[value.name] = array

    def check(self, inputs: dict[str, Any], step: Step) -> None:
        params = {name: p.data for name, p in self.graph.params.items()}
        self.elsewhere = {**inputs, **params}
        for node in self.graph.nodes:
            self.run(node, step)
        for value in self.graph.outputs:
            stored = value.name in self.plan.offset
            got = self.at(value) if stored else self.elsewhere[value.name]
            np.testing.assert_array_equal(got, self.right[value.name])
        for new in self.graph.updated():
            np.testing.assert_array_equal(self.elsewhere[new], self.right[new])


@pytest.mark.parametrize(("kind", "scheme"), cases())
def test_a_step_in_the_planned_bytes(kind: str, scheme: Any) -> None:
    made, samples = compiled(kind, scheme), toys.data(kind)
    step = Step(seed=5, step=3, learning_rate=np.float32(2))
    for graph, found in graphs(made):
        for x, y in zip(samples.x[:2], samples.y[:2], strict=True):
            inputs = {
                graph.inputs[0].name: made.codec.quantize_input(x),
                "labels": made.codec.encode_labels(y),
            }
            right = execute(graph, inputs, {}, step)
            arenas = arena_bytes(made.train_plan, made.evaluate_plan)
            ByteArena(graph, found, right, arenas).check(inputs, step)
        if graph is made.train:
            ByteArena(graph, plan(graph, split(found)), right).check(inputs, step)


@pytest.mark.parametrize(("kind", "scheme"), [("sensor", "full"), ("lm", "some"), ("vit", 1)])
def test_a_step_that_was_made_to_fit(kind: str, scheme: Any) -> None:
    """With all that saves memory: fewer bytes, same metrics and weights, nothing overwritten."""
    made, samples = compiled(kind, scheme), toys.data(kind)
    fitted = fit(made.plain, 0, Planning("min-memory", tile="off"))
    short, found = fitted.graph, fitted.plan
    assert found.arena_bytes < plan(made.train).arena_bytes
    step = Step(seed=5, step=3, learning_rate=np.float32(2))
    inputs = {
        short.inputs[0].name: made.codec.quantize_input(samples.x[0]),
        "labels": made.codec.encode_labels(samples.y[0]),
    }
    states: list[dict[str, Any]] = [{}, {}]
    values = [execute(g, inputs, s, step) for g, s in zip((made.train, short), states, strict=True)]
    np.testing.assert_array_equal(values[0]["metrics"], values[1]["metrics"])
    assert set(states[0]) == set(states[1])
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name], name)
    ByteArena(short, found, values[1]).check(inputs, step)


def test_bits_made_again_do_not_hold_what_they_are_of() -> None:
    """Nothing but other bits stands between them and the last node that makes or reads it."""
    plain = toys.compiled("sensor", "lora:2").plain
    graph = recompute(plain, {node.name for node in forward_nodes(plain)})
    assert graph is not None
    found = 0
    for i, node in enumerate(graph.nodes):
        if node.op is clip_mask_u8 and node.again:
            (x,) = node.inputs
            before, after = (
                [n for n in part if n.op is not clip_mask_u8]
                for part in (graph.nodes[:i], graph.nodes[i + 1 :])
            )
            assert x in before[-1].outputs or x in after[0].inputs
            found += 1
    assert found == sum(node.op is clip_mask_u8 for node in plain.nodes)


def test_the_byte_arena_notices_a_wrong_plan() -> None:
    made, samples = toys.compiled("sensor", "full"), toys.data("sensor")
    graph, found = made.train, made.train_plan
    inputs = {
        graph.inputs[0].name: made.codec.quantize_input(samples.x[0]),
        "labels": made.codec.encode_labels(samples.y[0]),
    }
    right = execute(graph, inputs, {}, Step())
    caught = 0
    long = [b for b in found.buffers if b.dies - b.born > 20 and b.values][:8]
    for buffer in long:
        moved = dict(found.offset)
        other = next(b for b in found.buffers if b.overlaps(buffer) and b is not buffer
                     and b.bytes >= 32 and b.born > buffer.born)  # fmt: skip
        for name in buffer.values:
            moved[name] = found.offset[other.values[0] if other.values else other.name]
        larger = replace(found.placement, used=(found.arena_bytes + buffer.bytes,))
        wrong = replace(found, offset=moved, placement=larger)
        with pytest.raises(AssertionError, match="overwritten"):
            ByteArena(graph, wrong, right).check(inputs, Step())
        caught += 1
    assert caught >= 5


# -- how good it is --------------------------------------------------------------------------------


def real_size(kind: str, scheme: str) -> Compiled:
    rng = np.random.default_rng(0)
    if kind == "har":
        x: Any = rng.normal(size=(2, 128, 6)).astype(np.float32)
        samples = Dataset(x, rng.integers(0, 7, 2))
        model: Any = SensorTransformer()
    else:
        tokens = rng.integers(0, 97, (2, 64))
        samples, model = Dataset(tokens, tokens), CharLM(97)
    recipe = Recipe(kind, model, samples.x, samples, {"test": samples},
                    "classes" if kind == "har" else "tokens", scheme, Optimizer())  # fmt: skip
    return compile_recipe(recipe, load_board("host"), QUANTIZED.get(kind), check=False)


QUANTIZED: dict[str, Any] = {}


@pytest.mark.parametrize("kind", ["har", "lm"])
def test_the_arena_is_near_its_lower_bound(kind: str) -> None:
    for scheme in ("full", "last_k:2", "last_k:1", "head_only"):
        made = real_size(kind, scheme)
        QUANTIZED[kind] = made.quantized
        alone = fit(made.evaluate, made.sram.arena_bytes).plan  # not at the places of the step
        for graph, found in ((made.train, made.train_plan), (made.evaluate, alone)):
            ratio = found.arena_bytes / found.lower_bound_bytes
            name = "train" if graph is made.train else "evaluate"
            print(f"{kind:4} {scheme:10} {name:9} arena {found.arena_bytes:7,} bytes, "
                  f"lower bound {found.lower_bound_bytes:7,}, ratio {ratio:.4f}")  # fmt: skip
            assert ratio == 1 and found.placement.proof == BOUND_MET


def test_planning_is_deterministic() -> None:
    made = toys.compiled("lm", "full")
    arenas = arena_bytes(made.train_plan, made.evaluate_plan)
    assert with_room(made.train, plan(made.train), arenas).offset == made.train_plan.offset


def test_peak_and_who_holds_it() -> None:
    found = toys.compiled("lm", "full").train_plan
    live = found.live_at(found.peak_node)
    assert sum(b.bytes for b in live) == found.lower_bound_bytes
    assert [b.bytes for b in live] == sorted((b.bytes for b in live), reverse=True)


def test_lifetimes_of_a_step_cover_every_read() -> None:
    graph = toys.compiled("postnorm", "full").train
    by_value = {v: b for b in lifetimes(graph) for v in b.values}
    for i, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.name in by_value:
                assert by_value[value.name].born <= i <= by_value[value.name].dies
