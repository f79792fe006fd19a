"""`gammanav calibrate check`: the daily quality check of a probe, with its history and trend."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from navigation.cli.numbers import Finite
from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from calibration.counter.counttest import Counted
    from calibration.daily.check import CheckResult, CheckSource, Stated
    from calibration.daily.checkfit import Known
    from calibration.gates import CheckGates
    from calibration.probe.response import DetectorResponse
    from tracking.scanfolder import Scan

CHECK_NAME, CHECKS_FOLDER = "check.json", "checks"


@click.command(
    "check",
    epilog="Example: gammanav calibrate check check-monday --probe probe.json --source=72.1,12.6,124.3"
    " --activity-kbq 300 --out qc",
    short_help="Daily quality check with trend.",
)
@click.argument("scan", type=click.Path(path_type=Path))
@click.option(
    "--probe", required=True, type=click.Path(path_type=Path), help="Detector calibration, probe.json."
)
@click.option("--source", help="Place X,Y,Z of the check source in Reference, mm; else it is found.")
@click.option(
    "--activity-kbq", type=Finite(min=0.0, min_open=True), help="Activity of the check source, kBq."
)
@click.option(
    "--activity-time", help="When it had that activity, ISO 8601; else at the scan's reference time."
)
@click.option(
    "--activity-sd",
    type=Finite(0.0, 0.5),
    default=0.03,
    show_default=True,
    help="Relative uncertainty of the activity.",
)
@click.option("--background", type=click.Path(path_type=Path), help="Scan or background.json without source.")
@click.option(
    "--tip", "tips", multiple=True, type=click.Path(path_type=Path), help="tip.json and/or axis.json."
)
@click.option("--case", type=click.Path(path_type=Path), help="Case file; [gates.check] sets tolerances.")
@click.option("--serial", help="Serial number of the probe in hand.")
@click.option("--operator", help="Who measured.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of this probe's checks.")
@click.option("--force", is_flag=True, help="Judge a scan again that was judged before.")
def command(
    scan: Path,
    probe: Path,
    source: str | None,
    activity_kbq: float | None,
    activity_time: str | None,
    activity_sd: float,
    background: Path | None,
    tips: tuple[Path, ...],
    case: Path | None,
    serial: str | None,
    operator: str | None,
    out: Path,
    force: bool,
) -> None:
    """Is the probe as it was calibrated? From a tracked SCAN round a small source in air.

    Rest on the axis at 10, 30 and 50 mm, sweep across at 30 mm, turn the probe about its face, then go along its
    side and back; what was not visited is "not measured". OUT keeps every check: check.json is the newest, and
    trend.png shows them all. A probe that fails is written with "accepted": false; the exit code is then 3.
    """
    from calibration.daily.check import content_of, identity_of, run_check
    from calibration.daily.checkhistory import HISTORY_NAME, locked, read_history, require_same_probe
    from calibration.gates import gates_content, read_gates
    from tracking.recording.export import open_scan

    gates = read_gates(case).check
    read = _with_tips(open_scan(scan), tips)
    response, given = _calibration(probe, read)
    if tips:
        response = replace(response, T_probe_probetip=None)
    stated = _stated(read, given, serial)
    said = _source(source, activity_kbq, activity_time, activity_sd)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, not a folder")
    name = identity_of(read)
    path = out / HISTORY_NAME
    _refuse_again(read_history(path), name, path, force)
    result = run_check(read, response, stated, said, _known(read, response), _background(background), gates)
    head = _head(read, name, given, stated, operator) | content_of(result) | gates_content(gates)
    with locked(out):
        history = read_history(path)
        _refuse_again(history, name, path, force)
        require_same_probe(history, head["probe_serial"], head["nuclide"], path)
        content = _keep(out, head, history, result, response, gates)
    if content["simulated"]:
        click.echo("SIMULATION")
    if not result.accepted:
        raise GateRefusedError(f"{out / CHECK_NAME}: check failed: {'; '.join(result.reasons)}")
    click.echo(summary(content))


def _calibration(path: Path, scan: Scan) -> tuple[DetectorResponse, dict[str, Any]]:
    """The calibration in a file, or that in use in a store for what the scan states."""
    from calibration.probe.response import response_of
    from calibration.records.record import DETECTOR
    from calibration.records.store import read_record
    from navigation.provenance import identity_of

    content, where = read_record(path, DETECTOR, identity_of(scan))
    return response_of(content, where), content


def _with_tips(scan: Scan, tips: tuple[Path, ...]) -> Scan:
    """The scan with the tips named on the command line laid over its own."""
    from tracking.tip import merge_tips, read_tip

    if not tips:
        return scan
    own = [scan.tip] if scan.tip is not None else []
    return replace(scan, tip=merge_tips([*own, *(read_tip([path], day=scan.measured_on) for path in tips)]))


def _stated(scan: Scan, given: dict[str, Any], serial: str | None) -> Stated:
    """What scan and calibration say of probe and window; a scan folder may carry both as extra keys."""
    from calibration.daily.check import Stated
    from tracking.jsonfile import read_json

    head = scan.source / "scan.json"
    extra = read_json(head) if head.is_file() else {}
    window = extra.get("window_kev")
    try:
        pair = None if window is None else (float(window[0]), float(window[1]))
    except (TypeError, ValueError, IndexError):
        raise InputError(f"{head}, window_kev: {window!r} is not two energies") from None
    return Stated(
        scan.nuclide,
        pair,
        _text(extra, "probe_serial"),
        _text(given, "probe_serial"),
        serial,
        _text(extra, "collimator"),
        _text(given, "collimator"),
    )


def _text(content: dict[str, Any], key: str) -> str | None:
    value = content.get(key)
    return None if value is None else str(value)


def _source(place: str | None, activity: float | None, when: str | None, sd: float) -> CheckSource:
    from calibration.daily.check import CheckSource
    from navigation.cli.detector_scan import parse_point

    if when is not None and activity is None:
        raise InputError("--activity-time: needs --activity-kbq")
    try:
        time = None if when is None else datetime.fromisoformat(when)
    except ValueError:
        raise InputError(f"--activity-time {when}: is not an ISO 8601 time") from None
    return CheckSource(None if place is None else parse_point(place), activity, time, sd)


def _known(scan: Scan, response: DetectorResponse) -> Known:
    """The count latency that scan or calibration state; it is looked for far around."""
    from calibration.daily.checkfit import LATENCY_SD_S, Known

    told = scan.count_latency_s if scan.count_latency_s is not None else response.count_latency_s
    return Known(latency_s=told, latency_sd_s=None if told is None else LATENCY_SD_S)


def _background(path: Path | None) -> Counted | None:
    if path is None:
        return None
    from navigation.cli.background import counted_at

    return counted_at(path)


def _refuse_again(history: list[dict[str, Any]], name: str, path: Path, force: bool) -> None:
    before = next((row for row in history if row["id"] == name), None)
    if before is not None and not force:
        raise InputError(f"{path}: this scan was judged on {before['checked']} (--force judges it again)")


def _head(
    scan: Scan, name: str, given: dict[str, Any], stated: Stated, operator: str | None
) -> dict[str, Any]:
    from calibration.daily.check import time_of
    from calibration.physics.nuclide import nuclide

    now = datetime.now(UTC)
    serial = stated.asked_serial or stated.scan_serial or stated.probe_serial
    return {
        "id": name,
        "time": time_of(scan, now).isoformat(timespec="seconds"),
        "checked": now.isoformat(timespec="seconds"),
        "operator": operator,
        "probe_id": given.get("id"),
        "probe_serial": serial,
        "nuclide": nuclide(scan.nuclide).name,
        "simulated": bool(scan.simulated or given.get("simulated", False)),
    }


def _keep(
    out: Path,
    head: dict[str, Any],
    history: list[dict[str, Any]],
    result: CheckResult,
    response: DetectorResponse,
    gates: CheckGates,
) -> dict[str, Any]:
    """Write check, history and pictures; a run that is cut off before the history may simply be run again."""
    from calibration.daily.checkfigures import WARNING
    from calibration.daily.checkhistory import HISTORY_NAME, linearity, trends_of, with_check, write_history
    from navigation.checkplots import check_picture, trend_picture
    from tracking.jsonfile import write_json

    extended = with_check(history, head)
    same_probe = [row for row in extended if row.get("probe_id") == head["probe_id"]]
    trends = trends_of(same_probe, gates)
    warnings = [words for trend in trends if (words := trend.words) is not None]
    line = linearity(same_probe, gates)
    warnings += [figure.words for figure in result.figures if figure.status == WARNING]
    if line is not None and line["status"] == "fail":
        warnings.append(f"counts over activity bend: slope {1 + line['slope_less_1']:.3f} instead of 1")
    content = head | {"warnings": warnings, "linearity": line, "checks": len(extended)}
    (out / CHECKS_FOLDER).mkdir(exist_ok=True)
    write_json(out / CHECKS_FOLDER / f"{head['id']}.json", content)
    write_json(out / CHECK_NAME, content)
    write_history(out / HISTORY_NAME, extended)
    check_picture(result, response, content, out / "check.png")
    trend_picture(trends_of(extended, gates), content, out / "trend.png")
    return content


def summary(content: dict[str, Any]) -> str:
    """One line for the terminal."""
    figures = content["figures"]
    passed = sum(f["status"] == "pass" for f in figures.values())
    left = [f["label"] for f in figures.values() if f["status"] == "not measured"]
    told = [f"check passed: {passed} figures in order"]
    for key, unit in (
        ("constancy", ""),
        ("sensitivity_30mm", " cps/MBq at 30 mm"),
        ("lateral_fwhm", " mm FWHM"),
    ):
        figure = figures.get(key)
        if figure is not None and figure["value"] is not None:
            told.append(
                f"{figure['value']:.4g}{unit}" if unit else f"counts {figure['value']:.3f} of foretold"
            )
    if left:
        told.append(f"not measured: {', '.join(left)}")
    return "; ".join([*told, *(f"WARNING: {words}" for words in content["warnings"])])
