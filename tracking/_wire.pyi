def crc64(data: bytes | bytearray | memoryview) -> int:
    """
    CRC-64/ECMA-182 of any contiguous buffer: most significant bit first, start 0, no final XOR.
    """

def crc64_portable(data: bytes | bytearray | memoryview) -> int:
    """
    The same by tables alone, as on processors without carry-less multiplication.
    """
