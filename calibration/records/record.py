"""What every calibration record has in common: its head, its seal, its approval by a second person, its use.

A record is immutable: a change gives another content with another checksum. It is a draft until somebody other
than its operator approves it; the approval keeps the draft's checksum, which proves that nothing else changed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import read_json
from tracking.seal import (
    CHECKSUM,
    DRAFT,
    checksum,
    draft_of,
    expiry_of,
    require_in_date,
    require_untouched,
    sealed,
)

__all__ = [
    "APPROVED",
    "AXIS",
    "CROSSTALK",
    "DETECTOR",
    "DRAFT",
    "LATENCY",
    "SHEATH",
    "TIP",
    "UNSEALED",
    "RecordStamp",
    "approved",
    "checksum",
    "draft_of",
    "id_of",
    "kind_of",
    "new_head",
    "replacing",
    "require_usable",
    "sealed",
    "stamped",
    "state_of",
]

APPROVED, UNSEALED = "approved", "unsealed"
DETECTOR, TIP, AXIS, LATENCY = "detector", "tip", "axis", "latency"
SHEATH, CROSSTALK = "sheath", "crosstalk"
# A year, as test sources and survey instruments are usually checked.
VALID_FOR = timedelta(days=365)
# Long enough ahead to plan the next calibration.
SOON = timedelta(days=14)
TIME_FORM = "%Y-%m-%dT%H:%M:%SZ"
# What tells the kind of a record written before records named it.
KIND_KEYS = {
    "response": DETECTOR,
    "tip_offset_mm": TIP,
    "T_probe_probetip": TIP,
    "axis": AXIS,
    "count_latency_s": LATENCY,
}


@dataclass(frozen=True, slots=True)
class RecordStamp:
    """What of a record travels with every map, focus and statement that rests on it."""

    id: str
    kind: str
    state: str
    checksum: str | None = None
    approved_by: str | None = None
    probe_serial: str | None = None
    expiry: str | None = None

    @property
    def unsealed(self) -> bool:
        """Whether it has no checksum: written by hand, or by another program."""
        return self.state == UNSEALED

    @property
    def words(self) -> str:
        """The id with its state, as sentences carry it."""
        return f"{self.id} ({self.state})"

    def to_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @staticmethod
    def of(content: Mapping[str, Any], path: Path | str | None = None) -> RecordStamp:
        """The stamp of a record read from `path`; one that nobody sealed is named by its file, as unsealed."""
        known = {
            key: str(content[key])
            for key in (CHECKSUM, "approved_by", "probe_serial", "expiry")
            if content.get(key) is not None
        }
        name = Path(path).name if path is not None else "unnamed"
        state = state_of(content) if CHECKSUM in content else UNSEALED
        return RecordStamp(str(content.get("id") or name), kind_of(content), state, **known)


def new_head(
    kind: str,
    *,
    nuclide: str | None = None,
    window_kev: Sequence[float] | None = None,
    probe_serial: str | None = None,
    collimator: str | None = None,
    operator: str | None = None,
    simulated: bool = False,
    now: datetime | None = None,
) -> dict[str, Any]:
    """The head of a new draft of `kind`, dated now and valid for a year."""
    from importlib.metadata import PackageNotFoundError, version

    made = now or datetime.now(UTC)
    label = nuclide if kind == DETECTOR and nuclide else kind
    try:
        software = version("gammanav")
    except PackageNotFoundError:
        software = "unpackaged"
    return {
        "id": f"{made.strftime('%Y%m%dT%H%M%SZ')}-{label}-{secrets.token_hex(4)}",
        "kind": kind,
        "probe_serial": probe_serial,
        "nuclide": nuclide,
        "window_kev": None if window_kev is None else [float(window_kev[0]), float(window_kev[1])],
        "collimator": collimator,
        "date": made.strftime(TIME_FORM),
        "operator": operator,
        "expiry": (made + VALID_FOR).date().isoformat(),
        "state": DRAFT,
        "approved_by": None,
        "previous": None,
        "software": software,
        "simulated": simulated,
    }


def stamped(
    content: Mapping[str, Any],
    kind: str,
    *,
    operator: str | None = None,
    probe_serial: str | None = None,
    replaces: Path | None = None,
    **head: Any,
) -> dict[str, Any]:
    """A result as a sealed draft of `kind`; a key that `content` has itself stays.

    `replaces`: the file that it will be written over, whose record it names as the one before. Further keywords
    as `new_head`.
    """
    begun = new_head(kind, operator=operator, probe_serial=probe_serial, **head)
    return replacing(sealed({**begun, **content}), replaces)


def replacing(content: Mapping[str, Any], old: Path | None) -> dict[str, Any]:
    """The sealed content with the id of the record in the file `old`, where there is one, as its previous."""
    if old is None or not old.is_file():
        return dict(content)
    try:
        before = read_json(old).get("id")
    except InputError:
        return dict(content)  # what cannot be read has no id to name
    return sealed({**content, "previous": before})


def kind_of(content: Mapping[str, Any]) -> str:
    """The kind of a record, for one without the key by what it holds; "unknown" if that tells nothing."""
    if content.get("kind"):
        return str(content["kind"])
    return next((kind for key, kind in KIND_KEYS.items() if content.get(key) is not None), "unknown")


def id_of(content: Mapping[str, Any], path: Path | str) -> str:
    """The record's id. Raises InputError when it has none."""
    value = content.get("id")
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}: has no id: it is no record that `gammanav calibrate` wrote")
    return value


def state_of(content: Mapping[str, Any]) -> str:
    """Approved, if a second person is named and the draft's checksum proves what was approved; else a draft."""
    proven = content.get("draft_checksum") is not None
    second = _name(content.get("approved_by")) not in ("", _name(content.get("operator")))
    return APPROVED if content.get("state") == APPROVED and proven and second else DRAFT


def require_usable(content: Mapping[str, Any], path: Path | str, day: date | None = None) -> None:
    """Raise GateRefusedError for a record that was altered, refused or has expired on `day` (default: today).

    InputError for a malformed expiry. A content without a checksum passes as it is.
    """
    require_untouched(content, path)
    if content.get("accepted") is False:
        reasons = "; ".join(str(r) for r in content.get("reasons") or ()) or "no reason given"
        raise GateRefusedError(f"{path}: the calibration was refused: {reasons}")
    require_in_date(content, path, day)


def expires_soon(content: Mapping[str, Any], path: Path | str, day: date | None = None) -> str | None:
    """A warning in words when the record expires within a fortnight of `day`. Raises InputError."""
    last = expiry_of(content, path)
    if last is None or last - (day or date.today()) > SOON:
        return None
    return f"the {kind_of(content)} calibration expires soon, on {last.isoformat()}"


def approved(
    content: Mapping[str, Any], by: str, path: Path | str, now: datetime | None = None
) -> dict[str, Any]:
    """The draft approved by a second named person: another sealed content, nothing else of it changed.

    Raises InputError for what is no sealed draft or names no second person, GateRefusedError for a record that
    was altered, refused or has expired.
    """
    id_of(content, path)
    if CHECKSUM not in content:
        raise InputError(
            f"{path}: has no checksum: only a record that was sealed when written can be approved"
        )
    require_usable(content, path)
    if state_of(content) == APPROVED:
        raise InputError(f"{path}: is approved already, by {content['approved_by']}")
    _require_second(content, by, path)
    signed = sealed(
        {
            **content,
            "state": APPROVED,
            "approved_by": " ".join(by.split()),
            "approved_at": (now or datetime.now(UTC)).strftime(TIME_FORM),
            "draft_checksum": content[CHECKSUM],
        }
    )
    if checksum(draft_of(signed)) != content[CHECKSUM]:
        raise InputError(f"{path}: is no draft as `gammanav calibrate` writes them (state, approved_by)")
    return signed


def _require_second(content: Mapping[str, Any], by: str, path: Path | str) -> None:
    if not _name(by):
        raise InputError("--by: names nobody")
    operator = content.get("operator")
    if not isinstance(operator, str) or not _name(operator):
        raise InputError(
            f"{path}: names no operator, so nobody can be told to be another person: calibrate with --operator"
        )
    if _name(operator) == _name(by):
        raise InputError(f"{path}: was made by {operator}; it takes a second person to approve it")


def _name(value: object) -> str:
    """A person's name as it is compared: case and spaces do not make another person."""
    return "".join(str(value or "").split()).casefold()
