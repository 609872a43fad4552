"""The commands' answers as rich tables, where `results.terminal` does not show them already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kernelite.agent.configuration import Configuration
from kernelite.agent.doctor import Finding
from kernelite.kernels.devices import Calibration
from kernelite.results import wording
from kernelite.results.records import Profiled

if TYPE_CHECKING:
    from kernelite.kernels.devices.gpu_ceilings import GpuCalibration

STATES = {"ok": "green", "degraded": "yellow", "missing": "red"}
GIGA = 1e9


def table(title: str, *columns: str, numbers: Sequence[str] = ()) -> Table:
    """An empty table; the columns in ``numbers`` are aligned to the right."""
    made = Table(
        title=Text(title, "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in columns:
        if name in numbers:
            made.add_column(name, justify="right", no_wrap=True)
        else:
            made.add_column(name, overflow="fold")
    return made


def plain(text: str, style: str = "") -> Text:
    """``text`` as it is: no markup, and nothing that a terminal obeys."""
    return Text(wording.visible(text), style)


def doctor(findings: Sequence[Finding]) -> RenderableType:
    """What is there, what is missing, what that costs and how to get it."""
    made = table("This machine", "what", "state", "found", "without it", "to get it")
    for f in findings:
        state = Text(f.state, STATES[f.state])
        made.add_row(f.name, state, plain(f.detail), plain(f.cost), plain(f.remedy))
    return made


def calibration(found: Calibration) -> RenderableType:
    """The measured ceilings of the device."""
    made = table(f"{found.device.name}, {found.device.threads} threads, measured",
                 "ceiling", "value", "how", numbers=("value",))  # fmt: skip
    for name, rows in (("copy", found.copy), ("read", found.read)):
        for row in rows:
            size = f"{row.working_set_bytes / 2**20:.3g} MiB"
            made.add_row(f"{name}, {size}", f"{row.ceiling.value / GIGA:.1f} GB/s",
                         plain(row.ceiling.source))  # fmt: skip
    for name, ceiling in (("multiply-add", found.fma), ("matrix product", found.gemm)):
        made.add_row(name, f"{ceiling.value / GIGA:.0f} GFLOP/s", plain(ceiling.source))
    made.add_row("call", f"{found.overhead.value:.2f} us", plain(found.overhead.source))
    return made


def gpu_calibration(found: GpuCalibration) -> RenderableType:
    """The measured ceilings of a GPU."""
    made = table(f"{found.device}, measured", "ceiling", "value", "how", numbers=("value",))
    made.add_row("copy", f"{found.copy.value / GIGA:.0f} GB/s", plain(found.copy.source))
    for kind, ceiling in found.products.items():
        rate = f"{ceiling.value / GIGA / 1000:.1f} TFLOP/s"
        made.add_row(f"product, {kind}", rate, plain(ceiling.source))
    return made


def kernel_profile(found: Mapping[str, Any]) -> RenderableType:
    """What a kernel launches on a GPU, and what Nsight Compute counts."""
    numbers = ("by call", "time", "registers", "shared")
    made = table("Launches of one call, measured", "kernel", *numbers, "grid", "block",
                 numbers=numbers)  # fmt: skip
    for one in found["launches"]:
        told = (one["registers"], one["shared_bytes"], one["grid"], one["block"])
        cells = [wording.UNKNOWN if value is None else str(value) for value in told]
        made.add_row(plain(one["kernel"]), f"{one['count']:g}", wording.time(one["us"]), *cells)
    lines = [plain(", ".join(f"{name} {value}" for name, value in one.items()))
             for one in found["counters"]]  # fmt: skip
    for what in ("launches", "counters"):
        if why := found[f"no_{what}"]:
            lines.append(plain(f"{what}: unknown: {why}", "yellow"))
    return Group(made, *lines)


def profile(target: str, found: Profiled) -> RenderableType:
    """Time per module, longest first."""
    latency = wording.time(found.latency_us)
    columns = ("module", "class", "calls", "self time", "share", "operations", "bytes")
    made = table(f"{wording.visible(target)}: {latency} per pass, eager, measured", *columns,
                 numbers=columns[2:])  # fmt: skip
    for row in found.rows:
        made.add_row(
            plain(row.path), plain(row.kind), str(row.calls or ""), wording.time(row.self_us),
            wording.share(row.share), wording.count(row.flops), wording.count(row.bytes),
        )  # fmt: skip
    return made


#: What it means that an option has no value, where that is not ``all``.
UNSET = {"out": "a new folder under runs/", "target": "none; the device is here"}


def configuration(found: Configuration) -> RenderableType:
    """Every option with its value and where that comes from."""
    made = table("Options of optimize", "option", "value", "from")
    for name, origin in found.origins.items():
        value = getattr(found.settings, name)
        text = ", ".join(value) if isinstance(value, tuple) else str(value)
        shown = text if value not in (None, ()) else UNSET.get(name)
        made.add_row(name, plain(shown or "all"), plain(origin))
    return made
