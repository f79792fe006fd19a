"""Timed counts in words: what a count says of a place, what it leaves open, and how long a count would have to be.

A ratio is a ratio. Whether a place holds disease is nothing that a count can say, and none of these sentences does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from navigation.timed.compare import (
    ABOVE,
    BELOW,
    OPEN,
    RATIO_1_5,
    RATIO_2,
    THREE_SIGMA,
    Pair,
    Rule,
    Told,
    background_of,
    pairs_of,
)
from navigation.timed.count import BACKGROUND, BED, LONGEST_S, TimedCount, usable
from navigation.timed.exact import rate_of
from navigation.timed.planning import Plan
from navigation.timed.sentinel import Nodes, Share, nodes_of

RULE_NAMES = {RATIO_1_5: "1.5:1", RATIO_2: "2:1", THREE_SIGMA: "3 sigma"}
NO_BACKGROUND = "no background to compare with: no ratio, and no rule that needs one"
# Below it a p-value is told as smaller: more digits say nothing.
SMALLEST_P = 1e-4
# Ratios from here on need no decimal.
LARGE = 100.0
GROSS = (
    "10 % rule: no background is subtracted. The intervals hold whichever specimen is the hottest. Below 10 % a bed "
    "meets the rule, from 10 % on a specimen does. The rule knows nothing of nodes that take up no tracer."
)


def count_sentence(count: TimedCount) -> str:
    """One count: its counts, rate and interval, or why it is none."""
    head = f"{count.id} {count.label}"
    if count.void is not None:
        return f"{head}: void ({count.void}{f', {count.void_by}' if count.void_by else ''})"
    if count.failed is not None:
        return f"{head}: no count ({count.failed})"
    marks = f"; {'; '.join(count.marks)}" if count.marks else ""
    return f"{head}: {count.counts:.0f} counts in {count.window_s:.1f} s, {rate_words(count)}{marks}"


def rate_words(count: TimedCount) -> str:
    """The rate at the reference time with its interval."""
    rate = rate_of(count)
    least = figure(rate.low_cps)
    if rate.high_cps is None or rate.cps is None:
        return f"more than {least} cps"
    return f"{figure(rate.cps)} cps (95 % {least} to {figure(rate.high_cps)})"


def pair_sentence(pair: Pair) -> str:
    """One ratio, the rules, and what is open."""
    found = pair.ratio
    name = f"{pair.first.label} over {pair.background.label}"
    head = (
        f"{name}: {ratio_words(found.value, found.low, found.high)}, p {equals(p_words(found.p_different))}"
    )
    rules = ", ".join(f"{RULE_NAMES[rule]} {rule_word(pair.rules[rule])}" for rule in RULE_NAMES)
    open_ones = [f"{name}: {open_words(told)}" for name, told in open_rules(pair).items()]
    equal = pair.told["ratio_1"]
    if equal.state == OPEN:
        open_ones.insert(0, f"not told apart from the background at this count: {plan_words(equal.plan)}")
    return f"{head}; rules: {rules}{''.join(f'; {words}' for words in open_ones)}"


def open_rules(pair: Pair) -> dict[str, Told]:
    """Ratios of the rules that this count leaves open, by name."""
    return {RULE_NAMES[n]: t for n, t in pair.told.items() if n in RULE_NAMES and t.state == OPEN}


def open_words(told: Told) -> str:
    """That a threshold is left open, and the count that would tell."""
    return f"not decided at this count, {plan_words(told.plan)}"


def plan_words(plan: Plan | None) -> str:
    """The count that would decide."""
    if plan is None:
        return f"no count of up to {LONGEST_S:.0f} s would decide"
    both = ", both of them" if plan.both else ""
    return f"{plan.more_s:.0f} more seconds would decide (count {plan.seconds:.0f} s anew{both})"


def node_sentences(nodes: Nodes) -> list[str]:
    """The 10 % rule: the hottest, then every other specimen and the bed."""
    hottest = nodes.hottest
    rivals = ", ".join(s.label for s in nodes.rivals)
    doubt = f"; not told apart from it at this count: {rivals}" if rivals else ""
    return [
        f"hottest ex vivo: {hottest.label}, {rate_words(hottest)}{doubt}",
        *(share_sentence(share, hottest) for share in nodes.shares),
    ]


def share_sentence(share: Share, hottest: TimedCount) -> str:
    """One count against a tenth of the hottest."""
    counted = f"as counted 10 % {rule_word(share.rule)}"
    return f"{share.count.label} against {hottest.label}: {share_words(share)}; {counted}; {share_verdict(share)}"


def share_words(share: Share) -> str:
    """The share in per cent, with its interval."""
    if share.high is None:
        return f"more than {figure(100.0 * share.low)} % (95 %)" if share.low > 0.0 else "not known"
    if share.value is None:
        return f"less than {figure(100.0 * share.high)} % (95 %)"
    low, high = figure(100.0 * share.low), figure(100.0 * share.high)
    return f"{figure(100.0 * share.value)} % (95 % {low} to {high} %)"


def share_verdict(share: Share) -> str:
    """The 10 % rule in words: of a bed it is met below a tenth, of a specimen from a tenth on."""
    if share.state == OPEN:
        return f"10 % rule not decided at this count; {plan_words(share.plan)}"
    met = (share.state == BELOW) == (share.count.kind == BED)
    where = "10 % or more" if share.state == ABOVE else "below 10 %"
    return f"10 % rule {'met' if met else 'not met'} ({where})"


def sentences(counts: Iterable[TimedCount]) -> list[str]:
    """Everything that the counts say: ratios, then the 10 % rule."""
    every = list(counts)
    found = [pair_sentence(pair) for pair in pairs_of(every)]
    alone = without_background(every)
    if alone:
        found.append(f"{', '.join(c.label for c in alone)}: {NO_BACKGROUND}")
    nodes = nodes_of(every)
    return [*found, *([] if nodes is None else node_sentences(nodes))]


def without_background(counts: Sequence[TimedCount]) -> list[TimedCount]:
    """Usable counts that are compared with nothing."""
    return [c for c in usable(counts) if c.kind != BACKGROUND and background_of(c, counts) is None]


def ratio_words(value: float | None, low: float, high: float | None) -> str:
    """A ratio with its interval; a bound that is not known is said to be none."""
    if high is None:
        return f"more than {figure(low)} (95 %)" if low > 0.0 else "ratio not known"
    if value is None:
        return f"less than {figure(high)} (95 %)"
    return f"{figure(value)} (95 % {figure(low)} to {figure(high)})"


def rule_word(rule: Rule) -> str:
    """Whether a rule's threshold is exceeded."""
    return "open" if rule is None else "exceeded" if rule else "not exceeded"


def p_words(p: float) -> str:
    """A p-value as it is printed."""
    return f"{p:.2g}" if p >= SMALLEST_P else f"< {SMALLEST_P:g}"


def equals(figure_words: str) -> str:
    """Behind the name of a figure in running text."""
    return figure_words if figure_words.startswith("<") else f"= {figure_words}"


def figure(value: float) -> str:
    """Three digits at most."""
    return f"{value:.0f}" if value >= LARGE else f"{value:.3g}"
