"""Counts without a source in view: of the room or of the patient, and whether they have risen since.

A rise by more than three sigma over the reference, decay considered, is what a contaminated tip or drape looks like
(H45). The test is exact: binomial given the sum of both counts, with counts that scatter too much taken as fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from calibration.counter.counttest import CUSUM_LIMIT, CUSUM_SLACK, Counted, compare
from calibration.physics.nuclide import nuclide
from tracking.errors import InputError

ROOM, PATIENT = "room", "patient"
KINDS = (ROOM, PATIENT)
# One in 740 quiet checks is called risen: the level at which H45 asks for a prompt.
RISE_SIGMA = 3.0
# Shorter counts tell nothing of a rate of some counts per second.
SHORTEST_S = 2.0
# Seconds of a background count that an operator waits for, and minutes after which it is due again.
DEFAULT_SECONDS, DEFAULT_MINUTES = 10.0, 30.0
# Counts of nothing scatter as counts must; beyond this the probe passed something while it counted.
MOST_DISPERSION = 3.0
UNSTEADY = "the counts rise and fall: a source was in view, or the probe was moved"
# Less than this many counts in all tell no rise: one count beside none is no contamination.
FEWEST_COUNTS = 8.0


@dataclass(frozen=True, slots=True)
class Background:
    """One timed count; `time` of its middle, None where nobody knows it."""

    kind: str
    counted: Counted
    nuclide: str
    time: datetime | None = None

    @property
    def unsteady(self) -> bool:
        """Whether it is no count of one rate."""
        return self.counted.dispersion > MOST_DISPERSION

    def content(self) -> dict[str, Any]:
        """As in background.json."""
        c = self.counted
        return {
            "kind": self.kind,
            "nuclide": self.nuclide,
            "time": None if self.time is None else self.time.isoformat(timespec="seconds"),
            "counts": c.counts,
            "live_s": c.live_s,
            "rate_cps": c.rate_cps,
            "ci95_cps": list(c.ci95_cps),
            "dispersion": c.dispersion,
        }

    @staticmethod
    def of(content: Mapping[str, Any], where: str) -> Background:
        """What `content` wrote. Raises InputError beginning with `where`."""
        try:
            when = content.get("time")
            found = Background(
                str(content["kind"]),
                Counted(
                    float(content["counts"]), float(content["live_s"]), float(content.get("dispersion", 1.0))
                ),
                str(content["nuclide"]),
                None if when is None else datetime.fromisoformat(str(when)),
            )
        except (KeyError, TypeError, ValueError) as fault:
            raise InputError(f"{where}: no background measurement ({fault!r})") from None
        if found.kind not in KINDS or not found.counted.live_s > 0.0 or found.counted.counts < 0.0:
            raise InputError(f"{where}: no background measurement (kind, counts or live_s)")
        return found


@dataclass(frozen=True, slots=True)
class Rise:
    """A background against its reference; `expected_ratio` is the decay between them."""

    ratio: float | None
    ratio_ci95: tuple[float, float | None]
    sigma: float
    risen: bool
    expected_ratio: float
    p_different: float

    def content(self) -> dict[str, Any]:
        """As in background.json."""
        return {
            "ratio": self.ratio,
            "ratio_ci95": list(self.ratio_ci95),
            "expected_ratio": self.expected_ratio,
            "sigma": round(self.sigma, 2),
            "p_different": self.p_different,
            "risen": self.risen,
        }


def rise(reference: Background, now: Background, sigma: float = RISE_SIGMA) -> Rise:
    """Whether `now` counts more than `reference` foretells. Raises InputError for another nuclide or kind."""
    if reference.kind != now.kind:
        raise InputError(f"a background of the {now.kind} is not compared with one of the {reference.kind}")
    if nuclide(reference.nuclide).name != nuclide(now.nuclide).name:
        raise InputError(f"a background of {now.nuclide} is not compared with one of {reference.nuclide}")
    expected = expected_ratio(reference, now)
    found = compare(reference.counted, now.counted, expected)
    enough = reference.counted.counts + now.counted.counts >= FEWEST_COUNTS
    risen = enough and found.sigma > sigma
    return Rise(found.ratio, found.ratio_ci95, found.sigma, risen, expected, found.p_different)


def expected_ratio(reference: Background, now: Background) -> float:
    """What decay leaves of a patient's background; a room's is not the patient's nuclide and stays."""
    if reference.kind != PATIENT or reference.time is None or now.time is None:
        return 1.0
    passed = (_utc(now.time) - _utc(reference.time)).total_seconds()
    return float(nuclide(now.nuclide).decay_factor(passed))


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=when.tzinfo or UTC)


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest of a series of backgrounds against the first; `slowly`: the sum of small rises stands."""

    against: Rise
    slowly: bool

    @property
    def risen(self) -> bool:
        """Whether it stands as risen, at once or slowly."""
        return self.against.risen or self.slowly


def standing(series: Sequence[Background]) -> Standing | None:
    """How the newest of `series`, the reference first, stands now; None for a reference alone.

    Slow rises are summed by Page's CUSUM. A sudden rise tells itself and stays out of the sum, or one that was
    cleaned up would pass for a drift. Once beyond its limit the sum stands until a check is within the slack, and
    begins anew from there. Raises InputError as `rise`.
    """
    if len(series) < 2:
        return None
    total = 0.0
    against = [rise(series[0], each) for each in series[1:]]
    for found in against:
        if found.risen:
            continue
        excess = max(found.sigma, 0.0) - CUSUM_SLACK
        over = total > CUSUM_LIMIT and excess <= 0.0
        total = 0.0 if over else max(0.0, total + excess)
    return Standing(against[-1], total > CUSUM_LIMIT)
