"""Spots as JSON carries them, in files and on the wire, read back strictly; and how a spot's figures are written.

The same words serve the report and the window, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.physics.budget import budget_from_json
from navigation.volume import Spot
from tracking.errors import InputError

# A spot counts as found with one of these; "unusable" is kept for the record only.
ACCEPTED_QUALITIES = ("ok", "limited")


def spot_from_json(item: dict[str, Any], where: str) -> Spot:
    """A Spot of the dictionary that spots.json holds; InputError, naming `where`, when a key is wrong."""
    try:
        low, high = item["activity_ci95_kbq"]
        tbr = item.get("tbr")
        return Spot(
            id=int(item["id"]),
            position_mm=_array(item["position_mm"], (3,)),
            covariance_mm2=_array(item["covariance_mm2"], (3, 3)),
            extent_mm=float(item.get("extent_mm") or 0.0),
            activity_kbq=float(item["activity_kbq"]),
            activity_ci95_kbq=(float(low), float("inf") if high is None else float(high)),
            significance=float(item["significance"]),
            tbr=None if tbr is None else float(tbr),
            quality=str(item["quality"]),
            reasons=tuple(str(r) for r in item.get("reasons", ())),
            percent_injected=_percent(item),
            depth_below_surface_mm=_optional(item, "depth_below_surface_mm"),
            depth_sd_mm=_optional(item, "depth_sd_mm"),
            budget=budget_from_json(told, where) if (told := item.get("uncertainty_budget")) else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {error!r} is missing or wrong") from error


def _optional(item: dict[str, Any], key: str) -> float | None:
    value = item.get(key)
    return None if value is None else float(value)


def _percent(item: dict[str, Any]) -> tuple[float, float, float] | None:
    """Share of the injected with its interval; None where the spot tells none."""
    if item.get("percent_injected") is None:
        return None
    low, high = item["percent_injected_ci95"]
    return float(item["percent_injected"]), float(low), float(high)


def percent_injected(spot: Spot) -> str:
    """Share of the injected with its interval in words; empty where it is not known."""
    if spot.percent_injected is None:
        return ""
    share, low, high = spot.percent_injected
    return f"{share:.2g} % of the injected ({low:.2g} to {high:.2g})"


def _array(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"not {shape} finite numbers")
    return array


def kbq(value: float | None) -> str:
    """An activity with as many digits as it can carry: 3.4 kBq, 41 kBq, 1,250 kBq; a dash when unknown."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.1f} kBq" if abs(value) < 10.0 else f"{value:,.0f} kBq"


def kbq_interval(interval: Sequence[float | None] | None) -> str:
    """A 95 % interval; an open upper end is said in words."""
    if interval is None or interval[0] is None:
        return "interval unknown"
    low, high = interval[0], interval[1]
    if high is None or not np.isfinite(high):
        return f"at least {kbq(low)}"
    digits = 1 if high < 10.0 else 0
    return f"{low:,.{digits}f} to {high:,.{digits}f} kBq"
