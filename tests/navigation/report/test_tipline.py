"""The report's line on the probe's tip: never silent, never good where nothing was shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from navigation.report.tipline import tip_text


def test_a_case_without_a_check_says_so(tmp_path: Path) -> None:
    assert tip_text(tmp_path) == "not checked in this case"


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            {"accepted": True, "rms_mm": 0.21, "tip_shift_length_mm": 0.1},
            "in order in the divot: 3D RMS 0.21 mm, moved by 0.10 mm",
        ),
        (
            {"accepted": True, "rms_mm": 0.3, "tip_shift_length_mm": None},
            "in order in the divot: 3D RMS 0.30 mm",
        ),
        (
            {"accepted": False, "wrong": True, "reasons": ["the tip lies 2 mm off"]},
            "WRONG in the divot: the tip lies 2 mm off",
        ),
        (
            {"accepted": False, "wrong": False, "reasons": ["turned too little"]},
            "not proven in the divot: turned too little",
        ),
    ],
)
def test_a_check_is_told_with_its_figure(tmp_path: Path, found: dict[str, Any], says: str) -> None:
    (tmp_path / "divot.json").write_text(json.dumps(found))
    assert tip_text(tmp_path) == says
