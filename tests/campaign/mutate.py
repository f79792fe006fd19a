"""Damaged OpenIGTLink messages from good ones: flips, cuts, splices, and sizes that lie within an intact frame."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.tracking.igtl.samples import seeds
from tracking.igtl.crc import crc64
from tracking.igtl.header import HEADER_BYTES, LARGEST_CONTENT_BYTES, TYPE_BYTES

# Of ten messages nine get a header that fits again, or hardly any would be read further than that.
_REPAIRED = 0.9
_MOST_CHANGES = 4
_EDGES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63),
    (1 << 64) - 1,
)

Change = Callable[[bytearray, random.Random], None]


class Mutator:
    """Endless damaged messages; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seeds = seeds()
        self._types = [name.encode().ljust(TYPE_BYTES, b"\0") for name in (*LARGEST_CONTENT_BYTES, "RTS_X")]
        self._changes: list[Change] = [
            _flip,
            _flip,
            _set,
            _set,
            _edge,
            _edge,
            _edge,
            _cut,
            _double,
            _insert,
            self._splice,
            self._retype,
        ]

    def message(self) -> bytes:
        """One message with some of its bytes changed, cut out, doubled or taken from another."""
        draw = self._random.random
        raw = bytearray(self._seeds[int(draw() * len(self._seeds))])
        for _ in range(1 + int(draw() * _MOST_CHANGES)):
            self._changes[int(draw() * len(self._changes))](raw, self._random)
            if not raw:
                return b""
        if len(raw) >= HEADER_BYTES and draw() < _REPAIRED:
            raw[42:50] = (len(raw) - HEADER_BYTES).to_bytes(8, "big")
            raw[50:58] = crc64(raw[HEADER_BYTES:]).to_bytes(8, "big")
        return bytes(raw)

    def stream(self, length: int) -> list[bytes]:
        """Good and damaged messages in one stream, in pieces of any size."""
        draw = self._random.random
        parts = [
            self.message() if draw() < 0.5 else self._seeds[int(draw() * len(self._seeds))]
            for _ in range(length)
        ]
        whole = b"".join(parts)
        edges = sorted(int(draw() * (len(whole) + 1)) for _ in range(length))
        return [whole[a:b] for a, b in zip([0, *edges], [*edges, len(whole)], strict=True)]

    def _splice(self, raw: bytearray, source: random.Random) -> None:
        other = self._seeds[int(source.random() * len(self._seeds))]
        raw[_body_at(raw, source) :] = other[_body_at(other, source) :]

    def _retype(self, raw: bytearray, source: random.Random) -> None:
        raw[2:14] = self._types[int(source.random() * len(self._types))]


def _at(raw: bytes | bytearray, source: random.Random) -> int:
    return int(source.random() * len(raw))


def _body_at(raw: bytes | bytearray, source: random.Random) -> int:
    """Somewhere behind the header, if there is anything."""
    return min(HEADER_BYTES, len(raw) - 1) + int(source.random() * max(1, len(raw) - HEADER_BYTES))


def _flip(raw: bytearray, source: random.Random) -> None:
    raw[_body_at(raw, source) % len(raw)] ^= 1 << int(source.random() * 8)


def _set(raw: bytearray, source: random.Random) -> None:
    raw[_at(raw, source)] = int(source.random() * 256)


def _edge(raw: bytearray, source: random.Random) -> None:
    """A count or size field with a value from the edges of its range, or one beside that which it had."""
    size = (1, 2, 4, 8)[int(source.random() * 4)]
    at = _body_at(raw, source)
    if source.random() < 0.3:
        value = int.from_bytes(raw[at : at + size], "big") + int(source.random() * 3) - 1
    else:
        value = _EDGES[int(source.random() * len(_EDGES))]
    raw[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "big")


def _cut(raw: bytearray, source: random.Random) -> None:
    at = _at(raw, source)
    del raw[at : at + 1 + int(source.random() * 16)]


def _double(raw: bytearray, source: random.Random) -> None:
    at = _at(raw, source)
    raw[at:at] = raw[at : at + 1 + int(source.random() * 16)]


def _insert(raw: bytearray, source: random.Random) -> None:
    at = _at(raw, source)
    raw[at:at] = source.randbytes(1 + int(source.random() * 8))
