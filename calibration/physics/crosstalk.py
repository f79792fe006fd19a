"""Two nuclides in two energy windows: how much of each is counted in the window of the other, measured, and undone.

Pure sources of both and a background are counted in both windows. `measured = M @ true`, M having 1 on its diagonal:
`true` are the rates of each nuclide in its own window, and the off-diagonal factors are ratios of net rates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.physics.nuclide import Nuclide
from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.records.record import CROSSTALK, new_head, require_usable, sealed
from tracking.errors import InputError
from tracking.jsonfile import read_json

Array = NDArray[np.float64]

COLUMNS = ("source", "main_counts", "other_counts", "live_s")
BACKGROUND = "background"
# Net counts of a nuclide in its own window below which a factor is noise: 3 % of it.
FEWEST_NET_COUNTS = 1000.0
# A net rate this many standard deviations below zero is no chance: the background was another.
NEGATIVE_SIGMA = 3.0
# Above this the inverse of M makes more noise than it removes spill: the windows do not tell the two apart.
LARGEST_CONDITION = 10.0
# A factor whose standard error exceeds this share of it (and 0.01) is said to be poorly known.
DOUBTFUL_RELATIVE_SD, NEGLIGIBLE_FACTOR = 0.2, 0.01
# Counts per live second above which dead time bends the ratios by more than a percent at 10 us.
FAST_CPS = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Counts (3, 2) and live times (3,) in s: rows main nuclide, other nuclide, background; columns both windows."""

    counts: Array
    live_s: Array


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """Rates (n, 2) in cps of both nuclides in their own windows, their covariance (n, 2, 2), and how many are below 0.

    A rate below zero is what chance makes of none; it stays, since clipping it would lift every mean.
    """

    rates_cps: Array
    covariance: Array
    negative: int


@dataclass(frozen=True, slots=True, eq=False)
class Crosstalk:
    """Spill between the window of `main` and that of `other`.

    `factors` (2,): the other nuclide into the main window, and the main one into the other window, per count in the
    own window; `covariance` (2, 2) of both; `background_cps` (2,) of the room while they were measured.
    """

    main: Nuclide
    other: Nuclide
    windows_kev: tuple[tuple[float, float], tuple[float, float]]
    factors: Array
    covariance: Array
    background_cps: Array
    accepted: bool = True
    reasons: tuple[str, ...] = ()
    id: str = "unnamed"

    @property
    def matrix(self) -> Array:
        """M (2, 2): measured rates from true ones."""
        return np.array([[1.0, self.factors[0]], [self.factors[1], 1.0]])

    @property
    def condition(self) -> float:
        """Condition number of M; 1 where there is no spill."""
        return float(np.linalg.cond(self.matrix))

    def correct(
        self, main_counts: Array, other_counts: Array, live_s: Array, background_cps: Array | None = None
    ) -> Corrected:
        """Undo the spill in a pair of count series (n,) with live times (n,) s, the room's background taken away.

        The uncertainty is that of counting and of the factors; those of one series share the latter.
        """
        room = self.background_cps if background_cps is None else background_cps
        live = np.asarray(live_s, dtype=np.float64)
        seen = np.stack([main_counts, other_counts], axis=1).astype(np.float64) / live[:, None]
        inverse = np.linalg.inv(self.matrix)
        rates = (seen - room) @ inverse.T
        counting = np.einsum("ij,nj,kj->nik", inverse, seen / live[:, None], inverse)
        # d true / d factor = -inverse @ dM @ true, dM having a single 1 off its diagonal.
        slope = -np.einsum("ij,nj->nij", inverse, rates[:, ::-1])
        spread = np.einsum("nij,jk,nlk->nil", slope, self.covariance, slope)
        return Corrected(rates, counting + spread, int((rates < 0.0).sum()))

    def spill_cps(self, main_counts: Array, other_counts: Array, live_s: Array) -> tuple[Array, Array]:
        """Rate (n,) that the other nuclide adds to the main window, and its standard deviation (n,), both in cps.

        Where the other window saw less than its background the rate is below zero by chance, and stays so.
        """
        found = self.correct(main_counts, other_counts, live_s)
        other = found.rates_cps[:, 1]
        spill = self.factors[0] * other
        variance = self.factors[0] ** 2 * found.covariance[:, 1, 1] + self.covariance[0, 0] * other**2
        return spill, np.sqrt(variance)


def read_measurement(path: Path, main: Nuclide, other: Nuclide) -> Measurement:
    """The CSV source,main_counts,other_counts,live_s; rows of one source are summed.

    `source` is a nuclide, or "background". Raises InputError naming file and row.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: cannot be read ({fault})") from fault
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines or tuple(c.strip() for c in lines[0][1].split(",")) != COLUMNS:
        raise InputError(f"{path}, row 1: columns must be {','.join(COLUMNS)}")
    counts, live = np.zeros((3, 2)), np.zeros(3)
    order = {main.name: 0, other.name: 1, BACKGROUND: 2}
    for number, line in lines[1:]:
        source, values = _row(path, number, line, order)
        counts[order[source]] += values[:2]
        live[order[source]] += values[2]
    for source, index in order.items():
        if live[index] == 0.0:
            raise InputError(f"{path}: no row of {source}; both nuclides and the background are needed")
    return Measurement(counts, live)


def _row(path: Path, number: int, line: str, order: dict[str, int]) -> tuple[str, Array]:
    cells = [cell.strip() for cell in line.split(",")]
    where = f"{path}, row {number}"
    if len(cells) != len(COLUMNS):
        raise InputError(f"{where}: {len(cells)} columns instead of {len(COLUMNS)}")
    name = cells[0].lower()
    try:
        source = name if name == BACKGROUND else nuclide_by_name(cells[0]).name
        values = np.array([float(cell) for cell in cells[1:]])
    except (InputError, ValueError) as fault:
        raise InputError(f"{where}: {fault}") from None
    if source not in order:
        raise InputError(f"{where}: {source} is neither {' nor '.join(order)}")
    if not np.isfinite(values).all() or (values[:2] < 0.0).any() or values[2] <= 0.0:
        raise InputError(f"{where}: counts must be >= 0 and live_s > 0")
    return source, values


def calibrate_crosstalk(
    measured: Measurement,
    main: Nuclide,
    other: Nuclide,
    windows_kev: tuple[tuple[float, float], tuple[float, float]] | None = None,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of crosstalk.json, gate included; `extra` adds keys (serial, operator)."""
    windows = windows_kev or (main.window_kev, other.window_kev)
    rate, variance = (
        measured.counts / measured.live_s[:, None],
        measured.counts / measured.live_s[:, None] ** 2,
    )
    refusals, reasons = _judge_counts(measured, (main, other))
    content = _header(main, other, windows) | (extra or {})
    if refusals:
        return sealed(content | {"accepted": False, "reasons": refusals + reasons})
    factors, covariance = _factors(rate, variance)
    found = Crosstalk(main, other, windows, factors, covariance, rate[2])
    more, doubts = _judge(found, rate, variance)
    content |= {
        "factors": {"other_into_main": float(factors[0]), "main_into_other": float(factors[1])},
        "standard_errors": [float(v) for v in np.sqrt(np.diag(covariance))],
        "covariance": covariance.tolist(),
        "matrix": found.matrix.tolist(),
        "condition": found.condition,
        "background_cps": rate[2].tolist(),
    }
    return sealed(content | {"accepted": not more, "reasons": more + reasons + doubts})


def _factors(rate: Array, variance: Array) -> tuple[Array, Array]:
    """Both factors, and their covariance by first order from the six counted rates: they share the background."""
    net = rate[:2] - rate[2]
    factors = np.array([net[1, 0] / net[1, 1], net[0, 1] / net[0, 0]])
    gradient = np.zeros((2, 3, 2))
    for k, (pure, into, own) in enumerate(((1, 0, 1), (0, 1, 0))):
        gradient[k, pure, into] = 1.0 / net[pure, own]
        gradient[k, pure, own] = -factors[k] / net[pure, own]
        gradient[k, 2, into], gradient[k, 2, own] = -gradient[k, pure, into], -gradient[k, pure, own]
    return factors, np.einsum("aij,ij,bij->ab", gradient, variance, gradient)


def _judge_counts(measured: Measurement, nuclides: tuple[Nuclide, Nuclide]) -> tuple[list[str], list[str]]:
    """Reasons to refuse and to doubt the counts themselves."""
    refusals, doubts = [], []
    rate = measured.counts / measured.live_s[:, None]
    for k, known in enumerate(nuclides):
        net = float((rate[k, k] - rate[2, k]) * measured.live_s[k])
        if net < FEWEST_NET_COUNTS:
            refusals.append(
                f"{known.name}: {net:.0f} net counts in its own window; at least {FEWEST_NET_COUNTS:.0f} are needed"
            )
    if rate.max() > FAST_CPS:
        doubts.append(
            f"{rate.max():.0f} cps: dead time bends the factors; use a weaker source or more distance"
        )
    return refusals, doubts


def _judge(found: Crosstalk, rate: Array, variance: Array) -> tuple[list[str], list[str]]:
    """Reasons to refuse and to doubt the factors."""
    refusals, doubts = [], []
    sd = np.sqrt(np.diag(found.covariance))
    words = (
        f"{found.other.name} into the window of {found.main.name}",
        f"{found.main.name} into that of {found.other.name}",
    )
    for k, (factor, error, what) in enumerate(zip(found.factors, sd, words, strict=True)):
        pure, into = (1, 0) if k == 0 else (0, 1)
        net_sd = math.sqrt(variance[pure, into] + variance[2, into])
        if rate[pure, into] - rate[2, into] < -NEGATIVE_SIGMA * net_sd:
            refusals.append(
                f"{what}: fewer counts with the source than without; was the background the same?"
            )
        elif factor < 0.0:
            doubts.append(f"{what}: {factor:.4f} is below zero by chance; taken as measured")
        if error > DOUBTFUL_RELATIVE_SD * abs(factor) and error > NEGLIGIBLE_FACTOR:
            doubts.append(f"{what}: {factor:.3f} is known to {error:.3f} only; count longer")
    if not found.condition <= LARGEST_CONDITION:
        refusals.append(
            f"condition number {found.condition:.1f} is above {LARGEST_CONDITION:g}:"
            " the windows do not tell the two apart"
        )
    return refusals, doubts


def load_crosstalk(path: Path, day: date | None = None) -> Crosstalk:
    """The calibration in crosstalk.json.

    Raises InputError when it is no such file, GateRefusedError when it was altered, refused or is expired on `day`
    (default: today).
    """
    content = read_json(path)
    try:
        if not isinstance(content["checksum"], str) or not isinstance(content["accepted"], bool):
            raise ValueError("checksum or accepted is none")
        require_usable(content, path, day)
        found = content["factors"]
        first, second = ((float(low), float(high)) for low, high in content["windows_kev"])
        return Crosstalk(
            nuclide_by_name(content["nuclide"]),
            nuclide_by_name(content["other_nuclide"]),
            (first, second),
            np.array([float(found["other_into_main"]), float(found["main_into_other"])]),
            np.array(content["covariance"], dtype=np.float64).reshape(2, 2),
            np.array(content["background_cps"], dtype=np.float64).reshape(2),
            reasons=tuple(str(r) for r in content["reasons"]),
            id=str(content.get("id", "unnamed")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        if isinstance(fault, InputError):
            raise
        raise InputError(f"{path}: no crosstalk calibration ({fault!r})") from fault


def _header(
    main: Nuclide, other: Nuclide, windows: tuple[tuple[float, float], tuple[float, float]]
) -> dict[str, Any]:
    return new_head(CROSSTALK, nuclide=main.name) | {
        "other_nuclide": other.name,
        "windows_kev": [list(window) for window in windows],
    }
