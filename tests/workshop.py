"""A folder to run `kernelite` in: a tiny model, the one template for it, and commands."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelite.errors import UsageError
from kernelite.results import log
from kernelite.results.events import Event

MODEL = """
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(256) + 0.5)

    def forward(self, x):
        y = (x * 0.5 + 1) * self.weight
        return torch.relu(y * y - x) * 0.25


def build():
    return nn.Sequential(Gate(), nn.Linear(256, 16)), (torch.randn(4096, 256),)


def weightless():
    with torch.device("meta"):
        return build()
"""
#: The only source of kernels that runs here know: for the sizes of its problem alone; its default
#: copies the input, which is not needed.
TEMPLATE = '''
from kernelite.kernels.kernel import Kernel
from kernelite.problems.operators import name_of

SOURCE = """import torch
import triton
import triton.language as tl


@triton.jit
def gate(x, w, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0) * columns
    for start in range(0, columns, BLOCK):
        c = start + tl.arange(0, BLOCK)
        inside = c < columns
        v = tl.load(x + row + c, inside, 0.0)
        g = (v * 0.5 + 1) * tl.load(w + c, inside, 0.0)
        z = g * g - v
        tl.store(y + row + c, tl.where(z < 0, 0.0, z) * 0.25, inside)


def run(x, w):
    x, w = x.contiguous(), w.contiguous()
    once = x.{copy}
    y = torch.empty(({rows}, {columns}), dtype=x.dtype, device=x.device)
    gate[({rows},)](once, w, y, {columns}, BLOCK={block}, num_warps=4)
    return y
"""
CALLS = ["mul", "add", "mul", "mul", "sub", "relu", "mul"]


class Plan:
    label = "gate"
    space = {"copy": ["clone()", "view(x.shape)"], "block": [256]}

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns

    def render(self, choices):
        text = SOURCE.format(rows=self.rows, columns=self.columns, **choices)
        return Kernel("triton", text)


class Template:
    def match(self, graph):
        calls = [name_of(n) for n in graph.graph.nodes if n.op == "call_function"]
        first = next(iter(graph.graph.nodes)).meta["val"]
        return Plan(*first.shape) if calls == CALLS else None


TEMPLATE = Template()
'''
DRIVER = """
import sys
from kernelite.kernels import triton_templates
triton_templates.__path__ = [sys.argv.pop(1)]
from kernelite.agent import shortlist
every = shortlist.proposers()
shortlist.proposers = lambda: [pair for pair in every if pair[0] == "template"]
from kernelite.cli import main
main()
"""


@dataclass(frozen=True)
class Workshop:
    """A folder with a model, a template for it, and the cache that all runs share."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Workshop:
        """A new one."""
        (folder / "model.py").write_text(MODEL)
        (folder / "templates").mkdir()
        (folder / "templates" / "gate.py").write_text(TEMPLATE)
        return cls(folder)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        line = [sys.executable, "-P", "-c", DRIVER, str(self.folder / "templates")]
        own = {"XDG_CACHE_HOME": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*line, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=self.folder, env=os.environ | own,
        )  # fmt: skip

    def kernelite(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command that runs to its end."""
        with self.start(*arguments) as started:
            text, said = started.communicate()
        return started.returncode, text, said

    def bodies(self, out: str, kind: type) -> list[Any]:
        """Those in the log; none while there is no log."""
        return [event.body for event in self.events(out) if isinstance(event.body, kind)]

    def events(self, out: str) -> list[Event]:
        try:
            return log.read(self.folder / out)
        except UsageError:
            return []
