"""A program has as many entries as are asked for: one more shares arena, states and bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import SchemeError
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.training.queries import features


def asked(kind: str) -> Compiled:
    made = toys.recipe(kind)
    return compile_recipe(
        made, load_board("host"), toys.quantized(kind), queries={"features": features}
    )


@pytest.mark.parametrize("kind", ["sensor", "lm"])
def test_a_third_entry(tmp_path: Path, kind: str) -> None:
    made, plain = asked(kind), toys.compiled(kind)
    data, numpy = toys.data(kind), numpy_session(asked(kind))
    assert made.sram.sram_bytes == plain.sram.sram_bytes
    assert made.codec.state == plain.codec.state
    with toys.host(made, tmp_path) as host:
        before = host.query("features", data.x[0])
        assert before.dtype == np.float32 and before.shape == made.codec.queries["features"].shape
        np.testing.assert_array_equal(before, numpy.query("features", data.x[0]))
        toys.assert_same(host, numpy, data, 4)
        after = host.query("features", data.x[0])
        np.testing.assert_array_equal(after, numpy.query("features", data.x[0]))
        assert (before != after).any(), "it reads the weights that have learned"


def test_an_unknown_entry_is_refused() -> None:
    with pytest.raises(SchemeError, match="no entry 'pooled' that can be asked; it has features"):
        numpy_session(asked("lm")).query("pooled", toys.data("lm").x[0])
