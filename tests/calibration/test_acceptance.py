"""Acceptance of a tip in a divot and of a tracker against known distances: wrong ones are named."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.gates import TrackerGates
from calibration.tip.acceptance import check_divot
from calibration.tip.distances import check_distances, distances_of
from calibration.tip.touchfile import read_distances, read_touches
from navigation.cli.main import run
from tracking.errors import InputError

TIP_MM = np.array([2.0, -4.0, -140.0])
DIVOT_MM = np.array([30.0, -60.0, 12.0])


def rested(
    rng: np.random.Generator,
    tip_mm: np.ndarray = TIP_MM,
    tilt_deg: float = 20.0,
    noise_mm: float = 0.1,
    n: int = 200,
) -> np.ndarray:
    """Poses (n, 4, 4) of a tool whose true tip rests in the divot while it is tilted to all sides."""
    azimuth = np.linspace(0.0, 6.0 * np.pi, n)
    axes = np.stack([np.cos(azimuth), np.sin(azimuth), 0.0 * azimuth], axis=1)
    tilt = np.radians(tilt_deg) * np.sqrt(np.linspace(0.0, 1.0, n))
    turned = Rotation.from_rotvec(tilt[:, None] * axes) * Rotation.from_euler("xyz", [10.0, 20.0, 30.0], True)
    matrices = np.tile(np.eye(4), (n, 1, 1))
    matrices[:, :3, :3] = turned.as_matrix()
    matrices[:, :3, 3] = DIVOT_MM - turned.apply(tip_mm) + rng.normal(0.0, noise_mm, (n, 3))
    return matrices


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


def test_a_good_tip(rng: np.random.Generator) -> None:
    check = check_divot(rested(rng), TIP_MM)
    assert check.reasons == ()
    # 0.1 mm in each of three components.
    assert check.rms_mm == pytest.approx(0.1 * np.sqrt(3.0), rel=0.15)
    assert np.linalg.norm(check.point_mm - DIVOT_MM) < 0.05
    assert check.tip_shift_length_mm < 4.0 * check.tip_shift_sd_mm
    assert check.drift_mm < 0.1
    json.dumps(check.as_json(), allow_nan=False)


@pytest.mark.parametrize("bend", [[2.0, 0.0, 0.0], [0.0, -1.6, 0.0], [0.0, 0.0, 1.5]])
def test_a_bent_probe_is_found_even_where_the_rms_is_small(
    rng: np.random.Generator, bend: list[float]
) -> None:
    check = check_divot(rested(rng, TIP_MM + bend), TIP_MM)
    assert not check.accepted
    assert "bent probe" in check.reasons[0]
    np.testing.assert_allclose(check.tip_shift_mm, bend, atol=4.0 * check.tip_shift_sd_mm)
    # 2 mm turned by at most 20 degrees move by 0.4 mm: the gate on the RMS alone passes it.
    assert check.rms_mm < 0.5


def test_a_tool_that_is_not_turned_proves_nothing(rng: np.random.Generator) -> None:
    still = rested(rng, TIP_MM + [5.0, 0.0, 0.0], tilt_deg=0.5)
    check = check_divot(still, TIP_MM)
    assert check.tip_shift_mm is None
    assert "turned too little to show a wrong tip" in check.reasons[0]
    # Where the divot's place is known the same poses show it: 5 mm beside.
    known = check_divot(still, TIP_MM, DIVOT_MM)
    assert "about its known place 5.0" in known.reasons[0]
    assert known.offset_mm == pytest.approx(5.0, abs=0.1)
    assert check_divot(rested(rng, tilt_deg=0.5), TIP_MM, DIVOT_MM).accepted


def test_a_divot_that_moves_and_a_noisy_tracker(rng: np.random.Generator) -> None:
    matrices = rested(rng)
    matrices[:, 0, 3] += np.linspace(0.0, 1.2, len(matrices))
    # From the middle of the first third to that of the last: two thirds of the way.
    drifting = check_divot(matrices, TIP_MM)
    assert drifting.drift_mm == pytest.approx(0.8, abs=0.1)
    assert "drifted by 0.8" in " ".join(drifting.reasons)
    # 0.5 mm in each component: 0.87 mm 3D RMS.
    noisy = rested(rng, noise_mm=0.5)
    refused = check_divot(noisy, TIP_MM)
    assert "3D RMS of the tip about its mean 0.8" in refused.reasons[0]
    assert "max_divot_rms_mm in the table [gates.tracker]" in refused.reasons[0]
    assert check_divot(noisy, TIP_MM, gates=TrackerGates(max_divot_rms_mm=1.0)).accepted


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_poses(rng: np.random.Generator, n: int) -> None:
    check = check_divot(rested(rng, n=max(n, 1))[:n], TIP_MM, skipped={"OUT_OF_VIEW": 40})
    assert check.reasons == (f"{n} usable poses, at least 10 needed (left out: 40 OUT_OF_VIEW)",)
    json.dumps(check.as_json(), allow_nan=False)


# Nine divots on three levels of a block, 120 mm wide.
PHANTOM = {f"p{i}": np.array([60.0 * (i % 3), 60.0 * (i // 3), 25.0 * ((i * 2) % 3)]) for i in range(9)}
FRAME = Rotation.from_euler("xyz", [30.0, -40.0, 75.0], degrees=True)


def touched(
    rng: np.random.Generator, noise_mm: object = 0.1, scale: float = 1.0, times: int = 3
) -> list[tuple[str, np.ndarray]]:
    """Touches of the phantom, placed askew in the tracker's frame."""
    return [
        (label, scale * FRAME.apply(point) + [40.0, -80.0, -1500.0] + rng.normal(0.0, noise_mm, 3))
        for label, point in PHANTOM.items()
        for _ in range(times)
    ]


def test_a_good_tracker(rng: np.random.Generator) -> None:
    check = check_distances(touched(rng), distances_of(PHANTOM), PHANTOM)
    told = check.as_json()
    assert check.accepted
    assert (told["points"], told["touches"], told["distances"]) == (9, 27, 36)
    # Means of three touches of 0.1 mm per component: 0.058; two of them along their line: 0.082.
    assert told["rms_error_mm"] == pytest.approx(0.082, rel=0.35)
    # 0.1 mm in each of three components of a touch.
    assert told["repeat_rms_mm"] == pytest.approx(0.173, rel=0.3)
    assert told["scale"] == pytest.approx(1.0, abs=5e-4)
    json.dumps(told, allow_nan=False)


def test_a_scale_and_a_bad_depth_are_told(rng: np.random.Generator) -> None:
    scaled = check_distances(touched(rng, 0.02, scale=1.01), distances_of(PHANTOM), PHANTOM)
    assert scaled.scale == pytest.approx(1.01, abs=2e-4)
    # The longest of the distances is sqrt(120^2 + 120^2 + 50^2) at most: 1.7 mm too long.
    assert "measured +1." in " ".join(scaled.reasons)
    deep = check_distances(touched(rng, [0.05, 0.05, 0.6], times=6), distances_of(PHANTOM), PHANTOM)
    assert deep.axis_rms_mm is not None
    assert int(np.argmax(deep.axis_rms_mm)) == 2
    assert deep.anisotropy is not None
    assert deep.anisotropy > 3.0


def test_distances_alone_and_single_touches_do(rng: np.random.Generator) -> None:
    known = distances_of(PHANTOM)
    check = check_distances(touched(rng, times=1), known)
    assert check.accepted
    assert (check.axis_rms_mm, check.anisotropy, check.repeat_rms_mm) == (None, None, None)
    # Each distance by itself, against what was touched.
    places = dict(touched(np.random.default_rng(21), times=1))
    wanted = [np.linalg.norm(places[a] - places[b]) for a, b in combinations(PHANTOM, 2)]
    np.testing.assert_allclose([one.length_mm + error for one, error in check.distances], wanted)


def test_too_few_points_and_a_point_that_is_none(rng: np.random.Generator) -> None:
    few = check_distances(touched(rng)[:9], distances_of(PHANTOM), PHANTOM)
    assert few.reasons == ("3 points touched, at least 4 needed",)
    with pytest.raises(InputError, match="touched point 'p77' is none of the phantom's"):
        check_distances([("p77", np.zeros(3))], distances_of(PHANTOM))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("label,x_mm,y_mm\n", "row 1: column z_mm is missing"),
        ("label,x_mm,y_mm,z_mm\na,1,2\n", "row 2: label,x_mm,y_mm,z_mm expected"),
        ("label,x_mm,y_mm,z_mm\n,1,2,3\n", "row 2: label"),
        ("# a remark\nlabel,x_mm,y_mm,z_mm\na,1,2,far\n", "row 3: not a number"),
        ("label,x_mm,y_mm,z_mm\na,1,2,nan\n", "row 2: a number is not finite"),
        ("label,x_mm,y_mm,z_mm\na,1,2,3\na,1,2,4\n", "row 3: the label 'a' occurs more than once"),
    ],
)
def test_malformed_touches_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_touches(path, once=True)


def test_malformed_distances_are_named(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    with pytest.raises(InputError, match="no such file"):
        read_distances(path)
    path.write_text("first,second,length_mm\na,b,100\na,a,3\n")
    with pytest.raises(InputError, match="row 3: no distance of two points"):
        read_distances(path)


def written(folder: Path, name: str, matrices: np.ndarray, remark: str = "") -> str:
    rows = [",".join(repr(float(v)) for v in matrix.ravel()) for matrix in matrices]
    (folder / name).write_text("\n".join([*([remark] if remark else []), *rows]) + "\n")
    return str(folder / name)


def test_the_divot_command(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    tip, out = tmp_path / "tip.json", tmp_path / "divot.json"
    tip.write_text(json.dumps({"tip_offset_mm": TIP_MM.tolist(), "transform": "ProbeToTracker"}))
    words = ["--tip", str(tip), "--out", str(out), "--force"]
    good = written(tmp_path, "good.csv", rested(rng))
    assert run(["calibrate", "divot", good, *words]) == 0
    assert "3D RMS 0.1" in capsys.readouterr().out
    assert run(["calibrate", "divot", good, *words, "--point=30,-60,12"]) == 0
    assert run(["calibrate", "divot", good, *words, "--point=30,-60,14"]) == 3
    bent = written(tmp_path, "bent.csv", rested(rng, TIP_MM + [2.0, 0.0, 0.0]))
    assert run(["calibrate", "divot", bent, *words]) == 3
    assert json.loads(out.read_text())["accepted"] is False
    other = written(tmp_path, "other.csv", rested(rng), "# transform: StylusToTracker")
    capsys.readouterr()
    assert run(["calibrate", "divot", other, *words]) == 3
    assert "poses of StylusToTracker" in capsys.readouterr().err
    for point in ("1,2", "a,b,c", "1,2,nan"):
        assert run(["calibrate", "divot", good, *words, f"--point={point}"]) == 2


def test_the_tracker_command(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    def table(name: str, rows: list[tuple[str, np.ndarray]]) -> str:
        lines = [f"{label},{','.join(repr(float(v)) for v in place)}" for label, place in rows]
        (tmp_path / name).write_text("\n".join(["label,x_mm,y_mm,z_mm", *lines]) + "\n")
        return str(tmp_path / name)

    phantom, out = table("phantom.csv", list(PHANTOM.items())), tmp_path / "tracker.json"
    words = ["--phantom", phantom, "--out", str(out), "--force"]
    assert run(["calibrate", "tracker", table("good.csv", touched(rng)), *words]) == 0
    assert "36 distances: RMS error 0.0" in capsys.readouterr().out
    bad = table("bad.csv", touched(rng, 0.8, times=1))
    assert run(["calibrate", "tracker", bad, *words]) == 3
    assert "RMS error of the distances" in capsys.readouterr().err
    assert json.loads(out.read_text())["accepted"] is False
    case = tmp_path / "case.toml"
    case.write_text("[gates.tracker]\nmax_distance_rms_mm = 5\nmax_distance_error_mm = 10\n")
    assert run(["calibrate", "tracker", bad, *words, "--case", str(case)]) == 0
    bars = tmp_path / "bars.csv"
    bars.write_text("first,second,length_mm\np0,p1,65.0\n")
    assert run(["calibrate", "tracker", bad, "--out", str(out), "--force"]) == 2
    assert "give either --phantom or --distances" in capsys.readouterr().err
    two = table("two.csv", touched(rng)[:6])
    assert run(["calibrate", "tracker", two, "--distances", str(bars), "--out", str(out), "--force"]) == 3
    assert "2 points touched" in capsys.readouterr().err
