"""What this machine offers, what is missing, what that costs, and how to get it.

Works without torch and without anything else that is optional: whoever runs
it may be about to install them.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from kernelite.errors import MachineError
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.devices import Device, cpu

NEEDED_MEMORY_BYTES = 4 << 30
NEEDED_DISK_BYTES = 2 << 30
GIB = 1 << 30
NO_MODEL = "no model can be read, measured or changed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        name: What.
        state: ``ok``, ``missing`` or ``degraded``.
        detail: What there is.
        cost: What cannot be done, or is worse, without it; empty if ok.
        remedy: What to type or change; empty if ok or if nothing helps.
    """

    name: str
    state: str
    detail: str
    cost: str = ""
    remedy: str = ""


def doctor() -> list[Finding]:
    """Look at everything, most needed first; changes nothing but the cache's folder."""
    device = cpu.detect()
    return [
        _python(),
        _torch(),
        _compiler(),
        _simd(device),
        _cores(device),
        _memory(),
        *_disks(),
        _gpu(),
        _package("triton", "GPU kernels in Triton can be neither checked nor built",
                 "pip install 'kernelite[triton]'"),
        _package("transformers", "the Hugging Face example cannot run",
                 "pip install 'kernelite[hf]'"),
        _isolation(),
        _allocator(),
        _timing(device),
    ]  # fmt: skip


def _python() -> Finding:
    """The interpreter, and whether C++ can be compiled against it."""
    found = platform.python_version()
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return Finding("python", "degraded", f"{found} without its headers",
                       "torch.compile cannot serve as baseline or seed",
                       f"apt-get install python{found.rpartition('.')[0]}-dev")  # fmt: skip
    return Finding("python", "ok", found)


def _torch() -> Finding:
    remedy = "pip install 'kernelite[torch]'"
    found = _version_of("torch")
    if found is None:
        return Finding("torch", "missing", "not installed", NO_MODEL, remedy)
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        return Finding("torch", "missing", f"{found} does not load: {error}", NO_MODEL, remedy)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Finding("torch", "ok", f"{found}, {build}, {torch.get_num_threads()} threads")


def _compiler() -> Finding:
    path = shutil.which("g++")
    if path is None:
        return Finding("g++", "missing", "not found", "no CPU kernel can be built",
                       "apt-get install g++, or your system's package of it")  # fmt: skip
    asked = _output([path, "--version"])
    return Finding("g++", "ok", asked.splitlines()[0] if asked else path)


def _simd(device: Device) -> Finding:
    if device.simd == "scalar":
        return Finding("simd", "degraded", f"{device.name}: neither AVX-512 nor AVX2",
                       "CPU kernels win less", "a machine with AVX2 or AVX-512")  # fmt: skip
    return Finding("simd", "ok", f"{device.simd} on {device.name}")


def _cores(device: Device) -> Finding:
    detail = f"{device.cores} of {os.cpu_count()} usable, {device.threads} threads"
    quota = _quota_cores()
    if quota is not None and quota < device.cores:
        return Finding("cores", "degraded", f"{detail}; the container may use {quota:g}",
                       "threads are stopped in mid-kernel, times scatter",
                       f"OMP_NUM_THREADS={max(1, int(quota))}")  # fmt: skip
    if device.cores < 2:
        return Finding("cores", "degraded", detail, "building disturbs timing",
                       "a machine with two cores or more")  # fmt: skip
    return Finding("cores", "ok", detail)


def _quota_cores() -> float | None:
    """Cores' worth of time that the control group allows; None if it sets no limit."""
    words = _text(Path("/sys/fs/cgroup/cpu.max")).split()
    return None if len(words) != 2 or words[0] == "max" else int(words[0]) / int(words[1])


def _memory() -> Finding:
    words = _text(Path("/proc/meminfo")).replace(":", "").split()
    if "MemAvailable" not in words:
        return Finding("memory", "degraded", "unknown", "no limit can be advised")
    free_bytes = int(words[words.index("MemAvailable") + 1]) << 10
    detail = f"{free_bytes / GIB:.1f} GiB available"
    if free_bytes < NEEDED_MEMORY_BYTES:
        return Finding("memory", "degraded", detail, "larger models may not fit beside the judge",
                       f"free {NEEDED_MEMORY_BYTES // GIB} GiB")  # fmt: skip
    return Finding("memory", "ok", detail)


def _disks() -> list[Finding]:
    """The cache's file system and the current folder's, where runs are written."""
    try:
        cache = cache_folder("")
    except MachineError as error:
        missing = Finding("cache", "missing", str(error), "kernels cannot be built",
                          "set XDG_CACHE_HOME to a folder that can be written")  # fmt: skip
        return [missing, _disk("current folder", Path.cwd())]
    return [_disk("cache", cache), _disk("current folder", Path.cwd())]


def _disk(name: str, folder: Path) -> Finding:
    if not os.access(folder, os.W_OK):
        return Finding(name, "missing", f"{folder} cannot be written", "nothing can be kept there",
                       "another folder, or write permission")  # fmt: skip
    free_bytes = shutil.disk_usage(folder).free
    detail = f"{free_bytes / GIB:.1f} GiB free at {folder}"
    if free_bytes < NEEDED_DISK_BYTES:
        return Finding(name, "degraded", detail, "a long run may fill the disk",
                       f"free {NEEDED_DISK_BYTES // GIB} GiB")  # fmt: skip
    return Finding(name, "ok", detail)


def _gpu() -> Finding:
    cost = "GPU kernels can be checked by emulation only, their speed stays unknown"
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    seen = _output(asked) if shutil.which(asked[0]) else ""
    if not seen:
        return Finding("gpu", "missing", "none found", cost, "a machine with an NVIDIA GPU")
    detail = "; ".join(seen.splitlines())
    if _version_of("torch") is not None and not import_module("torch").cuda.is_available():
        return Finding("gpu", "degraded", f"{detail}; torch cannot use it", cost,
                       "a CUDA build of torch, see pytorch.org")  # fmt: skip
    return Finding("gpu", "ok", detail)


def _package(name: str, cost: str, remedy: str) -> Finding:
    found = _version_of(name)
    if found is None:
        return Finding(name, "missing", "not installed", cost, remedy)
    return Finding(name, "ok", found)


def _isolation() -> Finding:
    """Which walls around a candidate this kernel and user can put up."""
    cost = "candidate code is contained less than it could be"
    try:
        cage = import_module("kernelite.harness.cage")
        layers: Iterable[str] = cage.available()
    except ImportError as error:
        return Finding("isolation", "degraded", f"unknown: {error}", cost,
                       "install what is missing above")  # fmt: skip
    names = sorted(layers)
    if not names:
        return Finding("isolation", "missing", "no layer available", cost,
                       "Linux 5.13 or newer, with Landlock and seccomp")  # fmt: skip
    lacking = [name for name in cage.LAYERS if name not in names]
    detail = f"level {cage.level_of(names)} of {len(cage.LAYERS)}: {', '.join(names)}"
    if lacking:
        return Finding("isolation", "degraded", f"{detail}; without {', '.join(lacking)}", cost,
                       "Linux 6.7 or newer, and leave to make namespaces")  # fmt: skip
    return Finding("isolation", "ok", detail)


def _allocator() -> Finding:
    """Which malloc this process has; large tensors return to the system with glibc's."""
    loaded = _text(Path("/proc/self/maps"))
    for name in ("jemalloc", "tcmalloc", "mimalloc"):
        if f"lib{name}" in loaded:
            return Finding("allocator", "ok", name)
    return Finding("allocator", "ok", "the system's; baseline and kernel get the same")


def _timing(device: Device) -> Finding:
    """Whether somebody else is using the cores that a timing would need."""
    load = os.getloadavg()[0]
    busy = _busy()
    detail = f"load {load:.2f} on {device.cores} cores"
    if load > 0.5 * device.cores or busy:
        who = f"; busy: {', '.join(busy)}" if busy else ""
        return Finding("timing", "degraded", detail + who, "intervals widen, small wins are lost",
                       "stop other work while Kernelite measures")  # fmt: skip
    return Finding("timing", "ok", detail)


def _busy() -> list[str]:
    """Names of up to three other programs that are running at this moment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        name, _, rest = _text(folder / "stat").rpartition(")")
        if rest.split()[:1] == ["R"] and folder.name != str(os.getpid()):
            found.append(f"{name.partition('(')[2]} ({folder.name})")
    return found[:3]


def _version_of(package: str) -> str | None:
    """Installed version; None if it is not installed."""
    try:
        return version(package) if find_spec(package) else None
    except PackageNotFoundError:
        return None


def _output(command: list[str]) -> str:
    """What the command printed; empty if it failed or hung."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
