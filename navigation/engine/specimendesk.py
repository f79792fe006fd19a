"""The specimen of a live case: what it holds, as it was counted outside the body and told to the case.

The newest one gives the activities of the next bed check a size, and closes the balance of what was removed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.physics.nuclide import nuclide
from navigation.engine.jobs import Job
from navigation.specimen import Specimen, read_specimen
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.engine.session import Session

USAGE = "specimen FILE: specimen.json, as `gammanav specimen` writes it"


class SpecimenDesk:
    """Answers the command `specimen`; `newest` is at the case's reference time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.newest: Specimen | None = None

    @property
    def words(self) -> dict[str, Callable[[dict[str, Any]], list[Job]]]:
        """What it answers to."""
        return {"specimen": self._take}

    def _take(self, content: dict[str, Any]) -> list[Job]:
        low, high = (float(v) for v in content["ci95_kbq"])
        volume = content.get("volume_ml")
        found = Specimen(
            float(content["activity_kbq"]),
            (low, high),
            None if volume is None else float(volume),
            str(content.get("name", "specimen")),
        )
        settings = self._session.settings
        # Activities are told for the reference time of the case, whenever the specimen was counted.
        later_s = settings.epoch_s - float(content["counted_s"])
        self.newest = found.decayed(float(nuclide(settings.nuclide).decay_factor(later_s)))
        return []


def content_of(rest: list[str], nuclide_name: str) -> dict[str, Any]:
    """What the word `specimen` asks: the file's content, so that the record needs no file. Raises InputError."""
    from tracking.jsonfile import read_json

    if len(rest) != 1:
        raise InputError(USAGE)
    path = Path(rest[0]).expanduser()
    found, told = read_specimen(path, nuclide(nuclide_name), None), read_json(path).get("reference_time")
    if told is None:
        raise InputError(f"{path}: states no reference_time")
    try:
        when = datetime.fromisoformat(str(told))
    except ValueError as fault:
        raise InputError(f"{path}: {told!r} is no time") from fault
    return {
        "name": found.name,
        "activity_kbq": found.activity_kbq,
        "ci95_kbq": list(found.ci95_kbq),
        "volume_ml": found.volume_ml,
        "counted_s": (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp(),
    }


def answer_of(content: dict[str, Any]) -> str:
    """What the console says to it."""
    low, high = content["ci95_kbq"]
    volume = content["volume_ml"]
    uptake = "" if volume is None else f", {content['activity_kbq'] / volume:.3g} kBq/mL"
    return f"{content['name']}: {content['activity_kbq']:.1f} kBq ({low:.1f} to {high:.1f}) when it was counted{uptake}"
