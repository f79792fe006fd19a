"""A record as an MCAP file for Foxglove: poses as foxglove.FrameTransform, counts and events as JSON.

Lengths stay mm. A pose that is not valid is no transform here: `/status/<name>` says so. Schemas: foxglove-sdk,
schemas/jsonschema; the container: mcap.dev/spec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracking.errors import InputError, SurroundingsError
from tracking.poses import quaternions_of
from tracking.recording.frames import Frame, ToolPose, frames_of
from tracking.recording.phases import Phase, Source, inputs_of, name_of
from tracking.recording.reader import Event
from tracking.sample import CountSample
from tracking.transform import frames_of as frames_of_name

if TYPE_CHECKING:
    from mcap.writer import Writer

PROFILE, LIBRARY = "", "gammanav"
# A longer event is a published map or the like; it is named with its size.
LONGEST_EVENT_BYTES = 1 << 16
INFO = 2
_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}


def _object(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TIME = _object(sec={"type": "integer", "minimum": 0}, nsec={"type": "integer", "minimum": 0})
_VECTOR = _object(x=_NUMBER, y=_NUMBER, z=_NUMBER)
SCHEMAS: dict[str, dict[str, Any]] = {
    "foxglove.FrameTransform": _object(
        timestamp=_TIME,
        parent_frame_id=_TEXT,
        child_frame_id=_TEXT,
        translation=_VECTOR,
        rotation=_object(x=_NUMBER, y=_NUMBER, z=_NUMBER, w=_NUMBER),
    ),
    "foxglove.Log": _object(
        timestamp=_TIME,
        level={"type": "integer"},
        message=_TEXT,
        name=_TEXT,
        file=_TEXT,
        line={"type": "integer"},
    ),
    "gammanav.Counts": _object(
        timestamp=_TIME,
        seq={"type": "integer"},
        counts=_NUMBER,
        interval_s=_NUMBER,
        rate_cps=_NUMBER,
        counts_total=_NUMBER,
        live_time_s=_NUMBER,
    ),
    "gammanav.ToolStatus": _object(timestamp=_TIME, name=_TEXT, status=_TEXT, valid={"type": "boolean"}),
}


def write_mcap(source: Source, path: Path, stretch: Phase | None = None) -> int:
    """Write a record, or one stretch of it, to `path`; returns the number of messages.

    Raises SurroundingsError without the package mcap, InputError when there is nothing to write.
    """
    try:
        from mcap.writer import Writer
    except ImportError as error:
        raise SurroundingsError("MCAP needs the package mcap: pip install 'gammanav[mcap]'") from error
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(PROFILE, LIBRARY)
        writing = _Writing(writer)
        writer.add_metadata("gammanav", _metadata(source))
        for frame in frames_of(source.events("raw"), stretch, inputs_of(source)):
            writing.frame(frame)
        for event in source.events():
            if event.kind != "raw" and (
                stretch is None or stretch.start_s <= event.arrival_s <= stretch.stop_s
            ):
                writing.event(event)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap leaves it untyped
    if not writing.messages:
        raise InputError(f"{source.path}: holds nothing to export")
    return writing.messages


def _metadata(source: Source) -> dict[str, str]:
    meta = source.meta
    known = {k: str(meta[k]) for k in ("nuclide", "epoch_s", "dead_time_s") if meta.get(k) is not None}
    stamp = {"Simulation": "SIMULATION"} if meta.get("simulated") else {}
    return {"record": name_of(source.path), "length_unit": "mm", **known, **stamp}


class _Writing:
    """Channels as they are needed, and the last status told of each tool."""

    def __init__(self, writer: Writer) -> None:
        self.messages = 0
        self._writer = writer
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._status: dict[str, str] = {}

    def frame(self, frame: Frame) -> None:
        """Measured poses, changes of status and the interval of one frame."""
        for name, tool in frame.tools.items():
            if tool.measured:
                self._tool(name, frame.t_s, tool)
        if frame.counts is not None:
            self._add("/counts", "gammanav.Counts", frame.counts.t_s, _counts(frame.counts))

    def event(self, event: Event) -> None:
        """What happened, for a log panel."""
        size = len(event.payload)
        text = event.payload.decode("utf-8", "replace") if size <= LONGEST_EVENT_BYTES else f"{size} bytes"
        content = {
            "level": INFO,
            "message": f"{event.kind}: {text}",
            "name": event.source,
            "file": "",
            "line": event.id,
        }
        self._add("/events", "foxglove.Log", event.arrival_s, content)

    def _tool(self, name: str, t_s: float, tool: ToolPose) -> None:
        word, valid = tool.status.value, tool.status.usable
        if self._status.get(name) != word:
            self._status[name] = word
            content = {"name": name, "status": word, "valid": valid}
            self._add(f"/status/{name}", "gammanav.ToolStatus", t_s, content)
        if valid:
            self._add(f"/pose/{name}", "foxglove.FrameTransform", t_s, _transform(name, tool))

    def _add(self, topic: str, schema: str, t_s: float, content: Mapping[str, object]) -> None:
        ns = max(round(t_s * 1e9), 0)
        stamped = {"timestamp": {"sec": ns // 10**9, "nsec": ns % 10**9}, **content}
        data = json.dumps(stamped, allow_nan=False).encode()
        self._writer.add_message(self._channel(topic, schema), ns, data, ns)
        self.messages += 1

    def _channel(self, topic: str, schema: str) -> int:
        if topic not in self._channels:
            if schema not in self._schemas:
                data = json.dumps({"title": schema, **SCHEMAS[schema]}).encode()
                self._schemas[schema] = self._writer.register_schema(schema, "jsonschema", data)
            self._channels[topic] = self._writer.register_channel(topic, "json", self._schemas[schema])
        return self._channels[topic]


def _transform(name: str, tool: ToolPose) -> dict[str, object]:
    """The child frame's pose in the parent: AToB is the pose of A in B."""
    try:
        child, parent = frames_of_name(name)
    except ValueError:
        child, parent = name, "unknown"
    w, x, y, z = quaternions_of(np.asarray(tool.matrix[None, :3, :3]))[0].tolist()
    translation = dict(zip("xyz", tool.matrix[:3, 3].tolist(), strict=True))
    return {
        "parent_frame_id": parent,
        "child_frame_id": child,
        "translation": translation,
        "rotation": {"x": x, "y": y, "z": z, "w": w},
    }


def _counts(counts: CountSample) -> dict[str, object]:
    return {
        "seq": counts.seq,
        "counts": counts.counts,
        "interval_s": counts.interval_s,
        "rate_cps": counts.counts / counts.interval_s,
        "counts_total": counts.counts_total,
        "live_time_s": counts.live_time_s,
    }
