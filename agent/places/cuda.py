"""A GPU of this machine: what is said of it is measured there, and bounds are modelled.

The model is traced on the CPU, where problems are captured, and moved to the GPU to be timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from kernelite.agent import forecast, whole_model
from kernelite.agent.places import Search
from kernelite.agent.proposers import Fixed
from kernelite.agent.search import Budget, Say, SiteSearch, known_verdicts
from kernelite.harness import trial
from kernelite.harness.judge import Judge
from kernelite.harness.remote import COMPILER, Server
from kernelite.kernels.devices import gpu
from kernelite.kernels.devices.published import Published
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import Target as Gpu
from kernelite.kernels.templates import Choices, Plan
from kernelite.problems import capture, device_profile
from kernelite.problems.capture import Host, Site
from kernelite.problems.placing import place
from kernelite.problems.problem import Problem
from kernelite.problems.target import Target
from kernelite.results import records
from kernelite.results.evidence import Shortlisted
from kernelite.results.log import EventLog


def present(wanted: Gpu) -> str | None:
    """The device of this machine that is such a GPU, by its full name; None if there is none."""
    for index in range(torch.cuda.device_count()):
        if gpu.detect(torch.cuda.get_device_properties(index)).name == wanted.gpu.name:
            return f"cuda:{index}"
    return None


class Cuda:
    """See `agent.places.Place`.

    Args:
        device: Its full name.
        isolation: Least level of the cage to run candidates at.

    Raises:
        UsageError: the tables know too little of the GPU to rank anything for it.
    """

    kind = "measured"
    decisions: tuple[str, ...] = ("winner", "no_winner")
    confirm_s = 20.0

    def __init__(self, device: str, isolation: int) -> None:
        self.device, self.isolation = device, isolation
        self.gpu = Gpu(gpu.detect(torch.cuda.get_device_properties(device)))
        self.roofline = Published.of(self.gpu.gpu)
        self.times = forecast.Times((), 0.0, "measured")

    def described(self) -> Mapping[str, Any]:
        """With the published figures that bounds are modelled from."""
        return {**self.roofline.as_json(), "cuda": torch.version.cuda}

    def profiled(self, target: Target, hosts: Sequence[Host]) -> records.Profiled:
        """Measured: the model between two events, its operators by the profiler."""
        there = target.on(self.device)
        whole_us = device_profile.whole_us(there.run)
        us = [self._node_times(there, host) for host in hosts]
        target.on("cpu")  # the same module: it moves
        torch.cuda.empty_cache()
        self.times = forecast.Times(us, whole_us, "measured")
        return forecast.profiled(target.name, hosts, self.times)

    def _node_times(self, there: Target, host: Host) -> dict[str, float]:
        arguments = [t.to(self.device) for t in capture.flat_arguments(there.model, host)]
        place(host.graph, self.device)
        try:
            return device_profile.node_times(host.graph, arguments)
        finally:
            place(host.graph, "cpu")

    def ranked(
        self, target: Target, hosts: Sequence[Host], sites: Sequence[Site], whole_us: float
    ) -> records.Ranked:
        """By measured shares, and by what the published figures allow."""
        return forecast.ranked(hosts, sites, self.times, self.roofline)

    @contextmanager
    def searching(self, log: EventLog, say: Say, backend: str, seed: int) -> Iterator[Search]:
        """With a server of runners on the GPU, and one for torch.compile."""
        learnt: dict[str, Choices] = {}
        known, threads = known_verdicts(log), torch.get_num_threads()
        with closing(Server()) as server, closing(Server(COMPILER)) as compiler:
            placement = trial.placement(server, self.device, self.isolation)

            def search(site: str, problem: Problem, budget: Budget) -> None:
                earlier = [("earlier", Earlier(waiting(log, site)))]
                with Judge(problem, server, threads, compiler, placement=placement) as judge:
                    SiteSearch(
                        site, problem, judge, log, say, placement.model, backend, seed, known,
                        learnt, self.gpu, earlier,
                    ).run(budget)  # fmt: skip

            yield search

    def conclude(self, log: EventLog, say: Say, ranked: records.Ranked) -> None:
        """Put the winners in and measure the whole model, once."""
        whole_model.conclude(log, say, ranked.model_attainable)


@dataclass(slots=True)
class Earlier:
    """The proposer of what a run has found elsewhere, first what should be timed first."""

    plans: Sequence[Plan]
    seconds: float = 1.0

    def propose(self, problem: Problem, target: Gpu | None = None) -> Sequence[Plan]:
        """See `agent.proposers.Proposer`."""
        return self.plans


def waiting(log: EventLog, site: str) -> list[Plan]:
    """The shortlist that a run without the GPU has left for the site."""
    made = {e.body.id: e.body for e in log.events("candidate")
            if isinstance(e.body, records.Candidate)}  # fmt: skip
    lists = [e.body.candidates for e in log.events("shortlisted")
             if isinstance(e.body, Shortlisted) and e.body.site == site]  # fmt: skip
    found = [made[name] for name in (lists[-1] if lists else ())]
    return [Fixed(c.label, Kernel(c.backend, c.source)) for c in found]
