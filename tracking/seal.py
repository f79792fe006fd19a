"""The seal of a record: a checksum over its content, written into it, so that a later change is found.

It tells a change from none; it is no signature: who can compute SHA-256 can seal anew what he changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import plain

CHECKSUM = "checksum"
DRAFT = "draft"
# What an approval adds; without it the content is the draft again.
APPROVAL_KEYS = ("approved_at", "draft_checksum")


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the content without the checksum itself: keys sorted, ASCII."""
    kept = {key: value for key, value in content.items() if key != CHECKSUM}
    text = json.dumps(kept, sort_keys=True, ensure_ascii=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its checksum."""
    return {**content, CHECKSUM: checksum(content)}


def require_untouched(content: Mapping[str, Any], path: Path | str) -> None:
    """Raise GateRefusedError for a sealed content that is not as it was written, or an approval of another draft.

    An unsealed one passes.
    """
    if CHECKSUM in content and checksum(content) != content[CHECKSUM]:
        raise GateRefusedError(f"{path}: the calibration was altered after it was written (checksum differs)")
    proof = content.get("draft_checksum")
    if proof is not None and checksum(draft_of(content)) != proof:
        raise GateRefusedError(f"{path}: is not the draft that {content.get('approved_by')} approved")


def draft_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The draft that was approved, without a checksum."""
    kept = {k: v for k, v in content.items() if k not in (*APPROVAL_KEYS, CHECKSUM)}
    return {**kept, "state": DRAFT, "approved_by": None}


def expiry_of(content: Mapping[str, Any], path: Path | str) -> date | None:
    """The last day of use, None where none is stated. Raises InputError for what is no date."""
    value = content.get("expiry")
    if value is None:
        return None
    try:
        return date.fromisoformat(value[:10])
    except (TypeError, ValueError):
        raise InputError(f"{path}, expiry: {value!r} is no date") from None


def require_in_date(content: Mapping[str, Any], path: Path | str, day: date | None = None) -> None:
    """Raise GateRefusedError when the content has expired on `day`, by default today."""
    last = expiry_of(content, path)
    if last is not None and last < (day or date.today()):
        raise GateRefusedError(f"{path}: the calibration expired on {last.isoformat()}")
