"""The report's tables of uncertainty: what each activity's interval is made of, and what was injected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from calibration.physics.budget import Budget, Component, budget_from_json
from navigation.report.document import Block, Heading, Paragraph, Table
from navigation.report.results import CaseReport, ScanReport

BUDGET_HEADER = ("Component", "Type", "Standard uncertainty", "Sensitivity", "Contribution", "From")
BUDGET_WIDTHS = (2.1, 0.65, 1.2, 1.2, 1.35, 2.2)
EXPLAINED = (
    "After JCGM 100 (GUM). All figures are relative standard uncertainties; type A from counted data, type B from "
    "anything else. Contributions add in squares; the interval is the coverage factor times the sum, on the logarithm. "
    "Of a weak focus the counted part of the interval is the likelihood's own and may be longer to one side. "
    "An asterisk marks a figure that is assumed and was not stated for this case."
)


def uncertainty_part(case: CaseReport) -> Iterator[Block]:
    """Budgets of the calibration and of every focus the software stands by; nothing where none is told."""
    tables = [*calibration_tables(case.probe), *(b for s in case.scans for b in focus_tables(s))]
    if tables:
        yield Heading("Uncertainty of the activities")
        yield Paragraph(EXPLAINED, small=True)
        yield from tables


def calibration_tables(probe: dict[str, Any] | None) -> Iterator[Block]:
    """What a kBq rests on before any patient."""
    content = (probe or {}).get("uncertainty_budget")
    if content:
        yield Paragraph("Calibration of the probe, per kBq:")
        yield budget_table(budget_from_json(content, "probe.json"))


def focus_tables(scan: ScanReport) -> Iterator[Block]:
    """One table for each focus."""
    for spot in scan.accepted_spots:
        if spot.budget is not None:
            yield Paragraph(f"{scan.name}, focus {spot.id}:")
            yield budget_table(spot.budget)


def budget_table(budget: Budget) -> Table:
    """The components, largest first, and their sum."""
    rows = [_row(c) for c in sorted(budget.components, key=lambda c: -c.contribution)]
    expanded = budget.coverage_factor * budget.relative_sd
    total = (
        "Combined",
        "",
        "",
        "",
        _percent(budget.relative_sd),
        f"expanded to 95 %: {_percent(expanded)} (k = {budget.coverage_factor:.2f})",
    )
    return Table(BUDGET_HEADER, (*rows, total), BUDGET_WIDTHS)


def injection_rows(scan: ScanReport) -> Iterator[tuple[str, str]]:
    """What was given to the patient, as rows of item and value; none where the case does not tell."""
    given = scan.info.get("injection")
    if not given:
        return
    sd = float(given["relative_sd_at_reference_time"])
    yield "Injected", f"{float(given['injected_mbq']):.4g} MBq at {given['injection_time']}"
    yield (
        "Assay of the syringe",
        f"{given['assay_time']}, {given.get('calibrator') or 'calibrator not stated'}",
    )
    yield (
        "Left of it at the reference time",
        f"{float(given['injected_at_reference_time_kbq']) / 1000.0:.4g} MBq by decay alone, known to {_percent(sd)}",
    )


def _row(component: Component) -> tuple[str, ...]:
    return (
        component.name + ("*" if component.assumed else ""),
        component.kind,
        _percent(component.relative_sd),
        f"{component.sensitivity:.2g}",
        _percent(component.contribution),
        component.source,
    )


def _percent(share: float) -> str:
    return f"{100.0 * share:.2g} %" if share < 0.0995 else f"{100.0 * share:.0f} %"
