"""How the window is set up: keys, colours, sound, the probe's shape and a camera; tables of a case or its profile.

::

    [window]
    colours = "violet"              # or "grey": see COLOURS
    opacity = 0.92                  # of activity at the top of the scale
    ct_window_hu = [-160, 240]
    sound_above_cps = 20.0
    language = "en"                 # of the words, where a translation is there

    [window.keys]                   # what a presenter or a pedal that types sends; the defaults stay for the rest
    primary = ["Return", "PageDown"]
    count-target = ["B"]

    [window.probe]
    kind = "laparoscopic"           # or handheld, drop-in
    diameter_mm = 12.0              # also length_mm, cone_deg: other than usual for the kind

    [camera]                        # a video camera whose marker the tracker sees as CameraToTracker
    video = "openigtlink:127.0.0.1:18950"   # or opencv:0
    calibration = "camera.json"
    delay_ms = 60                   # from the scene to this computer
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tracking.errors import InputError
from tracking.profile import read_with_profile

# What each key does, and its keys unless told otherwise.
KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "primary": ("Return", "Enter", "PageDown"),
        "next-target": ("N", "Space"),
        "axes": ("A",),
        "view": ("V",),
        "lock": ("L",),
        "colours": ("C",),
        "more-opaque": ("O",),
        "less-opaque": ("I",),
        "sound": ("M",),
        "sound-up": ("+",),
        "sound-down": ("-",),
        "count-target": ("T",),
        "removed-here": (),
        "help": ("H",),
    }
)
NAMED_KEYS = (
    *(
        "Return",
        "Enter",
        "Space",
        "PageUp",
        "PageDown",
        "Left",
        "Right",
        "Up",
        "Down",
        "Home",
        "End",
        "Escape",
    ),
    *("Backspace", "Insert", "Delete", "F10", "F11", "F12", "+", "-", ".", ",", "MediaNext", "MediaPrevious"),
)
COLOURS = ("violet", "grey", "contrast")
LEAST_OPACITY = 0.2
HU = (-1024.0, 3071.0)
SLOWEST_VIDEO_MS = 2000.0
VIDEO = re.compile(r"openigtlink:.+:[1-9][0-9]{0,4}(/.+)?|opencv:.+")


@dataclass(frozen=True, slots=True)
class ProbeShape:
    """What is drawn of the probe: mm, and half of the cone of view in degrees; `told` is shown beside its checks."""

    kind: str
    length_mm: float
    diameter_mm: float
    cone_deg: float
    told: str = ""


PROBES = {
    "handheld": ProbeShape("handheld", 110.0, 16.0, 25.0),
    "laparoscopic": ProbeShape(
        "laparoscopic",
        330.0,
        12.0,
        25.0,
        "a long shaft bends: check the tip under load, and again when it was changed",
    ),
    "drop-in": ProbeShape(
        "drop-in",
        45.0,
        12.0,
        30.0,
        "the marker must sit on the probe itself, not on the grasper; check the tip after each new grasp",
    ),
}


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """Where the video comes from, its calibration, and how late it is in s."""

    video: str
    calibration: Path | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """All of it; defaults where nobody said anything."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: KEYS)
    colours: str = COLOURS[0]
    opacity: float = 0.92
    ct_window_hu: tuple[float, float] = (-160.0, 240.0)
    sound_above_cps: float = 20.0
    language: str = "en"
    probe: ProbeShape = PROBES["handheld"]
    camera: CameraSettings | None = None


def window_settings(path: Path) -> WindowSettings:
    """Those of a case file and its profile. Raises InputError naming the file and the key."""
    return settings_from(read_with_profile(path), path)


def settings_from(found: Mapping[str, Any], path: Path) -> WindowSettings:
    """Those of the tables `[window]` and `[camera]` of `path`. Raises InputError."""
    table = _table(found, "window", path)
    known = ("keys", "colours", "opacity", "ct_window_hu", "sound_above_cps", "language", "probe")
    _refuse_unknown(table, known, f"{path}, window")
    where = f"{path}, window"
    plain = WindowSettings()
    colours = table.get("colours", plain.colours)
    if colours not in COLOURS:
        raise InputError(f"{where}.colours: {colours!r} is none of {', '.join(COLOURS)}")
    return WindowSettings(
        keys=_keys(_table(table, "keys", path), where),
        colours=colours,
        opacity=_number(table, "opacity", where, LEAST_OPACITY, 1.0, plain.opacity),
        ct_window_hu=_hu(table, where, plain.ct_window_hu),
        sound_above_cps=_number(table, "sound_above_cps", where, 1.0, 1e5, plain.sound_above_cps),
        language=_language(table, where),
        probe=_probe(_table(table, "probe", path), f"{where}.probe"),
        camera=_camera(found, path),
    )


def _table(found: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    table = found.get(key, {})
    if not isinstance(table, dict):
        raise InputError(f"{path}, {key}: is no table")
    return table


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(table.keys() - set(known))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}")


def _number(
    table: Mapping[str, Any], key: str, where: str, lowest: float, highest: float, default: float
) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise InputError(f"{where}.{key}: {value!r} is no number from {lowest:g} to {highest:g}")
    return float(value)


def _hu(table: Mapping[str, Any], where: str, default: tuple[float, float]) -> tuple[float, float]:
    value = table.get("ct_window_hu", list(default))
    numbers = isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value
    )
    if not numbers or len(value) != 2 or not HU[0] <= value[0] < value[1] <= HU[1]:
        raise InputError(f"{where}.ct_window_hu: {value!r} is no pair of HU, the lower one first")
    return float(value[0]), float(value[1])


def _language(table: Mapping[str, Any], where: str) -> str:
    value = table.get("language", "en")
    if not isinstance(value, str) or not value.replace("_", "").isalpha() or not 2 <= len(value) <= 5:
        raise InputError(f"{where}.language: {value!r} is none like en or de")
    return value


def _keys(table: Mapping[str, Any], where: str) -> Mapping[str, tuple[str, ...]]:
    _refuse_unknown(table, tuple(KEYS), f"{where}.keys")
    keys = dict(KEYS)
    for what, value in table.items():
        if not isinstance(value, list) or not all(_is_key(v) for v in value):
            raise InputError(f"{where}.keys.{what}: {value!r} is no list of keys such as 'B' or 'PageDown'")
        keys[what] = tuple(v.upper() if len(v) == 1 else v for v in value)
    used: dict[str, str] = {}
    for what, names in keys.items():
        for name in names:
            if name in used and used[name] != what:
                raise InputError(f"{where}.keys: {name} is for {used[name]} and for {what}")
            used[name] = what
    return keys


def _is_key(value: object) -> bool:
    named = isinstance(value, str) and value in NAMED_KEYS
    return named or (isinstance(value, str) and len(value) == 1 and value.isascii() and value.isalnum())


def _probe(table: Mapping[str, Any], where: str) -> ProbeShape:
    _refuse_unknown(table, ("kind", "length_mm", "diameter_mm", "cone_deg"), where)
    kind = table.get("kind", "handheld")
    if kind not in PROBES:
        raise InputError(f"{where}.kind: {kind!r} is none of {', '.join(PROBES)}")
    usual = PROBES[kind]
    return replace(
        usual,
        length_mm=_number(table, "length_mm", where, 5.0, 600.0, usual.length_mm),
        diameter_mm=_number(table, "diameter_mm", where, 2.0, 60.0, usual.diameter_mm),
        cone_deg=_number(table, "cone_deg", where, 2.0, 80.0, usual.cone_deg),
    )


def _camera(found: Mapping[str, Any], path: Path) -> CameraSettings | None:
    if "camera" not in found:
        return None
    table, where = _table(found, "camera", path), f"{path}, camera"
    _refuse_unknown(table, ("video", "calibration", "delay_ms"), where)
    video, file = table.get("video"), table.get("calibration")
    if not isinstance(video, str) or not VIDEO.fullmatch(video):
        raise InputError(f"{where}.video: {video!r} is neither openigtlink:HOST:PORT nor opencv:CAMERA")
    if file is not None and not isinstance(file, str):
        raise InputError(f"{where}.calibration: {file!r} is no file name")
    delay = _number(table, "delay_ms", where, 0.0, SLOWEST_VIDEO_MS, 0.0)
    return CameraSettings(video, None if file is None else path.parent / file, delay / 1000.0)
