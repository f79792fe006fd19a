"""The calibrations of the demonstration: detector response from the bench grid, latency from a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from navigation.engine.saturated import dead_time_in
from navigation.engine.session import Session
from tracking.errors import GateRefusedError
from tracking.jsonfile import read_json
from tracking.tomlfile import read_toml


def detector_calibration(setup: Path) -> dict[str, Any]:
    """Content of probe.json from the hospital's grid and air/water measurement.

    Raises GateRefusedError when the data cannot be a calibration.
    """
    from calibration.physics.nuclide import nuclide
    from calibration.probe.detector import calibrate, read_air_water, read_grid

    air_water = setup / "probe_air_water.json"
    name = read_json(air_water)["nuclide"]
    head = {"probe_serial": read_toml(setup / "case.toml").get("probe_serial"), "operator": "demonstration"}
    grid, water = read_grid(setup / "probe_grid.csv"), read_air_water(air_water)
    content = calibrate(grid, nuclide(name), None, water, simulated=True, extra=head)
    if content["accepted"] is not True:
        raise GateRefusedError(f"detector calibration: {'; '.join(content['reasons'])}")
    return content


def sweep_latency(session: Session, name: str, probe: dict[str, Any], setup: Path) -> dict[str, Any]:
    """Count latency from the sweep `name` over the check source, as the engine's latency command takes it."""
    from calibration.probe.response import response_of
    from calibration.timing.latency import estimate_latency_point_source

    source = read_json(setup / "check_source.json")
    scan = session.scan(name)
    found = estimate_latency_point_source(
        lambda latency_s: scan.all_readings(session.tools, latency_s),
        np.array(source["position_mm"]),
        response_of(probe, Path("probe.json")),
        dead_time=dead_time_in(session.calibration, session.settings.dead_time_s),
    )
    return {
        "count_latency_s": found.latency_s,
        "ci95_s": None if found.ci95_s is None else list(found.ci95_s),
        "determined": found.determined,
    }
