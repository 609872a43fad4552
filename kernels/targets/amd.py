"""What AMD's compiler says of a kernel, in its assembly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from kernelite.kernels.targets import machine_code
from kernelite.kernels.targets.records import Binary

REGISTER_BYTES = 4
# Names of instructions are in "CDNA 3 Instruction Set Architecture".
KINDS = {
    "mfma": r"v_s?mfmac?_",
    "async copy": r"(?:buffer|global)_load_.*\blds\b",
    "global load": r"(?:buffer|global|flat)_load_(?!.*\blds\b)",
    "global store": r"(?:buffer|global|flat)_store_",
    "shared load": r"ds_(?:read|load)",
    "shared store": r"ds_(?:write|store)",
    "local load": r"scratch_load_",
    "local store": r"scratch_store_",
    "atomic": r"(?:buffer|global|flat|ds)_(?:atomic|add|max|min)",
    "shuffle": r"ds_(?:b?permute|swizzle)|v_permlane|.*\b(?:quad_perm|row_\w+|dpp\w*)\b",
    "barrier": r"s_barrier\b",
    "multiply-add": r"v_(?:pk_)?(?:fma|fmac|mad|mac)_(?:mix\w*_)?f",
    "special function": r"v_(?:exp|log|rcp|rsq|sqrt|sin|cos)_",
}
LOAD = re.compile(r"(?:buffer|global|flat)_load_[us]?(dword(?:x[234])?|short|byte)")
BITS = {"dword": 32, "dwordx2": 64, "dwordx3": 96, "dwordx4": 128, "short": 16, "byte": 8}
LINE = re.compile(r"^\t([a-z]\w+[^;\n]*)|^(\.LBB\w+:)", re.M)
LABEL = r"\.LBB\w+"


def read(assembly: str) -> Binary:
    """All facts of one kernel."""
    lines = [code.rstrip() or label for code, label in LINE.findall(assembly)]
    spilled = _number(assembly, "vgpr_spill_count")
    return Binary(
        registers=_number(assembly, "vgpr_count"),
        spill_store_bytes=None if spilled is None else spilled * REGISTER_BYTES,
        spill_load_bytes=0 if spilled == 0 else None,
        stack_bytes=_number(assembly, "private_segment_fixed_size"),
        instructions=machine_code.mix(lines, KINDS),
        load_bits=_load_bits(lines),
        code=machine_code.code(lines, LABEL),
    )


def _number(assembly: str, name: str) -> int | None:
    """A field of the kernel's metadata; see "Code Object Metadata" in LLVM's AMDGPUUsage."""
    found = re.search(rf"^\s+(?:- )?\.{name}:\s+(\d+)$", assembly, re.M)
    return int(found[1]) if found else None


def _load_bits(lines: Iterable[str]) -> dict[int, int]:
    names = (found[1] for line in lines if (found := LOAD.match(line)))
    return dict(Counter(BITS[name] for name in names))
