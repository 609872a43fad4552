"""Opens what a run needs to ask language models, and closes it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kernelite.agent.llm.calls import Calls
from kernelite.agent.llm.choice import Choice
from kernelite.agent.llm.proposer import Thinker
from kernelite.agent.llm.spend import Ledger
from kernelite.agent.search import Say, Think
from kernelite.results.log import EventLog


@contextmanager
def opened(choice: Choice, seed: int, log: EventLog, say: Say) -> Iterator[Think | None]:
    """What makes a site's proposer; None if no model was chosen.

    Args:
        choice: Models, limits, backend.
        seed: Of the choice among several models.
        log: Of the run; what it has spent already counts.
        say: Told what becomes of answers, and when a model is down.
    """
    if not choice.models:
        yield None
        return
    with Calls(choice.models, Ledger(choice.limits), log, say, seed=seed) as calls:
        yield lambda site, deadline: Thinker(calls, log, say, choice.backend, site, deadline)
