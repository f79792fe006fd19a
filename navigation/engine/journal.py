"""What the case told its people and when, who took note of it, and what they asked for: for the report.

Alarms begin and end as the live engine showed them; the record holds that, so a replay tells the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tracking.errors import InputError

# An alarm that comes back this soon is the same one, flickering.
GONE_S = 1.0
# A day's worth of alarms; beyond it the oldest that have ended are dropped, as nobody reads them.
MOST_NOTICES = 5000
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Notice:
    """An alarm as it was shown; times are Unix seconds, None while it lasts or nobody took note of it."""

    text: str
    began_s: float
    ended_s: float | None = None
    acknowledged_s: float | None = None
    acknowledged_by: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was asked for at `t_s` (Unix)."""

    t_s: float
    words: str


class Journal:
    """Every notice and mark of a case, in order."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.marks: list[Mark] = []

    @property
    def open_texts(self) -> tuple[str, ...]:
        """Of the alarms that last."""
        return tuple(n.text for n in self.notices if n.ended_s is None)

    def take(self, content: Mapping[str, Any], t_s: float) -> None:
        """What `Noticed.news` told. Raises InputError for anything else."""
        began, ended = content.get("began", ()), content.get("ended", ())
        if not all(isinstance(text, str) for text in (*began, *ended)):
            raise InputError("a notice holds texts that began and ended")
        gone = {_key(text) for text in ended}
        self.notices = [
            replace(n, ended_s=t_s) if n.ended_s is None and _key(n.text) in gone else n for n in self.notices
        ]
        self.notices.extend(Notice(text, t_s) for text in began)
        while len(self.notices) > MOST_NOTICES and self.notices[0].ended_s is not None:
            del self.notices[0]

    def acknowledge(self, content: Mapping[str, Any], t_s: float) -> None:
        """Somebody has taken note of every alarm so far. Raises InputError without a name, or with nothing to note."""
        by = str(content.get("by") or "").strip()
        if not by:
            raise InputError("who takes note of the alarms? expected a name or a role")
        if all(n.acknowledged_s is not None for n in self.notices):
            raise InputError("there is no alarm that nobody has taken note of")
        self.notices = [
            n if n.acknowledged_s is not None else replace(n, acknowledged_s=t_s, acknowledged_by=by)
            for n in self.notices
        ]

    def mark(self, content: Mapping[str, Any], t_s: float) -> None:
        """Keep a command that was carried out, if it is one that a reader of the report would look for."""
        tell = WORDS.get(str(content.get("do")))
        words = "" if tell is None else tell(content)
        if words:
            self.marks.append(Mark(t_s, words))

    def to_json(self) -> dict[str, Any]:
        """journal.json; times are Unix seconds."""
        return {
            "alarms": [
                {
                    "text": n.text,
                    "began_s": n.began_s,
                    "ended_s": n.ended_s,
                    "acknowledged_s": n.acknowledged_s,
                    "acknowledged_by": n.acknowledged_by,
                }
                for n in self.notices
            ],
            "marks": [{"t_s": m.t_s, "words": m.words} for m in self.marks],
        }


class Noticed:
    """Compares the alarms of one snapshot with those before it."""

    def __init__(self, open_texts: Iterable[str] = ()) -> None:
        self._seen = {_key(text): (text, float("-inf")) for text in open_texts}

    def news(self, texts: Iterable[str], t_s: float) -> dict[str, list[str]] | None:
        """{"began": [...], "ended": [...]} at `t_s`, None where nothing changed."""
        shown = {_key(text): text for text in texts}
        began = [text for key, text in shown.items() if key not in self._seen]
        for key, text in shown.items():
            self._seen[key] = (self._seen.get(key, (text, t_s))[0], t_s)
        gone = [key for key, (_, last_s) in self._seen.items() if key not in shown and t_s - last_s >= GONE_S]
        ended = [self._seen.pop(key)[0] for key in gone]
        return {"began": began, "ended": ended} if began or ended else None


def _key(text: str) -> str:
    """An alarm whose figures change is still the same one."""
    return _NUMBER.sub("#", text)


def _name(content: Mapping[str, Any], *keys: str) -> str:
    """The first of these that is told."""
    return next((str(content[key]) for key in keys if content.get(key)), "")


def _place(content: Mapping[str, Any]) -> str:
    """The place of a mark, in mm of Reference."""
    return "({:.0f}, {:.0f}, {:.0f}) mm".format(*content.get("place_mm", (0.0, 0.0, 0.0)))


Words = Callable[[Mapping[str, Any]], str]
WORDS: dict[str, Words] = {
    "start": lambda c: f"{_name(c, 'name', 'mode')} begins",
    "stop": lambda c: "" if c.get("was") == "idle" else f"{_name(c, 'running', 'was')} ends",
    "target_end": lambda c: f"{_name(c, 'name', 'target')}: {_name(c, 'outcome')}",
    "target_add": lambda c: f"target {_name(c, 'name')} added",
    "background": lambda c: f"background counted, {_name(c, 'kind')}",
    "explain_background": lambda c: f"background explained: {_name(c, 'reason')}",
    "mark_landmark": lambda c: f"landmark {_name(c, 'name')} marked or taken away",
    "registration": lambda c: "registered",
    "register_landmarks": lambda c: "registered by landmarks",
    "check_point": lambda c: "registration checked at a point",
    "verify_registration": lambda c: "registration verified",
    "confirm_registration": lambda c: "registration confirmed",
    "accept_shift": lambda c: "shift accepted",
    "undo_registration": lambda c: "registration taken back",
    "specimen": lambda c: f"specimen {_name(c, 'name')}: {_name(c, 'activity_kbq')} kBq",
    "discard": lambda c: "readings discarded",
    "removed_here": lambda c: f"removed here: {_place(c)}",
    "aim": lambda c: f"the bed is scanned for {_name(c, 'threshold_kbq')} kBq",
    "check_bed": lambda c: f"bed checked at {_name(c, 'threshold_kbq')} kBq",
    "acknowledge": lambda c: f"alarms noted by {_name(c, 'by')}",
    "count": lambda c: " ".join(
        f"count of {_name(c, 'kind')} {_name(c, 'specimen')} {_name(c, 'name')}".split()
    ),
    "cancel_count": lambda c: "count cancelled",
    "void_count": lambda c: f"count {_name(c, 'id')} void: {_name(c, 'reason')}",
}
