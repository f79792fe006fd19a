"""Which key does what, as set up: what a keyboard, a presenter or a pedal that types may send."""

from __future__ import annotations

from collections.abc import Mapping

from PyQt5.QtGui import QKeyEvent, QKeySequence

from navigation.windowsettings import KEYS

_NAMES = {
    "MediaNext": "Media Next",
    "MediaPrevious": "Media Previous",
    "PageUp": "PgUp",
    "PageDown": "PgDown",
}


class KeyMap:
    """`action` tells what a key press asks for by the names of `windowsettings.KEYS`; None for other keys."""

    def __init__(self, keys: Mapping[str, tuple[str, ...]] = KEYS) -> None:
        self._actions = {code_of(name): what for what, names in keys.items() for name in names}
        self.keys = keys

    def action(self, event: QKeyEvent) -> str | None:
        """What it is for; a modifier changes nothing (plus needs one on most keyboards)."""
        return self._actions.get(event.key())

    def words(self, what: str) -> str:
        """Its keys for a help text; empty where it has none."""
        return ", ".join(self.keys.get(what, ()))


def code_of(name: str) -> int:
    """Qt's code of a key by its name, 0 for a name that Qt does not know."""
    sequence = QKeySequence(_NAMES.get(name, name))
    return int(sequence[0]) if sequence.count() else 0
