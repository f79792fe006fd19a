"""Timed counts in lines, out of the published table; without Qt."""

from __future__ import annotations

from typing import Any

# As many as can be read from where one stands.
MOST_COUNTS, MOST_STATEMENTS = 4, 2


def counts_told(table: dict[str, Any]) -> tuple[str, ...]:
    """Lines out of the published table, the newest count first; empty while there is none."""
    counts = [c for c in table.get("counts") or () if isinstance(c, dict)]
    told = [_count(c) for c in reversed(counts[-MOST_COUNTS:])]
    return (*told, *(str(s) for s in (table.get("statements") or ())[-MOST_STATEMENTS:]))


def _count(found: dict[str, Any]) -> str:
    head = f"{found.get('id')} {found.get('label')}"
    if found.get("void") is not None:
        return f"{head}: void"
    if found.get("failed") is not None:
        return f"{head}: no count ({found['failed']})"
    low, high = found.get("rate_ci95_cps") or (None, None)
    rate = found.get("rate_cps")
    if rate is None or high is None or low is None:
        return f"{head}: {'--' if low is None else f'more than {low:.3g}'} cps"
    return f"{head}: {rate:.3g} cps ({low:.3g} to {high:.3g})"
