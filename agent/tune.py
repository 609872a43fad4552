"""Searches a plan's open parameters: Optuna asks, the harness tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernelite.kernels.templates import Choices, Plan

Measure = Callable[[Choices], float | None]


def default_choices(plan: Plan) -> Choices:
    """The first value of every parameter."""
    return {name: values[0] for name, values in plan.space.items()}


def size(plan: Plan) -> int:
    """How many different choices the plan has."""
    count = 1
    for values in plan.space.values():
        count *= len(values)
    return count


def tune(plan: Plan, measure: Measure, trials: int, seed: int) -> int:
    """Ask for up to ``trials`` choices beyond the default; return how many were measured.

    Args:
        plan: What to tune.
        measure: Log-speedup of a choice, None if it failed; raise `StopIteration` to end early.
        trials: Upper bound.
        seed: Of the sampler.
    """
    import optuna  # 0.3 s, only paid where something is tuned

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)
    )
    study.enqueue_trial(dict(default_choices(plan)))
    seen: dict[str, float | None] = {}
    asked, limit = 0, min(trials + 1, size(plan))
    while len(seen) < limit and asked < 8 * limit:
        asked += 1
        trial = study.ask()
        choices: dict[str, Any] = {
            name: trial.suggest_categorical(name, list(values))
            for name, values in plan.space.items()
        }
        key = repr(sorted(choices.items()))
        if key not in seen:
            try:
                seen[key] = measure(choices)
            except StopIteration:
                break
        value = seen[key]
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)
    return len(seen)
