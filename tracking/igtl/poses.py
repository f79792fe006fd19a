"""Poses out of messages: TRANSFORM and TDATA to samples, with what the sender says of them."""

from __future__ import annotations

from tracking.igtl.codec import Message
from tracking.igtl.content import TDataContent, TransformContent
from tracking.igtl.messages import transform_message
from tracking.igtl.names import pose_status, status_metadata
from tracking.sample import PoseSample


def poses_from_message(message: Message) -> tuple[PoseSample, ...]:
    """The poses of a TRANSFORM (one) or TDATA (one for each tool), none for any other type.

    `t_s` is the header's stamp; a matrix is handed on as sent and must be checked for rigidity before use.
    """
    status = pose_status(message.metadata)
    if isinstance(message.body, TransformContent):
        return (PoseSample(message.device, message.t_s, message.body.matrix, status),)
    if isinstance(message.body, TDataContent):
        return tuple(PoseSample(t.name, message.t_s, t.matrix, status) for t in message.body.tools)
    return ()


def pose_message(sample: PoseSample, metadata: dict[str, str] | None = None, version: int = 1) -> Message:
    """A TRANSFORM that carries the sample's status in its metadata (version 2)."""
    return transform_message(
        sample.name,
        sample.matrix,
        sample.t_s,
        {**status_metadata(sample.status), **(metadata or {})},
        version,
    )
