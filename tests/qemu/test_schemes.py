"""Several schemes on emulated boards: the host's choice and bits, and planned = measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys

from tinytrain.boards import load_board
from tinytrain.compiler import Compiled, compile_recipe
from tinytrain.errors import LinkError
from tinytrain.link.protocol import USE
from tinytrain.recipe import UpdateScheme
from tinytrain.sessions.numpy_session import numpy_session
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.toolchain.build import Artifact, build

pytestmark = pytest.mark.qemu

EARLY = UpdateScheme({"blocks.0.o": 1.0, "blocks.0.f2": (1, 5, 6)}, ("blocks.0.o",), "early")
SCHEMES = ("head_only", EARLY, "bias_only")


def compiled(board: str) -> Compiled:
    recipe = toys.recipe("sensor", SCHEMES[0]).replace(alternatives=SCHEMES[1:])
    return compile_recipe(recipe, load_board(board), toys.quantized("sensor"))


def check_image(made: Compiled, artifact: Artifact) -> None:
    """Every static byte, and all that is constant in flash."""
    sram = made.sram
    static = sram.arena_bytes + sram.trained_weight_bytes + sram.optimizer_bytes
    static += sram.io_bytes + sram.runtime_bytes
    assert artifact.sections[".data"] + artifact.sections[".bss"] == static
    assert artifact.symbols["tt_model_arena"] == sram.arena_bytes
    assert artifact.model_const_bytes == made.facts()["model_const_bytes"]


@pytest.mark.parametrize("board", ["qemu_mps2_an386", "qemu_mps3_an547"])
def test_switching_on_the_board(tmp_path: Path, board: str) -> None:
    made, data = compiled(board), toys.data("sensor")
    artifact, numpy = build(made.files, made.board, tmp_path / "b"), numpy_session(made)
    check_image(made, artifact)
    with QemuSession(made.board, artifact, made.codec, model_hash=made.model_hash) as session:
        assert session.info()["schemes"] == 3 and session.info()["scheme"] == 0
        toys.assert_same(session, numpy, data, 4)
        for i in range(4):
            assert session.probe(data.x[i], data.y[i]) == numpy.probe(data.x[i], data.y[i])
        assert session.info()["probed"] == 4
        choice = session.choose()
        assert choice == numpy.choose() and choice.probed == 4
        assert session.info()["scheme"] == made.codec.schemes.index(choice.scheme)
        toys.assert_same(session, numpy, data, 4)
        for name in ("bias_only", "early"):
            session.use(name)
            numpy.use(name)
            toys.assert_same(session, numpy, data, 3)
        with pytest.raises(LinkError, match="no such scheme"):
            session._line(USE, (3).to_bytes(4, "little"))
        assert session.info()["scheme"] == 1
    assert 0 < session.stack_used_bytes <= made.sram.stack_bytes
    learned, before = numpy.weights(), numpy_session(made).weights()
    for name in ("head.bias.trained", "blocks.0.o.weight.trained"):
        assert (learned[name] != before[name]).any()
    assert len(session.instructions_per_step) == 4 + 4 + 6
