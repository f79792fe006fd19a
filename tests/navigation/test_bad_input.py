"""Scans from which nothing can be told: a clear refusal, or a result that is "not examined" everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.counter.deadtime import DeadTime
from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from navigation.bed import Bed
from navigation.bedcheck import check_bed
from navigation.cli.main import run
from navigation.io.nrrd import read_nrrd
from navigation.reconstruction import LiveReconstruction
from navigation.reconstruction.setup import ImagingSetup
from tests.navigation.scan_model import (
    PROBE,
    filled,
    flat_surface,
    grid_of,
    raster,
    response,
    setup,
)
from tracking.jsonfile import read_json, write_json
from tracking.sample import Readings
from tracking.scanfolder import TIP_POSES, CountTable, PoseTable, Scan, write_scan

SECONDS = 12.0


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "probe.json"
    write_json(path, calibrate(grid_of(PROBE), nuclide("Tc-99m")))
    return path


@pytest.fixture(scope="module")
def readings() -> Readings:
    return filled(raster(round(10 * SECONDS)), [((0.0, 0.0, -15.0), 100.0)], 0.5, seed=3)


def scan_of(readings: Readings) -> Scan:
    """The readings as a scan folder holds them: poses at 20 Hz, counts at 10 Hz."""
    t = np.arange(0.0, SECONDS, 0.05)
    matrices = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (len(t), 1, 1))
    middle = readings.poses[:, :3, 3]
    matrices[:, :3, 3] = np.stack([np.interp(t, readings.t_s, middle[:, k]) for k in range(3)], axis=1)
    counts = CountTable(readings.t_s + 0.05, readings.counts, readings.live_s)
    return Scan("Tc-99m", None, TIP_POSES, PoseTable(t, matrices), counts, 0.0, 0.0, flat_surface())


Change = Callable[[Scan], Scan]


def of_counts(counts: Callable[[np.ndarray], np.ndarray], **more: object) -> Change:
    return lambda scan: replace(scan, counts=replace(scan.counts, counts=counts(scan.counts.counts)), **more)  # type: ignore[arg-type]


def constant_pose(scan: Scan) -> Scan:
    return replace(
        scan, poses=replace(scan.poses, matrices=np.repeat(scan.poses.matrices[:1], len(scan.poses.t_s), 0))
    )


def far_away(scan: Scan) -> Scan:
    matrices = scan.poses.matrices.copy()
    matrices[:, 0, 3] += 400.0
    return replace(scan, poses=replace(scan.poses, matrices=matrices))


def one_reading(scan: Scan) -> Scan:
    c = scan.counts
    return replace(scan, counts=CountTable(c.t_s[20:21], c.counts[20:21], c.window_s[20:21]))


@pytest.mark.parametrize("command", ["reconstruct", "bed-check"])
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (constant_pose, 2, "repeats one pose throughout"),
        (far_away, 2, "is it in the Reference frame?"),
        (one_reading, 2, "only 1 counting intervals"),
        (
            lambda scan: replace(scan, nuclide="In-111"),
            3,
            "the calibration is for Tc-99m, the scan is In-111",
        ),
    ],
    ids=["constant pose", "outside", "one reading", "other nuclide"],
)
def test_it_is_refused_in_one_line_that_names_file_and_cause(
    command: str,
    change: Change,
    code: int,
    words: str,
    readings: Readings,
    probe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_scan(change(scan_of(readings)), tmp_path / "scan")
    bed = tmp_path / "bed.json"
    write_json(bed, {"points_mm": flat_surface(), "depth_mm": 10.0})
    more = ["--bed", str(bed), "--threshold-kbq", "5"] if command == "bed-check" else []
    line = [command, str(tmp_path / "scan"), "--probe", str(probe), "--out", str(tmp_path / "out"), *more]
    assert run(line) == code
    told = capsys.readouterr().err.strip()
    assert words in told and "\n" not in told
    assert str(tmp_path / "scan") in told or str(probe) in told
    assert not (tmp_path / "out" / "spots.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_counts(np.zeros_like), "only 0 counts in the whole scan"),
        # A true rate of 2,000 cps at a dead time of 1 ms: two thirds of the counts are lost in every interval.
        (of_counts(lambda c: np.full_like(c, 66.0), dead_time_s=1e-3), "saturated throughout"),
    ],
    ids=["no counts", "saturated throughout"],
)
def test_a_detector_that_told_nothing_leaves_a_map_that_is_not_examined(
    change: Change, words: str, readings: Readings, probe: Path, tmp_path: Path
) -> None:
    write_scan(change(scan_of(readings)), tmp_path / "scan")
    out = tmp_path / "out"
    assert run(["reconstruct", str(tmp_path / "scan"), "--probe", str(probe), "--out", str(out)]) == 0
    content = read_json(out / "spots.json")
    assert content["spots"] == [] and any(words in reason for reason in content["reasons"])
    assert not read_nrrd(out / "activity.nrrd").array.any()
    for name in ("relative_sd", "mda", "upper_limit"):
        assert (read_nrrd(out / f"{name}.nrrd").array == -1.0).all(), name


def live(setup_: ImagingSetup, readings: Readings) -> LiveReconstruction:
    reconstruction = LiveReconstruction(setup_)
    reconstruction.add(readings)
    return reconstruction


def test_the_live_map_shows_nothing_either(readings: Readings) -> None:
    shown = live(setup(), replace(readings, counts=np.zeros_like(readings.counts))).update()
    assert shown is not None and not shown.examined.any() and (shown.mda_kbq == -1.0).all()
    counted = live(setup(), readings).update()
    assert counted is not None and counted.examined.any()


def test_no_absence_is_told_of_a_detector_that_was_saturated_throughout(readings: Readings) -> None:
    blind = replace(setup(), dead_time=DeadTime(1e-3))
    reconstruction = live(blind, replace(readings, counts=np.full_like(readings.counts, 66.0)))
    reconstruction.finish()
    assert reconstruction.state is not None
    check = check_bed(reconstruction.state, Bed(flat_surface()[::3], 8.0), 1e6)
    assert check.finding == "not-assessed"
    assert "saturated throughout" in check.statement


@pytest.mark.parametrize(
    "counts",
    [
        lambda c: np.full_like(c, round(float(c.mean()))),
        lambda c: np.round(np.convolve(c, np.ones(20) / 20, "same")),
    ],
    ids=["one value repeated", "smoothed over two seconds"],
)
def test_counts_that_no_counter_tells_are_flagged(
    counts: Callable[[np.ndarray], np.ndarray], readings: Readings
) -> None:
    quiet = filled(replace(readings), [], 0.8, seed=4)
    result = live(setup(), replace(quiet, counts=counts(quiet.counts))).finish()
    assert result.goodness is not None and result.goodness.flagged
    assert any("scatter less than counted events can" in reason for reason in result.reasons)
    honest = live(setup(), quiet).finish()
    assert honest.goodness is not None and not honest.goodness.flagged


def test_a_scan_with_nothing_but_hidden_poses_is_no_map() -> None:
    reconstruction = live(ImagingSetup.create(response(), flat_surface(), "Tc-99m"), Readings.empty())
    assert reconstruction.update() is None and reconstruction.quick_spots() == ()
