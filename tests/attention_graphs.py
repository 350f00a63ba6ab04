"""Attention and its gradients as the graph that differentiation makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from tinytrain.ir import Build, Graph, Node, Type
from tinytrain.ops.attention import attention_mix_s8, attention_probs_u8, mix_attrs, probs_attrs
from tinytrain.ops.base import Grad
from tinytrain.recipe import Optimizer
from tinytrain.training.autodiff import BackwardBuild

S_Q, S_K, S_V, S_G = 0.02, 0.015, 0.03, 0.7
S_Y = 0.031  # no output saturates


@dataclass(frozen=True)
class Attention:
    """Inputs q, k, v, g, e. ``grads``: of "q", "k" and "v" as far as wanted."""

    graph: Graph
    grads: dict[str, Grad]

    def node(self, name: str) -> Node | None:
        """The node of ``attention_<name>_...``, if there is one."""
        found = [n for n in self.graph.nodes if n.op.name.startswith(f"attention_{name}_")]
        return found[0] if found else None


def attention(tokens: int, channels: int, heads: int, causal: bool, wanted: str) -> Attention:
    """Forward and backward; the output y comes first, then the gradients."""
    build, kind = Build(), {"heads": heads, "causal": causal, "layer": "a"}
    q, k, v = (build.input(name, Type((tokens, channels), "i8", scale))
               for name, scale in (("q", S_Q), ("k", S_K), ("v", S_V)))  # fmt: skip
    attrs = probs_attrs(S_Q, S_K, (channels // heads) ** -0.5)
    (p,) = build.node(attention_probs_u8, [q, k], "p", **kind, **attrs)
    (y,) = build.node(attention_mix_s8, [p, v], "y", **kind, **mix_attrs(S_V, S_Y))
    back = BackwardBuild(build.graph([y]), Optimizer())
    probs, mix = back.forward_nodes
    g = Grad(back.input("g", Type(y.type.shape, "i8", S_G)),
             back.input("e", Type((tokens,), "i16")))  # fmt: skip
    assert attention_mix_s8.grad and attention_probs_u8.grad
    want_q, want_k, want_v = (name in wanted for name in "qkv")
    gs, gv = attention_mix_s8.grad(back, mix, (g,), (want_q or want_k, want_v))
    gq, gk = attention_probs_u8.grad(back, probs, (gs,), (want_q, want_k)) if gs else (None, None)
    grads = {name: x for name, x in zip("qkv", (gq, gk, gv), strict=True) if x is not None}
    back.nodes = back.whole()
    return Attention(back.graph([y, *(v for x in grads.values() for v in x)]), grads)
