"""The splitter: any pieces, any garbage, no message lost that lies whole in the stream."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.tracking.igtl.samples import seeds
from tracking.igtl import (
    Message,
    OpaqueContent,
    StreamSplitter,
    encode,
    status_message,
    string_message,
    transform_message,
)
from tracking.igtl.crc import crc64
from tracking.igtl.header import HEADER_BYTES, OTHER_LARGEST_BYTES, Header, largest_body_bytes
from tracking.igtl.search import MOST_OPEN, Search
from tracking.igtl.stream import HELD_LARGEST_BYTES, SKIPPED_LARGEST_BYTES

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


SEEDS = seeds()
# Ends whatever has begun: longer than any of the bodies above.
END = encode(string_message("End", "x" * 20_000, 9.0))


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
    # only what could be the beginning of a header is looked at twice
    assert most < HEADER_BYTES
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


def video(body: bytes, crc: int | None = None) -> bytes:
    return Header(1, "VIDEO", "x", 0, len(body), crc64(body) if crc is None else crc).pack() + body


# More than is held of an unknown type, made of nothing but whole messages.
FULL_OF_MESSAGES = b"".join(MESSAGES) * (2 * OTHER_LARGEST_BYTES // sum(map(len, MESSAGES)))


@settings(deadline=None, max_examples=50)
@given(cuts=st.lists(st.integers(0, 1 << 20), max_size=20), version=st.sampled_from([1, 2]))
def test_what_an_unknown_message_holds_is_no_message(cuts: list[int], version: int) -> None:
    """A body may be a stream itself: nothing of it comes out, however it is cut."""
    large, small = video(FULL_OF_MESSAGES), video(b"".join(MESSAGES))
    splitter = StreamSplitter()
    stream = MESSAGES[0] + large + MESSAGES[1] + small + large + MESSAGES[3]
    assert feed_all(splitter, cut(stream, cuts)) == [MESSAGES[0], MESSAGES[1], small, MESSAGES[3]]
    assert (splitter.skipped_messages, splitter.garbage_bytes, splitter.pending_bytes) == (2, 0, 0)


@settings(deadline=None, max_examples=50)
@given(cuts=st.lists(st.integers(0, 1 << 20), max_size=20))
def test_a_passing_message_with_a_wrong_crc_gives_back_what_it_swallowed(cuts: list[int]) -> None:
    lie = video(FULL_OF_MESSAGES[: OTHER_LARGEST_BYTES + 1], crc=1)
    stream = lie + FULL_OF_MESSAGES[OTHER_LARGEST_BYTES + 1 :] + MESSAGES[0]
    splitter = StreamSplitter()
    received = feed_all(splitter, cut(stream, cuts))
    assert b"".join(received) == FULL_OF_MESSAGES + MESSAGES[0]
    assert (splitter.skipped_messages, splitter.garbage_bytes) == (0, HEADER_BYTES)


def test_a_lying_passing_message_can_be_given_up() -> None:
    splitter = StreamSplitter()
    assert splitter.feed(fake_header("VIDEO", SKIPPED_LARGEST_BYTES) + MESSAGES[0]) == []
    assert splitter.waiting
    splitter.distrust()
    # nothing is lost: what came before the doubt comes out too
    assert splitter.feed(MESSAGES[1]) == [MESSAGES[0], MESSAGES[1]]
    assert splitter.feed(MESSAGES[2]) == [MESSAGES[2]]
    assert not splitter.waiting
    assert splitter.garbage_bytes == HEADER_BYTES


def test_a_slow_passing_message_survives_distrust() -> None:
    body = np.random.default_rng(1).bytes(3 * OTHER_LARGEST_BYTES)
    splitter = StreamSplitter()
    for piece in cut(video(body), list(range(0, len(body), 5000))):
        assert splitter.feed(piece) == []
        splitter.distrust()
    assert splitter.feed(MESSAGES[0]) == [MESSAGES[0]]
    assert (splitter.skipped_messages, splitter.garbage_bytes) == (1, 0)


def test_what_a_passing_message_may_hide_is_bounded() -> None:
    splitter = StreamSplitter()
    splitter.feed(fake_header("VIDEO", SKIPPED_LARGEST_BYTES))
    for _ in range(2 * HELD_LARGEST_BYTES // len(FULL_OF_MESSAGES)):
        splitter.feed(FULL_OF_MESSAGES)
        assert splitter.pending_bytes <= HELD_LARGEST_BYTES
    splitter.distrust()
    received = b"".join(splitter.feed(b""))
    # the newest of it are kept
    assert HELD_LARGEST_BYTES - len(MESSAGES[2]) < len(received) <= HELD_LARGEST_BYTES
    assert (FULL_OF_MESSAGES * 40).endswith(received)


@pytest.mark.parametrize("kind", ["IMAGE", "NDARRAY", "POLYDATA", "BIND"])
def test_bulk_over_its_limit_passes_by(kind: str) -> None:
    size = largest_body_bytes(kind, 1) + 1
    splitter = StreamSplitter()
    # a body of zeros has a CRC of zero
    splitter.feed(fake_header(kind, size))
    for start in range(0, size, 1 << 20):
        assert splitter.feed(bytes(min(1 << 20, size - start))) == []
        assert splitter.pending_bytes < HEADER_BYTES
    assert splitter.feed(MESSAGES[0]) == [MESSAGES[0]]
    assert (splitter.skipped_messages, splitter.garbage_bytes) == (1, 0)


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


def test_a_header_within_a_header_is_found() -> None:
    """A message that broke off within its name, stamp or size, and the next one right behind."""
    for size in range(1, HEADER_BYTES):
        splitter = StreamSplitter()
        assert splitter.feed(b"x" + MESSAGES[0][:size] + MESSAGES[1] + MESSAGES[2]) == MESSAGES[1:3]


@pytest.mark.parametrize("size", [48, 4096, 60_000, 1 << 20, 16 << 20])
def test_look_alikes_cost_no_more_than_they_pay_for(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of headers that all lie: the CRC is taken of so many bytes as came, times a constant."""
    checked = 0

    def counted(data: memoryview) -> int:
        nonlocal checked
        checked += len(data)
        return crc64(data)

    monkeypatch.setattr("tracking.igtl.search.crc64", counted)
    # a CRC of 0 is right for a body of zeros, and only for that
    flood = b"x" + fake_header("IMAGE", size) * 20_000
    splitter = StreamSplitter()
    for start in range(0, len(flood), 50_000):
        assert splitter.feed(flood[start : start + 50_000]) == []
    # of each cheap body, at most one for each header of 58 bytes; of the dear ones 16 for each byte
    assert checked <= len(flood) * (16 + 4096 / HEADER_BYTES)
    assert splitter.pending_bytes <= min(len(flood), size + HEADER_BYTES)
    # it ends in a message all the same
    assert MESSAGES[0] in feed_all(splitter, [bytes(64), MESSAGES[0]])


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_nothing_comes_out_that_was_not_put_in(data: st.DataObject) -> None:
    """Streams of all types, cut, damaged, mixed: each message is one that was sent, or has lost only what no
    checksum covers: version, type, name and time.
    """
    sent = data.draw(st.lists(st.sampled_from(SEEDS), min_size=2, max_size=8))
    stream = bytearray(b"".join(sent))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(len(stream) - 1, 0)))
        match data.draw(st.integers(0, 3)):
            case 0:
                stream[at : at + 1] = bytes(
                    b ^ 1 << data.draw(st.integers(0, 7)) for b in stream[at : at + 1]
                )
            case 1:
                del stream[at : at + data.draw(st.integers(1, 100))]
            case 2:
                stream[at:at] = data.draw(st.binary(max_size=60))
            case _:
                stream[at:at] = data.draw(st.sampled_from(SEEDS))
    splitter = StreamSplitter()
    pieces = cut(bytes(stream), data.draw(st.lists(st.integers(0, 1 << 16), max_size=10)))
    received = feed_all(splitter, [*pieces, END])
    splitter.distrust()
    received += splitter.feed(END)
    known = {raw[42:] for raw in (*SEEDS, END)}
    strange = [raw for raw in received if raw[42:] not in known]
    # a body that is all zeros, or none, has a CRC of zero: damage may make such a one of almost nothing
    assert not any(raw[HEADER_BYTES:].strip(b"\0") for raw in strange)
    # and however bad it was, the next good message arrives
    assert received[-1] == END


def test_every_burst_of_up_to_64_bits_is_noticed() -> None:
    """No message with so short a damage can have the right CRC: the polynomial has degree 64."""
    generator = np.random.default_rng(5)
    raw = MESSAGES[2]
    for _ in range(2000):
        length = int(generator.integers(1, 65))
        start = int(generator.integers(8 * HEADER_BYTES, 8 * len(raw) - length))
        burst = int.from_bytes(generator.bytes(8), "big") >> (64 - length) | 1 | 1 << (length - 1)
        damage = burst << (8 * len(raw) - start - length)
        damaged = (int.from_bytes(raw, "big") ^ damage).to_bytes(len(raw), "big")
        assert StreamSplitter().feed(damaged + MESSAGES[0]) == [MESSAGES[0]]


def test_own_limit() -> None:
    splitter = StreamSplitter(largest_bytes=100)
    assert splitter.feed(MESSAGES[2] + MESSAGES[0]) == [MESSAGES[0]]


def test_garbage_is_not_kept() -> None:
    splitter = StreamSplitter()
    for _ in range(200):
        splitter.feed(bytes(range(256)) * 64)
    assert splitter.pending_bytes < 2 * HEADER_BYTES
    assert splitter.garbage_bytes + splitter.pending_bytes == 200 * 256 * 64


@pytest.mark.parametrize("body", [b"", bytes(10)])
@pytest.mark.parametrize("at", [1 + HEADER_BYTES, 1 + HEADER_BYTES + 5, 300])
def test_an_empty_message_in_garbage_proves_nothing(body: bytes, at: int) -> None:
    """Behind one, a header that lies about a large body is not followed, in whatever pieces it comes."""
    empty = fake_header("GET_STATUS", len(body)) + body
    stream = b"x" + empty + fake_header("VIDEO", 1 << 24) + MESSAGES[0]
    splitter = StreamSplitter()
    assert feed_all(splitter, [stream[:at], stream[at:]]) == [empty, MESSAGES[0]]
    assert splitter.garbage_bytes == 1 + HEADER_BYTES


def test_a_lie_within_a_lie_hides_nothing() -> None:
    splitter = StreamSplitter()
    lie = fake_header("VIDEO", SKIPPED_LARGEST_BYTES)
    assert splitter.feed(lie + MESSAGES[0] + lie + MESSAGES[1]) == []
    splitter.distrust()
    assert splitter.feed(b"") == MESSAGES[:2]


def test_look_alikes_that_are_kept_open_are_bounded() -> None:
    """Those that would end last are given up, not the message that will be there first."""
    near = encode(string_message("Near", "x" * 60_000, 1.0))
    flood = fake_header("IMAGE", 1 << 24) * (MOST_OPEN + 5)
    search = Search(None, 0)
    buffer = bytearray(near[:200])
    assert search.find(buffer) is None
    assert search.find(buffer + flood) is None
    assert search.open_count == MOST_OPEN
    # what follows is the rest of the message after all
    buffer += near[200:]
    assert search.find(buffer) == (0, len(near), True)
