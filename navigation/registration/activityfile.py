"""What a comparison of activity with the study says, as JSON and as one line for the surgeon."""

from __future__ import annotations

from typing import Any

import numpy as np

from navigation.registration.activity import EXCLUDED_MM, ActivityRegistration, TargetSeen
from navigation.registration.landmarks import registration_id
from navigation.volume import Spot
from tracking.errors import GateRefusedError, InputError, PoseError
from tracking.transform import RigidTransform

CORRECTED = "points corrected by activity"
PROPOSAL = "a proposal: nothing is moved until someone confirms it"
METHOD = "activity"


def activity_content(found: ActivityRegistration) -> dict[str, Any]:
    """Content of reg.json. T_target_source moves places as believed to where the scan sees them, in Reference."""
    T = found.T_seen_believed
    low, high = found.length_ci95_mm
    residuals = [t.residual_mm for t in found.targets if t.residual_mm is not None]
    known = found.determined
    return {
        "method": METHOD,
        "T_target_source": T.tolist(),
        "id": registration_id(T),
        "shift_alarm": found.alarm,
        "shift_mm": found.length_mm if known else None,
        "shift_ci95_mm": [low, high] if known else None,
        "shift_vector_mm": found.pose.shift_mm.tolist() if known else None,
        "shift_covariance_mm2": found.covariance_mm2.tolist() if known else None,
        "turn_deg": float(np.rad2deg(np.linalg.norm(found.pose.turn_rad))) if known else None,
        "chi2": found.chi2,
        "registration_sd_mm": found.registration_sd_mm,
        "fre_mm": float(np.sqrt(np.mean(np.square(residuals)))) if residuals else None,
        "residuals_mm": [t.residual_mm for t in found.targets],
        "tre_mm": {
            "targets": found.believed_mm.tolist(),
            "predicted": [_rms(t) if known else None for t in found.targets],
        },
        "targets": [_target(t) for t in found.targets],
        "unexpected": [_spot(s) for s in found.unexpected],
        "accepted": known,
        "reasons": list(found.reasons),
        "warnings": list(found.warnings),
        "note": PROPOSAL,
        "research_use_only": True,
    }


def _rms(target: TargetSeen) -> float:
    return float(np.sqrt(np.trace(target.covariance_mm2)))


def _target(target: TargetSeen) -> dict[str, Any]:
    return {
        "name": target.name,
        "believed_mm": target.believed_mm.tolist(),
        "proposed_mm": target.place_mm.tolist(),
        "covariance_mm2": target.covariance_mm2.tolist(),
        "seen": target.seen,
        "significance": target.significance,
        "activity_kbq": target.activity_kbq if target.seen else None,
        "spot": None if target.spot is None else target.spot.id,
    }


def _spot(spot: Spot) -> dict[str, Any]:
    return {
        "spot": spot.id,
        "position_mm": spot.position_mm.tolist(),
        "activity_kbq": spot.activity_kbq,
        "note": "unexpected focus, not on preoperative imaging",
    }


def activity_words(found: ActivityRegistration) -> str:
    """For terminal, window and report."""
    if not found.determined:
        return f"no statement on a shift: {'; '.join(found.reasons)}"
    low, high = found.length_ci95_mm
    size = f"{found.length_mm:.1f} mm (95 % {low:.1f} to {high:.1f} mm)"
    if found.alarm:
        return f"SHIFT ALARM: the activity lies {size} from where the study has it; {PROPOSAL}"
    if low > 0.0:
        return f"a shift of {size} is seen, no more than registration and chance may make"
    if high > EXCLUDED_MM:
        return f"not determined: no shift is proven, and one of up to {high:.0f} mm is not excluded"
    return f"no shift beyond the registration's own error: {size}"


def corrected_registration(
    registration: dict[str, Any], proposal: dict[str, Any], by: str, when: str
) -> dict[str, Any]:
    """reg.json of a study whose registration somebody (`by`) corrects by a proposed shift.

    What lies at a believed place of Reference is seen at another: the new T_study_reference takes the seen place to
    where the old one took the believed. Raises GateRefusedError where nothing is proposed, InputError for contents that
    are no registration and no proposal of it.
    """
    if proposal.get("method") != METHOD:
        raise InputError("the second file is no proposal of `register activity`")
    if proposal.get("accepted") is not True:
        raise GateRefusedError(f"nothing is proposed: {'; '.join(map(str, proposal.get('reasons') or ()))}")
    if registration.get("accepted") is False:
        raise GateRefusedError("the registration that it corrects was refused itself")
    named = proposal.get("registration_id")
    if named is not None and named != registration.get("id"):
        raise InputError(f"the shift was found under registration {named}, not {registration.get('id')}")
    try:
        old = RigidTransform(
            "Study", "Reference", np.array(registration["T_target_source"], dtype=np.float64)
        )
        shift = RigidTransform(
            "Reference", "Believed", np.array(proposal["T_target_source"], dtype=np.float64)
        )
    except (KeyError, TypeError, ValueError, PoseError) as fault:
        raise InputError(f"T_target_source: {fault}") from None
    T = old.matrix @ shift.inverse().matrix
    return {
        "method": CORRECTED,
        "T_target_source": T.tolist(),
        "id": registration_id(T),
        "replaces": registration.get("id"),
        "confirmed_by": by,
        "confirmed_at": when,
        "shift_mm": proposal.get("shift_mm"),
        "shift_ci95_mm": proposal.get("shift_ci95_mm"),
        "fre_mm": None,
        "residuals_mm": proposal.get("residuals_mm", []),
        "tre_mm": {"frame": "reference", **proposal.get("tre_mm", {})},
        "accepted": True,
        "reasons": [],
        "warnings": [
            "corrected by the activity that a scan sees: true at its targets, elsewhere tissue may lie otherwise"
        ],
        "research_use_only": True,
    }
