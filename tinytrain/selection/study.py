"""The search by Optuna: score, SRAM and work of a step at once, without values that add up.

A study in a database or a journal may be shared by several machines, and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ..errors import RecipeError
from .analysis import Analysis
from .options import NOTHING, Choice, is_nothing
from .settings import Settings
from .store import key_of
from .trials import Trials, Wanted

ASKED = 10  # times as many as are trained; most samples may not fit
OVER = "over"  # bytes beyond the budget, of a trial
WORST = {"accuracy": 0.0, "loss": -100.0}  # of a scheme that was not trained


def optuna_module() -> ModuleType:
    """Raises RecipeError without Optuna."""
    try:
        import optuna
    except ImportError as error:
        raise RecipeError(
            "--search optuna needs Optuna; install it: pip install 'tinytrain-mcu[select]'"
        ) from error
    return optuna


def study(trials: Trials, analysis: Analysis, settings: Settings) -> None:
    """Ask for schemes, plan and train those that fit, for as long as trials may be made.

    Raises RecipeError without Optuna, or for a storage that it cannot open.
    """
    optuna = optuna_module()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    memory = trials.memory
    optimizer = memory.pool.context.recipe.optimizer
    name = key_of("study", memory.digest, trials.runs.digest, optimizer, trials.objective)
    sampler = optuna.samplers.NSGAIISampler(
        population_size=max(4, min(24, settings.trials // 2)), seed=settings.seed
    )
    try:
        found = optuna.create_study(
            study_name=name, storage=settings.storage, sampler=sampler, load_if_exists=True,
            directions=["maximize", "minimize", "minimize"],
        )  # fmt: skip
    except Exception as error:  # what drivers of databases raise has no common base
        raise RecipeError(f"--storage {settings.storage}: {error}") from error
    for choice in _first(trials, analysis):
        found.enqueue_trial(_parameters(memory.options, choice), skip_if_exists=True)
    asked = 0
    while not trials.over and asked < ASKED * settings.trials:
        asked += 1
        trials.say(f"optuna: {asked} asked, {len(trials.found)} trained")
        trial = found.ask()
        found.tell(trial, _values(trials, trial))


def _first(trials: Trials, analysis: Analysis) -> Sequence[Choice]:
    """Where the study begins: what the standard schemes train, as near as our options come, and
    the most valuable single layer beside the head."""
    memory, head = trials.memory, trials.memory.layers[-1].name
    whole = memory.options[head][-1]
    gains = {
        (name, option): gain
        for name, options in analysis.values.gain.items()
        for option, gain in options.items()
        if name != head
    }
    layer, option = max(gains, key=lambda key: gains[key])
    known = [c.choice for c in trials.found
             if all(o in memory.options[n] for n, o in c.choice.items())]  # fmt: skip
    return [{head: whole, layer: option}, *known]


def _parameters(options: Any, choice: Choice) -> dict[str, int]:
    return {name: known.index(choice.get(name, NOTHING)) for name, known in options.items()}


def _values(trials: Trials, trial: Any) -> tuple[float, float, float]:
    """Score, bytes of SRAM, work of one trial; what does not fit is not trained."""
    memory, budget = trials.memory, trials.memory.board.sram_budget_bytes
    choice = {
        name: known[trial.suggest_int(name, 0, len(known) - 1)]
        for name, known in memory.options.items()
    }
    choice = {name: option for name, option in choice.items() if option != NOTHING}
    worst = WORST[trials.objective]
    least = memory.least_bytes(choice)
    if is_nothing(choice) or least > budget:
        trial.set_constraint(OVER, max(1, least - budget))
        return worst, float(least), 0.0
    need = memory.need(memory.scheme(choice))
    trial.set_constraint(OVER, max(0, need.sram_bytes - budget))
    if not need.fits:
        memory.note(choice, need)
        return worst, float(need.sram_bytes), float(need.work)
    before = len(trials.found)
    name = f"optuna {trial.number}"
    trials.train([Wanted(name, memory.scheme(choice, name), choice, need, memory)])
    if len(trials.found) == before:
        return worst, float(need.sram_bytes), float(need.work)
    done = trials.found[-1]
    return done.score(trials.objective), float(need.sram_bytes), float(done.need.work)
