"""How judge and runner talk: one JSON line and raw tensor bytes, nothing pickled.

Both sides check sizes: a frame says how long its header is and how its
tensors look, and a receiver says how much it is willing to take.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from kernelite.problems.tensors import TensorSpec

LENGTH = struct.Struct("<Q")
LARGEST_HEADER_BYTES = 16 << 20
LARGEST_TENSORS_BYTES = 16 << 30
# Others cannot be made from bytes; for a quantised one PyTorch crashes when it is tried.
TYPES = frozenset(
    """
    bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64
    complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz
    """.split()
)


class Broken(Exception):
    """The other side sent what cannot be a frame."""


class Closed(Broken):
    """The other side is gone."""


def send(sock: socket.socket, header: dict[str, Any], tensors: Sequence[torch.Tensor] = ()) -> None:
    """Write one frame."""
    looks = [TensorSpec.of(tensor).as_json() for tensor in tensors]
    head = json.dumps({**header, "tensors": looks}).encode()
    try:
        sock.sendall(LENGTH.pack(len(head)) + head)
        for tensor in tensors:
            if tensor.numel():
                sock.sendall(_packed(tensor).numpy().data)
    except OSError as error:
        raise Closed(f"cannot send: {error}") from error


def receive(
    sock: socket.socket, largest_bytes: int = LARGEST_TENSORS_BYTES
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Read one frame; strides that would take more than ``largest_bytes`` become row-major.

    Raises:
        Broken: it is cut short, malformed or larger than ``largest_bytes``.
        TimeoutError: the whole frame was not there within the socket's timeout.
    """
    patience_s = sock.gettimeout()
    deadline = None if patience_s is None else time.monotonic() + patience_s
    try:
        size = LENGTH.unpack(_exactly(sock, LENGTH.size, deadline))[0]
        if size > LARGEST_HEADER_BYTES:
            raise Broken(f"a header of {size} bytes")
        header, looks = _understood(bytes(_exactly(sock, size, deadline)))
        sizes = [_own_bytes(look) for look in looks]
        if sum(sizes) > largest_bytes:
            raise Broken(f"{sum(sizes)} bytes where at most {largest_bytes} were expected")
        return header, [
            _unpacked(look, _exactly(sock, n, deadline), largest_bytes)
            for look, n in zip(looks, sizes, strict=True)
        ]
    finally:
        sock.settimeout(patience_s)


def _understood(text: bytes) -> tuple[dict[str, Any], list[TensorSpec]]:
    """The header without its tensors, and how those look."""
    try:
        header = json.loads(text)
        looks = [TensorSpec.from_json(fields) for fields in header.pop("tensors")]
        for look in looks:
            numbers = (*look.shape, *look.stride)
            if len(look.shape) != len(look.stride) or look.dtype not in TYPES:
                raise ValueError(f"no tensor looks like {look}")
            if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers):
                raise ValueError(f"no tensor has such sizes: {numbers}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Broken(f"a malformed header: {error}") from error
    return header, looks


def _own_shape(look: TensorSpec) -> list[int]:
    """The shape without repetition: an expanded axis is sent once."""
    return [
        1 if step == 0 and n > 1 else n for n, step in zip(look.shape, look.stride, strict=True)
    ]


def _own_bytes(look: TensorSpec) -> int:
    return prod(_own_shape(look)) * int(_dtype(look).itemsize)


def _dtype(look: TensorSpec) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, look.dtype)
    return dtype


def _packed(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's own elements as a flat array of bytes."""
    for axis, step in enumerate(tensor.stride()):
        if step == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    flat = tensor.detach().contiguous().as_strided((tensor.numel(),), (1,))
    return flat.view(torch.uint8)


def _unpacked(look: TensorSpec, content: bytearray, largest_bytes: int) -> torch.Tensor:
    own = _own_shape(look)
    try:
        if not content:
            return torch.empty(look.shape, dtype=_dtype(look))
        made = torch.frombuffer(content, dtype=_dtype(look)).view(own)
        if _fits(look, largest_bytes):
            made = torch.empty_strided(own, look.stride, dtype=_dtype(look)).copy_(made)
        return made.expand(look.shape)
    except RuntimeError as error:  # a type that cannot be read from bytes
        raise Broken(f"cannot be a tensor: {error}") from error


def _fits(look: TensorSpec, largest_bytes: int) -> bool:
    """Whether no two elements share memory and all together span no more than that."""
    span = 1
    for step, size in sorted(zip(look.stride, _own_shape(look), strict=True)):
        if size > 1:
            if step < span:
                return False
            span += step * (size - 1)
    return span * _dtype(look).itemsize <= largest_bytes


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> bytearray:
    """That many bytes; a sender that trickles has no more time than one that is silent."""
    content = bytearray(size)
    view, done = memoryview(content), 0
    while done < size:
        if deadline is not None:
            sock.settimeout(max(deadline - time.monotonic(), 1e-3))
        try:
            count = sock.recv_into(view[done:], size - done)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(f"cannot receive: {error}") from error
        if count == 0:
            raise Closed("the other side closed")
        done += count
    return content
