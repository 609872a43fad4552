"""What is said of a candidate compiled for a target; unknown is None, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What stood in the way."""

    COMPILE = "compile"
    RESOURCES = "resources"
    VALUES = "values"
    HOST = "host"
    CRASH = "crash"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no binary, or none that the target could run.

    Attributes:
        kind: ``compile``: a compiler refuses it; ``resources``: it needs more than the target
            has; ``values``: the host code reads what is in a tensor, which has nothing in it
            here; ``host``: it raises for another reason; or the process ``crash``es or has a
            ``timeout``.
        line: Of the candidate's source; None if that is not told.
    """

    kind: Kind
    text: str
    line: int | None = None

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


@dataclass(frozen=True, slots=True)
class Binary:
    """What a compiler and the machine code say; None where they do not.

    Attributes:
        registers: Of a thread; on AMD vector registers, accumulators included.
        spill_store_bytes: Of a thread; on AMD four for each register that is spilled.
        spill_load_bytes: The same for loads, which AMD's compiler tells only if there are none.
        stack_bytes: Of a thread.
        instructions: How many there are of each kind.
        load_bits: How many loads from global memory there are of each width, in bits per thread.
        code: First 16 hex digits of the SHA-256 of the instructions, without names.
    """

    registers: int | None = None
    spill_store_bytes: int | None = None
    spill_load_bytes: int | None = None
    stack_bytes: int | None = None
    instructions: dict[str, int] | None = None
    load_bits: dict[int, int] | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """One kernel, specialised and compiled in one way.

    Attributes:
        constants: Values of ``constexpr`` parameters, and of integers that are 1.
        arguments: Types of the others; ``%16`` behind one is divisible by 16, and so compiled.
        shared_bytes: Of a block.
        tensor_columns: Of a block's tensor memory, where there is any.
        grids: Those that it is launched with.
        trouble: None if the target can run it.
    """

    kernel: str
    constants: dict[str, str]
    arguments: dict[str, str]
    warps: int
    stages: int
    grids: list[tuple[int, int, int]]
    shared_bytes: int | None = None
    tensor_columns: int | None = None
    binary: Binary = Binary()
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A candidate for one target.

    Attributes:
        configurations: In the order in which the host code asked for them.
        trouble: Why the host code did not run to its end; None if it did.
        launches: Of one call once it is tuned, PyTorch's own kernels included; None if unknown.
        intermediate_bytes: That such a call allocates for what it does not return.
    """

    configurations: list[Configuration]
    trouble: Trouble | None = None
    launches: int | None = None
    intermediate_bytes: int | None = None
