"""What a publisher answers to the standard's requests: GET_x, STT_x and STP_x of each type, and GET_CAPABIL.

A GET_x is answered with the latest of that type (and name), an STT_x or STP_x switches the type on or off
for that client; RTS_x with status 1 says that there is none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Set

from tracking.igtl.codec import Message, encode
from tracking.igtl.content import OpaqueContent
from tracking.igtl.header import TYPE_BYTES, padded_name
from tracking.igtl.outbox import Outbox, Pending

_DONE, _REFUSED = b"\0", b"\1"
# How types are written behind the verb where the field has no room for the whole.
_SHORT = {"CAPABIL": "CAPABILITY", "TRANS": "TRANSFORM"}


def reply_to(message: Message, outbox: Outbox, types: Set[str], latest: Iterable[Pending]) -> bool:
    """Answer a query into the client's outbox; False if the message is none."""
    verb, _, wanted = message.type.partition("_")
    if verb not in ("GET", "STT", "STP") or not wanted:
        return False
    wanted_type = _SHORT.get(wanted, wanted)
    if wanted_type == "CAPABILITY":
        names = b"".join(padded_name(name, TYPE_BYTES, "type") for name in sorted(types))
        _reply(message, outbox, "CAPABILITY", names)
    elif verb == "GET":
        found = _latest_of(wanted_type, message.device, latest)
        for pending in found:
            outbox.put(pending)
        if not found:
            _reply(message, outbox, f"RTS_{wanted}", _REFUSED)
    else:
        (outbox.muted.discard if verb == "STT" else outbox.muted.add)(wanted_type)
        _reply(message, outbox, f"RTS_{wanted}", _DONE if wanted_type in types else _REFUSED)
    return True


def _latest_of(wanted_type: str, device: str, latest: Iterable[Pending]) -> list[Pending]:
    """The latest messages of a type, of one device or, without a name, of all."""
    return [p for p in latest if p.type == wanted_type and device in ("", p.device)]


def _reply(message: Message, outbox: Outbox, message_type: str, body: bytes) -> None:
    answer = Message(message_type, message.device, time.time(), outbox.version, {}, OpaqueContent(body))
    raw = encode(answer)
    outbox.put(Pending.of(raw, raw))
