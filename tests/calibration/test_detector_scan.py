"""Detector centre, axis and count latency from a sweep: recovered, with honest errors, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from calibration.probe.detectorscan import Source, calibrate_sweep
from calibration.probe.response import checksum, load_response
from calibration.probe.sweepfit import tilted
from navigation.cli.main import run
from tests.navigation.scan_model import PROBE, grid_of
from tracking.errors import GateRefusedError, InputError
from tracking.scanfolder import MARKER_POSES, TIP_POSES, CountTable, PoseTable, Scan, readings_of, write_scan
from tracking.tip import frame_along

SOURCE = np.array([72.0, -12.0, 124.0])
LATENCY_S, DEAD_TIME_S, ACTIVITY_KBQ = 0.12, 1e-5, 300.0
NOMINAL = frame_along(
    [11.0, -14.0, 133.0], np.array([0.02, 0.06, 0.998]) / np.linalg.norm([0.02, 0.06, 0.998])
)
TILT_RAD, SHIFT_MM = np.deg2rad([2.0, -1.5]), np.array([2.0, -1.2, 0.8])
PROBE_JSON = Path("probe.json")


def true_tip() -> np.ndarray:
    """The detector's real frame in the marker's: the nominal one, tilted about its X and Y, then moved."""
    correction = np.eye(4)
    correction[:3, :3] = tilted(TILT_RAD)
    correction[:3, 3] = correction[:3, :3] @ SHIFT_MM
    return NOMINAL @ correction


def source_from_tip(t: np.ndarray) -> np.ndarray:
    """(n, 3): the source swings +-20 mm across the probe's view, 14 to 46 mm in front of it."""
    return np.stack([20 * np.sin(1.9 * t), 18 * np.sin(1.3 * t + 1.0), 30 + 16 * np.sin(0.31 * t)], axis=1)


def tip_in_reference(t: np.ndarray) -> np.ndarray:
    """(n, 4, 4): the probe leans up to 30 degrees while it moves."""
    lean = np.stack([0.5 * np.sin(0.41 * t), 0.5 * np.cos(0.53 * t)], axis=1)
    poses = np.tile(np.eye(4), (len(t), 1, 1))
    poses[:, :3, :3] = [np.diag([1.0, -1.0, -1.0]) @ tilted(v) for v in lean]
    poses[:, :3, 3] = SOURCE - np.einsum("nij,nj->ni", poses[:, :3, :3], source_from_tip(t))
    return poses


def sweep(seed: int = 0, activity_kbq: float = ACTIVITY_KBQ, seconds: float = 60.0) -> Scan:
    """Poses of the marker at 20 Hz, windows of 0.1 s stamped late; counts with dead time and 2 cps of room."""
    t_pose = np.arange(0.0, seconds, 0.05)
    end = np.arange(0.6, seconds - 1.0, 0.1)
    inner = (end[:, None] - 0.1 + 0.1 * (np.arange(10) + 0.5) / 10).ravel()
    seen = source_from_tip(inner)
    rate = activity_kbq * PROBE.response(np.hypot(seen[:, 0], seen[:, 1]), seen[:, 2]) + 2.0
    rate = rate.reshape(len(end), 10).mean(axis=1)
    counts = np.random.default_rng(seed).poisson(0.1 * rate / (1.0 + DEAD_TIME_S * rate)).astype(float)
    return Scan(
        nuclide="Tc-99m",
        reference_time="2026-01-01T10:00:00Z",
        pose_name=MARKER_POSES,
        poses=PoseTable(t_pose, tip_in_reference(t_pose) @ np.linalg.inv(true_tip())),
        counts=CountTable(end + LATENCY_S, counts, np.full(len(end), 0.1)),
        dead_time_s=DEAD_TIME_S,
        tip={"T_probe_probetip": NOMINAL.tolist()},
    )


@pytest.fixture(scope="module")
def grid_calibration() -> dict[str, object]:
    return calibrate(grid_of(PROBE), nuclide("Tc-99m"))


def errors(content: dict[str, object], true: np.ndarray) -> tuple[float, np.ndarray]:
    """Angle of the axes in degrees, and the centre's error (3,) in the true tip frame, mm."""
    found = np.array(content["T_probe_probetip"])
    angle = np.degrees(np.arccos(np.clip(found[:3, 2] @ true[:3, 2], -1.0, 1.0)))
    return float(angle), true[:3, :3].T @ (found[:3, 3] - true[:3, 3])


def test_the_correction_of_the_tip_is_recovered_with_honest_errors(
    grid_calibration: dict[str, object],
) -> None:
    # Two minutes at 220 cps: the axis is known to 0.4 degrees each way, so that 1.5 is not reached by chance.
    deviations = []
    for seed in range(5):
        content = calibrate_sweep(
            sweep(seed, seconds=120.0), Source(SOURCE, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON)
        )
        assert content["accepted"] is True
        axis_deg, centre_mm = errors(content, true_tip())
        assert axis_deg <= 1.5
        assert np.hypot(*centre_mm[:2]) <= 1.0
        assert abs(centre_mm[2]) <= 1.0
        assert content["count_latency_s"] == pytest.approx(LATENCY_S, abs=0.005)
        sd = content["standard_errors"]
        found = [content["count_latency_s"] - LATENCY_S, *centre_mm]
        deviations += list(
            np.array(found) / [sd["count_latency_s"], *sd["centre_across_mm"], sd["centre_along_mm"]]
        )
    # 20 squared deviations in units of their own error: chi2(20) lies between 5.9 and 45.3 with 99.8 %.
    assert 5.9 < float(np.sum(np.square(deviations))) < 45.3


@pytest.mark.parametrize("with_response", [True, False])
def test_the_recorded_sweep_is_within_the_aims(test_data: Path, tmp_path: Path, with_response: bool) -> None:
    recordings, out = test_data / "recordings", tmp_path / "probe.json"
    source = json.loads((recordings / "source_sweep" / "source.json").read_text())
    truth = json.loads((recordings / "truth" / "source_sweep.json").read_text())
    words = ["calibrate", "detector-scan", str(recordings / "source_sweep"), "--out", str(out)]
    words += [
        f"--source={','.join(map(str, source['position_mm']))}",
        f"--activity-kbq={source['activity_kbq']}",
    ]
    if with_response:
        grid = ["calibrate", "detector", str(recordings / "probe_grid_Tc-99m.csv"), "--nuclide", "Tc-99m"]
        assert run([*grid, "--out", str(tmp_path / "grid.json")]) == 0
        words += ["--response", str(tmp_path / "grid.json")]
    assert run(words) == 0
    content = json.loads(out.read_text())
    axis_deg, centre_mm = errors(content, np.array(truth["T_probe_probetip"]))
    assert axis_deg <= 1.5
    assert np.hypot(*centre_mm[:2]) <= 1.0
    assert content["count_latency_s"] == pytest.approx(truth["count_latency_s"], abs=0.005)
    nominal = np.array(json.loads((recordings / "source_sweep" / "tip.json").read_text())["T_probe_probetip"])
    shift = np.array(content["T_probe_probetip"])[:3, 3] - nominal[:3, 3]
    if with_response:
        assert content["centre_along_axis"] == "by counts"
        assert abs(centre_mm[2]) <= 1.0
    else:
        # Nothing moved along the axis that was found.
        assert content["centre_along_axis"] == "from tip.json"
        assert shift @ np.array(content["T_probe_probetip"])[:3, 2] == pytest.approx(0.0, abs=1e-4)
        assert content["standard_errors"]["centre_along_mm"] is None
    loaded = load_response(out)
    assert loaded.count_latency_s == content["count_latency_s"]
    assert loaded.T_probe_probetip is not None


def test_the_scale_of_the_source_reaches_the_response(
    grid_calibration: dict[str, object], tmp_path: Path
) -> None:
    # Counts of 300 kBq declared as 150: the probe counts twice as well as the grid said.
    content = calibrate_sweep(sweep(), Source(SOURCE, 150.0), given=(grid_calibration, PROBE_JSON))
    assert content["response_of"]["scale"] == pytest.approx(2.0, rel=0.05)
    (tmp_path / "probe.json").write_text(json.dumps(content))
    seen = load_response(tmp_path / "probe.json").in_air(np.zeros(1), np.array([30.0]))
    assert seen == pytest.approx(2.0 * PROBE.response(np.zeros(1), np.array([30.0])), rel=0.06)


@pytest.mark.parametrize("with_response", [True, False])
def test_an_activity_in_another_unit_is_refused(
    grid_calibration: dict[str, object], with_response: bool
) -> None:
    # 300 kBq told as 300 000: a thousandth of the counts that such a source gives.
    given = (grid_calibration, PROBE_JSON) if with_response else None
    content = calibrate_sweep(sweep(seconds=15.0), Source(SOURCE, 1000.0 * ACTIVITY_KBQ), given=given)
    assert content["accepted"] is False
    assert "kBq" in " ".join(content["reasons"])


def test_poses_of_the_tip_itself_are_corrected_but_give_no_marker_frame(
    grid_calibration: dict[str, object],
) -> None:
    scan = sweep()
    scan = replace(
        scan,
        pose_name=TIP_POSES,
        tip=None,
        poses=PoseTable(scan.poses.t_s, scan.poses.matrices @ NOMINAL),
    )
    content = calibrate_sweep(scan, Source(SOURCE, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON))
    assert "T_probe_probetip" not in content
    found = np.array(content["T_nominaltip_probetip"])
    assert np.linalg.norm(found[:3, 3] - (np.linalg.inv(NOMINAL) @ true_tip())[:3, 3]) < 1.5


def test_the_result_places_the_counts_of_another_scan(
    grid_calibration: dict[str, object], tmp_path: Path
) -> None:
    content = calibrate_sweep(sweep(), Source(SOURCE, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON))
    (tmp_path / "probe.json").write_text(json.dumps(content))
    loaded = load_response(tmp_path / "probe.json")
    readings = readings_of(
        sweep(7), latency_s=loaded.count_latency_s or 0.0, T_probe_probetip=loaded.T_probe_probetip
    )
    true = tip_in_reference(readings.t_s)
    assert np.linalg.norm(readings.mid_poses[:, :3, 3] - true[:, :3, 3], axis=1).max() < 2.5


def still(scan: Scan) -> Scan:
    """The same scan of a probe that hardly moves: a tenth of a millimetre, lest it pass for a frozen tracker."""
    poses = np.tile(scan.poses.matrices[:1], (len(scan.poses.t_s), 1, 1))
    poses[:, :3, 3] += np.random.default_rng(1).normal(0.0, 0.1, (len(poses), 3))
    return replace(scan, poses=PoseTable(scan.poses.t_s, poses))


@pytest.mark.parametrize(
    ("scan", "source_mm", "words"),
    [
        (sweep(activity_kbq=0.1), SOURCE, "counts in all"),
        (sweep(seconds=3.0), SOURCE, "counting windows"),
        (still(sweep()), SOURCE, "did not move"),
        (sweep(), SOURCE + [0.0, 0.0, 500.0], "never in front"),
    ],
)
def test_a_sweep_that_tells_nothing_is_refused(
    scan: Scan, source_mm: np.ndarray, words: str, grid_calibration: dict[str, object]
) -> None:
    content = calibrate_sweep(scan, Source(source_mm, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON))
    assert content["accepted"] is False
    assert words in " ".join(content["reasons"])
    assert content["checksum"] == checksum(content)


def test_counts_of_another_moment_are_refused(grid_calibration: dict[str, object]) -> None:
    scan = sweep()
    shuffled = np.random.default_rng(2).permutation(scan.counts.counts)
    scan = replace(scan, counts=replace(scan.counts, counts=shuffled))
    content = calibrate_sweep(scan, Source(SOURCE, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON))
    assert content["accepted"] is False


def test_a_probe_that_is_not_seen_long_enough_is_bad_input(grid_calibration: dict[str, object]) -> None:
    scan = sweep()
    poses = scan.poses.matrices.copy()
    poses[6:] = np.nan  # seen for a quarter of a second
    scan = replace(scan, poses=PoseTable(scan.poses.t_s, poses))
    with pytest.raises(InputError, match="visible"):
        calibrate_sweep(scan, Source(SOURCE, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON))


def test_a_response_of_another_nuclide_is_refused(grid_calibration: dict[str, object]) -> None:
    scan = replace(sweep(), nuclide="In-111")
    with pytest.raises(GateRefusedError, match="In-111"):
        calibrate_sweep(scan, Source(SOURCE, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON))


def test_the_command_ends_with_the_codes_of_the_contract(
    grid_calibration: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(still(sweep()), tmp_path / "still")
    (tmp_path / "grid.json").write_text(json.dumps(grid_calibration))
    out = tmp_path / "probe.json"
    words = [
        "calibrate",
        "detector-scan",
        str(tmp_path / "still"),
        "--activity-kbq",
        "300",
        "--out",
        str(out),
    ]
    words += ["--response", str(tmp_path / "grid.json")]
    assert run([*words, "--source=1,2"]) == 2
    assert not out.exists()
    assert run([*words, "--source=72,-12,124"]) == 3
    assert json.loads(out.read_text())["accepted"] is False
    assert run([*words, "--source=72,-12,124"]) == 2
    assert "--force" in capsys.readouterr().err


def shifted(scan: Scan, by_s: float) -> Scan:
    """The same sweep with all counts stamped later by `by_s`."""
    return replace(scan, counts=replace(scan.counts, t_s=scan.counts.t_s + by_s))


@pytest.mark.parametrize("lag_s", [-0.1, -0.05, 0.0, 0.05, 0.1])
def test_lags_to_either_side_are_recovered(grid_calibration: dict[str, object], lag_s: float) -> None:
    scan = shifted(sweep(), lag_s - LATENCY_S)
    content = calibrate_sweep(scan, Source(SOURCE, ACTIVITY_KBQ), given=(grid_calibration, PROBE_JSON))
    assert content["count_lag_s"] == pytest.approx(lag_s, abs=0.005)
    if lag_s < 0.0:
        # A tracker whose stamps are later than the counter's: found, told, and no calibration.
        assert content["accepted"] is False
        assert content["count_latency_s"] == content["count_lag_s"]
        assert content["count_latency_ci95_s"] is None
        assert content["count_lag_ci95_s"][0] < lag_s < content["count_lag_ci95_s"][1]
        assert f"stamped {-1000 * content['count_lag_s']:.0f} ms later" in " ".join(content["reasons"])
    else:
        assert content["accepted"] is True
        assert content["count_latency_s"] >= 0.0
        assert content["count_latency_s"] == pytest.approx(lag_s, abs=0.005)


@pytest.mark.parametrize(("by_s", "with_response"), [(-0.6, True), (0.6, False), (5.0, False)])
def test_counts_that_are_late_beyond_reason_are_refused_at_the_bound(
    grid_calibration: dict[str, object], by_s: float, with_response: bool
) -> None:
    # The fit ends at a bound of the latency, beyond which no window has poses.
    given = (grid_calibration, PROBE_JSON) if with_response else None
    content = calibrate_sweep(shifted(sweep(seconds=20.0), by_s), Source(SOURCE, ACTIVITY_KBQ), given=given)
    assert content["accepted"] is False
    assert content["reasons"]


def test_a_source_beside_its_place_is_noticed_and_does_not_move_the_probe(
    grid_calibration: dict[str, object],
) -> None:
    beside = np.array([1.0, -0.6, 0.8])
    given = (grid_calibration, PROBE_JSON)
    found = calibrate_sweep(sweep(), Source(SOURCE - beside, ACTIVITY_KBQ), given=given)
    taken = calibrate_sweep(sweep(), Source(SOURCE - beside, ACTIVITY_KBQ, 0.0), given=given)
    moved = np.array(found["sweep"]["source_shift_mm"])
    # Three errors of some 0.3 mm each: 1.3 mm is beyond 4 of them.
    assert np.linalg.norm(moved - beside) < 1.3
    # Where the source is taken for exact the probe takes up its error.
    assert np.linalg.norm(errors(found, true_tip())[1]) < np.linalg.norm(errors(taken, true_tip())[1])
    assert taken["sweep"]["source_shift_sd_mm"] == [None] * 3
    far = calibrate_sweep(sweep(), Source(SOURCE + [2.5, -2.0, 0.0], ACTIVITY_KBQ), given=given)
    assert "beside its place" in " ".join(far["reasons"])
