"""What a sterile sheath or drape over the probe lets through: the ratio of two counts of one source in one place.

The interval of the ratio is exact (binomial given the sum); dead time is undone before, and a source that decays
between the two counts is corrected for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from calibration.counter.counttest import Z95, Counted, compare
from calibration.probe.response import DetectorResponse
from calibration.records.record import require_usable
from tracking.errors import InputError
from tracking.jsonfile import read_json

# Plastic of a sheath stops less than 5 % of 27 keV photons per tenth of a millimetre: less than this is no sheath.
LEAST_TRANSMISSION = 0.5
# More than everything is the source or the place that changed, beyond this many sigma.
MOST_ABOVE_ONE_SIGMA = 3.0
# A transmission known worse than this is no correction.
LARGEST_RELATIVE_SD = 0.05


@dataclass(frozen=True, slots=True)
class Sheath:
    """Transmission (1: nothing is stopped) and its standard error."""

    transmission: float = 1.0
    sd: float = 0.0

    @property
    def relative_sd(self) -> float:
        """Standard error over value: what it adds to the uncertainty of any activity."""
        return self.sd / self.transmission

    @staticmethod
    def of(content: Mapping[str, Any], where: str) -> Sheath:
        """Keys `sheath_transmission` and `sheath_transmission_sd`. Raises InputError beginning with `where`."""
        try:
            value = float(content["sheath_transmission"])
            sd = float(content.get("sheath_transmission_sd") or 0.0)
        except (KeyError, TypeError, ValueError) as fault:
            raise InputError(f"{where}: sheath_transmission is missing or no number ({fault!r})") from None
        if not (LEAST_TRANSMISSION <= value <= 1.0 and 0.0 <= sd <= LARGEST_RELATIVE_SD * value):
            raise InputError(
                f"{where}: sheath_transmission {value:g} (SD {sd:g}) is not within {LEAST_TRANSMISSION:g} to 1"
                f" known to {100 * LARGEST_RELATIVE_SD:g} %"
            )
        return Sheath(value, sd)


BARE = Sheath()


@dataclass(frozen=True, slots=True)
class Measurement:
    """Transmission as measured, its exact 95 % interval, and why it may not be used, if so."""

    transmission: float
    ci95: tuple[float, float]
    reasons: tuple[str, ...]

    @property
    def sd(self) -> float:
        """Half the interval in units of a normal distribution's."""
        return (self.ci95[1] - self.ci95[0]) / (2.0 * Z95)

    def content(self) -> dict[str, Any]:
        """As in sheath.json; a value above 1 within its error is written as 1."""
        return {
            "sheath_transmission": min(self.transmission, 1.0),
            "sheath_transmission_sd": self.sd,
            "measured_ratio": self.transmission,
            "ci95": list(self.ci95),
            "accepted": not self.reasons,
            "reasons": list(self.reasons),
        }


def measure(
    with_sheath: Counted,
    without: Counted,
    room: Counted | None = None,
    decay: float = 1.0,
    dead_time_s: float = 0.0,
) -> Measurement:
    """Transmission from counts with and without the sheath, the source in the same place.

    `decay` is what was left of the source at the second series (with) over the first (without); `room` is counted
    without the source. Raises InputError when there is nothing to compare.
    """
    if not without.counts > 0.0 or not with_sheath.counts > 0.0:
        raise InputError("one of the two series has no counts")
    quiet = 0.0 if room is None else room.rate_cps
    covered, bare = (_true_rate(series, dead_time_s) - quiet for series in (with_sheath, without))
    if min(covered, bare) <= 0.0:
        raise InputError("the series are not above the room's counts")
    value = covered / bare / decay
    found = compare(without, with_sheath)
    assert found.ratio is not None
    assert found.ratio_ci95[1] is not None
    # Room counts and dead time move value and interval alike; the room's own error is added.
    shares = [bound / found.ratio for bound in (found.ratio_ci95[0], found.ratio_ci95[1])]
    room_sd = (
        0.0 if room is None else math.sqrt(max(room.counts, 1.0)) / room.live_s * abs(1 / covered - 1 / bare)
    )
    low, high = (value * math.exp(_stretch(math.log(share), room_sd)) for share in shares)
    return Measurement(value, (low, high), tuple(_reasons(value, (high - low) / (2.0 * Z95))))


def _stretch(log_share: float, relative_sd: float) -> float:
    return math.copysign(math.hypot(log_share, Z95 * relative_sd), log_share)


def _true_rate(series: Counted, dead_time_s: float) -> float:
    lost = series.rate_cps * dead_time_s
    if lost >= 1.0:
        raise InputError(f"{series.rate_cps:.0f} cps are impossible with a dead time of {dead_time_s:g} s")
    return series.rate_cps / (1.0 - lost)


def _reasons(value: float, sd: float) -> list[str]:
    reasons = []
    if value > 1.0 + MOST_ABOVE_ONE_SIGMA * sd:
        reasons.append(f"{value:.3f} of the counts pass the sheath: more than all; was the source moved?")
    if value < LEAST_TRANSMISSION:
        reasons.append(f"only {value:.3f} of the counts pass: that is no sheath, or the source was moved")
    if sd > LARGEST_RELATIVE_SD * value:
        reasons.append(
            f"known to {100 * sd / value:.1f} % only, {100 * LARGEST_RELATIVE_SD:g} % is needed: count longer"
        )
    return reasons


def sheath_at(path: Path | None, day: date | None = None) -> Sheath:
    """The sheath of a sheath.json, none where there is no file.

    Raises InputError, GateRefusedError for a measurement that was refused, altered or is expired on `day`
    (default: today).
    """
    if path is None:
        return BARE
    content = read_json(path)
    require_usable(content, path, day)
    return Sheath.of(content, str(path))


def told_of(sheath: Sheath) -> tuple[str, ...]:
    """What every result says of a sheath that was corrected for; nothing without one."""
    if sheath == BARE:
        return ()
    return (
        f"a sheath that passes {sheath.transmission:.3f} (SD {sheath.sd:.3f}) of the counts is corrected for",
    )


def covered(response: DetectorResponse, sheath: Sheath) -> DetectorResponse:
    """The response of the probe in its sheath: every count scaled, and the scale known a little less well."""
    if sheath == BARE:
        return response
    return replace(
        response,
        table=np.ascontiguousarray(response.table * np.float32(sheath.transmission), dtype=np.float32),
        leak=response.leak * sheath.transmission,
        scale_relative_sd=math.hypot(response.scale_relative_sd, sheath.relative_sd),
        sheath_relative_sd=sheath.relative_sd,
    )
