"""Which scheme to train: contributions measured on a proxy task, memory from the real planner.

``select`` searches for one recipe and board; ``auto`` does so for a recipe whose scheme is "auto".
"""

from .choose import Selected, select
from .resolve import auto, is_auto
from .settings import Settings

__all__ = ["Selected", "Settings", "auto", "is_auto", "select"]
