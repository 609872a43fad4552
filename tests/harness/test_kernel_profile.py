"""What is made of CUPTI's and Nsight Compute's words; no kernel runs on a GPU here."""

from __future__ import annotations

import pytest

from kernelite.harness import counters, launches
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.kernel_profile import TOLD_BY_NOBODY, profile
from kernelite.harness.remote import Server
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

HEADER = ('"ID","Process ID","Kernel Name","Block Size","Grid Size","gpu__time_duration.sum",'
          '"dram__bytes.sum","sm__throughput.avg.pct_of_peak_sustained_elapsed"')  # fmt: skip
REPORT = f"""\
==PROF== Connected to process 4711 (/usr/bin/python3.12)
==PROF== Profiling "softmax" - 0: 0%....50%....100% - 4 passes
==PROF== Disconnected from process 4711
{HEADER}
"","","","","","ns","byte","%"
"0","4711","softmax","(256, 1, 1)","(4096, 1, 1)","12,832","33,554,432","41.5"
"1","4711","fill","(128, 1, 1)","(32, 1, 1)","2,048","n/a","3.25"
"""
REFUSED = """\
==PROF== Connected to process 4711 (/usr/bin/python3.12)
==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access the counters
"""


def event(name: str, us: float, registers: int = 32, category: str = "kernel") -> dict[str, object]:
    told = {"grid": [8, 1, 1], "block": [128, 1, 1], "registers per thread": registers,
            "shared memory": 1024, "stream": 7}  # fmt: skip
    return {"ph": "X", "cat": category, "name": name, "dur": us, "args": told}


def test_launches_of_one_kernel_in_one_way_are_one_entry() -> None:
    same = [event("a", 2.0), event("a", 4.0), event("b", 20.0), event("b", 20.0)]
    other = [event("a", 9.0, registers=64), event("copy", 50.0, category="gpu_memcpy")]
    found = launches.summed([*same, *other], calls=2)
    shown = [(one["kernel"], one["registers"], one["count"], one["us"]) for one in found]
    assert shown == [("b", 32, 1, 20), ("a", 64, 0.5, 9), ("a", 32, 1, 3)]
    assert (found[0]["grid"], found[0]["shared_bytes"]) == ([8, 1, 1], 1024)


def test_what_the_trace_does_not_tell_is_unknown() -> None:
    (found,) = launches.summed([{"cat": "kernel", "name": "a", "dur": 1.0}], 1)
    assert (found["grid"], found["registers"]) == (None, None)


def test_counters_are_read_by_launch_and_what_is_no_number_is_not_there() -> None:
    found = counters.parsed(REPORT)
    assert not isinstance(found, str)
    assert [one.kernel for one in found] == ["softmax", "fill"]
    assert found[0].counters == {"ns": 12832, "dram_bytes": 33554432, "sm_percent": 41.5}
    assert found[1].counters == {"ns": 2048, "sm_percent": 3.25}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (REFUSED, "ERR_NVGPUCTRPERM - The user does not have permission to access the counters"),
        ("", "it said nothing"),
        (f"{HEADER}\n", "it saw no kernel"),
        ("==PROF== No kernels were profiled.\n", "==PROF== No kernels were profiled."),
    ],
)
def test_why_there_are_no_counters_is_said(text: str, why: str) -> None:
    assert counters.parsed(text) == why


def test_every_metric_is_asked_for() -> None:
    asked = counters.command("/usr/bin/ncu")
    assert asked[0] == "/usr/bin/ncu"
    assert asked[asked.index("--metrics") + 1].split(",") == list(counters.METRICS)


def test_on_a_cpu_a_profile_says_why_it_is_empty(server: Server, linear: Problem) -> None:
    with Judge(linear, server, 1) as judge:
        job = Job(
            judge, Kernel("pytorch", "def run(x, w):\n    return x @ w.T\n"), Effort(0), "cpu"
        )
        with job.runner:
            found = profile(job)
    assert (found.launches, found.no_launches) == ((), TOLD_BY_NOBODY)
    assert (found.counters, found.no_counters) == ((), "it runs on no GPU")
    assert found.as_json()["kind"] == "measured"
