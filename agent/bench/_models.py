"""The whole loop on the examples: what was promised, and what was measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kernelite.agent import campaign
from kernelite.agent.bench import Say
from kernelite.errors import UsageError
from kernelite.results import log, summary, wording
from kernelite.results.fold import fold

FOLDER = Path("examples")
#: File of each example, and the package that it needs besides torch.
EXAMPLES: Mapping[str, str | None] = {
    "llama.py": None, "dlrm.py": None, "vit.py": None, "hf_gpt2.py": "transformers"
}  # fmt: skip


def check() -> None:
    """Refuse to start where the examples are not at hand.

    Raises:
        UsageError: the current folder holds no examples.
    """
    missing = [name for name in EXAMPLES if not (FOLDER / name).is_file()]
    if missing:
        raise UsageError(f"no {FOLDER / missing[0]} here; run --models in a checkout of Kernelite")


def measure(seed: int, say: Say) -> list[dict[str, Any]]:
    """One row per example, each optimized in a folder of its own that is thrown away."""
    return [_row(name, needs, seed, say) for name, needs in EXAMPLES.items()]


def _row(name: str, needs: str | None, seed: int, say: Say) -> dict[str, Any]:
    target = f"{FOLDER / name}:build"
    if needs is not None and find_spec(needs) is None:
        return {"target": target, "model": None, "note": f"{needs} is not installed"}
    with tempfile.TemporaryDirectory() as folder:
        out = campaign.run(campaign.Options(target, Path(folder) / "run", seed=seed), say)
        run = fold(log.read(out))
    document = summary.document(run)
    kept = sum(site["winner"] is not None for site in document["sites"])
    return {
        "target": target, "model": document["model"], "promise_kept": wording.reached(run),
        "winners": kept, "seconds": document["seconds"], "note": wording.headline(run),
    }  # fmt: skip
