"""Timed counts in the measurement report: each with its rate and interval, and the sentences that compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from navigation.dicomresults.common import Context
from navigation.dicomresults.groups import COUNTS, CPS, ONE, SECONDS, Subject, comment, figure, group
from navigation.dicomresults.uids import derived_uid
from navigation.timed.count import TimedCount
from navigation.timed.exact import rate_of
from navigation.timed.words import sentences

if TYPE_CHECKING:
    from navigation.dicomresults.groups import Group


def count_group(count: TimedCount, context: Context) -> Group:
    """One count; where the probe was is left to the record, since the reference may have moved since."""
    count = _named(count, context)
    rate = rate_of(count) if count.usable else None
    figures = [
        figure("counts", count.counts, COUNTS),
        figure("live-time", count.window_s, SECONDS),
        figure("ready-time", count.live_s, SECONDS),
        figure("decay", count.decay, ONE),
        figure("rate", None if rate is None else rate.cps, CPS),
        figure("rate-low", None if rate is None else rate.low_cps, CPS),
        figure("rate-high", None if rate is None else rate.high_cps, CPS),
    ]
    uid = derived_uid("tracking", context.identity.study_uid, f"count {count.id}")
    subject = Subject("timed-count", f"Count {count.id}, {count.label}", uid)
    return group(subject, figures, context, sentences=[comment(text) for text in _remarks(count)])


def _remarks(count: TimedCount) -> Iterator[str]:
    if count.void is not None:
        yield f"VOID: {count.void}"
    if count.failed is not None:
        yield f"No count: {count.failed}"
    if count.saturated:
        yield "Saturated: a lower bound only."
    yield from count.marks


def count_sentences(counts: Sequence[TimedCount], context: Context) -> Iterator[str]:
    """What the counts say of each other, as the report has it."""
    yield from sentences([_named(c, context) for c in counts])


def _named(count: TimedCount, context: Context) -> TimedCount:
    """The same with what somebody typed as it may leave."""
    void = None if count.void is None else context.identity.text(count.void)
    return replace(count, name=context.identity.text(count.name), void=void, void_by="")
