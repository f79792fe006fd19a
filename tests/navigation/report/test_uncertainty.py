"""The report prints budgets and shares of the injected, in the page and in the PDF, and refuses broken ones."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from calibration.physics.budget import Budget, Component
from calibration.physics.injection import injection_of
from calibration.physics.nuclide import nuclide
from navigation.report import write_report
from navigation.report.content import document
from navigation.report.document import Table
from navigation.report.results import read_case
from tests.navigation.case_folder import dump, write_case
from tests.navigation.report.test_report import words
from tracking.errors import InputError

BUDGET = Budget.of(
    [
        Component("counting, with the background", "A", 0.06, "joint fit", distribution="Poisson"),
        Component("attenuation and surface", "B", 0.04, "density", assumed=True),
        Component("scatter in tissue", "B", 0.25, "calibration p-7", sensitivity=0.12),
    ]
)


def told(folder: Path, **changes: Any) -> Path:
    """A case whose one focus has a budget and whose injection is known."""
    write_case(folder, second=False)
    path = folder / "scan-1" / "spots.json"
    content = json.loads(path.read_text())
    given = injection_of(
        {"activity": 80, "assay_time": "2026-01-01T08:00:00Z", "injection_time": "2026-01-01T09:00:00Z"},
        "case",
    ).given(nuclide("Tc-99m"), datetime(2026, 1, 1, 10, tzinfo=UTC))
    spot = content["spots"][0]
    spot |= {
        "uncertainty_budget": BUDGET.to_json(),
        "percent_injected": given.percent(spot["activity_kbq"]),
        "percent_injected_ci95": list(
            given.percent_interval(spot["activity_kbq"], tuple(spot["activity_ci95_kbq"]))
        ),
    } | changes
    content["injection"] = given.to_json()
    dump(path, content)
    probe = json.loads((folder / "probe.json").read_text())
    dump(folder / "probe.json", probe | {"uncertainty_budget": BUDGET.to_json()})
    return folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = told(tmp_path_factory.mktemp("told"))
    write_report(folder)
    return folder


def test_the_page_prints_every_component_and_their_sum(case: Path) -> None:
    said = words(case / "report.html")
    # sqrt(0.06^2 + 0.04^2 + 0.03^2) = 7.8 %; 1.96 times it is 15 %.
    assert "Uncertainty of the activities" in said
    assert "counting, with the background A 6 % 1 6 % joint fit" in said
    assert "attenuation and surface* B 4 % 1 4 % density" in said
    assert "scatter in tissue B 25 % 0.12 3 % calibration p-7" in said
    assert "Combined 7.8 % expanded to 95 %: 15 % (k = 1.96)" in said
    # Once for the calibration, once for the focus.
    assert said.count("Combined 7.8 %") == 2


def test_the_page_prints_shares_of_the_injected(case: Path) -> None:
    said = words(case / "report.html")
    # 92 kBq of 80 MBq less two hours of 6.007 h: 63.5 MBq; 0.145 %.
    assert re.search(r"92 kBq \(71 to 118 kBq\); 0\.14 % of the injected \(0\.11 to 0\.19\)", said)
    assert "71.28 MBq at 2026-01-01T09:00:00+00:00" in said
    assert "calibrator not stated" in said and "63.51 MBq by decay alone, known to 2.5 %" in said


def test_the_pdf_is_made_of_the_same_tables(case: Path) -> None:
    tables = [b for b in document(read_case(case), {}).blocks if isinstance(b, Table)]
    budgets = [t for t in tables if t.header[0] == "Component"]
    assert [len(t.rows) for t in budgets] == [4, 4]
    assert all(row[-1][0] == "Combined" for row in (t.rows for t in budgets))
    assert (case / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_a_case_without_them_has_no_such_section(tmp_path: Path) -> None:
    write_case(tmp_path, second=False)
    said = repr(document(read_case(tmp_path), {}))
    assert "Uncertainty of the activities" not in said and "of the injected" not in said
    assert "Probe calibration" in said


@pytest.mark.parametrize(
    "change", [{"uncertainty_budget": {"components": [1]}}, {"percent_injected_ci95": None}]
)
def test_a_broken_budget_or_share_is_named_with_its_file(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = told(tmp_path, **change)
    with pytest.raises(InputError, match=re.escape(str(folder / "scan-1" / "spots.json"))):
        write_report(tmp_path / "out", folder)
