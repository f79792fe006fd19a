"""How large the predicted error at a target may be: warned of beyond what is shown, refused beyond what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from navigation.cli.numbers import Finite

# Beyond this a distance to a target is not shown any more ("--"), since nobody could act on it.
SHOWN_MM = 10.0
NO_TARGET = "no target is given: the error there is not predicted (--targets)"

max_error_option = click.option(
    "--max-error",
    "max_error_mm",
    type=Finite(min=0.0, min_open=True),
    metavar="MM",
    help=f"Refuse (exit 3) where the 95 % bound at a target is above this; above {SHOWN_MM:g} it is warned of.",
)


def judge_errors(
    content: dict[str, Any], max_error_mm: float | None, names: Sequence[str] | None
) -> list[str]:
    """Put warnings and reasons to refuse of the bounds at the targets into reg.json's content; returns the reasons."""
    bounds = content["tre_mm"].get("bound95") or []
    told = list(names) if names else [str(n) for n in range(1, len(bounds) + 1)]
    warnings, reasons = [], []
    if not bounds and names is None and "centre" not in content["tre_mm"]:
        warnings.append(NO_TARGET)
    for name, bound in zip(told, bounds, strict=False):
        if bound is None:
            continue
        if max_error_mm is not None and bound > max_error_mm:
            reasons.append(
                f"target {name}: the error may be {bound:.1f} mm (95 %), at most {max_error_mm:g} allowed"
            )
        elif bound > SHOWN_MM:
            warnings.append(
                f"target {name}: the error may be {bound:.1f} mm (95 %): no distance to it is shown"
            )
    content["warnings"] = [*content.get("warnings", ()), *warnings]
    content["reasons"] = [*content.get("reasons", ()), *reasons]
    content["accepted"] = bool(content.get("accepted")) and not reasons
    return reasons
