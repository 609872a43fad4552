"""One kernel on its way through the stages: what they ask its runner and leave for later ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kernelite.harness import building, guards
from kernelite.harness.cases import Case, Cases
from kernelite.harness.oracle import Errors, compare
from kernelite.harness.remote import Lost, Remote
from kernelite.harness.variants import Variant
from kernelite.harness.verdict import Failed, Reason, Timing
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.problems.demands import Policy
from kernelite.problems.problem import Signature, flat_tensors
from kernelite.problems.tensors import TensorSpec, specs

if TYPE_CHECKING:
    from kernelite.harness.judge import Judge


LARGEST_EMULATED = 1 << 13  # elements of the inputs
SPARE_BYTES = 1 << 16  # for the guards around tensors (`harness.guards`)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much timing to spend.

    Attributes:
        rounds: Paired samples at most; 0 for no timing.
        seconds: Wall time at most.
        cold: Clear the caches before each call.
        baselines: Which of ``eager`` and ``compile`` to compare with.
        narrow: Half width, as a share, of an interval that needs no more rounds.
        policy: How much of the work a library may do, if the problem does not say; None for no say.
        processes: Of the candidate, each timed anew; a claim must hold in all of them.
        replay: Judge again with another seed, in new processes.
        thorough: Ask the stages, too, that a search leaves to the candidates it would keep.
        stages: Names of the only stages to ask; empty for all.
        graphs: Time replays of CUDA graphs as well, as a regime of its own.
    """

    rounds: int = 40
    seconds: float = 8.0
    cold: bool = False
    baselines: tuple[str, ...] = ("eager", "compile")
    narrow: float = 0.01
    policy: Policy | None = None
    replay: bool = False
    processes: int = 1
    thorough: bool = True
    stages: tuple[str, ...] = ()
    graphs: bool = False


@dataclass(slots=True)
class Job:
    """One kernel on its way through the stages; stages write what later ones need."""

    judge: Judge
    kernel: Kernel
    effort: Effort
    device: str
    artefact: Path | None = None
    remote: Remote | None = None
    accuracy_ratio: float = 0.0
    timing: Timing | None = None
    isolation: int = 0
    layers: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        """Whether the kernel runs elsewhere than on the device that it is for."""
        return backend(self.kernel.backend).devices[self.judge.placement.kind].emulated

    @property
    def cases(self) -> Cases:
        """The inputs and answers of the problem; of a small one where all is slow.

        Raises:
            Lost: all is slow, and the kernel takes no sizes but large ones.
        """
        if not self.emulated:
            return self.judge.cases
        if not self.kernel.fixed_sizes:
            return self.judge.small_cases
        inputs = flat_tensors(self.judge.cases.instance.inputs)
        if (count := sum(tensor.numel() for tensor in inputs)) > LARGEST_EMULATED:
            raise Lost(
                Reason.UNSUPPORTED,
                f"it is for the problem's own sizes alone, and {count:,} elements are too many"
                " to emulate",
            )
        return self.judge.cases

    def build(self) -> Path:
        """The kernel's artefact, built in its cage or found in the cache.

        Raises:
            Lost: the kernel is wrong.
        """
        instance = self.cases.instance
        self.artefact = self._built(instance.signature, instance.arguments)
        return self.artefact

    def _built(self, signature: Signature, arguments: Sequence[torch.Tensor]) -> Path:
        judge = self.judge
        return building.build(judge.server, self.kernel, signature, arguments, judge.placement)

    @property
    def runner(self) -> Remote:
        """The runner of this evaluation, with the problem's state in it; started when first asked.

        Raises:
            Lost: the kernel does not load.
        """
        if self.remote is None:
            self.remote = self.new_runner(self.cases.instance.signature, self.cases.instance.state)
            self.isolation, self.layers = self.remote.isolation, self.remote.layers
        return self.remote

    def new_runner(self, signature: Signature, state: Sequence[torch.Tensor]) -> Remote:
        """One more runner, for who disturbs the first; the caller closes it.

        Raises:
            Lost: the kernel does not load.
        """
        if self.artefact is None:
            self.build()
        assert self.artefact is not None
        made = Remote(
            self.judge.server, self.kernel, self.artefact, signature, self.judge.threads,
            timeout_s=self.judge.timeout_s, placement=self.judge.placement,
        )  # fmt: skip
        made.set_state(state)
        return made

    def call(
        self, case: Case, echo: bool = False, reuse: bool = False, slot: int = 0,
        remote: Remote | None = None, late: bool = False,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:  # fmt: skip
        """Outputs of one call, and the arguments as they are after it if ``echo`` is asked for.

        Args:
            case: The inputs, and how the outputs must look.
            echo: Ask for the arguments, inputs and state, as well.
            reuse: Put the inputs where those of the call before were, behind the kernel's back.
            slot: Which instance of the kernel to call.
            remote: Another runner than this evaluation's own.
            late: On a GPU, call on a stream where the inputs arrive late.

        Raises:
            Lost: the call failed, or the outputs do not look as they must.
        """
        own = [*case.tensors, *case.state] if echo else []
        header = {"do": "call", "echo": echo, "reuse": reuse, "slot": slot, "late": late}
        answer, results = self._answer(remote or self.runner, header, case, own)
        count, more = answer.get("outputs"), len(own) + echo
        if type(count) is not int or count + more != len(results):
            raise Lost(Reason.CRASH, "an answer that does not say which tensors are outputs")
        outputs = _looked_at(results[:count], case.looks)
        if echo and not guards.intact(results.pop()):
            raise Lost(Reason.MUTATION, "it wrote beside its inputs or outputs")
        return outputs, results[count:]

    def trace(self) -> tuple[Counter[str], Counter[str] | None]:
        """PyTorch's operators that a call dispatches, and kernels that it launches, by name.

        None for launches if the entry is itself the kernel.

        Raises:
            Lost: the call failed.
        """
        answer, _ = self.runner.ask({"do": "trace"}, self.cases.drawn[0].tensors)
        launches = answer.get("launches")
        return _counter(answer.get("operators")), None if launches is None else _counter(launches)

    def ablated(self) -> list[torch.Tensor]:
        """Outputs of a first call, in a runner of its own, that launches no kernel.

        Raises:
            Lost: the call failed, or the outputs do not look as they must.
        """
        case, first = self.cases.drawn[0], self.cases.instance
        with self.new_runner(first.signature, first.state) as remote:
            _, outputs = _ask(remote, {"do": "ablate"}, case.tensors, case.looks)
        return _looked_at(outputs, case.looks)

    def _answer(
        self, remote: Remote, header: dict[str, Any], case: Case, own: Sequence[torch.Tensor]
    ) -> tuple[dict[str, Any], list[torch.Tensor]]:
        """The runner's; what the call needs besides is built, once, and the runner asked again."""
        try:
            return _ask(remote, header, case.tensors, case.looks, own)
        except Lost as lost:
            if lost.reason is not Reason.UNCOMPILED:
                raise
        remote.supply(self._built(remote.signature, [*case.tensors, *case.state]), header["slot"])
        return _ask(remote, header, case.tensors, case.looks, own)

    def gradients(self, case: Case, cotangents: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The candidate's gradients for the case's inputs.

        Raises:
            Lost: it has none, or they do not look like the reference's.
        """
        header = {"do": "gradients", "inputs": len(case.tensors)}
        _, found = _ask(self.runner, header, [*case.tensors, *cotangents], case.looks)
        return _looked_at(found, case.looks)

    def judge_variants(self, stage: str, variants: Iterable[Variant]) -> str | Failed:
        """Whether the kernel is right on each, in one runner that meets them one after another.

        Raises:
            Lost: it does not take one of them.
        """
        names, first = [], self.cases.instance
        with self.new_runner(first.signature, first.state) as remote:
            for variant in variants:
                remote.load(variant.signature, variant.case.state)
                try:
                    outputs, _ = self.call(variant.case, remote=remote)
                except Lost as lost:
                    raise Lost(lost.reason, f"{variant.case.name}: {lost}") from lost
                if failed := self.accept(stage, variant.case, outputs):
                    return failed
                names.append(variant.case.name)
        return f"right at {'; '.join(names)}" if names else "the reference takes no other"

    def held(self, back: int = 1, remote: Remote | None = None) -> list[torch.Tensor]:
        """The outputs that the runner holds of so many calls back, 1 being the last, as they are.

        Raises:
            Lost: the runner has died, or the outputs do not look as they must.
        """
        looks = self.cases.instance.signature.outputs
        return _looked_at(
            _ask(remote or self.runner, {"do": "held", "back": back}, (), looks)[1], looks
        )

    def accept(
        self, stage: str, case: Case, outputs: Sequence[torch.Tensor], slack: float = 1.0,
        inherent: Sequence[Errors] = (),
    ) -> Failed | None:  # fmt: skip
        """Compare outputs with the case's oracle; keep the largest error seen at no slack."""
        ratio, wrong = compare(
            outputs, case.reference, case.truth, self.cases.reduction, slack, inherent
        )
        if slack == 1.0:
            self.accuracy_ratio = max(self.accuracy_ratio, ratio)
        return Failed(stage, Reason.NUMERIC, f"{case.name}: {wrong}") if wrong else None


def _counter(answer: object) -> Counter[str]:
    if not isinstance(answer, dict) or any(type(n) is not int for n in answer.values()):
        raise Lost(Reason.CRASH, "an answer that does not say what was called")
    return Counter({str(name): n for name, n in answer.items()})


def _ask(
    remote: Remote, header: dict[str, Any], tensors: Sequence[torch.Tensor],
    looks: Sequence[TensorSpec], more: Sequence[torch.Tensor] = (),
) -> tuple[dict[str, Any], list[torch.Tensor]]:  # fmt: skip
    """One request; the answer may hold the outputs, ``more`` and as many gaps between them."""
    allowed = sum(s.numel * getattr(torch, s.dtype).itemsize for s in (*looks, *specs(more)))
    return remote.ask(header, tensors, largest_bytes=2 * allowed + SPARE_BYTES)


def _looked_at(outputs: list[torch.Tensor], looks: Sequence[TensorSpec]) -> list[torch.Tensor]:
    """The outputs, if each has the shape and type of the reference's."""
    if len(outputs) != len(looks):
        raise Lost(Reason.SHAPE, f"{len(outputs)} outputs; the reference has {len(looks)}")
    for index, (got, spec) in enumerate(zip(specs(outputs), looks, strict=True)):
        if got.dtype != spec.dtype:
            raise Lost(Reason.DTYPE, f"output {index} is {got.dtype}; must be {spec.dtype}")
        if got.shape != spec.shape:
            raise Lost(Reason.SHAPE, f"output {index} has shape {got.shape}; must be {spec.shape}")
    return outputs
