"""Whether a calibration belongs to what it is used on: nuclide, energy window, serial number, collimator (H11, H13).

What both state and differs in is a mismatch and refuses the use; what only one states is unverified, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.physics.nuclide import nuclide as nuclide_by_name
from tracking.errors import GateRefusedError, InputError

# Windows are often stated to whole keV: edges this near are the same window.
WINDOW_TOLERANCE_KEV = 1.0
LABELS = {
    "nuclide": "nuclide",
    "window_kev": "energy window",
    "probe_serial": "probe serial",
    "collimator": "collimator",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a calibration, a scan, a case or a probe says of itself; None is what it does not say."""

    nuclide: str | None = None
    window_kev: tuple[float, float] | None = None
    probe_serial: str | None = None
    collimator: str | None = None

    def over(self, other: Identity) -> Identity:
        """This one, and where it is silent the other."""
        mine = (getattr(self, name) for name in LABELS)
        return Identity(
            *(a if a is not None else getattr(other, n) for a, n in zip(mine, LABELS, strict=True))
        )

    def to_json(self) -> dict[str, Any]:
        """What is said."""
        found = {name: getattr(self, name) for name in LABELS}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items() if v is not None}

    @staticmethod
    def of(content: Mapping[str, Any], path: Path | str) -> Identity:
        """What a record, scan.json or case states. Raises InputError naming `path` and the key."""
        name = content.get("nuclide")
        return Identity(
            None if name is None else nuclide_by_name(str(name)).name,
            _window(content.get("window_kev"), path),
            *(_text(content.get(key), key, path) for key in ("probe_serial", "collimator")),
        )


def conflicts(
    calibration: Identity, other: Identity, who: str, mine_is: str = "the calibration"
) -> tuple[str, ...]:
    """In words, what the calibration, or what `mine_is`, and `who` both state and differ in."""
    found = []
    for name, label in LABELS.items():
        mine, theirs = getattr(calibration, name), getattr(other, name)
        if mine is not None and theirs is not None and not _same(name, mine, theirs):
            what = "" if name == "nuclide" else f"{label} "
            found.append(f"{mine_is} is for {what}{_words(mine)}, {who} is {_words(theirs)}")
    return tuple(found)


def unverified(calibration: Identity, other: Identity) -> str | None:
    """In words, what cannot be compared because one of the two does not state it; None if nothing."""
    open_ = [
        label
        for name, label in LABELS.items()
        if getattr(calibration, name) is None or getattr(other, name) is None
    ]
    return f"unverified, because not stated: {', '.join(open_)}" if open_ else None


def require_match(calibration: Identity, other: Identity, who: str, where: Path | str = "") -> None:
    """Raise GateRefusedError with every reason when the calibration is not for what `who` states."""
    found = conflicts(calibration, other, who)
    if found:
        before = f"{where}: " if str(where) else ""
        raise GateRefusedError(before + "; ".join(found))


def _same(name: str, mine: Any, theirs: Any) -> bool:
    if name == "window_kev":
        return all(abs(a - b) <= WINDOW_TOLERANCE_KEV for a, b in zip(mine, theirs, strict=True))
    return plain_name(mine) == plain_name(theirs)


def plain_name(text: str) -> str:
    """A name as it is compared. Serial numbers and names are copied by hand: case and spaces make no difference."""
    return "".join(text.split()).casefold()


def _words(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g} keV" if isinstance(value, tuple) else str(value)


def _window(value: Any, path: Path | str) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        raise InputError(f"{path}, window_kev: {value!r} is not two energies in keV") from None
    if not 0.0 <= low < high < float("inf"):
        raise InputError(f"{path}, window_kev: {value!r} does not rise from 0 keV or more")
    return low, high


def _text(value: Any, key: str, path: Path | str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise InputError(f"{path}, {key}: {value!r} is no text")
    return str(value)
