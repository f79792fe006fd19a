"""Bodies with which peers steer each other: COMMAND, the start of a stream (STT_) and its answer (RTS_).

Layouts: http://openigtlink.org/protocols/v3_command.html, v2_trackingdata.html and v2_quaternion_tracking.html.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from tracking.errors import WireError
from tracking.igtl.content import OpaqueContent, expect_size
from tracking.igtl.text import NATURAL, decode_text, encode_text, field_text, natural_encoding, padded_name

_COMMAND = struct.Struct(">I128sHI")
_START = struct.Struct(">I32s")


@dataclass(frozen=True, slots=True)
class CommandContent:
    """COMMAND, and RTS_COMMAND in answer: its number, its name and, mostly as XML, what is asked.

    In an answer `name` is the error, and `command_id` the number of the command that it answers. `encoding`
    is as in `StringContent`.
    """

    TYPE: ClassVar[str] = "COMMAND"
    command_id: int
    name: str
    text: str = ""
    encoding: int = NATURAL

    def __post_init__(self) -> None:
        if self.encoding == NATURAL:
            object.__setattr__(self, "encoding", natural_encoding(self.text))

    def pack(self) -> bytes:
        """138 bytes and the text."""
        data = encode_text(self.text, self.encoding)
        name = padded_name(self.name, 128, "command name")
        return _COMMAND.pack(self.command_id, name, self.encoding, len(data)) + data

    @staticmethod
    def unpack(raw: bytes) -> CommandContent:
        """The length must be the body's."""
        if len(raw) < _COMMAND.size:
            raise WireError(f"COMMAND body of {len(raw)} bytes, less than {_COMMAND.size}")
        number, name, encoding, length = _COMMAND.unpack_from(raw)
        expect_size(raw, _COMMAND.size + length, "COMMAND")
        text = decode_text(raw[_COMMAND.size :], encoding)
        return CommandContent(number, field_text(name), text, encoding)


@dataclass(frozen=True, slots=True)
class StartContent:
    """STT_TDATA and STT_QTDATA: least time between two frames (0: as fast as can be) and frame of reference."""

    TYPE: ClassVar[str] = "STT_TDATA"
    interval_ms: int = 0
    coordinates: str = ""

    def pack(self) -> bytes:
        """36 bytes."""
        return _START.pack(self.interval_ms, padded_name(self.coordinates, 32, "coordinate name"))

    @staticmethod
    def unpack(raw: bytes) -> StartContent | OpaqueContent:
        """From 36 bytes; a request without a body leaves the choice to the sender."""
        if not raw:
            return OpaqueContent()
        expect_size(raw, _START.size, "STT_")
        interval_ms, name = _START.unpack(raw)
        return StartContent(interval_ms, field_text(name))


@dataclass(frozen=True, slots=True)
class ReplyContent:
    """RTS_ of any type: status 0 is success, 1 an error."""

    TYPE: ClassVar[str] = "RTS_TDATA"
    status: int = 0

    def pack(self) -> bytes:
        """One byte."""
        return struct.pack(">B", self.status)

    @staticmethod
    def unpack(raw: bytes) -> ReplyContent | OpaqueContent:
        """From one byte; some senders answer with none."""
        return ReplyContent(raw[0]) if len(raw) == 1 else OpaqueContent(raw)
