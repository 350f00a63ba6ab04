"""All passes in their order, and what they give."""

from .pipeline import Compiled, arena_peak, check_budget, compile_recipe, prepare, silent

__all__ = ["Compiled", "arena_peak", "check_budget", "compile_recipe", "prepare", "silent"]
