"""One C++ text under our launch contract from a program that Inductor wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernelite.agent.proposers._inductor_wrapper import (
    HEADER,
    Allocate,
    Call,
    Free,
    NotUnderstood,
    Program,
    View,
    storage_bytes,
)
from kernelite.kernels.launch import Launch
from kernelite.problems.tensors import TensorSpec

ENTRY = "inductor"
ALIGNMENT_BYTES = 64
LARGEST_SCRATCH_BYTES = 1 << 30
LARGEST_CONSTANT_BYTES = 1 << 16


def write(
    program: Program, macros: Sequence[str],
    arguments: Sequence[TensorSpec], outputs: Sequence[TensorSpec], constants: Sequence[bytes],
) -> str:  # fmt: skip
    """The source of a `cpp` kernel that does what ``program`` does.

    Args:
        program: What the wrapper does.
        macros: What Inductor defines for the vectors that its kernels use.
        arguments: The flat arguments as the program was compiled for them.
        outputs: How the reference's outputs look.
        constants: The contents of the program's inputs behind the arguments.

    Raises:
        NotUnderstood: the program's inputs or outputs are not these, or outputs share memory.
    """
    if program.inputs != len(arguments) + len(constants):
        raise NotUnderstood(f"{program.inputs} inputs; not {len(arguments)} + {len(constants)}")
    layouts = {f"in{i}": a.stride for i, a in enumerate(arguments) if not _row_major(a)}
    written = _outputs(program, outputs)
    layouts |= {f"out{i}": o.stride for i, o in enumerate(written) if not _row_major(o)}
    places = {view.storage: f"out{i}" for i, view in enumerate(program.returned)}
    offsets, scratch_bytes = _arena(program, set(places))
    calls = [step for step in program.steps if isinstance(step, Call)]
    used = {view.storage for call in calls for view in call.views}
    inputs = [name for i in range(len(arguments)) if (name := f"in{i}") in used]
    results = [f"out{i}" for i in range(len(outputs))]
    parameters = [f"const void* {name}" for name in inputs] + [f"void* {name}" for name in results]
    lines = [Launch(ENTRY, (*inputs, *results), layouts, headers="torch").as_comment()]
    lines += [f"#define {macro}" for macro in macros]
    lines += [HEADER, ""]
    lines += [_table(f"in{i}", c) for i, c in enumerate(constants, start=len(arguments))]
    for name, function in program.functions.items():
        lines += [f"static void {name}{function.text}", ""]
    if scratch_bytes:
        lines.append(f"alignas({ALIGNMENT_BYTES}) static thread_local")
        lines.append(f"    unsigned char scratch[{scratch_bytes}];")
    lines.append(f'extern "C" void {ENTRY}({", ".join(parameters)}) {{')
    lines += [_call(program, call, places, offsets) for call in calls]
    return "\n".join([*lines, "}", ""])


def _table(name: str, content: bytes) -> str:
    """A constant tensor as the pointer that a kernel would get for it."""
    if len(content) > LARGEST_CONSTANT_BYTES:
        raise NotUnderstood(f"a constant of {len(content)} bytes")
    values = ",".join(map(str, content or b"\0"))
    return (
        f"alignas({ALIGNMENT_BYTES}) static const unsigned char {name}_bytes[] = {{{values}}};\n"
        f"static const void* const {name} = {name}_bytes;\n"
    )


def _row_major(look: TensorSpec) -> bool:
    return look.stride == look.contiguous_stride


def _outputs(program: Program, wanted: Sequence[TensorSpec]) -> list[TensorSpec]:
    """How the program writes each output; where strides mean the same, the wanted ones."""
    if len(program.returned) != len(wanted):
        raise NotUnderstood(f"{len(program.returned)} outputs; the reference has {len(wanted)}")
    if len({view.storage for view in program.returned}) != len(wanted):
        raise NotUnderstood("two outputs share one storage")
    sizes = {s.storage: s.size_bytes for s in program.steps if isinstance(s, Allocate)}
    written = []
    for view, want in zip(program.returned, wanted, strict=True):
        look = view.look
        if look is None or view.storage not in sizes or view.offset:
            raise NotUnderstood("an output is a part of an input or of a larger tensor")
        if (look.shape, look.dtype) != (want.shape, want.dtype):
            raise NotUnderstood(f"an output is {look}; the reference's is {want}")
        if all(
            a == b or n == 1 for n, a, b in zip(look.shape, look.stride, want.stride, strict=True)
        ):
            look = want
        if storage_bytes(look) < sizes[view.storage]:
            raise NotUnderstood("an output's storage is larger than the output")
        written.append(look)
    return written


@dataclass(frozen=True, slots=True)
class _Block:
    offset: int
    end: int


def _arena(program: Program, outside: set[str]) -> tuple[dict[str, int], int]:
    """A place for every storage that is no output, and the bytes needed: first fit by lifetime."""
    live: dict[str, _Block] = {}
    offsets: dict[str, int] = {}
    total = 0
    for step in program.steps:
        match step:
            case Allocate(storage=storage, size_bytes=size) if storage not in outside:
                size = -(-max(size, 1) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
                start = 0
                for block in sorted(live.values(), key=lambda b: b.offset):
                    if start + size <= block.offset:
                        break
                    start = max(start, block.end)
                live[storage], offsets[storage] = _Block(start, start + size), start
                total = max(total, start + size)
            case Free(storage=storage):
                live.pop(storage, None)
    if total > LARGEST_SCRATCH_BYTES:
        raise NotUnderstood(f"{total} bytes of intermediate results")
    return offsets, total


def _call(program: Program, call: Call, places: dict[str, str], offsets: dict[str, int]) -> str:
    types = program.functions[call.function].types
    pairs = zip(call.views, types, strict=True)
    return f"    {call.function}({', '.join(_pointer(v, k, places, offsets) for v, k in pairs)});"


def _pointer(view: View, kind: str, places: dict[str, str], offsets: dict[str, int]) -> str:
    if view.storage in offsets:
        base = f"reinterpret_cast<{kind}>(scratch + {offsets[view.storage]})"
    elif view.storage in places:
        base = f"static_cast<{kind}>({places[view.storage]})"
    elif kind.startswith("const "):
        base = f"static_cast<{kind}>({view.storage})"
    else:
        raise NotUnderstood("a kernel writes to an input")
    return f"{base} + {view.offset}" if view.offset else base
