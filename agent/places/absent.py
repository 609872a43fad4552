"""A GPU of the tables that is not here: kernels are emulated, compiled for it, and never timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch

from kernelite.agent import forecast
from kernelite.agent.evidence import known_evidence
from kernelite.agent.places import Search
from kernelite.agent.search import Budget, Say, known_verdicts
from kernelite.agent.shortlist import SiteShortlist
from kernelite.harness import crosscompile
from kernelite.harness.judge import EMULATED_ELEMENTS, Judge
from kernelite.harness.remote import Server
from kernelite.kernels.devices.published import Published
from kernelite.kernels.targets import Target as Gpu
from kernelite.problems.capture import Host, Site
from kernelite.problems.problem import Problem
from kernelite.problems.shrink import shrunk
from kernelite.problems.target import Target
from kernelite.results import records
from kernelite.results.log import EventLog


class Absent:
    """See `agent.places.Place`.

    Raises:
        UsageError: the tables know too little of the GPU to rank anything for it.
    """

    kind = "emulated"
    decisions: tuple[str, ...] = ("shortlisted",)
    confirm_s = 0.0

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.roofline = gpu, Published.of(gpu.gpu)

    def described(self) -> Mapping[str, Any]:
        """With the published figures that everything is modelled from."""
        return {**self.roofline.as_json(), "absent": True}

    def profiled(self, target: Target, hosts: Sequence[Host]) -> records.Profiled:
        """Modelled."""
        return forecast.profiled(target.name, hosts, forecast.modelled(hosts, self.roofline))

    def ranked(
        self, target: Target, hosts: Sequence[Host], sites: Sequence[Site], whole_us: float
    ) -> records.Ranked:
        """By what fusing saves in the model of the GPU."""
        times = forecast.modelled(hosts, self.roofline)
        return forecast.ranked(hosts, sites, times, self.roofline)

    @contextmanager
    def searching(self, log: EventLog, say: Say, backend: str, seed: int) -> Iterator[Search]:
        """With a server of emulating runners, and one of compilers."""
        verdicts, evidence = known_verdicts(log), known_evidence(log, self.gpu.gpu.name)
        with closing(Server()) as server, closing(crosscompile.server()) as compilers:

            def search(site: str, problem: Problem, budget: Budget) -> None:
                small = shrunk(problem, EMULATED_ELEMENTS)
                with Judge(small, server, torch.get_num_threads()) as judge:
                    SiteShortlist(
                        site, problem, judge, compilers, self.gpu, log, say, seed, verdicts,
                        evidence,
                    ).run(budget)  # fmt: skip

            yield search

    def conclude(self, log: EventLog, say: Say, ranked: records.Ranked) -> None:
        """Nothing can be said of the model; it is said what is needed for that."""
        name = self.gpu.gpu.name
        say("verify", f"not on {name}, which is not here; there: kernelite resume {log.folder}")
