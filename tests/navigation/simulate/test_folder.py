"""Scan folders, bench files and truth that the simulator writes."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from navigation.simulate import build_scene
from navigation.simulate.collimator import point_response
from navigation.simulate.folder import REFERENCE_UTC_S, simulate_scan_folder
from navigation.simulate.setup import air_water, case_text, probe_grid, write_setup
from navigation.simulate.truth import truth_of
from tracking.errors import InputError
from tracking.scanfolder import read_scan, readings_of


def test_scan_folder_reads_back(tmp_path: Path) -> None:
    scene = simulate_scan_folder("bed", 1, tmp_path / "scan", duration_s=6.0, truth=tmp_path / "truth.json")
    scan = read_scan(tmp_path / "scan")
    assert scan.simulated
    assert scan.nuclide == "Tc-99m"
    assert scan.count_latency_s == pytest.approx(scene.equipment.count_latency_s, abs=1e-4)
    readings = readings_of(scan, latency_s=scan.count_latency_s or 0.0)
    # 60 intervals, less those of the scene's one occlusion (at most 1 s) and the first, which the poses do
    # not cover.
    assert 45 <= len(readings) <= 60
    assert len(readings) + readings.unplaced == 60
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["reference_time"] == scan.reference_time
    # The hand passes over the lesion: the nearest pose is as near as its depth, give or take the raster's
    # spacing.
    lesion = np.array(truth["scan-1"]["lesions"][0]["position_mm"])
    assert np.linalg.norm(readings.mid_poses[:, :3, 3] - lesion, axis=1).min() < 45.0


def test_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        simulate_scan_folder("occult", 3, tmp_path / name, duration_s=2.0, probe_seed=0)
    for file in ("scan.json", "poses.csv", "counts.csv", "surface.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with pytest.raises(InputError):
        simulate_scan_folder("occult", 3, tmp_path / "a", duration_s=2.0, probe_seed=0)


def test_rescan_brings_the_wall(tmp_path: Path) -> None:
    scene = simulate_scan_folder("bed", 2, tmp_path / "scan-2", "scan-2", duration_s=2.0, probe_seed=0)
    bed = json.loads((tmp_path / "scan-2" / "bed.json").read_text())
    points = np.array(bed["points_mm"])
    assert len(points) > 80
    patient = scene.patient.resected()
    local = (points - patient.T_reference_body[:3, 3]) @ patient.T_reference_body[:3, :3]
    normal = patient.body.normal(local[:, 0], local[:, 1])
    off = (local[:, 2] - patient.body.surface(local[:, 0], local[:, 1])) * normal[:, 2]
    assert np.sqrt((off**2).mean()) < 0.5
    assert bed["depth_mm"] > 5.0


def test_sweep_folder_has_marker_poses_tip_and_source(tmp_path: Path) -> None:
    scene = simulate_scan_folder("bed", 2, tmp_path / "sweep", "sweep", tell_latency=False, probe_seed=0)
    scan = read_scan(tmp_path / "sweep")
    assert scan.pose_name == "ProbeToReference"
    assert scan.count_latency_s is None
    assert scan.tip is not None
    source = json.loads((tmp_path / "sweep" / "source.json").read_text())
    assert source["activity_kbq"] == 300.0
    readings = readings_of(scan, latency_s=scene.equipment.count_latency_s)
    near = np.linalg.norm(readings.mid_poses[:, :3, 3] - source["position_mm"], axis=1)
    # Counts are highest where the probe is close to the source, once the latency is removed.
    brightest = np.argsort(readings.counts)[-5:]
    assert near[brightest].max() < 32.0
    assert readings.counts.max() > 40


def test_grid_is_the_true_probe_with_poisson_noise() -> None:
    scene = build_scene("bed", 4, probe_seed=1)
    r, z, counts, live, activity = probe_grid(scene).T
    mean = point_response(scene.equipment.head, r, z) * activity * live
    pulls = (counts - mean) / np.sqrt(mean)
    strong = mean > 20.0
    # About 120 standard normal values: RMS 1 with an SD of 0.065.
    assert np.sqrt((pulls[strong] ** 2).mean()) == pytest.approx(1.0, abs=0.25)
    # Out to at least 90 degrees off the axis.
    assert (np.degrees(np.arctan2(r, z)) >= 90.0).any()


def test_air_and_water_differ_by_attenuation_and_scatter() -> None:
    record = air_water(build_scene("bed", 4, probe_seed=1))
    for depth, scatter in ((10.0, 0.05), (30.0, 0.12), (50.0, 0.17)):
        ratio = record["water"][f"{depth:.0f}mm"] / record["air"][f"{depth:.0f}mm"]
        assert ratio == pytest.approx(np.exp(-0.0152 * depth) / (1.0 - scatter), rel=0.03)


def test_setup_folder_is_readable(tmp_path: Path) -> None:
    scene = build_scene("bed", 4, probe_seed=1)
    write_setup(scene, tmp_path / "setup", REFERENCE_UTC_S, (18954, 18955))
    case = tomllib.loads((tmp_path / "setup" / "case.toml").read_text())
    assert case["simulated"] is True
    assert case["nuclide"] == "Tc-99m"
    assert case["probe"]["port"] == 18955
    assert case["dead_time_s"] == 1e-5
    with (tmp_path / "setup" / "probe_grid.csv").open() as file:
        assert next(csv.reader(file)) == ["r_mm", "z_mm", "counts", "live_s", "activity_kbq"]
    for name in ("probe_air_water", "tip", "stylus", "check_source", "landmarks"):
        assert json.loads((tmp_path / "setup" / f"{name}.json").read_text())["simulated"] is True
    assert "[tracker]" not in case_text(scene, REFERENCE_UTC_S, None)


def test_truth_is_in_reference() -> None:
    scene = build_scene("node", 5, probe_seed=1)
    truth = truth_of(scene, REFERENCE_UTC_S)
    T = scene.patient.T_reference_body
    centre = scene.patient.lesions[0].centre
    assert truth["scan-1"]["lesions"][0]["position_mm"] == pytest.approx(
        T[:3, :3] @ centre + T[:3, 3], abs=1e-3
    )
    assert truth["scan-1"]["other_activity"][0]["activity_kbq"] >= 10_000.0
    assert truth["reference_time"] == "2026-01-01T10:00:00Z"
