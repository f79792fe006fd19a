"""What the report says of timed counts: counts, ratios with the usual rules, the 10 % rule, and what is open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from navigation.report.document import Block, Heading, Items, Paragraph, Table
from navigation.report.results import CaseReport
from navigation.timed.compare import OPEN, RULES, Pair, pairs_of
from navigation.timed.count import TimedCount
from navigation.timed.sentinel import Nodes, nodes_of
from navigation.timed.words import (
    GROSS,
    NO_BACKGROUND,
    RULE_NAMES,
    open_rules,
    open_words,
    p_words,
    plan_words,
    rate_words,
    ratio_words,
    rule_word,
    share_verdict,
    share_words,
    without_background,
)

COUNT_HEADER = ("No.", "Count", "Counts", "Live time", "Rate (95 % interval)", "Remarks")
COUNT_WIDTHS = (0.4, 1.5, 0.8, 0.8, 1.9, 2.6)
PAIR_HEADER = ("Count", "Background", "Ratio (95 % interval)", "p", *(RULE_NAMES[rule] for rule in RULES))
PAIR_WIDTHS = (1.6, 1.6, 1.7, 0.8, 0.9, 0.9, 0.9)
SHARE_HEADER = ("Count", "Share of the hottest (95 % interval)", "10 % as counted", "10 % rule")
SHARE_WIDTHS = (1.6, 2.2, 1.1, 3.2)
BASIS = (
    "Rates at the reference time, corrected for dead time; intervals and p-values are exact. The rules are applied to "
    "the rates as they are. A count is of what lies before the probe where it was held, and of no other place. A ratio "
    "says how counts compare: what tissue holds is for histology to say."
)


def counts_part(case: CaseReport) -> Iterator[Block]:
    """The section; nothing for a case without timed counts."""
    counts = case.timed
    if not counts:
        return
    yield Heading("Timed counts")
    if not case.scans:
        yield Paragraph("No scan was analysed in this case: nothing here is placed.")
    yield Table(COUNT_HEADER, tuple(count_row(c) for c in counts), COUNT_WIDTHS)
    yield from _pairs(counts)
    nodes = nodes_of(counts)
    if nodes is not None:
        yield from _nodes(nodes)
    yield Paragraph(BASIS, small=True)


def _pairs(counts: Sequence[TimedCount]) -> Iterator[Block]:
    pairs = pairs_of(counts)
    if pairs:
        yield Table(PAIR_HEADER, tuple(pair_row(p) for p in pairs), PAIR_WIDTHS)
        open_ones = tuple(sentence for pair in pairs for sentence in open_sentences(pair))
        if open_ones:
            yield Items(open_ones)
    if alone := without_background(counts):
        yield Paragraph(f"{', '.join(c.label for c in alone)}: {NO_BACKGROUND}.")


def _nodes(nodes: Nodes) -> Iterator[Block]:
    rivals = ", ".join(s.label for s in nodes.rivals)
    doubt = f" Not told apart from it at this count: {rivals}." if rivals else ""
    yield Paragraph(f"Hottest ex vivo: {nodes.hottest.label}, {rate_words(nodes.hottest)}.{doubt}")
    if nodes.shares:
        rows = tuple(
            (s.count.label, share_words(s), rule_word(s.rule), share_verdict(s)) for s in nodes.shares
        )
        yield Table(SHARE_HEADER, rows, SHARE_WIDTHS)
        yield Paragraph(GROSS, small=True)


def count_row(count: TimedCount) -> tuple[str, ...]:
    """One count; one that is void or failed says so in its remarks."""
    by = f", {count.void_by}" if count.void_by else ""
    void = () if count.void is None else (f"VOID: {count.void}{by}",)
    failed = () if count.failed is None else (f"no count: {count.failed}",)
    rate = rate_words(count) if count.usable else "–"
    remarks = "; ".join((*void, *failed, *count.marks))
    return (str(count.id), count.label, f"{count.counts:.0f}", f"{count.window_s:.1f} s", rate, remarks)


def pair_row(pair: Pair) -> tuple[str, ...]:
    """One ratio with the rules."""
    ratio = pair.ratio
    return (
        f"{pair.first.id} {pair.first.label}",
        f"{pair.background.id} {pair.background.label}",
        ratio_words(ratio.value, ratio.low, ratio.high),
        p_words(ratio.p_different),
        *(rule_word(pair.rules[rule]) for rule in RULES),
    )


def open_sentences(pair: Pair) -> Iterator[str]:
    """What this count leaves open, and the count that would tell."""
    name = f"{pair.first.id} {pair.first.label}"
    equal = pair.told["ratio_1"]
    if equal.state == OPEN:
        yield f"{name} is not told apart from the background at this count: {plan_words(equal.plan)}."
    for rule, told in open_rules(pair).items():
        yield f"{name}, {rule}: {open_words(told)}."
