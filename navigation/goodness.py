"""Does the model of a scan fit its counts: several tests of the joint fit's residuals, combined at one level.

Counts are redrawn from the fit, with the errors that a good calibration has, and every statistic is taken of those
draws too: what no sound scan shows is flagged, and the test that shows it most says what is likely wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from navigation.breathing import NAME as BREATHING
from navigation.breathing import Oscillation
from navigation.lagscore import LONGEST_STEP_S
from navigation.modelerror import Linear, linearised
from navigation.modelfit import NEVER_SEEN, UNTESTED, Breathing, Goodness
from navigation.pointlayer import JointFit, Problem
from navigation.residualtests import Test, lay_words, residual_tests
from navigation.volume import ScanResult, Spot

Array = NDArray[np.float64]

# Share of sound scans that may be flagged: two fifths of what is allowed, the rest is for what nobody modelled.
LEVEL = 0.02
# Redrawn scans: the smallest p that can be told is a thousandth.
REPLICATES, SEED = 999, 20260117
# A cause is named where its own test is beyond so many standard deviations.
NAMED_SIGMA = 2.5
# Counts are too even below this share of the least scatter of some redrawn scans; where the counter loses a
# larger share than that to its dead time, less scatter is its own.
EVEN_SHARE, EVEN_LOSS, EVEN_REPLICATES = 0.8, 0.1, 200
# A scan whose own test of breathing is as rare as this among sound ones may breathe: it is followed, and not flagged.
MAYBE = 0.05
# Fewer readings, or fewer counts, tell nothing about the model.
FEWEST_READINGS, FEWEST_COUNTS = 15, 100.0
# What is said of a focus that a broken model may have made.
SCATTER = "this scan's misfit alone could make it: a hint, not a finding"
# What counts of long intervals cannot show.
SLOW = "counts this slow do not show a wrong count latency"


def assess(
    problem: Problem,
    fit: JointFit,
    precision: Array,
    surface_mm: Array | None = None,
    followed: Breathing | None = None,
) -> Goodness:
    """The whole scan against its joint fit; `precision` (q,) is the background's prior, `surface_mm` (k, 3) touched.

    `followed`: the breathing that the readings were freed from. A function of its arguments alone: the seed is fixed.
    Raises InputError for a surface that is a line or a point.
    """
    lay = None if surface_mm is None else lay_words(problem, surface_mm)
    contradicted = () if lay is None else (lay,)
    if len(problem.decay) < FEWEST_READINGS or float(problem.data.counts.sum()) < FEWEST_COUNTS:
        unseen = (UNTESTED, NEVER_SEEN)
        return Goodness(None, 0.0, lay is not None, contradicted, (), unseen)
    linear = linearised(problem, fit, precision)
    residuals = linear.remainder(np.column_stack([linear.residual, linear.draws(REPLICATES, SEED)]))
    own, swinging = residuals[:, 0], Oscillation(problem, fit, linear)
    tests = [*residual_tests(problem, fit, linear, own), *swinging.tests(own)]
    values = np.stack([test.of(residuals) for test in tests])
    p, statistic, each = combined(values)
    likely = _likely(tests, values, each) if p <= LEVEL else None
    if followed is not None and swinging.scores:
        return _followed(p, statistic, tests, each, swinging.beside(own, followed), contradicted)
    cause = (_words(likely),) if p <= LEVEL else ()
    told = (*cause, *contradicted, *_too_even(problem, linear, own))
    return Goodness(
        p,
        statistic,
        bool(told),
        told,
        tuple((t.name, float(v)) for t, v in zip(tests, _probabilities(each), strict=True)),
        (*_unseen(problem, fit, tests), NEVER_SEEN),
        _breathing(tests, values, each, swinging, own, likely),
    )


def _breathing(
    tests: list[Test], values: Array, each: Array, swinging: Oscillation, own: Array, likely: Test | None
) -> Breathing | None:
    """What may breathe: surely, where that is what flags the scan, and perhaps, where its own test is rare.

    Perhaps only where no other cause explains more: a hand that goes to and fro makes a wrong latency swing, too.
    """
    if likely is not None and likely.name == BREATHING:
        return swinging.told(own)
    rare = dict(zip((t.name for t in tests), _probabilities(each), strict=True)).get(BREATHING, 1.0)
    best = _likely(tests, values, each, least_sigma=-np.inf)
    if rare > MAYBE or likely is not None or best is None or best.name != BREATHING:
        return None
    return replace(swinging.told(own), sure=False)


def _followed(
    p: float,
    statistic: float,
    tests: list[Test],
    each: Array,
    breathing: Breathing,
    contradicted: tuple[str, ...],
) -> Goodness:
    """Of a scan that was freed from its breathing: flagged still where that is sure, for the target moves."""
    told = tuple((t.name, float(v)) for t, v in zip(tests, _probabilities(each), strict=True))
    worse = () if p > LEVEL else ("beside the breathing the model does not fit these counts",)
    flagged = breathing.sure or bool(worse) or bool(contradicted)
    words = (*([breathing.words] if flagged else []), *worse, *contradicted)
    return Goodness(p, statistic, flagged, words, told, (NEVER_SEEN,), breathing)


def combined(values: Array) -> tuple[float, float, Array]:
    """Of statistics (t, 1 + draws), the scan's own first, the probability of the largest, that, and all of them.

    The last two are standardised.
    """
    each = standardised(values)
    largest = each.max(axis=0)
    return float(np.mean(largest >= largest[0])), float(largest[0]), each


def standardised(values: Array) -> Array:
    """Statistics (t, 1 + draws) that are sums of squares, made nearly normal by their cube roots.

    Wilson and Hilferty 1931, DOI 10.1073/pnas.17.12.684; centre and spread are those of the draws.
    """
    root = np.cbrt(values)
    centre, spread = root[:, 1:].mean(axis=1), root[:, 1:].std(axis=1)
    result: Array = (root - centre[:, None]) / np.maximum(spread, 1e-12)[:, None]
    return result


def _probabilities(each: Array) -> Array:
    """(t,): how often a test is as large in the redrawn scans, the scan itself among them."""
    result: Array = (each >= each[:, :1]).mean(axis=1)
    return result


def _likely(tests: list[Test], values: Array, each: Array, least_sigma: float = NAMED_SIGMA) -> Test | None:
    """The cause that explains most: twice the log-likelihood that it would gain, beyond what chance gives it."""
    gain = (values[:, 0] - values[:, 1:].mean(axis=1)) * np.array([t.credit for t in tests])
    named = [i for i, t in enumerate(tests) if t.words is not None and each[i, 0] >= least_sigma]
    best = max(named, key=lambda i: float(gain[i]), default=None)
    return None if best is None else tests[best]


def _words(likely: Test | None) -> str:
    return "the model does not fit these counts" if likely is None or likely.words is None else likely.words()


def _too_even(problem: Problem, linear: Linear, own: Array) -> tuple[str, ...]:
    """Counts that scatter less than events can were smoothed or repeated by whoever told them.

    Less than counting alone makes them: a tracker or a calibration better than assumed is no fault.
    """
    if problem.data.dead_time.tau_s * float(np.max(problem.data.counts / problem.data.live_s)) > EVEN_LOSS:
        return ()
    drawn = linear.remainder(linear.counted(EVEN_REPLICATES, SEED))
    if own @ own >= EVEN_SHARE * float(np.einsum("nb,nb->b", drawn, drawn).min()):
        return ()
    return ("the counts scatter less than counted events can: are they smoothed, or one value repeated?",)


def _quality(spot: Spot, needed: float) -> str:
    if spot.significance < needed:
        return "unusable"
    return "limited" if spot.quality == "ok" else spot.quality


def _unseen(problem: Problem, fit: JointFit, tests: list[Test]) -> tuple[str, ...]:
    if not fit.sources:
        return ("without a focus neither a wrong latency nor a patient who moved would show",)
    slow = float(np.median(np.diff(problem.readings.t_s))) > LONGEST_STEP_S
    return (*(t.unseen for t in tests if t.unseen is not None), *((SLOW,) if slow else ()))


def judged(result: ScanResult, goodness: Goodness, needed: float = 0.0) -> ScanResult:
    """The result with what the fit says of it: where the model is flagged, no spot is better than limited.

    A target that breathes is as uncertain as it moves. A focus below the significance `needed`, which is that of a
    finding among counts that scatter as these do about the model, is no finding.
    """
    if not goodness.flagged:
        return replace(result, spots=_perhaps_moving(result.spots, goodness.breathing), goodness=goodness)
    moving = np.zeros((3, 3)) if goodness.breathing is None else goodness.breathing.covariance_mm2
    spots = tuple(
        replace(
            s,
            covariance_mm2=s.covariance_mm2 + moving,
            quality=_quality(s, needed),
            reasons=(*s.reasons, *goodness.reasons, *(() if s.significance >= needed else (SCATTER,))),
        )
        for s in result.spots
    )
    return replace(result, spots=spots, reasons=(*result.reasons, *goodness.reasons), goodness=goodness)


def _perhaps_moving(spots: tuple[Spot, ...], breathing: Breathing | None) -> tuple[Spot, ...]:
    """Foci of a scan that may breathe: as uncertain as that leaves them, and told."""
    if breathing is None:
        return spots
    return tuple(
        replace(
            s,
            covariance_mm2=s.covariance_mm2 + breathing.covariance_mm2,
            reasons=(*s.reasons, breathing.words),
        )
        for s in spots
    )
