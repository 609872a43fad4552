"""Frames arrive as they were sent, and whatever is no frame is told as such."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from kernelite.harness import wire
from kernelite.problems.tensors import TensorSpec

Pair = tuple[socket.socket, socket.socket]
BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "row-major": BASE,
    "transposed": BASE.t(),
    "with gaps": BASE[:, ::2],
    "with an offset": BASE[1:, 1:],
    "expanded": torch.arange(6.0).expand(4, 6),
    "expanded in the middle": torch.arange(8.0).reshape(2, 1, 4).expand(2, 3, 4),
    "of one number": torch.tensor(3.5),
    "expanded number": torch.tensor(3.5).expand(5),
    "empty": torch.empty(0, 3),
    "bool": BASE > 7,
    "bfloat16": BASE.bfloat16(),
    "float16": BASE.half(),
    "int64": BASE.long() << 40,
    "uint8": BASE.to(torch.uint8),
    "complex64": torch.complex(BASE, -BASE),
    "NaN and infinity": torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0]),
}


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a channel with a deadline."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield ours, theirs


def raw(header: object, content: bytes = b"", size: int | None = None) -> bytes:
    """A frame with any header; ``size`` is what it says of the header's length."""
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return wire.LENGTH.pack(len(text) if size is None else size) + text + content


def look(**fields: Any) -> dict[str, Any]:
    """A header with one tensor that looks like this."""
    return {"tensors": [{"shape": [2], "stride": [1], "dtype": "float32"} | fields]}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_arrives_with_its_values_strides_and_type(pair: Pair, name: str) -> None:
    sent = TENSORS[name]
    wire.send(pair[1], {"do": "call", "n": 3}, [sent])
    header, (got,) = wire.receive(pair[0])
    assert header == {"do": "call", "n": 3}
    assert (got.shape, got.dtype) == (sent.shape, sent.dtype)
    assert not sent.numel() or got.stride() == sent.stride()
    assert torch.equal(got.nan_to_num(), sent.nan_to_num())


def test_an_expanded_tensor_is_sent_once(pair: Pair) -> None:
    wire.send(pair[1], {}, [torch.ones(1).expand(1 << 20)])
    (got,) = wire.receive(pair[0], largest_bytes=4)[1]
    assert got.shape == (1 << 20,)
    assert got.untyped_storage().nbytes() == 4


def test_several_tensors_keep_their_order(pair: Pair) -> None:
    wire.send(pair[1], {}, [BASE, torch.empty(0), BASE[0] > 2])
    got = wire.receive(pair[0])[1]
    assert [t.shape for t in got] == [(4, 6), (0,), (6,)]


def test_what_arrived_is_the_receivers_own_memory(pair: Pair) -> None:
    wire.send(pair[1], {}, [BASE])
    got = wire.receive(pair[0])[1][0]
    got.fill_(9)
    assert BASE[0, 1] == 1


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        [],
        7,
        {},
        {"tensors": 3},
        {"tensors": [3]},
        look(shape=None),
        look(shape=[-2]),
        look(shape=[2.0]),
        look(shape=[True]),
        look(shape=[1 << 60]),
        look(shape=[2, 2]),
        look(stride=["a"]),
        look(stride=[-1]),
        look(stride=[1 << 50]),
        look(dtype="float33"),
        look(dtype="Tensor"),
        look(dtype=4),
        look(dtype="qint8"),
    ],
    ids=lambda header: repr(header)[:60],
)
def test_a_malformed_header_is_a_broken_channel(pair: Pair, header: object) -> None:
    pair[1].sendall(raw(header, b"\0" * 8))
    with pytest.raises(wire.Broken, match="malformed"):
        wire.receive(pair[0])


def test_a_header_beyond_all_bounds_is_refused_unread(pair: Pair) -> None:
    pair[1].sendall(raw(b"", size=1 << 62))
    with pytest.raises(wire.Broken, match="a header of"):
        wire.receive(pair[0])


def test_more_bytes_than_expected_are_refused_unread(pair: Pair) -> None:
    wire.send(pair[1], {}, [BASE])
    with pytest.raises(wire.Broken, match="96 bytes where at most 95"):
        wire.receive(pair[0], largest_bytes=95)


def test_exactly_as_many_bytes_as_expected_are_taken(pair: Pair) -> None:
    wire.send(pair[1], {}, [BASE])
    assert torch.equal(wire.receive(pair[0], largest_bytes=96)[1][0], BASE)


@pytest.mark.parametrize("kept", [0, 5, 8, 20, -1])
def test_a_frame_that_is_cut_short_is_a_broken_channel(pair: Pair, kept: int) -> None:
    pair[1].sendall(raw(look(), b"\0" * 8)[:kept])
    pair[1].close()
    with pytest.raises(wire.Broken, match="closed"):
        wire.receive(pair[0])


@pytest.mark.parametrize(
    ("shape", "stride"), [([2], [1 << 40]), ([2, 2], [1, 1])], ids=["far apart", "overlapping"]
)
def test_strides_that_cannot_be_afforded_become_row_major(
    pair: Pair, shape: list[int], stride: list[int]
) -> None:
    content = torch.arange(4.0)[: 2 ** len(shape)]
    pair[1].sendall(raw(look(shape=shape, stride=stride), content.numpy().tobytes()))
    (got,) = wire.receive(pair[0], largest_bytes=1000)[1]
    assert TensorSpec.of(got).stride == TensorSpec.of(got).contiguous_stride
    assert torch.equal(got, content.reshape(shape))


def test_a_sender_that_trickles_has_no_more_time_than_one_that_is_silent(pair: Pair) -> None:
    stop = threading.Event()

    def trickle() -> None:
        pair[1].sendall(wire.LENGTH.pack(1000))
        while not stop.wait(0.02):
            pair[1].sendall(b" ")

    pair[0].settimeout(0.2)
    sender = threading.Thread(target=trickle)
    sender.start()
    started = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            wire.receive(pair[0])
    finally:
        stop.set()
        sender.join()
    assert time.monotonic() - started < 5  # all thousand bytes would take twenty seconds
    assert pair[0].gettimeout() == pytest.approx(0.2)


def test_sending_to_nobody_is_a_broken_channel(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(wire.Broken, match="cannot send"):
        wire.send(pair[1], {}, [BASE])
