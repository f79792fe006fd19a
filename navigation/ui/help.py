"""Help beside each step: what is done in it, in two lines, and the keys."""

from __future__ import annotations

from navigation.ui.dashboard import Dashboard
from navigation.ui.words import tr

STEPS = {
    "study": "Images, age and patient are compared with the case. Click a landmark on the CT to name it.",
    "devices": "Tracker and counter must send. Show each tool to the tracker: its lamp tells when it is seen.",
    "calibration": "Pivot the probe a little with its tip in the divot; then count the background away from sources.",
    "registration": "Touch the landmark that is named, hold still, press. After the last: register, then check three.",
    "scan": "Touch the surface first. Then go over it slowly, the face as near as it goes; hatched is not examined.",
    "navigate": "Choose what to go for. The distance is from the middle of the face; -- is no distance at all.",
    "resect": "Count the specimen away from the patient. Mark with `Removed here` where tissue was taken out.",
    "check-bed": "Outline the bed, say what activity would matter, scan it as the square leads; then check.",
    "report": "Note the alarms with a name, end the case; report and DICOM are written beside the record.",
}
KEYS_TOLD = ("primary", "next-target", "view", "lock", "axes", "colours", "count-target", "sound")


def help_words(step: str, dashboard: Dashboard) -> str:
    """Of a step, the keys as set up, and what this probe needs."""
    keys = "; ".join(
        f"{dashboard.keys.words(k)}: {k.replace('-', ' ')}" for k in KEYS_TOLD if dashboard.keys.words(k)
    )
    probe = dashboard.settings.probe.told if step == "calibration" else ""
    told = [
        tr(STEPS.get(step, "")),
        f"This probe: {probe}." if probe else "",
        f"Keys F1 to F9: steps; {keys}",
    ]
    return "  ".join(t for t in told if t)
