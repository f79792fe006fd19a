"""What a publisher answers to the standard's requests: GET_x, STT_x and STP_x of each type, and GET_CAPABIL.

A GET_x is answered with the latest of that type (and name), an STT_x or STP_x switches the type on or off
for that client; RTS_x with status 1 says that there is none. STT_TDATA and its like carry the least time
between two messages and the name of a frame (http://openigtlink.org/protocols/v2_trackingdata.html).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Set

from tracking.igtl.codec import Message, decode, encode
from tracking.igtl.content import OpaqueContent, TransformContent
from tracking.igtl.header import TYPE_BYTES, padded_name
from tracking.igtl.messages import status_message, tdata_message
from tracking.igtl.outbox import Outbox, Pending
from tracking.igtl.wishes import TrackingWish

_DONE, _REFUSED = b"\0", b"\1"
# How types are written behind the verb where the field has no room for the whole.
_SHORT = {"CAPABIL": "CAPABILITY", "TRANS": "TRANSFORM"}
# Least time in ms between two messages, name of the frame.
_PACE = struct.Struct(">i32s")
_TRACKING = "TDATA"


def reply_to(message: Message, outbox: Outbox, types: Set[str], latest: Iterable[Pending]) -> bool:
    """Answer a query into the client's outbox; False if the message is none."""
    verb, _, wanted = message.type.partition("_")
    if verb not in ("GET", "STT", "STP") or not wanted:
        return False
    wanted_type = _SHORT.get(wanted, wanted)
    if wanted_type == "CAPABILITY":
        names = b"".join(padded_name(name, TYPE_BYTES, "type") for name in sorted(types))
        _put(outbox, _opaque("CAPABILITY", message.device, names))
    elif verb == "GET":
        _get(message, wanted_type, outbox, list(latest))
    elif verb == "STT":
        _reply(message, outbox, _start(message, wanted_type, outbox, types))
    else:
        _reply(message, outbox, _stop(wanted_type, outbox, types))
    return True


def tracking_data(wish: TrackingWish, latest: Iterable[Pending]) -> Message | None:
    """One TDATA of all poses that are published, None when there are none.

    With a frame that poses are published in, only those in it; a pose without a version 1 form is not valid
    and left out.
    """
    poses = [p for p in latest if p.type == "TRANSFORM" and p.raw_v1 is not None]
    poses = [p for p in poses if p.device.endswith(f"To{wish.frame}")] or poses
    found = [decode(p.raw_v1) for p in poses if p.raw_v1 is not None]
    if not found:
        return None
    tools = [(m.device, m.body.matrix) for m in found if isinstance(m.body, TransformContent)]
    return tdata_message(wish.device, tools, max(m.t_s for m in found))


def _get(message: Message, wanted_type: str, outbox: Outbox, latest: list[Pending]) -> None:
    found = [p for p in latest if p.type == wanted_type and message.device in ("", p.device)]
    for pending in found:
        outbox.put(pending)
    if found:
        return
    answer = None
    if wanted_type == "STATUS":
        answer = status_message(message.device, time.time())
    elif wanted_type == _TRACKING:
        answer = tracking_data(TrackingWish(message.device, "", 0.0), latest)
    if answer is None:
        _reply(message, outbox, _REFUSED)
    else:
        _put(outbox, answer)


def _start(message: Message, wanted_type: str, outbox: Outbox, types: Set[str]) -> bytes:
    """Switch a type on, or all poses together as TDATA when they are published singly."""
    interval_s, frame = _pace(message)
    wishes = outbox.wishes
    if wanted_type == _TRACKING and _TRACKING not in types:
        wishes.tracking = TrackingWish(message.device, frame, interval_s)
        return _DONE if "TRANSFORM" in types else _REFUSED
    wishes.start(wanted_type, interval_s)
    return _DONE if wanted_type in types else _REFUSED


def _stop(wanted_type: str, outbox: Outbox, types: Set[str]) -> bytes:
    wishes = outbox.wishes
    if wanted_type == _TRACKING and wishes.tracking is not None:
        wishes.tracking = None
        return _DONE
    wishes.stop(wanted_type)
    return _DONE if wanted_type in types else _REFUSED


def _pace(message: Message) -> tuple[float, str]:
    """(least seconds between two messages, frame) that an STT_x asks for; (0, "") where it says neither."""
    data = message.body.pack()
    if len(data) < _PACE.size:
        return 0.0, ""
    interval_ms, frame = _PACE.unpack_from(data)
    return max(interval_ms, 0) / 1000.0, frame.split(b"\0", 1)[0].decode("utf-8", "replace")


def _opaque(message_type: str, device: str, data: bytes) -> Message:
    return Message(message_type, device, time.time(), 1, {}, OpaqueContent(data))


def _reply(message: Message, outbox: Outbox, status: bytes) -> None:
    _put(outbox, _opaque(f"RTS_{message.type[4:]}", message.device, status))


def _put(outbox: Outbox, answer: Message) -> None:
    raw = encode(answer, outbox.version)
    outbox.put(Pending.of(raw, raw))
