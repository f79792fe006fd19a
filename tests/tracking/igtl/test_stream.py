"""The splitter: any pieces, any garbage, no message lost that lies whole in the stream."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tracking.igtl import (
    Message,
    OpaqueContent,
    StreamSplitter,
    encode,
    status_message,
    string_message,
    transform_message,
)
from tracking.igtl.header import HEADER_BYTES, OTHER_LARGEST_BYTES, Header
from tracking.igtl.stream import SKIPPED_LARGEST_BYTES

# No body ends in a zero, with which the next message begins: cut by one byte it would be complete again.
POSE = np.eye(4)
POSE[:3, 3] = 0.1

MESSAGES = [
    encode(transform_message("ProbeToTracker", POSE, 1.0)),
    encode(transform_message("ProbeToTracker", POSE, 2.0, {"TransformStatus": "OK"}, 2)),
    encode(string_message("Spots", "x" * 3000, 3.0)),
    encode(status_message("", 4.0, version=2)),
    encode(Message("NEWTYPE", "x", 5.0, 1, {}, OpaqueContent(b"\7" * 500))),
]


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(stream) + 1) for c in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def feed_all(splitter: StreamSplitter, pieces: list[bytes]) -> list[bytes]:
    return [raw for piece in pieces for raw in splitter.feed(piece)]


def fake_header(kind: str, size: int) -> bytes:
    return Header(1, kind, "x", 0, size, 0).pack()


@settings(deadline=None, max_examples=200)
@given(
    order=st.lists(st.integers(0, len(MESSAGES) - 1), max_size=8),
    cuts=st.lists(st.integers(0, 1 << 16), max_size=20),
)
def test_any_pieces(order: list[int], cuts: list[int]) -> None:
    sent = [MESSAGES[i] for i in order]
    splitter = StreamSplitter()
    assert feed_all(splitter, cut(b"".join(sent), cuts)) == sent
    assert splitter.garbage_bytes == 0
    assert splitter.pending_bytes == 0


def test_byte_by_byte() -> None:
    stream = b"".join(MESSAGES)
    assert feed_all(StreamSplitter(), [stream[i : i + 1] for i in range(len(stream))]) == MESSAGES


garbage = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"\0", b"\0\1", b"\0\1TRANSFORM", b"GET / HTTP/1.1\r\n\r\n"]),
    st.integers(1, len(MESSAGES[0]) - 1).map(lambda n: MESSAGES[0][:n]),
    st.integers(0, 400).map(lambda n: fake_header("TRANSFORM", n % 49) + bytes(n)),
    st.integers(0, 60).map(lambda n: fake_header("IMAGE", 1 << 20)[n:]),
).filter(lambda junk: junk not in MESSAGES)


@settings(deadline=None, max_examples=200)
@given(
    parts=st.lists(st.tuples(garbage, st.integers(0, len(MESSAGES) - 1)), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 1 << 16), max_size=12),
)
@example(parts=[(fake_header("IMAGE", 1 << 20), 0)], cuts=[])
def test_garbage_between_messages(parts: list[tuple[bytes, int]], cuts: list[int]) -> None:
    """After garbage all whole messages come out, in order; a lying header is given up on request."""
    stream = b"".join(junk + MESSAGES[i] for junk, i in parts)
    splitter = StreamSplitter()
    received = feed_all(splitter, cut(stream, cuts))
    for _ in parts:
        splitter.distrust()
        received += splitter.feed(b"")
    # an unknown type of a size up to the limit is believed: what it claims is passed over
    assume(splitter.skipped_messages == 0)
    # garbage may by itself, or with the zero that follows, be a message with a right CRC
    assume(all(raw in MESSAGES for raw in received))
    assert received == [MESSAGES[i] for _, i in parts]


def test_flipped_bit_costs_one_message() -> None:
    for byte in range(len(MESSAGES[0])):
        damaged = bytearray(MESSAGES[0])
        damaged[byte] ^= 0x10
        received = StreamSplitter().feed(bytes(damaged) + MESSAGES[1] + MESSAGES[4])
        # a letter of the type or name, or the stamp: no checksum covers them, the message is delivered
        assert received in ([bytes(damaged), MESSAGES[1], MESSAGES[4]], [MESSAGES[1], MESSAGES[4]])
        assert (received[0] == bytes(damaged)) <= (2 <= byte < 42)


@pytest.mark.parametrize("kind", ["TRANSFORM", "STRING", "IMAGE", "STATUS"])
def test_known_type_over_its_limit_is_garbage(kind: str) -> None:
    splitter = StreamSplitter()
    assert splitter.feed(fake_header(kind, 1 << 40) + MESSAGES[0]) == [MESSAGES[0]]
    assert splitter.garbage_bytes == HEADER_BYTES


def test_large_unknown_type_streams_past() -> None:
    size = 3 * OTHER_LARGEST_BYTES
    splitter = StreamSplitter()
    pieces = [fake_header("VIDEO", size), *[bytes(OTHER_LARGEST_BYTES)] * 3]
    most = 0
    for piece in pieces:
        assert splitter.feed(piece) == []
        most = max(most, splitter.pending_bytes)
    assert most == 0
    assert splitter.feed(MESSAGES[0]) == [MESSAGES[0]]
    assert (splitter.skipped_messages, splitter.garbage_bytes) == (1, 0)


def test_large_unknown_type_ends_within_a_piece() -> None:
    size = OTHER_LARGEST_BYTES + 1
    splitter = StreamSplitter()
    assert splitter.feed(fake_header("VIDEO", size) + bytes(size) + MESSAGES[0]) == [MESSAGES[0]]


def test_absurd_unknown_size_is_garbage() -> None:
    assert StreamSplitter().feed(fake_header("VIDEO", SKIPPED_LARGEST_BYTES + 1) + MESSAGES[0]) == [
        MESSAGES[0]
    ]


def test_a_lying_skip_can_be_given_up() -> None:
    splitter = StreamSplitter()
    assert splitter.feed(fake_header("VIDEO", SKIPPED_LARGEST_BYTES) + MESSAGES[0]) == []
    assert splitter.waiting
    splitter.distrust()
    assert splitter.feed(MESSAGES[0][30:] + MESSAGES[1]) == [MESSAGES[1]]
    assert not splitter.waiting


def test_a_slow_message_survives_distrust() -> None:
    splitter = StreamSplitter()
    received = splitter.feed(MESSAGES[2][:1000])
    for start in range(1000, len(MESSAGES[2]), 500):
        splitter.distrust()
        received += splitter.feed(MESSAGES[2][start : start + 500])
    assert received == [MESSAGES[2]]
    assert splitter.feed(MESSAGES[0]) == [MESSAGES[0]]
    assert splitter.garbage_bytes == 0


def test_many_lies_do_not_hide_a_message() -> None:
    """More look-alikes than are kept open, each claiming an image that never comes."""
    splitter = StreamSplitter()
    assert splitter.feed(b"x" + fake_header("IMAGE", 1 << 24) * 100 + MESSAGES[0]) == [MESSAGES[0]]
    assert splitter.pending_bytes == 0


def test_own_limit() -> None:
    splitter = StreamSplitter(largest_bytes=100)
    assert splitter.feed(MESSAGES[2] + MESSAGES[0]) == [MESSAGES[0]]


def test_garbage_is_not_kept() -> None:
    splitter = StreamSplitter()
    for _ in range(200):
        splitter.feed(bytes(range(256)) * 64)
    assert splitter.pending_bytes < 2 * HEADER_BYTES
    assert splitter.garbage_bytes + splitter.pending_bytes == 200 * 256 * 64
