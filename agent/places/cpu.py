"""This machine's processor: what is said of it is measured."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from kernelite.agent import survey, whole_model
from kernelite.agent.places import Search
from kernelite.agent.search import CONFIRM_S, Budget, Say, SiteSearch, Think, known_verdicts
from kernelite.harness.judge import Judge
from kernelite.harness.remote import COMPILER, Server
from kernelite.kernels.devices import Calibration, Roofline
from kernelite.kernels.devices.calibrate import as_json, load_or_measure
from kernelite.kernels.templates import Choices
from kernelite.problems.capture import Host, Site
from kernelite.problems.problem import Problem
from kernelite.problems.target import Target
from kernelite.results import records
from kernelite.results.log import EventLog


class Cpu:
    """See `agent.places.Place`; ``think`` asks language models for kernels, None if it is None."""

    kind = "measured"
    decisions: tuple[str, ...] = ("winner", "no_winner")
    confirm_s = CONFIRM_S

    def __init__(self, think: Think | None = None) -> None:
        self.think = think
        self.calibration: Calibration = load_or_measure()

    def described(self) -> Mapping[str, Any]:
        """With the calibrated ceilings."""
        return {"name": self.calibration.device.name, **as_json(self.calibration)}

    def profiled(self, target: Target, hosts: Sequence[Host]) -> records.Profiled:
        """Measured."""
        return survey.profiled(target)

    def ranked(
        self, target: Target, hosts: Sequence[Host], sites: Sequence[Site], whole_us: float
    ) -> records.Ranked:
        """By measured shares, and by what the calibrated ceilings allow."""
        return survey.ranked(target, hosts, sites, whole_us, Roofline(self.calibration))

    @contextmanager
    def searching(self, log: EventLog, say: Say, backend: str, seed: int) -> Iterator[Search]:
        """With a server of runners, and one for torch.compile."""
        learnt: dict[str, Choices] = {}
        known, device = known_verdicts(log), self.calibration.device
        with closing(Server()) as server, closing(Server(COMPILER)) as compiler:

            def judged(site: str, problem: Problem, budget: Budget) -> None:
                with Judge(problem, server, device.threads, compiler) as judge:
                    SiteSearch(
                        site, problem, judge, log, say, device.name, backend, seed, known, learnt,
                        think=self.think,
                    ).run(budget)  # fmt: skip

            def search(site: str, problem: Problem, budget: Budget) -> None:
                judged(site, problem, budget)
                _return_freed_memory()

            yield search

    def conclude(self, log: EventLog, say: Say, ranked: records.Ranked) -> None:
        """Put the winners in and measure the whole model, once."""
        whole_model.conclude(log, say, ranked.model_attainable)


def _return_freed_memory() -> None:
    """Give what one site's cases held back to the system; glibc alone does so, and late."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
