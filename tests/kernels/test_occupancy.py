"""Occupancy: against a person's arithmetic, AMD's published table and NVIDIA's calculator."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

from kernelite.kernels.devices import gpu
from kernelite.kernels.devices.occupancy import occupancy
from kernelite.kernels.devices.specification import Gpu

#: Reads cases of ten numbers, writes the resident blocks and what limits them, as bits.
CALCULATOR = r"""
#include <climits>
#include <cstdio>
#include "cuda_occupancy.h"
int main() {
  cudaOccDeviceProp device;
  cudaOccFuncAttributes kernel;
  cudaOccDeviceState state;
  cudaOccResult result;
  int registers, shared, warps;
  while (scanf("%d %d %d %d %d %zu %zu %d %d %d", &device.computeMajor, &device.computeMinor,
               &device.maxThreadsPerBlock, &device.maxThreadsPerMultiprocessor,
               &device.regsPerMultiprocessor, &device.sharedMemPerMultiprocessor,
               &device.sharedMemPerBlockOptin, &registers, &shared, &warps) == 10) {
    device.regsPerBlock = device.regsPerMultiprocessor;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 << 10;
    device.reservedSharedMemPerBlock = 1 << 10;
    device.numSms = 1;
    kernel.maxThreadsPerBlock = INT_MAX;
    kernel.numRegs = registers;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = shared;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, 32 * warps,
                                                shared))
      return 1;
    printf("%d %u\n", result.activeBlocksPerMultiprocessor, result.limitingFactors);
  }
}
"""
FACTORS = {"warps": 1, "registers": 2, "shared memory": 4, "blocks": 8}
every_architecture = pytest.mark.parametrize("arch", gpu.architectures(), ids=lambda one: one.name)
nvidia_s = pytest.mark.parametrize(
    "arch",
    [one for one in gpu.architectures() if one.arch.startswith("sm_")],
    ids=lambda one: one.name,
)


@pytest.fixture(scope="module")
def calculator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NVIDIA's occupancy calculator, built from the header that Triton's wheel brings."""
    triton = find_spec("triton")
    if triton is None or triton.origin is None or shutil.which("g++") is None:
        pytest.skip("needs triton and g++")
    include = Path(triton.origin).parent / "backends" / "nvidia" / "include"
    source = tmp_path_factory.mktemp("calculator") / "calculator.cpp"
    source.write_text(CALCULATOR)
    program = source.with_suffix("")
    subprocess.run(["g++", "-w", "-I", include, source, "-o", program], check=True)
    return program


@pytest.mark.parametrize(
    ("arch", "registers", "shared_bytes", "warps", "fraction", "limiters"),
    [
        # CUDA C++ Best Practices Guide, Calculating Occupancy: 37 registers on a part with
        # these limits give 12 blocks of 128 threads, 75%, but 4 blocks of 320, 63%.
        ("sm_80", 37, 0, 4, 0.75, {"registers"}),
        ("sm_80", 37, 0, 10, 0.625, {"registers"}),
        # 4,096 registers a warp, 4 warps of a partition's 16,384; 58,368 of 233,472 bytes.
        ("sm_90", 128, 57344, 4, 0.25, {"registers", "shared memory"}),
        ("sm_90", 64, 0, 8, 0.5, {"registers"}),
        ("sm_90", 32, 0, 8, 1.0, {"registers", "warps"}),
        ("sm_90", 16, 0, 1, 0.5, {"blocks"}),
        ("sm_100", 39, 24624, 4, 36 / 64, {"shared memory"}),
        ("sm_89", 40, 0, 8, 1.0, {"registers", "warps"}),
        ("sm_90", 255, 0, 32, 0.0, {"registers"}),
        ("sm_90", 32, 228 << 10, 4, 0.0, {"shared memory"}),
        ("sm_90", 32, 0, 33, 0.0, {"warps"}),
        # 224 registers of 512 a lane: 2 waves on a SIMD; 24,576 of 65,536 bytes: 2 workgroups.
        ("gfx942", 222, 24576, 4, 0.25, {"registers", "shared memory"}),
        ("gfx950", 222, 24576, 4, 0.25, {"registers"}),
    ],
)
def test_occupancy_is_what_a_person_calculates(
    arch: str, registers: int, shared_bytes: int, warps: int, fraction: float, limiters: set[str]
) -> None:
    found = occupancy(gpu.find(arch).limits, registers, shared_bytes, warps)
    assert found is not None
    assert found.fraction == fraction
    assert set(found.limiters) == limiters
    assert found.kind == "modelled"


@pytest.mark.parametrize("arch", ["gfx90a", "gfx942", "gfx950"])
@pytest.mark.parametrize(
    ("registers", "waves"),
    # https://gpuopen.com/learn/amd-lab-notes/amd-lab-notes-register-pressure-readme
    [(64, 8), (65, 7), (72, 7), (80, 6), (96, 5), (128, 4), (168, 3), (256, 2), (512, 1)],
)
def test_waves_on_a_simd_are_those_of_amd_s_table(arch: str, registers: int, waves: int) -> None:
    found = occupancy(gpu.find(arch).limits, registers, 0, 1)
    assert found is not None
    assert found.warps_per_partition == waves


@pytest.mark.parametrize("unknown", [(None, 0, 4), (32, None, 4), (32, 0, None), (0, 0, 4)])
def test_an_unknown_input_gives_no_occupancy(unknown: tuple[int | None, ...]) -> None:
    assert occupancy(gpu.find("sm_90").limits, *unknown) is None


@nvidia_s
def test_nvidia_s_own_calculator_gives_the_same_blocks_and_limits(
    arch: Gpu, calculator: Path
) -> None:
    names = "threads_per_block threads_per_multiprocessor registers_per_multiprocessor "
    names += "shared_per_multiprocessor shared_per_block_optin"
    held = [int(getattr(arch.limits, name).value) for name in names.split()]
    capability = [int(arch.name[3:-1]), int(arch.name[-1])]
    shared = [0, 1, 8192, 20096, 20097, 24624, 49152, 57344]
    shared += [kib << 10 for kib in (99, 100, 163, 164, 227, 228)]
    cases = list(product(range(16, 256, 9), shared, (1, 2, 3, 4, 7, 8, 16, 20, 32, 33)))
    asked = "\n".join(" ".join(map(str, [*capability, *held, *case])) for case in cases)
    done = subprocess.run([calculator], input=asked, capture_output=True, text=True, check=True)
    for case, line in zip(cases, done.stdout.splitlines(), strict=True):
        blocks, factors = map(int, line.split())
        found = occupancy(arch.limits, *case)
        assert found is not None
        assert found.blocks == blocks, case
        assert sum(FACTORS[name] for name in found.limiters) == factors & 15, case


@every_architecture
def test_more_registers_or_more_shared_memory_never_raise_the_occupancy(arch: Gpu) -> None:
    registers, shared = range(1, 520, 13), range(0, 100_000, 7_777)
    for warps, row in product((1, 3, 8, 32), (0, 1)):
        for fixed in shared if row else registers:
            grid = [(one, fixed) if row else (fixed, one) for one in (registers if row else shared)]
            found = [occupancy(arch.limits, *cell, warps) for cell in grid]
            blocks = [one.blocks for one in found if one]
            assert len(blocks) == len(grid)
            assert blocks == sorted(blocks, reverse=True)


def test_a_kernel_waits_for_tensor_memory() -> None:
    found = occupancy(gpu.find("sm_100").limits, 50, 24592, 4, tensor_columns=64)
    assert found is not None
    assert (found.blocks, found.limiters) == (8, ("tensor memory",))
