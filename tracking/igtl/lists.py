"""Bodies that are lists of rows of one size: CAPABILITY, IMGMETA, LBMETA and TRAJ.

Layouts: http://openigtlink.org/protocols/v2_capability.html, v2_imagemeta.html, v2_labelmeta.html and
v2_trajectory.html.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from tracking.errors import WireError
from tracking.igtl.header import TYPE_BYTES
from tracking.igtl.text import field_text, padded_name

_IMAGE_META = struct.Struct(">64s20s32s64s64sQ3HBB")
_LABEL_META = struct.Struct(">64s20sBB4B3H20s")
_TRAJECTORY = struct.Struct(">64s32sBB4B3f3ff20s")

Size = tuple[int, int, int]
Colour = tuple[int, int, int, int]
Vector = tuple[float, float, float]


def _expect_rows(raw: bytes, size: int, what: str) -> None:
    if len(raw) % size:
        raise WireError(f"{what} body of {len(raw)} bytes, no multiple of {size}")


@dataclass(frozen=True, slots=True)
class CapabilityContent:
    """CAPABILITY: the types that a peer understands."""

    TYPE: ClassVar[str] = "CAPABILITY"
    types: tuple[str, ...]

    def pack(self) -> bytes:
        """12 bytes for each type."""
        return b"".join(padded_name(name, TYPE_BYTES, "type") for name in self.types)

    @staticmethod
    def unpack(raw: bytes) -> CapabilityContent:
        """The body must be a whole number of types."""
        _expect_rows(raw, TYPE_BYTES, "CAPABILITY")
        rows = (raw[at : at + TYPE_BYTES] for at in range(0, len(raw), TYPE_BYTES))
        return CapabilityContent(tuple(field_text(row) for row in rows))


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """One image that can be asked for by `device`; `stamp` is the scan time in the header's fixed point."""

    name: str
    device: str
    modality: str = ""
    patient_name: str = ""
    patient_id: str = ""
    stamp: int = 0
    size: Size = (0, 0, 0)
    scalar: int = 0
    reserved: int = 0

    def pack(self) -> bytes:
        """260 bytes."""
        return _IMAGE_META.pack(
            padded_name(self.name, 64, "image name"),
            padded_name(self.device, 20, "image device"),
            padded_name(self.modality, 32, "modality"),
            padded_name(self.patient_name, 64, "patient name"),
            padded_name(self.patient_id, 64, "patient id"),
            self.stamp,
            *self.size,
            self.scalar,
            self.reserved,
        )


@dataclass(frozen=True, slots=True)
class ImageMetaContent:
    """IMGMETA: the images that a peer holds."""

    TYPE: ClassVar[str] = "IMGMETA"
    images: tuple[ImageMeta, ...]

    def pack(self) -> bytes:
        """260 bytes for each image."""
        return b"".join(image.pack() for image in self.images)

    @staticmethod
    def unpack(raw: bytes) -> ImageMetaContent:
        """The body must be a whole number of images."""
        _expect_rows(raw, _IMAGE_META.size, "IMGMETA")
        images = []
        for row in _IMAGE_META.iter_unpack(raw):
            name, device, modality, patient, number = map(field_text, row[:5])
            images.append(ImageMeta(name, device, modality, patient, number, row[5], row[6:9], *row[9:]))
        return ImageMetaContent(tuple(images))


@dataclass(frozen=True, slots=True)
class LabelMeta:
    """One structure of a label image that can be asked for by `device`; label 0 is none."""

    name: str
    device: str
    label: int = 0
    rgba: Colour = (0, 0, 0, 0)
    size: Size = (0, 0, 0)
    owner: str = ""
    reserved: int = 0

    def pack(self) -> bytes:
        """116 bytes."""
        return _LABEL_META.pack(
            padded_name(self.name, 64, "label name"),
            padded_name(self.device, 20, "label device"),
            self.label,
            self.reserved,
            *self.rgba,
            *self.size,
            padded_name(self.owner, 20, "label owner"),
        )


@dataclass(frozen=True, slots=True)
class LabelMetaContent:
    """LBMETA: the structures of label images."""

    TYPE: ClassVar[str] = "LBMETA"
    labels: tuple[LabelMeta, ...]

    def pack(self) -> bytes:
        """116 bytes for each label."""
        return b"".join(label.pack() for label in self.labels)

    @staticmethod
    def unpack(raw: bytes) -> LabelMetaContent:
        """The body must be a whole number of labels."""
        _expect_rows(raw, _LABEL_META.size, "LBMETA")
        labels = []
        for name, device, label, reserved, r, g, b, a, ni, nj, nk, owner in _LABEL_META.iter_unpack(raw):
            names = field_text(name), field_text(device)
            labels.append(LabelMeta(*names, label, (r, g, b, a), (ni, nj, nk), field_text(owner), reserved))
        return LabelMetaContent(tuple(labels))


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A planned path in mm; `kind` tells what is meant: 1 the entry, 2 the target, 3 both."""

    name: str
    entry_mm: Vector
    target_mm: Vector
    group: str = ""
    kind: int = 3
    rgba: Colour = (255, 255, 0, 255)
    diameter_mm: float = 0.0
    owner: str = ""
    reserved: int = 0

    def pack(self) -> bytes:
        """150 bytes."""
        return _TRAJECTORY.pack(
            padded_name(self.name, 64, "trajectory name"),
            padded_name(self.group, 32, "trajectory group"),
            self.kind,
            self.reserved,
            *self.rgba,
            *self.entry_mm,
            *self.target_mm,
            self.diameter_mm,
            padded_name(self.owner, 20, "trajectory owner"),
        )


@dataclass(frozen=True, slots=True)
class TrajectoryContent:
    """TRAJ: a list of planned paths."""

    TYPE: ClassVar[str] = "TRAJ"
    trajectories: tuple[Trajectory, ...]

    def pack(self) -> bytes:
        """150 bytes for each path."""
        return b"".join(trajectory.pack() for trajectory in self.trajectories)

    @staticmethod
    def unpack(raw: bytes) -> TrajectoryContent:
        """The body must be a whole number of paths."""
        _expect_rows(raw, _TRAJECTORY.size, "TRAJ")
        return TrajectoryContent(
            tuple(
                Trajectory(
                    field_text(row[0]),
                    row[8:11],
                    row[11:14],
                    field_text(row[1]),
                    row[2],
                    row[4:8],
                    row[14],
                    field_text(row[15]),
                    row[3],
                )
                for row in _TRAJECTORY.iter_unpack(raw)
            )
        )
