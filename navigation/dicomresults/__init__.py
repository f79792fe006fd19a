"""Results of a case as DICOM objects: maps, regions, findings and the report, in the study's frame of reference."""

from __future__ import annotations

from navigation.dicomresults.write import Written, write_dicom

__all__ = ["Written", "write_dicom"]
