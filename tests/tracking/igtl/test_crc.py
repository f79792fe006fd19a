"""The native CRC against the definition, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking._wire import crc64_portable
from tracking.igtl.crc import POLYNOMIAL, RunningCrc, crc64


def bitwise(data: bytes) -> int:
    """Long division in GF(2) of data * x^64 by the polynomial."""
    remainder = int.from_bytes(data, "big") << 64
    divisor = (1 << 64) | POLYNOMIAL
    while remainder.bit_length() > 64:
        remainder ^= divisor << (remainder.bit_length() - 65)
    return remainder


def test_check_value() -> None:
    # CRC-64/ECMA-182 of "123456789", from the catalogue of parametrised CRC algorithms
    assert crc64(b"123456789") == 0x6C40DF5F0B497347


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=3000))
def test_equals_long_division(data: bytes) -> None:
    assert crc64(data) == bitwise(data)


@pytest.mark.parametrize("size", [32767, 32768, 65535, 65536, 65537, 200_001])
def test_long_bodies(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    cut = size // 3
    # crc(A B) = crc(A 0..0) ^ crc(B) for a linear CRC that starts at 0
    assert crc64(data) == crc64(data[:cut] + bytes(size - cut)) ^ crc64(data[cut:])
    assert crc64(data[-700:]) == bitwise(data[-700:])
    assert crc64(bytes(size) + data[-100:]) == bitwise(data[-100:])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(kind: type) -> None:
    data = bytes(range(256)) * 8
    assert crc64(kind(data)) == bitwise(data)


def test_what_is_no_buffer_is_refused() -> None:
    with pytest.raises(TypeError):
        crc64("text")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        crc64(memoryview(bytes(16))[::2])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=20), max_size=12))
def test_in_pieces_of_any_size(pieces: list[bytes]) -> None:
    running = RunningCrc()
    for piece in pieces:
        running.update(piece)
    assert running.value == crc64(b"".join(pieces))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2000), st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_multiplication_and_tables_agree(size: int, start: int, seed: int) -> None:
    # 256 bytes and more are folded by carry-less multiplication, at any alignment and with any rest.
    data = memoryview(np.random.default_rng(seed).bytes(size + start))[start:]
    assert crc64(data) == crc64_portable(data) == bitwise(bytes(data))
