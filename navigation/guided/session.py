"""One guided step from the first sample to the written result, without knowing who shows it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.guided.guide import Guidance
from navigation.guided.feed import Feed
from navigation.guided.steps import STEPS, Recorded, Wish, command_for, done_steps, guide_for, result_path
from tracking.counts import CountInterval
from tracking.errors import InputError, SurroundingsError
from tracking.jsonfile import read_json

# Ten looks a second: quicker than anyone moves by what is said.
LOOK_S = 0.1
# A source that is gone for so long does not come back by waiting.
GONE_S = 15.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the step: the command's exit code, its result (None if none was written), the pictures."""

    code: int
    path: Path
    content: dict[str, Any] | None
    pictures: tuple[Path, ...]

    @property
    def accepted(self) -> bool:
        """The gates have accepted it."""
        return self.code == 0 and self.content is not None and self.content.get("accepted") is True

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not, or doubts."""
        return tuple(str(r) for r in (self.content or {}).get("reasons") or ())


class Session:
    """Takes samples of `feed` into the step's guide; `finish` makes the result by the step's own command."""

    def __init__(self, wish: Wish, feed: Feed, now: Callable[[], float] = time.monotonic) -> None:
        self.wish, self.feed = wish, feed
        self.guide = guide_for(wish)
        self.recorded = Recorded()
        self._now = now
        self._lost_since_s: float | None = None

    def look(self) -> Guidance:
        """Take what has come; what to tell the user now. Raises SurroundingsError when a source is gone."""
        news = self.feed.poll()
        self.recorded.poses += news.poses
        self.recorded.counts += news.counts
        self.recorded.simulated = self.feed.simulated
        counts = deque(news.counts)
        for t, matrix in news.poses:
            # In order of time over both kinds, as they happened.
            while counts and counts[0].t_end_s <= t:
                self._take_counts(counts.popleft())
            self.guide.take_pose(t, matrix)
        for interval in counts:
            self._take_counts(interval)
        self._watch_links()
        return self.guide.guidance()

    def _take_counts(self, interval: CountInterval) -> None:
        self.guide.take_counts(interval.t_end_s, interval.counts, interval.window_s)

    def _watch_links(self) -> None:
        lost = self.feed.lost
        if not lost:
            self._lost_since_s = None
            return
        self._lost_since_s = self._now() if self._lost_since_s is None else self._lost_since_s
        if self._now() - self._lost_since_s > GONE_S:
            raise SurroundingsError(f"{', '.join(lost)}: no connection for {GONE_S:g} s")

    def state(self, told: Guidance) -> dict[str, Any]:
        """Everything a window shows, as JSON."""
        return {
            **told.as_json(),
            "steps": [[name, words] for name, words in STEPS.items()],
            "steps_done": list(done_steps(self.wish.out)),
            "rate_cps": self.guide.rate_cps,
            "with_counts": self.wish.with_counts,
            "lost": list(self.feed.lost),
            "simulated": self.feed.simulated,
            "outcome": None,
        }

    def finish(self) -> Outcome:
        """Write what was recorded and make the result of it. Raises InputError."""
        from navigation.cli.main import run

        words = command_for(self.wish, self.guide, self.recorded)
        began_s = time.time()
        code = run(words)
        path = result_path(self.wish)
        content = read_json(path) if path.is_file() and path.stat().st_mtime >= began_s - 1.0 else None
        pictures = sorted(p for p in path.parent.glob("*.png") if p.stat().st_mtime >= began_s - 1.0)
        return Outcome(code, path, content, tuple(pictures))


def put_aside(outcome: Outcome) -> Path | None:
    """A result that its operator refuses keeps its content, under a name that nothing reads."""
    if not outcome.path.is_file():
        return None
    aside = outcome.path.with_name(f"{outcome.path.stem}-refused-by-operator.json")
    outcome.path.replace(aside)
    return aside


def require_free(wish: Wish) -> None:
    """InputError if the result is there already and may not be replaced."""
    path = result_path(wish)
    if path.exists() and not wish.force and wish.step != "check":
        raise InputError(f"{path}: exists already; --force overwrites it")
