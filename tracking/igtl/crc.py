"""CRC-64 of OpenIGTLink bodies: ECMA-182 polynomial, most significant bit first, start 0, no final XOR."""

from __future__ import annotations

from tracking._wire import crc64

POLYNOMIAL = 0x42F0E1EBA9EA3693  # ECMA-182, without the leading x^64

__all__ = ["POLYNOMIAL", "crc64"]
