"""Constructors for the messages the project sends; `encode` turns them into bytes of either version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.igtl.codec import Content, Message
from tracking.igtl.content import (
    Point,
    PointContent,
    SensorContent,
    StatusContent,
    StringContent,
    TDataContent,
    TrackedTool,
    TransformContent,
)
from tracking.igtl.image import ImageContent


class GridLike(Protocol):
    """Where the voxels of a volume lie: what `navigation.volume.VoxelGrid` offers."""

    @property
    def origin_mm(self) -> NDArray[Any]:
        """(3,): centre of voxel (0, 0, 0)."""

    @property
    def spacing_mm(self) -> NDArray[Any]:
        """(3,) along i, j, k."""

    @property
    def direction(self) -> NDArray[Any]:
        """(3, 3): columns are the i, j, k axes."""


def message(
    device: str, body: Content, message_type: str, t_s: float, metadata: dict[str, str] | None, version: int
) -> Message:
    """A message of any type."""
    return Message(message_type, device, t_s, version, dict(metadata or {}), body)


def transform_message(
    name: str, matrix: ArrayLike, t_s: float, metadata: dict[str, str] | None = None, version: int = 1
) -> Message:
    """TRANSFORM `name` (FromToTo): (4, 4) in mm."""
    return message(name, TransformContent(np.asarray(matrix)), "TRANSFORM", t_s, metadata, version)


def tdata_message(
    name: str,
    tools: Iterable[tuple[str, ArrayLike]],
    t_s: float,
    metadata: dict[str, str] | None = None,
    version: int = 1,
) -> Message:
    """TDATA: (tool name, (4, 4) in mm) of each tool."""
    body = TDataContent(tuple(TrackedTool(tool, np.asarray(matrix)) for tool, matrix in tools))
    return message(name, body, "TDATA", t_s, metadata, version)


def status_message(
    name: str,
    t_s: float,
    code: int = StatusContent.OK,
    text: str = "",
    error_name: str = "",
    subcode: int = 0,
    metadata: dict[str, str] | None = None,
    version: int = 1,
) -> Message:
    """STATUS: code 1 is OK."""
    return message(name, StatusContent(code, subcode, error_name, text), "STATUS", t_s, metadata, version)


def string_message(
    name: str, text: str, t_s: float, metadata: dict[str, str] | None = None, version: int = 1
) -> Message:
    """STRING of at most 65535 bytes."""
    return message(name, StringContent(text), "STRING", t_s, metadata, version)


def sensor_message(
    name: str, values: Sequence[float], t_s: float, metadata: dict[str, str] | None = None, version: int = 1
) -> Message:
    """SENSOR without a unit: at most 255 values."""
    return message(name, SensorContent(tuple(values)), "SENSOR", t_s, metadata, version)


def point_message(
    name: str, points: Iterable[Point], t_s: float, metadata: dict[str, str] | None = None, version: int = 1
) -> Message:
    """POINT: a list of fiducials in mm."""
    return message(name, PointContent(tuple(points)), "POINT", t_s, metadata, version)


def image_message(
    name: str,
    array: NDArray[Any],
    grid: GridLike,
    t_s: float,
    metadata: dict[str, str] | None = None,
    version: int = 1,
) -> Message:
    """IMAGE: voxels (nz, ny, nx), placed by `grid` in the frame that the name tells; nothing is flipped."""
    body = ImageContent.of(array, grid.origin_mm, grid.spacing_mm, grid.direction)
    return message(name, body, "IMAGE", t_s, metadata, version)
