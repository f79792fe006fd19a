"""Text on the wire: character sets by their IANA number, fixed fields padded with NULs.

What cannot be written back from the text alone (an unknown character set, bytes that are none of the set's,
remains behind a NUL) is a `WireText`, which keeps its bytes.
"""

from __future__ import annotations

from functools import lru_cache

from tracking.errors import WireError

ASCII = 3  # IANA MIBenum of US-ASCII
LATIN1 = 4  # IANA MIBenum of ISO-8859-1
UTF8 = 106  # IANA MIBenum of UTF-8
# Stands for the set that the text itself asks for; the IANA numbers begin at 0.
NATURAL = -1
# The other sets that a peer in a hospital may use; text in any further one is kept as bytes.
_CODECS = {
    ASCII: "ascii",
    LATIN1: "latin-1",
    UTF8: "utf-8",
    5: "iso8859-2",
    8: "iso8859-5",
    10: "iso8859-7",
    12: "iso8859-9",
    111: "iso8859-15",
    1013: "utf-16-be",
    1014: "utf-16-le",
    2251: "cp1251",
    2252: "cp1252",
}


class WireText(str):
    """Text with the bytes it came in, which go out again in its place.

    `encoding` is the IANA number that came with it, NATURAL where the wire carries none.
    """

    raw: bytes
    encoding: int
    __slots__ = ("encoding", "raw")

    def __new__(cls, text: str, raw: bytes = b"", encoding: int = NATURAL) -> WireText:
        """Text as it is shown, and what it came in."""
        made = super().__new__(cls, text)
        made.raw, made.encoding = raw, encoding
        return made


def natural_encoding(text: str) -> int:
    """The set that text goes out in where nothing else is asked for."""
    return ASCII if text.isascii() else UTF8


def text_of(raw: bytes) -> str:
    """Bytes as UTF-8; each byte that is none becomes "?"."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return WireText(raw.decode("utf-8", "replace").replace("\ufffd", "?"), raw)


def wire_bytes(text: str) -> bytes:
    """The bytes that the text came in, or its UTF-8."""
    return text.raw if isinstance(text, WireText) else text.encode("utf-8")


def decode_text(raw: bytes, encoding: int) -> str:
    """Text in the set of that number; ASCII and UTF-8 are read alike, since peers label one as the other.

    In a set that is not known only what is ASCII can be read; all else is shown as "?" and kept.
    """
    codec = _CODECS.get(encoding)
    if encoding in (ASCII, UTF8):
        text = text_of(raw)
    else:
        text = raw.decode(codec or "ascii", "replace").replace("\ufffd", "?")
    if codec is not None:
        try:
            if text.encode(codec) == raw:
                return str(text)
        except UnicodeEncodeError:
            pass
    return WireText(text, raw, encoding)


def encode_text(text: str, encoding: int) -> bytes:
    """Text in the set of that number; WireError where it holds what the set does not."""
    if isinstance(text, WireText):
        return text.raw
    try:
        return text.encode(_CODECS.get(encoding, "ascii"))
    except UnicodeEncodeError as error:
        raise WireError(f"text cannot be written in character set {encoding}: {error}") from error


def padded_name(text: str, size: int, what: str) -> bytes:
    """Text as a NUL-padded field; WireError if it is longer than `size` bytes or not plain."""
    if type(text) is str:
        return _padded(text, size, what)
    raw = wire_bytes(text)
    if len(raw) > size:
        raise WireError(f"{what} {text!r} is longer than {size} bytes")
    return raw.ljust(size, b"\0")


@lru_cache(maxsize=256)
def _padded(text: str, size: int, what: str) -> bytes:
    raw = text.encode("utf-8")
    if len(raw) > size:
        raise WireError(f"{what} {text!r} is longer than {size} bytes")
    if b"\0" in raw:
        raise WireError(f"{what} {text!r} holds a NUL")
    return raw.ljust(size, b"\0")


def field_text(raw: bytes) -> str:
    """The text before the first NUL of a fixed field; what a sloppy sender left behind it is kept."""
    plain, _, remains = raw.partition(b"\0")
    text = text_of(plain)
    return WireText(text, raw) if remains.strip(b"\0") else text
