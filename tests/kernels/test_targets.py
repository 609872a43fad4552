"""GPUs that are compiled for: names, limits, and how their compilers' words are read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from kernelite.errors import MachineError, UsageError
from kernelite.kernels.devices import gpu
from kernelite.kernels.devices.specification import Gpu
from kernelite.kernels.targets import amd, check_version, find, nvidia

LOG = """\
ptxas info    : Function properties for helper
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Function properties for kernel
    16 bytes stack frame, 32 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 408 bytes cmem[0]
"""
SASS = """\
.text.{name}:
        /*0000*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
.L_x_{label}:
        /*0010*/              @!P0 LDG.E.U16 R8, desc[UR4][R2.64] ;
        /*0020*/                   LDGSTS.E.BYPASS.LTC128B.64 [R9], desc[UR4][R2.64] ;
        /*0030*/                   LDG.E R8, desc[UR4][R2.64] ;
        /*0040*/               @P6 BRA `(.L_x_{label}) ;
        /*0050*/                   MOV R2, 32@lo(($_Z{name}$memcpy)) ;
"""
AMDGCN = """\
{name}:                                 ; @{name}
.Lfunc_begin0:
; %bb.0:
\tbuffer_load_dwordx4 v[2:5], v32, s[8:11], 0 offen ; {name}
.LBB0_{label}:
\tbuffer_load_dwordx4 v0, s[8:11], 0 offen lds
\tglobal_load_ushort v1, v[2:3], off
\tv_mfma_f32_32x32x8_f16 a[0:15], v[0:1], v[2:3], 0
\ts_cbranch_scc1 .LBB0_{label}
  - .agpr_count:     16
    .private_segment_fixed_size: 24
    .vgpr_count:     118
    .vgpr_spill_count: 3
"""


def test_functions_that_are_not_inlined_count() -> None:
    found = nvidia.read(LOG, None)
    assert (found.registers, found.stack_bytes) == (255, 24)
    assert (found.spill_store_bytes, found.spill_load_bytes) == (36, 12)


def test_loads_are_told_apart_by_width() -> None:
    found = nvidia.read("", SASS.format(name="f", label=1))
    assert found.load_bits == {128: 1, 16: 1, 64: 1, 32: 1}
    assert found.instructions == {"cp.async": 1, "global load": 3}


def test_amds_compiler_tells_all_in_its_assembly() -> None:
    found = amd.read(AMDGCN.format(name="f", label=1))
    assert (found.registers, found.stack_bytes) == (118, 24)
    assert (found.spill_store_bytes, found.spill_load_bytes) == (12, None)
    assert found.load_bits == {128: 2, 16: 1}
    assert found.instructions == {"mfma": 1, "async copy": 1, "global load": 2}


def test_code_has_no_names() -> None:
    for text in (SASS, AMDGCN):
        one, other = text.format(name="f", label=1), text.format(name="g", label=22)
        read = nvidia.read if text is SASS else lambda _, assembly: amd.read(assembly)
        assert read("", one).code == read("", other).code
        assert read("", one).code != read("", one.replace("R8", "R7").replace("v1,", "v6,")).code


def test_an_architecture_is_a_device_of_it() -> None:
    assert str(find("cuda:90")) == "sm_90 (H100 SXM)"
    assert str(find("h200")) == "sm_90 (H200)"
    assert str(find("hip:gfx942")) == "gfx942 (MI300X)"
    assert find("sm_90").multiprocessors == 132
    assert (str(find("sm_120")), find("sm_120").multiprocessors) == ("sm_120", None)


@pytest.mark.parametrize(
    ("name", "capability"),
    [("sm_80", (8, 0)), ("sm_100", (10, 0)), ("gfx90a", (9, 0)), ("gfx950", (9, 5))],
)
def test_capabilities_are_pytorchs(name: str, capability: tuple[int, int]) -> None:
    assert find(name).capability == capability


def test_an_unknown_target_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'h9000' .*there are: a100, .*h200, .*gfx942"):
        find("h9000")


@pytest.mark.parametrize("target", gpu.architectures(), ids=lambda target: target.name)
def test_every_limit_is_known_of_every_architecture(target: Gpu) -> None:
    for limit in fields(target.limits):
        assert find(target.name).limit(limit.name) >= 0


def test_a_triton_that_is_not_known_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder := tmp_path / "triton-3.10.0.dist-info").mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: triton\nVersion: 3.10.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MachineError, match=r"Triton 3.10.0 .* there are: 3.6, 3.7, 3.8, 3.9"):
        check_version()


def test_what_no_tool_says_is_unknown() -> None:
    found = nvidia.read("ptxas fatal   : no such thing", nvidia.disassembled(b"", "/bin/false"))
    assert (found.registers, found.spill_store_bytes, found.instructions) == (None, None, None)
