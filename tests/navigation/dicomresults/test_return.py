"""Results that come back with a study: read where they were put, and taken for nobody's plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.dicomresults import write_dicom
from navigation.io.dicom_segments import read_segments
from navigation.io.study import Study
from navigation.io.studyfile import OUR_RESULT, StudyStructure
from navigation.report.results import read_case
from navigation.targetplan import propose
from navigation.uptake import Uptake
from tests.navigation.dicomresults import oblique
from tracking.errors import InputError

# Half a voxel of the regions along its diagonal: a mask's centroid is no better known.
HALF_VOXEL_MM = 0.87


def test_what_the_import_reads_lies_where_it_was_found(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    write_dicom(read_case(tmp_path), tmp_path)
    focus, bed, rest = read_segments(tmp_path / "dicom" / "scan-1-regions.dcm")
    assert [s.name.removeprefix("SIMULATION ") for s in (focus, bed, rest)] == [
        "Focus 1 of activity",
        "Bed as outlined",
        "Bed: not assessed",
    ]
    assert all(s.frame_of_reference == oblique.FRAME and OUR_RESULT in s.notes for s in (focus, bed, rest))
    T = oblique.registration()
    for segment, expected, within_mm in (
        (focus, oblique.SPOT_MM, HALF_VOXEL_MM),
        (bed, oblique.bed_points().mean(axis=0), 0.01),
    ):
        centroid = segment.grid.points()[segment.mask.ravel() > 0].mean(axis=0)
        assert np.linalg.norm(centroid - oblique.apply(T, expected)) < within_mm


def test_a_result_is_no_target_of_the_next_case() -> None:
    at = np.array([1.0, 2.0, 3.0])
    drawn = StudyStructure("structure-1", "node", "SEG", "1.2", True, at, 1.0, at, None, None, None, (), {})
    found = replace(drawn, id="structure-2", name="Focus 1 of activity", notes=(OUR_RESULT,))
    told = propose(Study(Path("study"), (), {}, False, (drawn, found)), Uptake())
    assert [t.name for t in told.targets] == ["node"]
    assert told.others == (f"contour Focus 1 of activity: {OUR_RESULT}",)
    with pytest.raises(InputError, match="neither contours nor a usable SPECT or PET"):
        propose(Study(Path("study"), (), {}, False, (found,)), Uptake())
