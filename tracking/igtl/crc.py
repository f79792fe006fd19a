"""CRC-64 of OpenIGTLink bodies: ECMA-182 polynomial, most significant bit first, start 0, no final XOR."""

from __future__ import annotations

from tracking._wire import crc64

POLYNOMIAL = 0x42F0E1EBA9EA3693  # ECMA-182, without the leading x^64
_MASK = (1 << 64) - 1

__all__ = ["POLYNOMIAL", "RunningCrc", "crc64"]


class RunningCrc:
    """The CRC of a body that passes in pieces and is never held as a whole."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes) -> None:
        """Take the next piece: what is left of the old remainder is added to its first eight bytes."""
        size = min(len(data), 8)
        first = int.from_bytes(data[:size], "big") ^ (self.value >> (64 - 8 * size))
        self.value = crc64(first.to_bytes(size, "big") + data[size:]) ^ (self.value << 8 * size & _MASK)
