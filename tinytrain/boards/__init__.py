"""Boards as data."""

from .board import (
    PORTED,
    SUPPORT,
    Board,
    PlatformIO,
    all_boards,
    load_board,
    port_bytes,
    port_defines,
    read_board,
    runtime_bytes,
    with_sram,
)

__all__ = [
    "PORTED",
    "SUPPORT",
    "Board",
    "PlatformIO",
    "all_boards",
    "load_board",
    "port_bytes",
    "port_defines",
    "read_board",
    "runtime_bytes",
    "with_sram",
]
