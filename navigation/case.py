"""A case file: a small TOML that names the instruments and the files a live case rests on.

::

    name = "case 7"
    profile = "hospital.toml"                 # optional: what is the same every day; see tracking.profile
    nuclide = "Tc-99m"
    reference_time = "2026-01-01T10:00:00Z"   # activities are stated for this moment; default: the start
    window_kev = [126, 154]                   # optional, with probe_serial and collimator: the calibration must agree
    dead_time_s = 1e-5                        # optional
    tip = "tip.json"                          # probe tip; default: the calibration's, else tip.json beside the case
    stylus = "stylus.json"                    # stylus tip; default: stylus.json beside the case file
    calibration = "probe.json"                # detector response, or a store of calibrations
    latency = "latency.json"                  # optional; default: the calibration's
    surface = "surface.csv"                   # optional: points touched before
    registration = "reg.json"                 # optional: T_target_source from Reference to the study (LPS)
    study = "study"                           # optional: an imported study: CT, hot organs, targets, regions of uptake
    sheath = "sheath.json"                    # optional: what covers the probe, as measured
    landmarks = "landmarks.mrk.json"          # optional: named points of the study, LPS, to register and check by
    recheck_minutes = 30                      # the registration is to be checked again after so long; 0: never
    background_minutes = 30                   # a background check is due again after so long; 0: never
    map = { voxel_mm = 2.0 }                  # optional: also box_mm, or centre_mm and extent_mm, in mm of Reference
    publish_host = "192.168.1.5"              # optional: this computer's address for viewers on other machines

    count_seconds = 10                        # optional: what a timed count takes

    [tracker]                                 # also: [probe]; without a tracker there are timed counts and no map
    host = "127.0.0.1"
    port = 18954
    clock = "shared"                          # or "own": stamps of another computer's clock, laid on ours
    devices = ["ProbeToTracker", "ReferenceToTracker"]   # optional: nothing else is taken from it
    silence_s = 2.5                           # connected anew after saying nothing at all for so long
    volume_mm = [[-500, -500, -2400], [500, 500, -900]]   # optional: two corners of where the tracker measures
    good_volume_mm = [[-300, -300, -2000], [300, 300, -1000]]   # optional: where it was accepted; beyond it warns

    [tracker]                                 # an NDI Polaris or Vega without PlusServer between
    kind = "ndi"
    host = "192.168.1.10"                     # or serial = "/dev/ttyUSB0", with baud
    [tracker.roms]                            # NDI tool definitions
    Probe = "probe.rom"
    Reference = "reference.rom"

    [pedal]                                   # optional: who may press for a timed count, over OpenIGTLink
    clients = ["127.0.0.1"]                   # addresses; nobody else's messages are taken
    device = "Pedal"                          # optional: the name of the device that presses
    press = "count target"                    # what a press does, in the words of the console

    [bed]                                     # optional: what a scan of the bed is to show; see `aim`
    threshold_kbq = 4.0
    depth_mm = 10.0                           # how deep behind the outlined surface; also confidence

    [gates.pivot]                             # also: gates.axis, gates.tracker: other thresholds for all commands
    max_rms_mm = 0.6

    [window]                                  # also: [camera]; see navigation.windowsettings
    colours = "grey"

    [patient]                                 # optional: whose study it has to be; compared, and not recorded
    id = "123456"                             # also: name, birth_date
    laterality = "left"                       # or right, both, none: the side operated on
    max_age_days = 30                         # an older study is warned of
    override = { by = ["A. Klein", "B. Ruiz"], reason = "name changed" }   # two persons take a mismatch upon them

    [injection]                               # what was given: see calibration.physics.injection
    activity = 74.0                           # MBq in the syringe
    assay_time = "2026-01-01T08:00:00Z"
    injection_time = "2026-01-01T08:30:00Z"

Where no clock is named, sources on one host share theirs, and of two hosts the one that is not this computer
has its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.daily.background import DEFAULT_MINUTES
from calibration.gates import gates_of
from calibration.probe.sheath import sheath_at
from calibration.records.binding import Identity, require_match
from calibration.tip.expected import require_tool
from navigation.casegrid import grid_at
from navigation.engine.guidancedesk import aim_content
from navigation.engine.pedal import pedal_settings
from navigation.engine.settings import RECHECK_MINUTES, Settings, SourceRole
from navigation.engine.snapshot import LatencyState, Registration
from navigation.engine.sources import ndi_settings
from navigation.engine.tools import Tips
from navigation.io.points import read_points
from navigation.provenance import stamp_of
from navigation.timed.count import seconds_of
from navigation.windowsettings import WindowSettings, settings_from
from tracking.errors import InputError
from tracking.igtl.link import SILENCE_S
from tracking.inputs import ClockKind, WorkingVolume
from tracking.jsonfile import read_json
from tracking.profile import read_with_profile
from tracking.tables import read_table
from tracking.tip import read_tip, tip_matrix

if TYPE_CHECKING:
    from calibration.probe.response import DetectorResponse
    from navigation.casestudy import CaseStudy

HIGHEST_PORT = 65535
# A source that is silent for longer is better looked at than waited for.
LONGEST_SILENCE_S = 60.0
OPENIGTLINK = "openigtlink"
TRACKER = "tracker"
# Fewer points determine no registration.
FEWEST_LANDMARKS = 3
# Names of this computer.
HERE = ("127.0.0.1", "localhost", "::1")
KEYS = {
    *("name", "nuclide", "half_life_s", "window_kev", "probe_serial", "reference_time", "dead_time_s"),
    "collimator",
    *("tip", "stylus", "calibration", "latency", "surface", "registration", "simulated", "tracker", "probe"),
    *("landmarks", "recheck_minutes"),
    *("map", "publish_host", "gates", "injection", "sheath", "background_minutes", "study", "patient"),
    *("count_seconds", "pedal", "bed", "window", "camera"),
}


def read_case(path: Path) -> Settings:
    """The case as the engine takes it; files are sought beside the case file.

    Raises InputError naming the file and the key, GateRefusedError for a calibration that may not be used.
    """
    found = read_with_profile(path)
    unknown = sorted(found.keys() - KEYS)
    if unknown:
        raise InputError(f"{path}: unknown key {unknown[0]!r}")
    gates = found.get("gates", {})
    gates_of(gates, f"{path}, gates")  # nonsense is told before a case rests on it
    stated = Identity.of({**found, "nuclide": _nuclide(found, path)}, path)
    _require_camera(settings_from(found, path))
    calibration, response = _calibration(found, path, stated)
    study = _study(found, path)
    return Settings(
        case_id=str(found.get("name", path.stem)),
        nuclide=_nuclide(found, path),
        epoch_s=_epoch(found, path),
        tips=_tips(found, path, calibration or {}),
        sources=_sources(found, path),
        calibration=calibration,
        latency=_latency(found, path, calibration or {}),
        registration=_registration(found, path),
        study=None if study is None else study.model,
        study_check=None if study is None else study.check,
        surface_mm=_surface(found, path),
        dead_time_s=_number(found, "dead_time_s", path),
        simulated=bool(found.get("simulated", False)),
        publish_host=_publish_host(found, path),
        sheath=sheath_at(_file(found, "sheath", path)),
        background_minutes=_minutes(found, path, "background_minutes", DEFAULT_MINUTES),
        recheck_minutes=_minutes(found, path, "recheck_minutes", RECHECK_MINUTES),
        landmarks=_landmarks(found, path),
        gates=gates,
        stated=stated.to_json(),
        records=_records(found, path, response),
        injection=_injection(found, path),
        grid=grid_at(found.get("map"), f"{path}, map"),
        count_s=_count_seconds(found, path),
        pedal=pedal_settings(found.get("pedal"), f"{path}, pedal"),
        bed=_bed(found, path),
    )


def study_of(path: Path) -> Path | None:
    """The study folder that a case file names, None where it names none or is gone since (as when resuming)."""
    return _file(read_with_profile(path), "study", path) if path.is_file() else None


def _require_camera(window: WindowSettings) -> None:
    """What the window will ask for is there: a case is not begun to find out later."""
    file = None if window.camera is None else window.camera.calibration
    if file is not None and not file.is_file():
        raise InputError(f"{file}: no such file (calibration of the camera)")


def _study(found: Mapping[str, Any], path: Path) -> CaseStudy | None:
    """The study that the case names, compared with its patient. Raises as `case_study`."""
    folder, patient = _file(found, "study", path), found.get("patient")
    if folder is None:
        if patient is not None:
            raise InputError(f"{path}: [patient] is compared with a study, and the case names none")
        return None
    from navigation.casestudy import case_study

    return case_study(folder, patient, _nuclide(found, path), f"{path}, patient")


def _nuclide(found: Mapping[str, Any], path: Path) -> str:
    from calibration.physics.nuclide import nuclide

    if not isinstance(found.get("nuclide"), str):
        raise InputError(f"{path}, nuclide: is missing or not a text")
    return nuclide(found["nuclide"]).name


def _epoch(found: Mapping[str, Any], path: Path) -> float:
    text = found.get("reference_time")
    if text is None:
        return float(round(time.time()))
    if isinstance(text, datetime):
        return text.replace(tzinfo=text.tzinfo or UTC).timestamp()
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        raise InputError(f"{path}, reference_time: {text!r} is not an ISO 8601 time") from None
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()


def _injection(found: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """What was given to the patient, checked against clock and nuclide; None where the case does not tell."""
    from calibration.physics.injection import given_at, injection_of, require_before

    table = found.get("injection")
    if table is None:
        return None
    injection = injection_of(table, str(path))
    epoch_s = _epoch(found, path)
    require_before(injection, datetime.fromtimestamp(max(epoch_s, time.time()), UTC), str(path))
    given_at(table, str(path), _nuclide(found, path), epoch_s)
    return injection.to_json()


def _minutes(found: Mapping[str, Any], path: Path, key: str, default: float) -> float:
    """Minutes after which a check is due again."""
    value = found.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise InputError(f"{path}, {key}: {value!r} is no number of minutes")
    return float(value)


def _count_seconds(found: Mapping[str, Any], path: Path) -> float:
    try:
        return seconds_of({"seconds": found.get("count_seconds")})
    except InputError as error:
        raise InputError(f"{path}, count_seconds: {error}") from None


def _bed(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What is wanted of a bed: the table [bed]."""
    table = found.get("bed", {})
    try:
        return aim_content(table)
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}, bed: {error}") from None


def _landmarks(found: Mapping[str, Any], path: Path) -> dict[str, tuple[float, float, float]]:
    """Landmarks of the study by name, LPS mm. Raises InputError for a file without names."""
    file = _file(found, "landmarks", path)
    if file is None:
        return {}
    points = read_points(file)
    if points.labels is None:
        raise InputError(f"{file}: landmarks need names")
    if len(points) < FEWEST_LANDMARKS:
        raise InputError(f"{file}: {len(points)} landmarks, at least {FEWEST_LANDMARKS} are needed")
    places = zip(points.labels, points.points_mm.tolist(), strict=True)
    return {name: (x, y, z) for name, (x, y, z) in places}


def _publish_host(found: Mapping[str, Any], path: Path) -> str:
    """The address to listen on: this computer's own unless the case names another."""
    value = found.get("publish_host", HERE[0])
    try:
        return str(ip_address(str(value)))
    except ValueError:
        raise InputError(f"{path}, publish_host: {value!r} is no address of a network card") from None


def _number(found: Mapping[str, Any], key: str, path: Path) -> float | None:
    value = found.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1.0:
        raise InputError(f"{path}, {key}: {value!r} is no number of seconds below 1")
    return float(value)


def _file(found: Mapping[str, Any], key: str, path: Path, default: str | None = None) -> Path | None:
    """The file named by `key`, or the default if it exists."""
    name = found.get(key)
    if name is None:
        candidate = None if default is None else path.parent / default
        return candidate if candidate is not None and candidate.is_file() else None
    if not isinstance(name, str):
        raise InputError(f"{path}, {key}: {name!r} is no file name")
    return path.parent / name


def _tips(found: Mapping[str, Any], path: Path, calibration: Mapping[str, Any]) -> Tips:
    if TRACKER not in found:
        _require_named_tips(found, path)
        return Tips(np.eye(4))  # nothing is placed
    probe = _probe_tip(found, path, calibration)
    stylus = _file(found, "stylus", path, "stylus.json")
    if stylus is None:
        return Tips(probe)
    require_tool(stylus, "Stylus")
    # A stylus is a point: without an axis any direction will do, since it places nothing.
    pointer = {"axis": [0.0, 0.0, 1.0], **read_tip([stylus], "Stylus")}
    return Tips(probe, tip_matrix(pointer, str(stylus)))


def _require_named_tips(found: Mapping[str, Any], path: Path) -> None:
    """What a case names is of the tool it names it for, though nothing rests on it yet: a tracker may be added."""
    for key, tool in (("tip", "Probe"), ("stylus", "Stylus")):
        if (file := _file(found, key, path)) is not None:
            require_tool(file, tool)


def _probe_tip(found: Mapping[str, Any], path: Path, calibration: Mapping[str, Any]) -> NDArray[np.float64]:
    """What the case names, else what the detector's calibration found by counts, else tip.json beside the case."""
    measured = calibration.get("T_probe_probetip")
    if "tip" not in found and measured is not None:
        return np.array(measured, dtype=np.float64)
    file = _file(found, "tip", path, "tip.json")
    if file is None:
        raise InputError(f"{path}, tip: is missing (where the probe's tip lies on its marker)")
    require_tool(file, "Probe")
    return tip_matrix(read_tip([file]), str(file))


def _sources(found: Mapping[str, Any], path: Path) -> dict[str, SourceRole]:
    sources = {}
    for name, poses, counts in ((TRACKER, True, False), ("probe", False, True)):
        if name in found or counts:
            sources[name] = _source(found, name, poses, counts, path)
    hosts = {_host(role) for role in sources.values()}
    return {
        name: replace(role, clock=_clock(found[name], role, len(hosts) > 1, f"{path}, {name}.clock"))
        for name, role in sources.items()
    }


def tracker_of(path: Path) -> SourceRole:
    """The tracker of a case file that may lack everything else, as before its tools are calibrated.

    Raises InputError naming the file and the key.
    """
    return _source(read_with_profile(path), "tracker", True, False, path)


def probe_of(path: Path) -> SourceRole:
    """The probe's counter of such a case file. Raises InputError as `tracker_of`."""
    return _source(read_with_profile(path), "probe", False, True, path)


def _source(found: Mapping[str, Any], name: str, poses: bool, counts: bool, path: Path) -> SourceRole:
    table = found.get(name)
    if not isinstance(table, dict):
        raise InputError(f"{path}: the table [{name}] with host and port is missing")
    volume, good = _volumes(table, f"{path}, {name}")
    if _kind(table, poses, f"{path}, {name}.kind") == "ndi":
        ndi = ndi_settings(table, path.parent, f"{path}, {name}")
        return SourceRole(HERE[0], ndi.port, poses, counts, volume=volume, ndi=ndi, good_volume=good)
    port = table.get("port")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= HIGHEST_PORT:
        raise InputError(f"{path}, {name}.port: {port!r} is no port")
    return SourceRole(
        str(table.get("host", HERE[0])),
        port,
        poses,
        counts,
        bool(table.get("metadata", True)),
        volume=volume,
        good_volume=good,
        devices=_devices(table, f"{path}, {name}.devices"),
        silence_s=_silence(table, f"{path}, {name}.silence_s"),
    )


def _kind(table: Mapping[str, Any], poses: bool, where: str) -> str:
    kind = table.get("kind", OPENIGTLINK)
    allowed = (OPENIGTLINK, "ndi") if poses else (OPENIGTLINK,)
    if kind not in allowed:
        raise InputError(f"{where}: {kind!r} is none of {', '.join(allowed)}")
    return str(kind)


def _devices(table: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    value = table.get("devices")
    if value is not None and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise InputError(f"{where}: {value!r} is no list of names")
    return None if value is None else tuple(value)


def _silence(table: Mapping[str, Any], where: str) -> float:
    value = table.get("silence_s", SILENCE_S)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < LONGEST_SILENCE_S:
        raise InputError(f"{where}: {value!r} is no number of seconds below {LONGEST_SILENCE_S:g}")
    return float(value)


def _host(role: SourceRole) -> str:
    return HERE[0] if role.host in HERE else role.host


def _clock(table: Mapping[str, Any], role: SourceRole, hosts_differ: bool, where: str) -> ClockKind:
    value = table.get("clock")
    if value is None:
        return ClockKind.OWN if hosts_differ and _host(role) != HERE[0] else ClockKind.SHARED
    if value not in tuple(ClockKind):
        raise InputError(f'{where}: {value!r} is neither "shared" nor "own"')
    return ClockKind(value)


def _volumes(table: Mapping[str, Any], where: str) -> tuple[WorkingVolume | None, WorkingVolume | None]:
    """The whole volume and its good part."""
    volume, good = (_volume(table, key, f"{where}.{key}") for key in ("volume_mm", "good_volume_mm"))
    if volume is not None and good is not None and not good.within(volume):
        raise InputError(f"{where}.good_volume_mm: does not lie within volume_mm")
    return volume, good


def _volume(table: Mapping[str, Any], key: str, where: str) -> WorkingVolume | None:
    value = table.get(key)
    if value is None:
        return None
    try:
        low, high = np.array(value, dtype=np.float64).reshape(2, 3)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {value!r} is not two corners of three numbers") from None
    if not (low < high).all():
        raise InputError(f"{where}: the second corner is not above the first in every direction")
    return WorkingVolume((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _calibration(
    found: Mapping[str, Any], path: Path, stated: Identity
) -> tuple[dict[str, Any] | None, DetectorResponse | None]:
    """The calibration that the case names, or that is in use in the store it names.

    Judged here, so that one that is not the case's is refused before anything is recorded.
    """
    file = _file(found, "calibration", path)
    if file is None:
        return None, None
    from calibration.probe.response import response_of
    from calibration.records.record import DETECTOR
    from calibration.records.store import read_record

    content, where = read_record(file, DETECTOR, stated)
    response = response_of(content, where)
    require_match(response.identity, stated, "the case", where)
    return content, response


def _records(
    found: Mapping[str, Any], path: Path, response: DetectorResponse | None
) -> tuple[dict[str, Any], ...]:
    """Stamps of the tip, latency and sheath files that the case rests on; each must be of its probe."""
    measured = response is not None and response.T_probe_probetip is not None
    tip = None if "tip" not in found and measured else _file(found, "tip", path, "tip.json")
    files = [tip, *(_file(found, key, path) for key in ("latency", "sheath"))]
    known = Identity() if response is None else response.identity
    stamps = [stamp_of(f, known) for f in files if f is not None]
    return tuple(stamp.to_json() for stamp in stamps)


def _latency(found: Mapping[str, Any], path: Path, calibration: Mapping[str, Any]) -> LatencyState:
    """What the case names, else what the detector's calibration found."""
    file = _file(found, "latency", path)
    if file is not None:
        return _latency_of(read_json(file), "ci95_s", str(file))
    if calibration.get("count_latency_s") is not None:
        return _latency_of(calibration, "count_latency_ci95_s", f"{path}, calibration")
    return LatencyState(0.0, None, False)


def _latency_of(values: Mapping[str, Any], interval_key: str, where: str) -> LatencyState:
    try:
        interval = values.get(interval_key)
        ci95 = None if interval is None else (float(interval[0]), float(interval[1]))
        latency = LatencyState(float(values["count_latency_s"]), ci95, bool(values.get("determined", True)))
        if latency.count_latency_s < 0.0:
            raise ValueError("it is negative: the tracker's stamps are later than the counter's")
        return latency
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{where}: count_latency_s or {interval_key} is missing or wrong ({error})"
        ) from None


def _registration(found: Mapping[str, Any], path: Path) -> Registration:
    file = _file(found, "registration", path)
    if file is None:
        return Registration()
    from navigation.registration.study import load_registration

    loaded = load_registration(file)
    return Registration(loaded.id, loaded.T_ras_reference)


def _surface(found: Mapping[str, Any], path: Path) -> NDArray[np.float64] | None:
    file = _file(found, "surface", path)
    if file is None:
        return None
    table = read_table(file, ("x_mm", "y_mm", "z_mm"))
    table.require(np.isfinite(table.values).all(axis=1), "a coordinate is not finite")
    return table.values
