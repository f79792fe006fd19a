"""The same tool as before? A new tip against an earlier one: a bent probe, a moved marker, another tool (H46)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.tip.pivot import PivotCalibration
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import number_of, read_json
from tracking.tip import read_tip

# What is tracked in every room by these names: any other name may be anybody's word for the tool in question.
ROOM_TOOLS = ("Probe", "Stylus", "Reference", "Check")


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedTip:
    """An earlier calibration: tip (3,) in the marker frame, mm, and what it says of whose it is."""

    file: Path
    tip_mm: NDArray[np.float64]
    transform: str | None = None
    probe_serial: str | None = None
    error_mm: float | None = None

    def of_other_tool(self, transform: str | None) -> str | None:
        """Why poses of `transform` are of another tool; what either side does not say is no mismatch."""
        if not (transform and self.transform) or tool_of(transform) == tool_of(self.transform):
            return None
        return f"poses of {transform}, but {self.file} is of {self.transform}: the wrong tool"


def read_expected(path: Path, tool: str) -> ExpectedTip:
    """The tip in tip.json, or that of `tool` in a PLUS file.

    Raises InputError naming the file, GateRefusedError for a calibration that was not accepted.
    """
    known = read_tip([path], tool)
    if "T_probe_probetip" in known:
        tip = np.asarray(known["T_probe_probetip"], dtype=np.float64)[:3, 3]
    elif "tip_offset_mm" in known:
        tip = np.asarray(known["tip_offset_mm"], dtype=np.float64)
    else:
        raise InputError(f"{path}: has neither tip_offset_mm nor T_probe_probetip")
    said = {} if path.suffix.lower() == ".xml" else read_json(path)
    error_mm = number_of(said, "rms_mm", path, 0.0)
    return ExpectedTip(path, tip, _text(said, "transform"), _text(said, "probe_serial"), error_mm)


def tool_of(transform: str) -> str:
    """Stylus of StylusToTracker."""
    return transform.partition("To")[0]


def compared(
    result: PivotCalibration, expected: ExpectedTip, transform: str | None, probe_serial: str | None
) -> tuple[PivotCalibration, dict[str, Any]]:
    """The result, refused where it is of another tool or its tip lies elsewhere; and what to tell of that.

    `transform` and `probe_serial` are of the new poses; what either side does not say is no mismatch.
    """
    reasons = list(result.reasons)
    if transform and expected.transform and tool_of(transform) != tool_of(expected.transform):
        reasons.append(
            f"poses of {transform}, but {expected.file} is of {expected.transform}: the wrong tool"
        )
    if probe_serial and expected.probe_serial and probe_serial != expected.probe_serial:
        reasons.append(f"probe {probe_serial}, but {expected.file} is of probe {expected.probe_serial}")
    shift = None if result.tip_offset_mm is None else result.tip_offset_mm - expected.tip_mm
    length = None if shift is None else float(np.linalg.norm(shift))
    if length is not None and length > result.gates.max_shift_mm:
        reasons.append(
            f"the tip lies {length:.2f} mm from that of {expected.file}, at most {result.gates.max_shift_mm:g} "
            "allowed: a bent probe, a moved marker or another tool"
        )
    told = {
        "expected": str(expected.file),
        "shift_mm": None if shift is None else shift.tolist(),
        "shift_length_mm": length,
    }
    return replace(result, reasons=tuple(reasons)), told


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) and value else None


def require_tool(file: Path, tool: str) -> None:
    """Raise GateRefusedError where tip.json says that it is of another tool of the room, as of the Stylus for Probe."""
    if file.suffix.lower() == ".xml" or not file.is_file():
        return
    transform = _text(read_json(file), "transform")
    if transform is not None and tool_of(transform) in ROOM_TOOLS and tool_of(transform) != tool:
        raise GateRefusedError(
            f"{file}: is the tip of {transform}, not of the {tool.lower()}: the wrong tool"
        )
