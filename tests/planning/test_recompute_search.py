"""The search for a step that fits: its choices, what they cost, and what it says of them."""

from __future__ import annotations

import pytest
import toys

from tinytrain.ir import Graph
from tinytrain.ops.gradient import clip_mask_u8
from tinytrain.planning.lifetimes import lifetimes
from tinytrain.planning.placement import live_bytes
from tinytrain.planning.recompute import (
    bottlenecks,
    extra_cost,
    forward_nodes,
    origin,
    own,
    own_updates,
    recompute,
)
from tinytrain.planning.recompute_search import Search
from tinytrain.planning.row_loops import cut_points, gather


def plain(kind: str, scheme: str = "full") -> Graph:
    return toys.compiled(kind, scheme).plain


def made_again(graph: Graph, choice: set[str]) -> Graph:
    found = recompute(graph, choice)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["sensor", "lm", "vit"])
def test_smaller_budgets_cost_more(kind: str) -> None:
    search = Search(plain(kind))
    most, least = search.trial(set()), search.smallest()
    assert most is not None
    assert least.bytes < most.bytes and most.cost == 0
    costs = []
    for part in (0.0, 0.2, 0.5, 1.0):
        budget = least.bytes + int(part * (most.bytes - least.bytes))
        found = search.cheapest(budget)
        assert found is not None and found.bytes <= budget
        costs.append(found.cost)
    assert costs[-1] == 0 < costs[0]
    assert costs[0] >= max(costs) * 0.8, "more room should not cost more"


def test_a_budget_below_the_least_gives_nothing() -> None:
    search = Search(plain("sensor"))
    assert search.cheapest(search.smallest().bytes // 2) is None


@pytest.mark.parametrize("scheme", ["lora:2+head", "bias_only"])
def test_small_values_are_made_again_where_many_layers_train(scheme: str) -> None:
    search = Search(plain("cct", scheme))
    first, deep = (min(t.bytes for t in found) for found in (search.starts(), search.deep_starts()))
    assert deep < first
    for budget in (first - 1, deep):
        assert search.quick(budget).bytes == deep, "what fits at once is taken at once"
        found = search.cheapest(budget)
        assert found is not None and found.bytes <= budget
    assert search.quick(deep - 1).bytes <= deep and search.smallest().bytes <= deep


def test_what_a_trial_says_is_true() -> None:
    search = Search(plain("lm"))
    trial = search.trial(set(search.forward) - bottlenecks(search.graph))
    assert trial is not None
    graph = search.made(trial.choice)
    assert graph is not None
    assert trial.bytes == max(live_bytes(lifetimes(graph), len(graph.nodes)))
    assert trial.cost == extra_cost(graph, search.graph) > 0
    assert search.trial(trial.choice) is trial, "every choice is tried once"


def test_without_recomputation_only_loops_are_cut() -> None:
    search = Search(plain("lm"), again=False)
    found = search.smallest()
    assert found.cost == 0 and found.choice <= set(search.cuts)


def test_a_loop_ends_at_a_cut() -> None:
    graph = plain("sensor")
    cut = next(name for name in cut_points(graph) if name.endswith("add.grad"))
    for cuts in (set[str](), {cut}):
        nodes = gather(graph, cuts).nodes
        at = next(i for i, n in enumerate(nodes) if n.name == cut)
        follows = nodes[at].loop is not None and nodes[at + 1].loop == nodes[at].loop
        assert follows != bool(cuts)


def test_nothing_but_one_gradient_passes_a_cut() -> None:
    graph = plain("sensor")
    forward = {v.name for n in forward_nodes(graph) for v in n.outputs if v is not None}
    nodes = [n for n in graph.nodes if not n.op.updates]
    for cut in cut_points(graph):
        at = next(i for i, n in enumerate(nodes) if n.name == cut)
        made = {v.name for n in nodes[: at + 1] for v in n.outputs if v is not None} - forward
        read = {v.name for n in nodes[at + 1 :] for v in n.inputs if v is not None}
        here = {v.name for v in nodes[at].outputs if v is not None}
        aligned = {name for name in made & read if name.startswith("logits.grad")}
        assert made & read <= here | aligned | {"metrics"}, cut


def test_an_update_may_have_its_input_made_for_itself() -> None:
    graph = plain("sensor")
    update = next(n for n in own_updates(graph) if n.layer == "blocks.1.f2")
    again = {n.name for n in forward_nodes(graph)} - bottlenecks(graph)
    shared, alone = made_again(graph, again), made_again(graph, again | {update.name})
    assert not any(own(n) for n in shared.nodes)
    copies = [n for n in alone.nodes if own(n)]
    assert "blocks.1.gelu" in {origin(n) for n in copies}
    assert len(alone.nodes) > len(shared.nodes)
    at = next(i for i, n in enumerate(alone.nodes) if n.name == update.name)
    assert list(alone.nodes[at - len(copies) : at]) == copies, "right before the update"


def test_a_mask_is_made_right_behind_what_it_looks_at() -> None:
    graph = plain("sensor")
    again = {n.name for n in forward_nodes(graph)} - bottlenecks(graph)
    nodes = made_again(graph, again).nodes
    masks = [(i, n) for i, n in enumerate(nodes) if n.op is clip_mask_u8 and origin(n)]
    assert masks
    for i, mask in masks:
        source = mask.inputs[0]
        assert source is not None
        assert source in nodes[i - 1].outputs or not source.name.endswith("..again")
