"""Does the kernel do the work itself, as far as its policy asks for that?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from kernelite.harness import sources, symbols, trace
from kernelite.harness.job import Job
from kernelite.harness.oracle import compare
from kernelite.harness.remote import Lost
from kernelite.harness.verdict import Failed, Reason, Skipped
from kernelite.problems.demands import Policy


class Dispatch:
    """By what a call dispatches, what it launches, and the functions that its binary needs.

    ``strict``: nothing of PyTorch's but moving and relabelling elements.  ``fused``:
    products and convolutions as well.  ``free``: anything but the reference's own operators.
    """

    order = 95
    thorough = True

    def run(self, job: Job) -> str | Skipped | Failed:
        """See `harness.stages.Stage`."""
        policy = job.cases.demands.policy or job.effort.policy
        if policy is None:
            return Skipped("no policy was asked for")
        calls, launches = job.trace()
        if policy is Policy.FREE:
            return self._against_reference(job, calls)
        allowed = trace.LAYOUT | (trace.PRODUCTS if policy is Policy.FUSED else frozenset())
        hidden = [*_untraceable(job), *_library_functions(job, allowed | trace.COMPOSED)]
        if hidden:
            return _refused(f"{policy}: {'; '.join(hidden)}")
        if forbidden := {name: n for name, n in calls.items() if name not in allowed}:
            return _refused(f"{policy}: the library computes {_counted(forbidden)}")
        evidence = f"{policy}: of PyTorch it uses {_counted(calls) or 'nothing'}"
        if launches is None:
            return evidence
        if idle := _idle(job, launches):
            return _refused(f"{policy}: {idle}")
        return f"{evidence}; launches {_counted(launches)}, and is wrong without"

    def _against_reference(self, job: Job, calls: Counter[str]) -> str | Failed:
        with trace.Dispatched() as own:
            job.cases.instance.run()
        same = {n for n in own.operators if n not in trace.LAYOUT}
        if same and {n: calls[n] for n in same} == {n: own.operators[n] for n in same}:
            return _refused(f"free: it is the reference: {_counted(calls)}")
        return f"free: of PyTorch it uses {_counted(calls) or 'nothing'}"


def _idle(job: Job, launches: Counter[str]) -> str | None:
    """Why the launched kernels cannot have done the work; None if they have."""
    if not launches:
        return "no kernel is launched"
    try:
        outputs = job.ablated()
    except Lost:
        return None
    case = job.cases.drawn[0]
    _, wrong = compare(outputs, case.reference, case.truth, job.cases.reduction)
    return None if wrong else f"right without {_counted(launches)}, which it launches"


def _untraceable(job: Job) -> list[str]:
    """Where Python code leaves PyTorch, so that no operator shows."""
    found = sources.findings(job.kernel.source, job.kernel.backend, False)
    return [f"line {f.line}: {f.what}: {f.why}" for f in found if f.hides_work]


def _library_functions(job: Job, allowed: Collection[str]) -> list[str]:
    """What the built kernel needs of computing libraries, by its symbol table.

    PyTorch's operators are named there with their overloads, ``sum_dim_IntList``.
    """
    assert job.artefact is not None
    names = symbols.needed(job.artefact)
    beginnings = tuple(f"{name}_" for name in allowed)
    computing = {
        name
        for name in symbols.operators(names)
        if name not in allowed and not name.startswith(beginnings)
    }
    below = {name for name in names if name.startswith(symbols.COMPUTING)}
    below |= {name for name in names if symbols.HIDDEN.match(name)}
    return [f"calls {name}" for name in sorted(computing | below)]


def _refused(text: str) -> Failed:
    return Failed("policy", Reason.POLICY, text)


def _counted(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{name} x{n}" if n > 1 else name for name, n in sorted(calls.items()))


STAGE = Dispatch()
