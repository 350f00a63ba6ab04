"""The way from a recipe and a board to the scheme that is worth most there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import __version__
from ..boards import Board
from ..compiler import Compiled, compile_recipe, prepare, silent
from ..errors import BudgetError, RecipeError
from ..planning.fit import Planning
from ..quantize import Quantized
from ..recipe import Layers, Recipe, UpdateScheme
from ..training.scheme import layers_of, layers_sha256, resolve, selections
from ..training.scheme_file import SchemeFile
from .analysis import Analysis, Stage, analyse, first_look
from .front import Candidate, pareto, replanned
from .memory import Memory
from .options import Choice, explicit
from .pool import Context, Pool
from .proxy import digest_of, tasks_of
from .runs import Job, Outcome, Runs
from .search import best_choice
from .settings import Objective, Settings
from .steps import twin
from .store import Store, graph_digest
from .trials import Trials, proposed, standard


@dataclass(frozen=True)
class Selected:
    """``scheme``: with the learning rate that was best for it. ``compiled``: planned for the board.
    ``before``: validation of the model as it was; ``candidates``: all that was trained at full
    length, ``front`` those that none beats; ``left_out``: given schemes that do not fit, and the
    bytes of SRAM that they need."""

    scheme: UpdateScheme
    choice: Choice
    learning_rate: float
    compiled: Compiled
    objective: Objective
    analysis: Analysis
    before: Outcome | None
    best: Candidate | None
    candidates: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    left_out: dict[str, int]
    memory: Memory
    file: SchemeFile
    seconds: float
    trained: int


def nowhere(title: str, total: int) -> Callable[[], None]:
    """No progress bar."""
    return lambda: None


def select(
    recipe: Recipe, board: Board, settings: Settings | None = None,
    planning: Planning | None = None, quantized: Quantized | None = None,
    store: Store | None = None, stage: Stage = nowhere, say: Callable[[str], None] = silent,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter, also: Sequence[UpdateScheme | str] = (),
) -> Selected:  # fmt: skip
    """Search for the best scheme within the SRAM of ``board``. What was measured or planned before
    is taken from ``store``, so that a search that was cut off goes on. ``also``: schemes that are
    tried beside the recipe's own, such as that of a smaller budget.

    Raises BudgetError when not even the head's bias fits, RecipeError for too few samples,
    SchemeError for a scheme that is not one of the model, and BoardError where steps are to be
    counted on a processor that is not emulated.
    """
    settings, planning = settings or Settings(), planning or Planning()
    began, recipe = time.monotonic(), recipe.replace(alternatives=())
    end = None if settings.seconds is None else began + settings.seconds
    counter = twin(board) if settings.count else None
    quantized = quantized or prepare(recipe, track)
    store, objective = store or Store(), settings.objective
    tasks, layers = tasks_of(recipe, settings.folds, settings.seed), layers_of(quantized.graph)
    given = [resolve(scheme, layers) for scheme in (recipe.scheme, *also) if scheme != "auto"]
    for scheme in given:
        selections(scheme, layers)
    with Pool(Context(recipe, quantized, tasks), settings.jobs) as pool:
        runs = Runs(pool, store)
        say("first-order estimate")
        guess, order, seconds = first_look(recipe, runs, layers, settings)
        memory = Memory(pool, board, planning, store, order, twin=counter)
        _check_smallest(memory)
        analysis = analyse(recipe, runs, memory, guess, seconds, settings, end, stage)
        trials = Trials(runs, memory, objective, settings.trials, end, stage, say)
        standard(trials, given, settings.front)
        if settings.method == "optuna":
            from .study import study

            study(trials, analysis, settings)
        else:
            proposed(trials, analysis, settings.front)
        trials.confirmed()
        say("planning the front")
        front = planned_front(trials)
        before = runs.known(Job(None, recipe.optimizer))
        trained = runs.started
    choice, scheme, rate, best = _chosen(trials, analysis)
    say("planning memory")
    made = recipe.replace(scheme=scheme, optimizer=replace(recipe.optimizer, learning_rate=rate))
    compiled = compile_recipe(made, board, quantized, planning=planning)
    facts = _provenance(
        recipe, quantized, compiled, settings, objective, digest_of(tasks), before, best
    )
    made_for = Layers(recipe.name, layers_sha256(layers))
    file = SchemeFile(replace(scheme, made_for=made_for), recipe.optimizer.rule, rate, facts)
    return Selected(
        scheme, choice, rate, compiled, objective, analysis, before, best, tuple(trials.found),
        tuple(front), trials.left_out, memory, file, time.monotonic() - began, trained,
    )  # fmt: skip


def _check_smallest(memory: Memory) -> None:
    need, budget = memory.smallest(), memory.board.sram_budget_bytes
    if not need.fits:
        raise BudgetError(
            f"nothing to select: the bias of the head alone needs {need.sram_bytes} bytes of SRAM, "
            f"{memory.board.name} has {budget}; give more (--sram) or a larger board"
        )


def _chosen(
    trials: Trials, analysis: Analysis
) -> tuple[Choice, UpdateScheme, float, Candidate | None]:
    """The best that was trained; where time was too short for any, what the search proposes."""
    best = trials.best()
    if best is not None:
        scheme = explicit(best.scheme, trials.memory.layers, "selected")
        return best.choice, scheme, best.learning_rate, best
    made = best_choice(trials.memory, analysis.values)
    if made is None:
        raise RecipeError("the search found no scheme that fits; give more memory (--sram)")
    rate = trials.runs.pool.context.recipe.optimizer.learning_rate
    return made.choice, trials.memory.scheme(made.choice), rate, None


def planned_front(trials: Trials) -> list[Candidate]:
    """The front, with what builds of its schemes need instead of what the search assumed."""
    front = pareto(trials.found, trials.objective)
    best = trials.best()
    wanted = [*front, *([best] if best is not None and best not in front else [])]
    for before, after in zip(wanted, replanned(wanted, Memory.exact), strict=True):
        trials.found[trials.found.index(before)] = after
    return pareto(trials.found, trials.objective)


def _provenance(
    recipe: Recipe, quantized: Quantized, compiled: Compiled, settings: Settings,
    objective: Objective, data: str, before: Outcome | None, best: Candidate | None,
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {
        "tinytrain": __version__,
        "model": recipe.name,
        "model_sha256": graph_digest(quantized.graph),
        "data_sha256": data,
        "board": compiled.board.name,
        "sram_budget_bytes": compiled.board.sram_budget_bytes,
        "sram_bytes": compiled.sram.sram_bytes,
        "trained_parameters": compiled.trained_parameters,
        "macs_per_step": compiled.train.macs(),
        "search": settings.method,
        "channels": settings.channels,
        "objective": objective,
        "steps": recipe.optimizer.steps,
    }
    if before is not None:
        found["validation_before"] = round(before.score(objective), 6)
    if best is not None:
        found["validation"] = round(best.score(objective), 6)
        found["found_as"] = best.name
    return found
