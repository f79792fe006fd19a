"""Words of a live case about timed counts, at the terminal and from a pedal: one grammar for both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from navigation.engine.timedstate import TimedState
from navigation.timed.count import BACKGROUND, EX_VIVO, KINDS, SPECIMEN
from navigation.timed.words import count_sentence, sentences
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.engine.assembly import LiveCase
    from navigation.engine.jobs import Outcome

USAGE = (
    "expected `count target|background|bed [NAME] [SECONDS]`, `count specimen [N] [NAME] [SECONDS]`, with `against"
    " COUNT` at the end if wanted, `count cancel`, `count void COUNT REASON`, or `count against COUNT [BACKGROUND]`"
)
CANCEL, VOID, AGAINST = "cancel", "void", "against"
# A count is waited for so much longer than it takes, and looked after so often.
PATIENCE_S, POLL_S = 15.0, 0.05
Do = Callable[..., "Outcome | None"]


class TimedWords:
    """Turns words into the engine's commands and says what came of them."""

    def __init__(self, case: LiveCase, do: Do) -> None:
        self.case = case
        self.do = do
        self.words: dict[str, Callable[[list[str]], str]] = {"count": self._count, "counts": self._counts}

    def _count(self, rest: list[str]) -> str:
        command, content = count_command(rest, self.case.session.settings.count_s)
        if command == "count":
            self._wait()
        self.do(command, **content)
        if command == "cancel_count":
            return "cancelled"
        if command != "count":
            return count_sentence(next(c for c in self._state().counts if c.id == content["id"]))
        return f"counting for {content['seconds']:g} s: hold the probe still; `counts` waits and tells"

    def _counts(self, _rest: list[str]) -> str:
        self._wait()
        counts = self._state().counts
        if not counts:
            return "nothing was counted"
        return "\n".join([*(count_sentence(c) for c in counts), *sentences(counts)])

    def _wait(self) -> None:
        """Until the count under way has ended."""
        running = self._state().running
        if running is None:
            return
        deadline = time.monotonic() + running.wanted_s + PATIENCE_S
        while self._state().running is not None:
            if time.monotonic() > deadline:
                raise InputError(f"{running.label} is still being counted: are there counts? `count cancel`")
            time.sleep(POLL_S)

    def _state(self) -> TimedState:
        return self.case.session.timed.state()


def count_command(rest: Sequence[str], seconds: float) -> tuple[str, dict[str, Any]]:
    """The command and its content out of what follows `count`; `seconds` where it names none. Raises InputError."""
    if not rest:
        raise InputError(USAGE)
    word, more = SPECIMEN if rest[0] in EX_VIVO else rest[0], list(rest[1:])
    if word == CANCEL and not more:
        return "cancel_count", {}
    if word == VOID and len(more) > 1:
        return "void_count", {"id": _whole(more[0]), "reason": " ".join(more[1:])}
    if word == AGAINST and len(more) in (1, 2):
        return "count_against", {"id": _whole(more[0]), "background": _whole(more[1]) if more[1:] else None}
    if word not in KINDS:
        raise InputError(USAGE)
    content: dict[str, Any] = {"kind": word, "seconds": seconds}
    if len(more) > 1 and more[-2] == AGAINST and word != BACKGROUND:
        content["against"] = _whole(more.pop())
        more.pop()
    if word == SPECIMEN and more and more[0].isdigit():
        content["specimen"] = int(more.pop(0))
    if more and _number(more[-1]) is not None:
        content["seconds"] = _number(more.pop())
    return "count", {**content, **({"name": " ".join(more)} if more else {})}


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _whole(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise InputError(f"{word!r} is no number of a count; {USAGE}")
    return int(word)
