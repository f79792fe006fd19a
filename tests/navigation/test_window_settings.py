"""Tables [window] and [camera] of a case, and the profile of a hospital behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from navigation.windowsettings import KEYS, WindowSettings, window_settings
from tracking.errors import InputError
from tracking.profile import read_with_profile


def written(folder: Path, text: str, name: str = "case.toml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_said_is_the_usual(tmp_path: Path) -> None:
    assert window_settings(written(tmp_path, "")) == WindowSettings()


def test_all_of_it(tmp_path: Path) -> None:
    found = window_settings(
        written(
            tmp_path,
            """
            [window]
            colours = "grey"
            opacity = 0.5
            ct_window_hu = [-500, 1500]
            sound_above_cps = 12
            language = "de"
            keys = { count-target = ["b"], primary = ["F12"] }
            probe = { kind = "drop-in", diameter_mm = 10.5 }
            [camera]
            video = "opencv:0"
            calibration = "camera.json"
            delay_ms = 80
            """,
        )
    )
    assert (found.colours, found.opacity, found.ct_window_hu) == ("grey", 0.5, (-500.0, 1500.0))
    assert found.keys["count-target"] == ("B",) and found.keys["primary"] == ("F12",)
    assert found.keys["view"] == KEYS["view"]
    assert (found.probe.kind, found.probe.diameter_mm, found.probe.length_mm) == ("drop-in", 10.5, 45.0)
    assert found.camera is not None and found.camera.delay_s == pytest.approx(0.08)
    assert found.camera.calibration == tmp_path / "camera.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("window = 3", "window: is no table"),
        ("[window]\ncolour = 'grey'", "unknown key 'colour'"),
        ("[window]\ncolours = 'green'", "colours"),
        ("[window]\nopacity = 0.1", "opacity"),
        ("[window]\nopacity = true", "opacity"),
        ("[window]\nct_window_hu = [200, -200]", "ct_window_hu"),
        ("[window]\nct_window_hu = [0, nan]", "ct_window_hu"),
        ("[window]\nsound_above_cps = 0", "sound_above_cps"),
        ("[window]\nlanguage = '../x'", "language"),
        ("[window.keys]\njump = ['J']", "unknown key 'jump'"),
        ("[window.keys]\nview = 'J'", "no list of keys"),
        ("[window.keys]\nview = ['F3']", "no list of keys"),
        ("[window.keys]\nview = ['A']", "A is for axes and for view"),
        ("[window.probe]\nkind = 'pencil'", "kind"),
        ("[window.probe]\ncone_deg = 89", "cone_deg"),
        ("camera = 1", "camera: is no table"),
        ("[camera]\nvideo = 'usb:0'", "video"),
        ("[camera]\nvideo = 'openigtlink:here'", "video"),
        ("[camera]\nvideo = 'opencv:'", "video"),
        ("[camera]\nvideo = 'opencv:0'\ndelay_ms = -1", "delay_ms"),
        ("[camera]\nvideo = 'opencv:0'\ncalibration = 3", "calibration"),
    ],
)
def test_nonsense_names_the_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=r"case\.toml") as told:
        window_settings(written(tmp_path, text))
    assert words in str(told.value)


PROFILE = """
nuclide = "Tc-99m"
tip = "tip.json"
calibration = "/store/probe"
[tracker]
host = "10.0.0.5"
port = 18944
[tracker.roms]
Probe = "probe.rom"
[window]
colours = "grey"
opacity = 0.5
[camera]
video = "opencv:0"
calibration = "camera.json"
"""


def test_case_over_profile(tmp_path: Path) -> None:
    written(tmp_path / "hospital", PROFILE, "profile.toml")
    case = written(
        tmp_path / "cases",
        """
        profile = "../hospital/profile.toml"
        name = "case 7"
        stylus = "stylus.json"
        [tracker]
        port = 18950
        [window]
        opacity = 0.8
        """,
    )
    found = read_with_profile(case)
    folder = (tmp_path / "hospital").resolve()
    assert found["tracker"] == {
        "host": "10.0.0.5",
        "port": 18950,
        "roms": {"Probe": str(folder / "probe.rom")},
    }
    # Files are beside what names them; a whole path stays.
    assert found["tip"] == str(folder / "tip.json") and found["stylus"] == "stylus.json"
    assert found["calibration"] == "/store/probe"
    settings = window_settings(case)
    assert (settings.colours, settings.opacity) == ("grey", 0.8)
    assert settings.camera is not None and settings.camera.calibration == folder / "camera.json"
    assert "profile" not in found


@pytest.mark.parametrize(
    "key", ["patient = { id = '1' }", "study = 'x'", "registration = 'r'", "profile = 'p'"]
)
def test_one_patient_is_no_profile(tmp_path: Path, key: str) -> None:
    written(tmp_path, key, "profile.toml")
    case = written(tmp_path, "profile = 'profile.toml'")
    with pytest.raises(InputError, match="belongs to a case"):
        read_with_profile(case)


def test_missing_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: no such file"):
        read_with_profile(written(tmp_path, "profile = 'none.toml'"))
    with pytest.raises(InputError, match="no file name"):
        read_with_profile(written(tmp_path, "profile = 3"))
