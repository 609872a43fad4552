"""The document that ``kernelite optimize --json`` prints: a projection of the run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kernelite.results import unmeasured
from kernelite.results.fold import Run, SiteResult
from kernelite.results.records import Ratio
from kernelite.results.whole_model import Verified

SCHEMA = "kernelite.optimize/1"
#: Ways to run the model that every document names; others only where they were measured.
ALWAYS = ("eager", "compile", "patched")


def document(run: Run) -> dict[str, Any]:
    """The whole document; what is unknown is None."""
    return {
        "schema": SCHEMA,
        "run": run.started.run,
        "device": run.device,
        "absent": run.absent,
        "kind": run.kind,
        "sites": [_site(site) for site in run.sites],
        "model": _model(run),
        "seconds": run.finished.seconds if run.finished else None,
    }


def _site(result: SiteResult) -> dict[str, Any]:
    site, winner = result.site, result.winner
    return {
        "site": site.site,
        "problem": result.problem,
        "calls": site.calls,
        "share": site.share,
        "attainable": site.attainable,
        "winner": {"backend": winner.backend, "proposer": winner.proposer} if winner else None,
        "speedup": _speedup(winner.vs_eager, winner.vs_compile) if winner else None,
        "shortlist": [unmeasured.document(attempt) for attempt in result.shortlist],
    }


def _model(run: Run) -> dict[str, Any]:
    verified = run.verified or Verified()
    attainable = verified.attainable
    return {
        "latency_us": dict.fromkeys(ALWAYS) | _known(asdict(verified.latency_us)),
        "speedup": _speedup(verified.speedup.vs_eager, verified.speedup.vs_compile)
        | _known(asdict(verified.speedup)),
        "attainable": run.model_attainable if attainable is None else attainable,
        "verified": verified.verified,
        "max_error_ratio": verified.max_error_ratio,
    }


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _speedup(vs_eager: Ratio | None, vs_compile: Ratio | None) -> dict[str, Any]:
    return {
        "vs_eager": asdict(vs_eager or Ratio()),
        "vs_compile": asdict(vs_compile or Ratio()),
    }
