"""Pixels of a proven series as float32 in its unit, a tilted gantry set upright if that was confirmed.

Uncompressed and RLE images are decoded by pydicom; JPEG, JPEG-LS and JPEG 2000 by GDCM inside SimpleITK, from
a copy without rescale tags so that stored values come back.
"""

from __future__ import annotations

import struct
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from navigation.io.dicom_headers import PARSER_FAULTS, FileHeader, UnreadableError
from navigation.io.dicom_series import Series
from navigation.volume import VoxelGrid

# Pixels that a byte of a file can stand for: an empty frame packs to some 200 bytes.
MOST_PER_BYTE = 4000
# Start of a JPEG 2000 stream and of its size (ISO/IEC 15444-1, A.4.1 and A.5.1).
_J2K_START = b"\xff\x4f\xff\x51"
# Beyond the scale of a CT of 12 bits: what a padding value makes there is neither bone nor metal.
HIGHEST_HU = 3071.0
# What lies outside a tilted CT once it stands upright: air.
AIR_HU = -1024.0


def load_volume(series: Series) -> tuple[NDArray[np.float32], VoxelGrid]:
    """Values (nz, ny, nx) and their grid; of a tilted series the upright one.

    Raises UnreadableError when a file cannot be decoded, ValueError when the geometry is not proven.
    """
    proof = series.proof
    if proof is None or proof.grid is None:
        raise ValueError("a series without a proven grid has no volume")
    _require_pixels(series)
    outside = AIR_HU if series.first.modality == "CT" else 0.0
    volume = np.full(proof.grid.shape, outside, dtype=np.float32)
    rank = np.argsort(proof.order)
    offsets = (proof.shift_mm - proof.shift_mm.min(axis=0)) / proof.grid.spacing_mm[:2]
    at = 0
    for header in series.headers:
        for frame in _frames(header):
            k = int(rank[at])
            volume[k] = placed(frame, offsets[k], proof.grid.shape[1:], outside)
            at += 1
    return volume, proof.grid


def _require_pixels(series: Series) -> None:
    """UnreadableError for a volume that the files cannot hold, before memory is taken for it."""
    voxels = sum(h.frames * h.size[0] * h.size[1] for h in series.headers)
    held = sum(h.path.stat().st_size for h in series.headers)
    if voxels > MOST_PER_BYTE * held:
        raise UnreadableError(f"{series.first.path.name}: {voxels} pixels do not fit {held} bytes")


def placed(
    frame: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int], outside: float
) -> NDArray[np.float64]:
    """A slice moved by `offset` (along i, along j) in pixels, linearly interpolated, in a larger `shape`."""
    canvas = np.full(shape, outside)
    rows, columns = frame.shape
    whole = np.floor(offset + 1e-9).astype(int)
    canvas[whole[1] : whole[1] + rows, whole[0] : whole[0] + columns] = frame
    for axis, part in ((1, offset[0] - whole[0]), (0, offset[1] - whole[1])):
        if part > 1e-9:
            before = np.roll(canvas, 1, axis=axis)
            before[(slice(None), 0) if axis == 1 else 0] = outside
            canvas = (1.0 - part) * canvas + part * before
    return canvas


def _frames(header: FileHeader) -> NDArray[np.float64]:
    """(n, rows, columns) in the unit of the series."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(header.path, force=True)
            padded = _padding(ds)
            stored = stored_values(ds)
    except PARSER_FAULTS as fault:
        raise UnreadableError.of(fault, f"{header.path.name}: ") from None
    columns, rows = header.size
    if stored.size != header.frames * rows * columns:
        raise UnreadableError(f"{header.path.name}: {stored.shape} pixels do not fit the header")
    slope = np.array([m.slope for m in header.meanings])[:, None, None]
    intercept = np.array([m.intercept for m in header.meanings])[:, None, None]
    frames = stored.reshape(header.frames, rows, columns)
    values = np.asarray(frames * slope + intercept)
    if padded is not None:
        _set_padding(values, np.isin(frames, padded), header.modality)
    if not max(float(values.max()), -float(values.min())) <= float(np.finfo(np.float32).max):
        raise UnreadableError(f"{header.path.name}: pixels that are no finite numbers")
    return values


def _padding(ds: Dataset) -> list[int] | None:
    """The stored value that stands for no measurement (PS3.3 C.7.5.1.1.2), signed and unsigned; None without one."""
    value = ds.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    span = 1 << int(ds.get("BitsStored", 16))
    return [value % span, value % span - span]


def _set_padding(values: NDArray[np.float64], padded: NDArray[np.bool_], modality: str) -> None:
    """No activity where nothing was measured, and no metal; padding of a CT below that is air or marks nothing."""
    if modality in ("PT", "NM"):
        values[padded] = 0.0
    elif modality == "CT":
        values[padded & (values > HIGHEST_HU)] = AIR_HU


def stored_values(ds: Dataset) -> NDArray[np.generic]:
    """Decoded pixels as the file stores them, without a rescale line."""
    if "TransferSyntaxUID" not in ds.file_meta:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == RLELossless:
        pixels: NDArray[np.generic] = ds.pixel_array
        return pixels
    return _decoded_by_gdcm(ds)


def _require_codestream(ds: Dataset) -> None:
    """ValueError for a JPEG 2000 stream of another size than the header: its decoder would take memory for it."""
    data = bytes(ds.PixelData)
    at = data.find(_J2K_START)
    while at >= 0:
        width, height, left, top = struct.unpack(">4I", data[at + 8 : at + 24])
        parts = int.from_bytes(data[at + 40 : at + 42], "big")
        if (width - left, height - top, parts) != (int(ds.Columns), int(ds.Rows), 1):
            raise ValueError(f"a stream of {width} x {height} pixels does not fit the header")
        at = data.find(_J2K_START, at + 1)


def _decoded_by_gdcm(ds: Dataset) -> NDArray[np.generic]:
    import SimpleITK

    _require_codestream(ds)
    for name in ("RescaleSlope", "RescaleIntercept", "RealWorldValueMappingSequence"):
        if name in ds:
            delattr(ds, name)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in ds.get(groups) or ():
            for name in ("PixelValueTransformationSequence", "RealWorldValueMappingSequence"):
                if name in group:
                    delattr(group, name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.dcm"
        ds.save_as(copy)
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        array: NDArray[np.generic] = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(copy)))
    return array
