"""Sequence files of PLUS, IGSIO and Slicer: transforms, their statuses and other fields, frame by frame.

Facts of the format: IGSIO, vtkIGSIOMetaImageSequenceIO and vtkIGSIONrrdSequenceIO, and Slicer's
vtkMRMLLinearTransformSequenceStorageNode.
"""

from __future__ import annotations

from tracking.sequence.reader import SUFFIXES, Sequence, TransformTrack, read_sequence
from tracking.sequence.writer import FORMS, SequenceWriter

__all__ = ["FORMS", "SUFFIXES", "Sequence", "SequenceWriter", "TransformTrack", "read_sequence"]
