"""One candidate compiled for one target, by its own host code on tensors without contents.

For a process of its own that has no other use: Triton is told that the target
is there, and stays so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch._meta_registrations  # a second that forked processes share

from kernelite.kernels.backends import _python as python
from kernelite.kernels.backends._as_cuda import pretending
from kernelite.kernels.devices.gpu import PROBED
from kernelite.kernels.devices.occupancy import TENSOR_COLUMNS
from kernelite.kernels.kernel import Entry, Kernel
from kernelite.kernels.targets import Target, amd, driver, find, nvidia
from kernelite.kernels.targets.records import Binary, Compiled, Configuration, Kind, Trouble
from kernelite.kernels.targets.traffic import Traffic
from kernelite.kernels.targets.troubles import trouble
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

HOME = "meta"
MOST_GRIDS = 16
LONGEST_VALUE = 100
ROCM = "7.0"  # the first that knows gfx950
NO_KERNEL = Trouble(Kind.HOST, "the host code launches no kernel")


def compiled(
    kernel: Kernel, signature: Signature, arguments: Sequence[TensorSpec], target: Target,
    scratch: Path,
) -> Compiled:  # fmt: skip
    """Call the candidate, and say what it had Triton compile; a second call is counted.

    Args:
        kernel: Of the backend ``triton``.
        signature: As `kernels.kernel.Backend.load` takes it.
        arguments: How the flat arguments look.
        target: Stands for the device everywhere.
        scratch: An empty folder, for the source and what this process says from now on.
    """
    (path := scratch / "kernel.py").write_text(kernel.source)
    opened = os.open(said := scratch / "said", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(opened, stream)
    device, found, launches, beside = driver.install(target), None, None, None
    if target.amd:
        torch.version.hip = ROCM
    try:
        with pretending(HOME, properties(target)):
            entry = _at_home(python.entry(python.execute(kernel, path), signature))
            tensors = [look.empty(HOME) for look in arguments]
            entry(tensors)
            before = device.launches
            with Traffic() as traffic:
                outputs = entry(tensors)
            launches = device.launches - before + traffic.library
            beside = traffic.beside(outputs)
    except Exception as error:  # noqa: BLE001  candidate code may raise anything
        compiling = any(build.error is error for build in device.builds.values())
        found = trouble(error, path, said, compiling)
    configurations = [_configuration(b, target, path, said) for b in device.builds.values()]
    found = found or (None if configurations else NO_KERNEL)
    return Compiled(configurations, found, launches, beside)


def answer(request: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """`compiled` of what a request holds, as JSON values; compilers keep nothing elsewhere."""
    os.environ |= {"TRITON_CACHE_DIR": str(scratch / "triton"), "TRITON_DEFAULT_FP_FUSION": "1"}
    arguments = [TensorSpec.from_json(look) for look in request["arguments"]]
    found = compiled(
        Kernel(request["backend"], request["source"]), Signature.from_json(request["signature"]),
        arguments, find(request["target"]), scratch,
    )  # fmt: skip
    return asdict(found)


def _at_home(entry: Entry) -> Entry:
    """The same, with all that a module made for itself where the arguments are."""
    model = getattr(getattr(entry, "function", None), "model", None)
    if model is not None:
        model.to(HOME)
    return entry


def _configuration(build: driver.Build, target: Target, path: Path, said: Path) -> Configuration:
    return Configuration(
        build.source.name, {name: str(v)[:LONGEST_VALUE] for name, v in build.constants.items()},
        build.arguments, int(build.fact("num_warps")), int(build.fact("num_stages")),
        list(build.grids)[:MOST_GRIDS], build.fact("shared"), build.fact("tmem_size"),
        _binary(build), _why_not(build, target, path, said),
    )  # fmt: skip


def _binary(build: driver.Build) -> Binary:
    assembly = build.assembly
    if "amdgcn" in assembly:
        return amd.read(assembly["amdgcn"])
    if "cubin" in assembly:
        return nvidia.read(build.log, nvidia.disassembled(assembly["cubin"], driver.disassembler()))
    return Binary()


def _why_not(build: driver.Build, target: Target, path: Path, said: Path) -> Trouble | None:
    """Why the target cannot run the configuration; None if it can."""
    if build.error is not None:
        return trouble(build.error, path, said, compiling=True)
    for what, name, most in (
        ("bytes of shared memory", "shared", target.limit("shared_per_block_optin")),
        ("columns of tensor memory", "tmem_size", TENSOR_COLUMNS),
    ):
        needed = build.fact(name)
        if needed is not None and needed > most:
            return Trouble(Kind.RESOURCES, f"needs {needed} {what}; {target} has {most}")
    return None


def properties(target: Target) -> SimpleNamespace:
    """As `torch.cuda.get_device_properties` would answer; what is not known is not there."""
    major, minor = target.capability
    made = SimpleNamespace(
        name=target.gpu.name, major=major, minor=minor, gcnArchName=target.arch,
        **{attribute: target.limit(name) for name, (attribute, _, __) in PROBED.items()
           if hasattr(target.gpu.limits, name)},
    )  # fmt: skip
    for name in ("multiprocessors", "l2", "memory"):
        if (figure := getattr(target.gpu, name)) is not None:
            setattr(made, PROBED[name][0], int(figure.value))
    return made
