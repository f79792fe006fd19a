"""What the engine tells of the course of the case, out of its status: steps, targets, landmarks, counts."""

from __future__ import annotations

from typing import Any

from navigation.ui.state import ListedTarget, StepView, Work


def work_of(status: dict[str, Any]) -> Work:
    """As the window shows it; what an older engine does not tell is empty."""
    running = (status.get("timed") or {}).get("running") or {}
    wanted = float(running.get("wanted_s") or 0.0)
    shift = status.get("shift") or {}
    return Work(
        steps=tuple(_step(s) for s in status.get("workflow") or ()),
        targets=tuple(_target(t) for t in status.get("targets") or ()),
        landmarks=tuple((str(m["name"]), bool(m["touched"])) for m in status.get("landmarks") or ()),
        marked=tuple(
            (str(m["name"]), (float(p[0]), float(p[1]), float(p[2])))
            for m in status.get("landmarks") or ()
            if (p := m.get("lps_mm")) is not None
        ),
        registration_state=str(status.get("registration_state", "none")),
        counting=str(running["label"]) if running else None,
        counted_share=min(float(running.get("counted_s") or 0.0) / wanted, 1.0) if wanted > 0.0 else 0.0,
        bed_points=int(status.get("bed_points") or 0),
        surface_points=int(status.get("surface_points") or 0),
        shift_proposed=bool(shift.get("alarm")) and shift.get("shift_mm") is not None,
        background_risen=bool((status.get("background") or {}).get("risen")),
        alarms=len(status.get("faults") or ()),
    )


def _step(found: dict[str, Any]) -> StepView:
    return StepView(
        str(found["key"]),
        str(found["title"]),
        str(found["state"]),
        tuple(str(w) for w in found.get("refused") or ()),
        tuple(str(w) for w in found.get("open") or ()),
    )


def _target(found: dict[str, Any]) -> ListedTarget:
    return ListedTarget(
        str(found["name"]), found.get("position_mm") is not None, str(found.get("outcome", "open"))
    )
