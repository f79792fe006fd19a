"""Poses out of messages: what TRANSFORM, TDATA, POSITION and QTDATA say, with what the sender says of it."""

from __future__ import annotations

from tracking.igtl.codec import Message
from tracking.igtl.content import TDataContent, TrackedTool, TransformContent
from tracking.igtl.messages import transform_message
from tracking.igtl.names import pose_status, status_metadata, tool_status
from tracking.igtl.quaternions import PositionContent, QTDataContent, QuaternionTool
from tracking.sample import PoseSample, PoseStatus

# The kind of a tool of which only the tip is known: its rotation means nothing.
_ONLY_TIP = 3


def poses_from_message(message: Message) -> tuple[PoseSample, ...]:
    """The poses of a TRANSFORM or POSITION (one), TDATA or QTDATA (one for each tool), else none.

    `t_s` is the header's stamp; a matrix is handed on as sent and must be checked for rigidity before use,
    which a quaternion that is not of unit length does not pass. A POSITION without an orientation is no
    pose, a tool of which only the tip is known has none that is valid.
    """
    body = message.body
    if isinstance(body, TransformContent | PositionContent):
        matrix, status = body.matrix, pose_status(message.metadata)
        return () if matrix is None else (PoseSample(message.device, message.t_s, matrix, status),)
    if isinstance(body, TDataContent | QTDataContent):
        return tuple(_pose_of_tool(tool, message) for tool in body.tools)
    return ()


def _pose_of_tool(tool: TrackedTool | QuaternionTool, message: Message) -> PoseSample:
    status = tool_status(tool.name, message.metadata)
    if tool.kind == _ONLY_TIP and status.usable:
        status = PoseStatus.INVALID
    return PoseSample(tool.name, message.t_s, tool.matrix, status)


def pose_message(sample: PoseSample, metadata: dict[str, str] | None = None, version: int = 1) -> Message:
    """A TRANSFORM that carries the sample's status in its metadata (version 2)."""
    return transform_message(
        sample.name,
        sample.matrix,
        sample.t_s,
        {**status_metadata(sample.status), **(metadata or {})},
        version,
    )
