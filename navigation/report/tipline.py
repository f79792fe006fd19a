"""What the report says of the probe's tip: checked in a divot in this case with which figure, or not (H46)."""

from __future__ import annotations

from pathlib import Path

from tracking.jsonfile import read_json

DIVOT_FILE = "divot.json"


def tip_text(folder: Path) -> str:
    """One line of the table of calibrations."""
    file = folder / DIVOT_FILE
    if not file.is_file():
        return "not checked in this case"
    found = read_json(file)
    reasons = "; ".join(str(reason) for reason in found.get("reasons") or ())
    if found.get("wrong"):
        return f"WRONG in the divot: {reasons}"
    if not found.get("accepted"):
        return f"not proven in the divot: {reasons}"
    shift, rms = found.get("tip_shift_length_mm"), found.get("rms_mm")
    moved = "" if shift is None else f", moved by {float(shift):.2f} mm"
    return f"in order in the divot: 3D RMS {float(rms or 0.0):.2f} mm{moved}"
