"""How judge and runner talk: one JSON line and raw tensor bytes, nothing pickled.

Both sides check sizes: a frame says how long its header is and how its
tensors look, and a receiver says how much it is willing to take.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

import torch

from kernelite.problems.tensors import TensorSpec

LENGTH = struct.Struct("<Q")
LARGEST_HEADER_BYTES = 16 << 20
LARGEST_TENSORS_BYTES = 16 << 30


class Broken(Exception):
    """The other side closed, or sent what cannot be a frame."""


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
        raise Broken(f"cannot send: {error}") from error


def receive(
    sock: socket.socket, largest_bytes: int = LARGEST_TENSORS_BYTES
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Read one frame.

    Raises:
        Broken: it is cut short, malformed or larger than ``largest_bytes``.
        TimeoutError: the socket's deadline passed.
    """
    size = LENGTH.unpack(_exactly(sock, LENGTH.size))[0]
    if size > LARGEST_HEADER_BYTES:
        raise Broken(f"a header of {size} bytes")
    try:
        header = json.loads(bytes(_exactly(sock, size)))
        looks = [TensorSpec.from_json(fields) for fields in header.pop("tensors")]
        sizes = [_own_bytes(look) for look in looks]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken(f"a malformed header: {error}") from error
    if sum(sizes) > largest_bytes or min(sizes, default=0) < 0:
        raise Broken(f"{sum(sizes)} bytes where at most {largest_bytes} were expected")
    return header, [
        _unpacked(look, _exactly(sock, n)) for look, n in zip(looks, sizes, strict=True)
    ]


def _own_shape(look: TensorSpec) -> list[int]:
    """The shape without repetition: an expanded axis is sent once."""
    return [
        1 if step == 0 and n > 1 else n for n, step in zip(look.shape, look.stride, strict=True)
    ]


def _own_bytes(look: TensorSpec) -> int:
    count = 1
    for size in _own_shape(look):
        if not isinstance(size, int) or size < 0:
            raise ValueError(f"size {size}")
        count *= size
    return count * int(getattr(torch, look.dtype).itemsize)


def _packed(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's own elements as a flat array of bytes."""
    for axis, step in enumerate(tensor.stride()):
        if step == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _unpacked(look: TensorSpec, content: bytearray) -> torch.Tensor:
    dtype = getattr(torch, look.dtype)
    own = _own_shape(look)
    if not content:
        return torch.empty_strided(look.shape, look.stride, dtype=dtype)
    flat = torch.frombuffer(content, dtype=dtype).view(own)
    made = torch.empty_strided(own, look.stride, dtype=dtype).copy_(flat)
    return made.expand(look.shape)


def _exactly(sock: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    view, done = memoryview(content), 0
    while done < size:
        try:
            count = sock.recv_into(view[done:], size - done)
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken(f"cannot receive: {error}") from error
        if count == 0:
            raise Broken("the other side closed")
        done += count
    return content
