"""What a publisher answers to the standard's requests: GET_x, STT_x and STP_x of each type, and GET_CAPABIL.

A GET_x is answered with the latest of that type (and name), an STT_x or STP_x switches the type on or off
for that client; RTS_x with status 1 says that there is none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Set

from tracking.igtl.codec import Message, encode
from tracking.igtl.content import OpaqueContent
from tracking.igtl.header import TYPE_BYTES, Header, padded_name
from tracking.igtl.outbox import Outbox, Pending

_DONE, _REFUSED = b"\0", b"\1"
# The standard cuts CAPABILITY to fit the type field behind GET_.
_CAPABILITY = ("CAPABIL", "CAPABILITY")


def reply_to(message: Message, outbox: Outbox, types: Set[str], latest: Iterable[Pending]) -> bool:
    """Answer a query into the client's outbox; False if the message is none."""
    verb, _, wanted = message.type.partition("_")
    if verb not in ("GET", "STT", "STP") or not wanted:
        return False
    if wanted in _CAPABILITY:
        names = b"".join(padded_name(name, TYPE_BYTES, "type") for name in sorted(types))
        _reply(message, outbox, "CAPABILITY", names)
    elif verb == "GET":
        _get(message, outbox, wanted, latest)
    else:
        known = wanted in types
        (outbox.muted.discard if verb == "STT" else outbox.muted.add)(wanted)
        _reply(message, outbox, f"RTS_{wanted}", _DONE if known else _REFUSED)
    return True


def _get(message: Message, outbox: Outbox, wanted: str, latest: Iterable[Pending]) -> None:
    found = False
    for pending in latest:
        header = Header.unpack(pending.raw_v1 or pending.raw_v2 or b"")
        if header.type == wanted and message.device in ("", header.device):
            outbox.put(pending)
            found = True
    if not found:
        _reply(message, outbox, f"RTS_{wanted}", _REFUSED)


def _reply(message: Message, outbox: Outbox, message_type: str, body: bytes) -> None:
    if len(message_type) > TYPE_BYTES:
        return
    answer = Message(message_type, message.device, time.time(), outbox.version, {}, OpaqueContent(body))
    raw = encode(answer)
    outbox.put(Pending(raw, raw))
