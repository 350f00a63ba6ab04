"""Images of STM32F4 boards on an emulated STM32F405, each over its own USART: their memories lie
at the same addresses. The clocks stay as after reset, as QEMU has no RCC."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_model import FILES, HASH, FakeCodec, samples

from tinytrain.boards import Board, all_boards, load_board
from tinytrain.sessions.qemu_session import QemuSession
from tinytrain.toolchain.build import build

pytestmark = pytest.mark.qemu

F4 = [board for board in all_boards() if board.stm32 and board.stm32.family == "f4"]
SERIAL = {0x40011000: 0, 0x40004400: 1, 0x40004800: 2}  # USART1 to 3


def trained(board: Board, folder: Path) -> tuple[list[float], str]:
    artifact = build(FILES, board, folder / board.name)
    with QemuSession(board, artifact, FakeCodec(), model_hash=HASH, timeout_s=20) as session:
        return [session.step(x, 1).loss for x in samples(8)], session.weights_sha256()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], str]:
    return trained(load_board("qemu_mps2_an386"), tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("board", F4, ids=lambda board: board.name)
def test_images_of_f4_boards_train(
    board: Board, reference: tuple[list[float], str], tmp_path: Path
) -> None:
    assert board.uart and len(F4) >= 4
    serial = SERIAL[board.uart.base]
    emulated = replace(board, qemu_machine="netduinoplus2", qemu_serial=serial)
    assert trained(emulated, tmp_path) == reference
