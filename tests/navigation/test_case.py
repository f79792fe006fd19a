"""The case file: what a good one gives, and that a bad one is named with its key."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from navigation.case import read_case
from navigation.engine.snapshot import LatencyState
from tests.navigation.scan_model import PROBE, grid_of
from tracking.errors import GateRefusedError, InputError

TIP = {"tip_offset_mm": [1.0, 2.0, 100.0], "axis": [0.0, 0.0, 1.0]}
GOOD = """
name = "case 7"
nuclide = "99mTc"
reference_time = "2026-01-01T10:00:00Z"
dead_time_s = 1e-5
[tracker]
port = 18954
[probe]
port = 18955
metadata = false
"""


def case_file(folder: Path, text: str = GOOD, tip: dict[str, object] | None = None) -> Path:
    (folder / "tip.json").write_text(json.dumps(TIP if tip is None else tip))
    path = folder / "case.toml"
    path.write_text(text)
    return path


def test_a_good_case(tmp_path: Path) -> None:
    settings = read_case(case_file(tmp_path))
    assert settings.nuclide == "Tc-99m"
    # 2026-01-01T10:00:00Z: 56 years with 14 leap days, and 10 hours.
    assert settings.epoch_s == (56 * 365 + 14) * 86400 + 36000
    assert settings.tips.probe[:3, 3].tolist() == [1.0, 2.0, 100.0]
    assert settings.tips.stylus is None
    assert settings.sources["tracker"].poses
    assert not settings.sources["tracker"].counts
    assert not settings.sources["probe"].metadata
    assert not settings.simulated


def test_only_this_computer_looks_on_unless_the_case_says_so(tmp_path: Path) -> None:
    assert read_case(case_file(tmp_path)).publish_host == "127.0.0.1"
    named = read_case(case_file(tmp_path, 'publish_host = "0.0.0.0"\n' + GOOD))
    assert named.publish_host == "0.0.0.0"
    assert type(named).from_json(json.loads(json.dumps(named.to_json()))).publish_host == "0.0.0.0"


def test_the_settings_survive_the_record(tmp_path: Path) -> None:
    settings = read_case(case_file(tmp_path, GOOD.replace("[probe]", '[probe]\ndevices = ["GammaProbe"]')))
    assert settings.sources["probe"].inputs.devices == ("GammaProbe",)
    again = type(settings).from_json(json.loads(json.dumps(settings.to_json())))
    assert again.to_json() == settings.to_json()
    assert np.array_equal(again.tips.probe, settings.tips.probe)


@pytest.mark.parametrize(
    ("hosts", "clocks"),
    [
        (("127.0.0.1", "localhost"), ("shared", "shared")),
        (("10.0.0.7", "10.0.0.7"), ("shared", "shared")),
        (("10.0.0.7", "127.0.0.1"), ("own", "shared")),
        (("10.0.0.7", "10.0.0.8"), ("own", "own")),
    ],
)
def test_who_shares_a_clock_follows_from_the_hosts(
    tmp_path: Path, hosts: tuple[str, str], clocks: tuple[str, str]
) -> None:
    text = GOOD
    for name, host in zip(("tracker", "probe"), hosts, strict=True):
        text = text.replace(f"[{name}]", f'[{name}]\nhost = "{host}"')
    sources = read_case(case_file(tmp_path, text)).sources
    assert (sources["tracker"].clock, sources["probe"].clock) == clocks
    named = text.replace("[tracker]", '[tracker]\nclock = "own"')
    assert read_case(case_file(tmp_path, named)).sources["tracker"].clock == "own"


def test_the_tracker_s_volume_reaches_the_hub(tmp_path: Path) -> None:
    volume = "volume_mm = [[-500, -500, -2400], [500, 500.5, -900]]"
    settings = read_case(case_file(tmp_path, GOOD.replace("[tracker]", f"[tracker]\n{volume}")))
    again = type(settings).from_json(json.loads(json.dumps(settings.to_json())))
    for found in (settings, again):
        box = found.sources["tracker"].inputs.volume
        assert box is not None
        assert (box.low_mm, box.high_mm) == ((-500.0, -500.0, -2400.0), (500.0, 500.5, -900.0))
        assert found.sources["probe"].inputs.volume is None


def test_a_registration_becomes_the_bridge_to_ras(tmp_path: Path) -> None:
    to_lps = np.eye(4)
    to_lps[:3, 3] = [1.0, 2.0, 3.0]
    (tmp_path / "reg.json").write_text(json.dumps({"T_target_source": to_lps.tolist(), "accepted": True}))
    settings = read_case(case_file(tmp_path, 'registration = "reg.json"\n' + GOOD))
    # The Reference origin lies at LPS (1, 2, 3), which is RAS (-1, -2, 3).
    assert settings.registration.matrix[:3, 3].tolist() == [-1.0, -2.0, 3.0]
    assert settings.registration.matrix[0, 0] == -1.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nuclide = ", "TOML"),
        (GOOD.replace("99mTc", "Xx-1"), "Xx-1"),
        (GOOD.replace("2026-01-01T10:00:00Z", "tomorrow"), "reference_time"),
        (GOOD.replace("[probe]", "[probes]"), "probes"),
        (GOOD.replace("18954", "0"), "tracker.port"),
        (GOOD.replace("1e-5", "5"), "dead_time_s"),
        ('surface = "nowhere.csv"\n' + GOOD, "nowhere.csv"),
        ('calibration = "nowhere.json"\n' + GOOD, "nowhere.json"),
        ("latency = 5\n" + GOOD, "latency"),
        ('publish_host = "everyone"\n' + GOOD, "publish_host"),
        (GOOD.replace("[probe]", '[probe]\nclock = "mine"'), "probe.clock"),
        (GOOD.replace("[probe]", "[probe]\nsilence_s = 0"), "probe.silence_s"),
        (GOOD.replace("[probe]", '[probe]\ndevices = "GammaProbe"'), "probe.devices"),
        (GOOD.replace("[probe]", "[probes]"), "unknown key 'probes'"),
        ("count_seconds = 0.2\n" + GOOD, "count_seconds"),
        ('count_seconds = "ten"\n' + GOOD, "count_seconds"),
        (GOOD + '[pedal]\nclients = "127.0.0.1"\n', "pedal.clients"),
        (GOOD.replace("[tracker]", "[tracker]\nvolume_mm = [1, 2]"), "tracker.volume_mm"),
        (GOOD.replace("[tracker]", "[tracker]\nvolume_mm = [[0, 0, 9], [9, 9, 0]]"), "tracker.volume_mm"),
    ],
)
def test_a_bad_case_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as refusal:
        read_case(case_file(tmp_path, text))
    assert "\n" not in str(refusal.value)


def test_a_case_without_a_tracker_takes_counts_and_places_nothing(tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    path.write_text(
        'nuclide = "Tc-99m"\ncount_seconds = 5\n[probe]\nport = 18955\n[pedal]\nclients = ["10.0.0.7"]\n'
    )
    settings = read_case(path)
    assert not settings.tracked
    assert read_case(case_file(tmp_path)).tracked
    again = type(settings).from_json(json.loads(json.dumps(settings.to_json())))
    for found in (settings, again):
        assert list(found.sources) == ["probe"]
        assert found.count_s == 5.0
        assert found.pedal == {"clients": ["10.0.0.7"], "device": "Pedal", "press": "count target"}


def test_a_missing_case_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: no such file"):
        read_case(tmp_path / "nowhere.toml")


def test_a_refused_tip_refuses_the_case(tmp_path: Path) -> None:
    with pytest.raises(GateRefusedError, match=r"tip\.json"):
        read_case(case_file(tmp_path, tip={**TIP, "accepted": False, "reasons": ["bent"]}))


def test_tip_and_latency_of_the_calibration_serve_where_the_case_names_none(tmp_path: Path) -> None:
    tip = np.eye(4)
    tip[:3, 3] = [4.0, 5.0, 120.0]
    known = {
        "T_probe_probetip": tip.tolist(),
        "count_latency_s": 0.12,
        "count_latency_ci95_s": [0.11, 0.13],
    }
    content = calibrate(grid_of(PROBE), nuclide("Tc-99m"), extra=known)
    (tmp_path / "probe.json").write_text(json.dumps(content))
    found = read_case(case_file(tmp_path, 'calibration = "probe.json"\n' + GOOD))
    assert found.tips.probe.tolist() == tip.tolist()
    assert found.latency == LatencyState(0.12, (0.11, 0.13), True)
    (tmp_path / "late.json").write_text('{"count_latency_s": 0.2}')
    named = 'calibration = "probe.json"\ntip = "tip.json"\nlatency = "late.json"\n'
    found = read_case(case_file(tmp_path, named + GOOD))
    assert found.tips.probe[:3, 3].tolist() == [1.0, 2.0, 100.0]
    assert found.latency == LatencyState(0.2, None, True)
