"""UIDs that are the same whenever the same results are written: 2.25 and a UUID made of a digest (DICOM PS3.5 B.2)."""

from __future__ import annotations

import hashlib
import uuid

_SEPARATOR = b"\x1f"


def derived_uid(*parts: str | bytes) -> str:
    """A UID that stands for these parts, in this order."""
    digest = hashlib.sha256(b"gammanav dicom results")
    for part in parts:
        digest.update(_SEPARATOR + (part.encode() if isinstance(part, str) else part))
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=4).int}"
