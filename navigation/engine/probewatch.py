"""Whether the counter that sends is the one that case and calibration are for: counts of any other are not placed.

A counter may state its nuclide, window and serial number with its counts; what it does not state is unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calibration.records.binding import Identity, conflicts
from tracking.errors import InputError

COUNTER, CASE = "the counter", "the case"


class ProbeWatch:
    """Compares what the counter tells with what the case states; a function of its arguments alone."""

    def __init__(self, stated: Mapping[str, Any]) -> None:
        self._stated = Identity.of(stated, CASE)
        self._known: tuple[object, object, str | None] = (None, None, None)

    def foreign(self, told: Mapping[str, Any], calibration: Mapping[str, Any] | None) -> str | None:
        """Why counts of a counter that tells this may not be used, None if they may."""
        before_told, before_calibration, words = self._known
        if told is not before_told or calibration is not before_calibration:
            words = self._compared(told, calibration)
            self._known = (told, calibration, words)
        return words

    def require(self, calibration: Mapping[str, Any]) -> None:
        """Raise InputError for a malformed calibration, GateRefusedError for one that is not the case's."""
        from calibration.records.binding import require_match

        require_match(Identity.of(calibration, "the calibration"), self._stated, CASE)

    def stated(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of the probe: by the counter itself, else by the case."""
        return _identity(told).over(self._stated).to_json()

    def _compared(self, told: Mapping[str, Any], calibration: Mapping[str, Any] | None) -> str | None:
        try:
            counter = Identity.of(told, COUNTER)
            mine = Identity.of(calibration or {}, "the calibration")
        except InputError as fault:
            return f"{COUNTER} states what is not known: {fault}"
        found = dict.fromkeys(
            (*conflicts(mine, counter, COUNTER), *conflicts(self._stated, counter, COUNTER, CASE))
        )
        return None if not found else f"{'; '.join(found)}: its counts are not used"


def _identity(told: Mapping[str, Any]) -> Identity:
    try:
        return Identity.of(told, COUNTER)
    except InputError:
        return Identity()
