"""What a daily check may show: every tolerance of it in one place, to be overridden as a whole or one by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """Tolerances of the daily check; relative unless a unit is named."""

    # A tenth is what protocols of gamma probes allow between days, and twice the error of a dose calibrator.
    sensitivity: float = 0.10
    # The ratios of 10 and 50 mm to 30 mm when no activity is stated: they need no dose calibrator.
    shape: float = 0.08
    # Width of the view against the calibration's: a bent rim or another collimator changes it by more.
    width: float = 0.10
    # The tenth of the maximum lies in the shadow of the rim, where few counts are.
    tail_width: float = 0.20
    # Leak in percent of what the front would count at the same distance: > 99.9 % shielding is what
    # Wengenmair & Kopp (2005) demand; behind the handle more is blocked.
    side_leak_percent: float = 0.10
    back_leak_percent: float = 0.05
    # Hard photons pass any shield: this many times the calibrated leak is allowed where that is more.
    leak_factor: float = 2.0
    # Counts of the room alone: more and a source lies about, or the tip is contaminated.
    room_cps: float = 20.0
    # A rise over the reference has to be as significant, and as large, to be told.
    rise_sigma: float = 3.0
    rise_cps: float = 1.0
    # Scatter of repeated counts: p of the dispersion test; a good counter fails once in a thousand checks.
    stability_p: float = 1e-3
    # What the latency may differ by: 0.6 mm at 30 mm/s (H06).
    latency_s: float = 0.02
    # Detector axis against the tip frame, and its centre across the axis: beyond, the probe is bent or was
    # put on its marker anew (H46).
    axis_deg: float = 3.0
    centre_mm: float = 2.5
    # The source may not be pushed by more than this while it is looked at.
    moved_mm: float = 2.0
    # A source that lies farther from where it was said to be is another one, or the tip is wrong.
    place_mm: float = 6.0
    # Counts above the room's that a source needs to be there at all, and those from which figures can be had.
    fewest_counts: float = 500.0
    # Nominal doubling of strength across a series of checks that tells linearity, and what it may deviate.
    linearity_span: float = 2.0
    linearity: float = 0.05
    # Loss of counts to dead time beyond which a figure is a lower bound only.
    saturated: float = 0.30


DEFAULT_LIMITS = CheckLimits()
