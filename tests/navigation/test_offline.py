"""A scan from its folder: which latency is taken, what is impossible, what was decayed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from navigation.cli.main import run
from navigation.offline import ScanOptions, decay_between, latency_prior, reconstruct_scan
from tests.navigation.scan_model import PROBE, filled, flat_surface, grid_of, raster, response
from tracking.errors import InputError
from tracking.scanfolder import CountTable, PoseTable, Scan, read_scan, write_scan

REFERENCE = "2026-01-01T10:00:00Z"


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """scan/ and probe.json of one focus."""
    readings = filled(raster(300), [((6.0, -4.0, -18.0), 80.0)], 0.4, seed=1)
    scan = Scan(
        "Tc-99m",
        REFERENCE,
        "ProbeTipToReference",
        PoseTable(readings.t_s, readings.poses),
        CountTable(readings.t_s + 0.05, readings.counts, readings.live_s),
        count_latency_s=0.0,
        surface_mm=flat_surface(),
        source=tmp_path / "scan",
    )
    write_scan(scan, tmp_path / "scan")
    (tmp_path / "probe.json").write_text(json.dumps(calibrate(grid_of(PROBE), nuclide("Tc-99m"))))
    return tmp_path


def rewritten(folder: Path, **changes: object) -> None:
    head = json.loads((folder / "scan.json").read_text()) | changes
    (folder / "scan.json").write_text(json.dumps({k: v for k, v in head.items() if v is not None}))


def test_the_command_writes_what_the_contract_names(case: Path) -> None:
    out = case / "out"
    assert (
        run(["reconstruct", str(case / "scan"), "--probe", str(case / "probe.json"), "--out", str(out)]) == 0
    )
    content = json.loads((out / "spots.json").read_text())
    assert {"spots", "background_kbq_per_ml", "count_latency_s", "samples", "nuclide"} <= set(content)
    assert content["samples"]["total"] == content["samples"]["placed"] + content["samples"]["unplaced"]
    spot = content["spots"][0]
    assert np.linalg.eigvalsh(np.array(spot["covariance_mm2"])).min() > 0
    assert all((out / name).is_file() for name in ("activity.nrrd", "relative_sd.nrrd", "mda.nrrd"))


def test_latency_comes_from_the_first_that_knows_it(case: Path) -> None:
    scan = read_scan(case / "scan")
    named = case / "latency.json"
    named.write_text(json.dumps({"count_latency_s": 0.2, "ci95_s": [0.16, 0.24]}))
    assert latency_prior(scan, response(), named).latency_s == 0.2
    assert latency_prior(scan, response(), None).measured
    untold = replace(scan, count_latency_s=None)
    known = replace(response(), count_latency_s=0.11)
    assert latency_prior(untold, known, None).latency_s == 0.11
    prior = latency_prior(untold, replace(known, count_latency_ci95_s=(0.11 - 0.0196, 0.11 + 0.0196)), None)
    assert prior.sd_s == pytest.approx(0.01)
    assert not latency_prior(untold, response(), None).measured


@pytest.mark.parametrize("interval", [[0.1], "ab", [None, 0.2], [0.3, 0.1], [-1.0, 2.0]])
def test_a_malformed_latency_is_one_line(case: Path, interval: object) -> None:
    named = case / "latency.json"
    named.write_text(json.dumps({"count_latency_s": 0.1, "ci95_s": interval}))
    with pytest.raises(InputError, match=r"latency\.json: ci95_s"):
        latency_prior(read_scan(case / "scan"), response(), named)


def test_more_counts_than_the_dead_time_allows_are_refused(case: Path) -> None:
    rewritten(case / "scan", dead_time_s=1.0)
    with pytest.raises(InputError, match="impossible with a dead time"):
        reconstruct_scan(case / "scan", case / "probe.json", ScanOptions())


def test_activities_decay_between_the_reference_times(case: Path) -> None:
    other = case / "later"
    write_scan(replace(read_scan(case / "scan"), reference_time="2026-01-01T16:00:25Z"), other)
    # 6.007 h is one half-life of Tc-99m.
    assert decay_between(case / "scan", other) == pytest.approx(0.5, rel=1e-3)
    assert decay_between(other, case / "scan") == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--threshold-kbq", "nan"], 2),
        (["--threshold-kbq", "4", "--confidence", "nan"], 2),
        (["--threshold-kbq", "4", "--latency", "missing.json"], 2),
    ],
)
def test_bad_options_end_in_one_line(
    case: Path, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bed = case / "bed.json"
    bed.write_text(json.dumps({"points_mm": flat_surface()[:20].tolist(), "depth_mm": 5.0}))
    base = ["bed-check", str(case / "scan"), "--probe", str(case / "probe.json"), "--bed", str(bed)]
    assert run([*base, "--out", str(case / "out"), *arguments]) == code
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (case / "out").exists()
