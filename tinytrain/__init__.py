"""tinytrain: transformers that learn on a microcontroller."""

from .errors import TinytrainError
from .recipe import Dataset, Optimizer, Recipe, UpdateScheme, load_recipe
from .sessions.session import Evaluation, Session, StepResult

__version__ = "0.1.0"

__all__ = [
    "Dataset", "Evaluation", "Optimizer", "Recipe", "Session", "StepResult", "TinytrainError",
    "UpdateScheme", "load_recipe",
]  # fmt: skip
