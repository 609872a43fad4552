"""What NVIDIA's assembler and disassembler say of a kernel."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kernelite.kernels.targets import machine_code
from kernelite.kernels.targets.records import Binary

TIMEOUT_S = 60
# Names of opcodes are in "CUDA Binary Utilities", "Instruction Set Reference".
KINDS = {
    "mma.sync": r"[HIQBDO]MMA\b",
    "wgmma": r"[HIQB]GMMA\b",
    "tcgen05": r"UTC\w*MMA\b",
    "tma": r"(?:UTMA(?:LDG|STG|REDG)|UBLKCP)\b",
    "cp.async": r"LDGSTS\b",
    "ldmatrix": r"LDSM\b",
    "stmatrix": r"STSM\b",
    "global load": r"LDG\b",
    "global store": r"STG\b",
    "shared load": r"LDS\b",
    "shared store": r"STS\b",
    "local load": r"LDL\b",
    "local store": r"STL\b",
    "atomic": r"(?:ATOM|RED)[GS]?\b",
    "shuffle": r"SHFL\b",
    "barrier": r"BAR\b",
    "multiply-add": r"(?:FFMA|HFMA2|DFMA)\b",
    "special function": r"MUFU\b",
}
LOAD = re.compile(r"LDG(?:STS)?\b(\S*)")
WIDTH = re.compile(r"\.[US]?(8|16|64|128|256)\b")
WORD_BITS = 32
LINE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;|^(\.L_\w+:)", re.M)
PREDICATE = re.compile(r"@!?U?P\w+\s+")
LABEL = r"\.L_\w+|`\([^)]*\)|32@\w+\([^)]*\)+"


def disassembled(cubin: bytes, disassembler: str) -> str | None:
    """The binary's code as text; None if it cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder, "kernel.cubin")).write_bytes(cubin)
        try:
            done = subprocess.run(
                [disassembler, "-c", "-ndf", str(path)], capture_output=True, text=True,
                check=True, timeout=TIMEOUT_S,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
    return done.stdout


def read(log: str, sass: str | None) -> Binary:
    """All facts of one kernel.

    Args:
        log: Of ``ptxas -v``, for this binary and none other.
        sass: As `disassembled` has it.
    """
    registers = re.findall(r"Used (\d+) registers", log)
    found = Binary(registers=max(map(int, registers), default=None))
    functions = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill st\w+, (\d+) bytes", log)
    if functions:  # more than one if a function is not inlined
        stack, stores, loads = (sum(map(int, column)) for column in zip(*functions, strict=True))
        found = replace(
            found, stack_bytes=stack, spill_store_bytes=stores, spill_load_bytes=loads
        )  # fmt: skip
    if sass is None:
        return found
    lines = [code or label for code, label in LINE.findall(sass)]
    operations = [PREDICATE.sub("", line, count=1) for line in lines]
    return replace(
        found, instructions=machine_code.mix(operations, KINDS), load_bits=_load_bits(operations),
        code=machine_code.code(lines, LABEL),
    )  # fmt: skip


def _load_bits(operations: Iterable[str]) -> dict[int, int]:
    """``LDG.E.128`` loads 128 bits, ``LDG.E.U16`` 16, ``LDG.E`` a word."""
    loads = (found[1] for line in operations if (found := LOAD.match(line)))
    widths = (WIDTH.search(modifiers) for modifiers in loads)
    return dict(Counter(int(width[1]) if width else WORD_BITS for width in widths))
