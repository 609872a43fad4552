"""The corpus of cheats before other people's checkers, beside our own verdicts.

What a checker could not be asked is not held against it: a file whose problem
has gradients, say, counts neither as caught nor as missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.agent.bench._corpus import GROUPS, HONEST, Specimen
from kernelite.agent.bench._model_new import Unfit, submission
from kernelite.agent.bench._peers import LONG_S, Finding, Outcome, Peer
from kernelite.harness.verdict import Reason
from kernelite.problems.problem import Problem

SHORT_S = 20.0  # for what never ends
OURS = "Kernelite"
OWN = {
    "caught": Outcome.REFUSED, "elsewhere": Outcome.REFUSED, "missed": Outcome.ACCEPTED,
    "refused": Outcome.REFUSED, "accepted": Outcome.ACCEPTED,
}  # fmt: skip
SHOWN: Mapping[str, tuple[Outcome, ...]] = {
    "put to it": (Outcome.ACCEPTED, Outcome.REFUSED, Outcome.ERROR, Outcome.TIMEOUT),
    "accepted": (Outcome.ACCEPTED,),
    "refused": (Outcome.REFUSED,),
    "no verdict": (Outcome.ERROR, Outcome.TIMEOUT),
    "not applicable": (Outcome.UNFIT,),
}


def ask(peers: Sequence[Peer], specimen: Specimen, problem: Problem) -> dict[str, dict[str, Any]]:
    """What every checker says of one file, for the JSON document."""
    if not peers:
        return {}
    timeout_s = SHORT_S if specimen.reason == Reason.TIMEOUT else LONG_S
    found: dict[str, Finding] = {}
    try:
        if specimen.seed is not None:
            raise Unfit("it knows a seed of our judge's")
        candidate = submission(specimen.kernel(), problem)
        for peer in peers:
            found |= peer.ask(problem.source, candidate, timeout_s)
    except Unfit as unfit:
        found = {name: Finding(Outcome.UNFIT, str(unfit)) for p in peers for name in p.checkers}
    return {
        name: {"outcome": f.outcome.value, "found": f.text, "seconds": f.seconds}
        for name, f in found.items()
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """How often each outcome came up, by checker and group of the corpus; ours comes first."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for row in rows:
        for name, finding in ({OURS: {"outcome": OWN[row["outcome"]]}} | row["peers"]).items():
            groups = counts.setdefault(name, {})
            groups.setdefault(row["group"], Counter())[finding["outcome"]] += 1
    return {
        name: {group: {o.value: count[o] for o in Outcome} for group, count in groups.items()}
        for name, groups in counts.items()
    }


def view(found: Mapping[str, Mapping[str, Mapping[str, int]]]) -> RenderableType:
    """The summary as tables: all cheats, those accepted by group, and the honest kernels."""
    cheats = tables.table("Cheats before each checker", "checker", *SHOWN)
    accepted = tables.table("Cheats accepted, of those that were put to it", "checker", *GROUPS)
    honest = tables.table("Honest kernels before each checker", "checker", *SHOWN)
    for name, groups in found.items():
        cheats.add_row(name, *_cells([groups[group] for group in GROUPS if group in groups]))
        accepted.add_row(name, *(_share(groups.get(group, {})) for group in GROUPS))
        honest.add_row(name, *_cells([groups[HONEST]] if HONEST in groups else []))
    return Group(cheats, accepted, honest)


def _cells(groups: Sequence[Mapping[str, int]]) -> list[str]:
    return [str(sum(group[o] for group in groups for o in kinds)) for kinds in SHOWN.values()]


def _share(group: Mapping[str, int]) -> str:
    put = sum(count for outcome, count in group.items() if outcome != Outcome.UNFIT)
    return f"{group.get(Outcome.ACCEPTED, 0)} of {put}"
