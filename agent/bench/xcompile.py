"""What a Triton kernel costs where there is no GPU: six targets, and a verdict by emulation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from statistics import median
from typing import Any

from rich.console import Group, RenderableType

from kernelite.agent import tables
from kernelite.agent.bench import Request, Say
from kernelite.agent.documents import versions
from kernelite.errors import MachineError
from kernelite.harness import crosscompile
from kernelite.harness.job import Effort
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Server
from kernelite.kernels.devices import cpu
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import find
from kernelite.problems.problem import Problem

SCHEMA = "kernelite.bench-xcompile/1"
TARGETS = ("sm_80", "sm_90", "sm_100", "gfx90a", "gfx942", "gfx950")
NO_TIMING = Effort(rounds=0, baselines=())
REPEATS = 3
PROBLEM = """
import torch


class Model(torch.nn.Module):
    def forward(self, x, w):
        return {body}


def get_inputs():
    return [torch.randn({rows}, {columns}).to(torch.{dtype}), torch.randn({w}).to(torch.{dtype})]


def get_init_inputs():
    return []
"""
NORM = "torch.nn.functional.rms_norm(x, x.shape[1:], w, 1e-6)"
SMALL = Problem(
    "rms_norm", PROBLEM.format(body=NORM, rows=64, columns=128, w="128", dtype="float32")
)
ROWS = Problem(
    "rms_norm", PROBLEM.format(body=NORM, rows=4096, columns=4096, w="4096", dtype="float16")
)
PRODUCT = Problem(
    "product",
    PROBLEM.format(body="x @ w", rows=2048, columns=2048, w="2048, 2048", dtype="float16"),
)
ROW_KERNEL = Kernel(
    "triton",
    """\
import torch
import triton
import triton.language as tl


@triton.jit
def rms_norm(x, w, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0) * columns
    c = tl.arange(0, BLOCK)
    inside = c < columns
    v = tl.load(x + row + c, inside, 0.0).to(tl.float32)
    v /= tl.sqrt(tl.sum(v * v, 0) / columns + 1e-6)
    g = tl.load(w + c, inside, 0.0).to(tl.float32)
    tl.store(y + row + c, (v * g).to(y.dtype.element_ty), inside)


def run(x, w):
    x, w = x.contiguous(), w.contiguous()
    y = torch.empty_like(x)
    rows, columns = x.shape
    rms_norm[(rows,)](x, w, y, columns, BLOCK=triton.next_power_of_2(columns))
    return y
""",
)
PRODUCT_KERNEL = Kernel(
    "triton",
    """\
import torch
import triton
import triton.language as tl


def tile(m, n, k, warps):
    return triton.Config({"TM": m, "TN": n, "TK": k}, num_warps=warps, num_stages=3)


@triton.autotune(configs=[tile(64, 64, 32, 4), tile(128, 128, 64, 8)], key=["m", "n", "k"])
@triton.jit
def product(x, w, y, m, n, k, TM: tl.constexpr, TN: tl.constexpr, TK: tl.constexpr):
    r = tl.program_id(0) * TM + tl.arange(0, TM)
    c = tl.program_id(1) * TN + tl.arange(0, TN)
    total = tl.zeros((TM, TN), tl.float32)
    for start in range(0, k, TK):
        i = start + tl.arange(0, TK)
        a = tl.load(x + r[:, None] * k + i, (r[:, None] < m) & (i < k), 0.0)
        b = tl.load(w + i[:, None] * n + c, (i[:, None] < k) & (c < n), 0.0)
        total += tl.dot(a, b)
    inside = (r[:, None] < m) & (c < n)
    tl.store(y + r[:, None] * n + c, total.to(y.dtype.element_ty), inside)


def run(x, w):
    x, w = x.contiguous(), w.contiguous()
    (m, k), n = x.shape, w.shape[1]
    y = torch.empty(m, n, dtype=x.dtype, device=x.device)
    grid = lambda meta: (triton.cdiv(m, meta["TM"]), triton.cdiv(n, meta["TN"]))
    product[grid](x, w, y, m, n, k)
    return y
""",
)


class XcompileBench:
    """Seconds of both, with and without the start of a server of processes."""

    def run(self, request: Request, say: Say) -> dict[str, Any]:
        """See `agent.bench.Bench`."""
        started, load = time.monotonic(), os.getloadavg()
        found = {
            "six targets, row kernel": _measured(crosscompile.server, _compile(ROW_KERNEL, ROWS)),
            "six targets, product with two configurations": _measured(
                crosscompile.server, _compile(PRODUCT_KERNEL, PRODUCT)
            ),
            "interpreter's verdict, small row kernel": _measured(Server, _judge),
        }
        for name, seconds in found.items():
            say("bench", f"{name}: {seconds['from the start']:.2f} s")
        return {
            "schema": SCHEMA, "device": cpu.detect().name, "cores": len(os.sched_getaffinity(0)),
            "versions": versions(), "kind": "measured", "targets": TARGETS, "repeats": REPEATS,
            "load": {"start": load, "end": os.getloadavg()}, "seconds": found,
            "total_seconds": time.monotonic() - started,
        }  # fmt: skip

    def view(self, document: Mapping[str, Any]) -> RenderableType:
        """See `agent.bench.Bench`."""
        title = f"Seconds on {document['device']}, {document['cores']} cores, measured"
        ways = tuple(next(iter(document["seconds"].values())))
        made = tables.table(title, "what", *ways, numbers=ways)
        for name, seconds in document["seconds"].items():
            made.add_row(name, *(f"{seconds[way]:.2f}" for way in ways))
        known = document["versions"]
        text = (f"Triton {known['triton']}, PyTorch {known['torch']}; load"
                f" {document['load']['start'][0]:.1f} to {document['load']['end'][0]:.1f};"
                f" targets: {', '.join(document['targets'])}")  # fmt: skip
        return Group(made, tables.plain(text))


def _measured(start: Callable[[], Server], work: Callable[[Server], None]) -> dict[str, float]:
    """Median seconds with a new server each time, and with one that has done the same before."""
    cold, warm = [], []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        with closing(start()) as server:
            work(server)
            again = time.perf_counter()
            work(server)
            warm.append(time.perf_counter() - again)
        cold.append(again - begin)
    return {"from the start": median(cold), "once more": median(warm)}


def _compile(kernel: Kernel, problem: Problem) -> Callable[[Server], None]:
    def work(server: Server) -> None:
        report = crosscompile.crosscompile(server, kernel, problem, list(map(find, TARGETS)))
        for one in report.targets:
            if one.compiled.trouble:
                raise MachineError(f"{one.target} is not compiled for: {one.compiled.trouble}")

    return work


def _judge(server: Server) -> None:
    with Judge(SMALL, server, 1) as judge:
        verdict = judge.evaluate(ROW_KERNEL, NO_TIMING, cpu.detect().name)
    if not verdict.passed:
        raise MachineError(f"the judge refuses a right kernel: {verdict.evaluation}")


BENCH = XcompileBench()
