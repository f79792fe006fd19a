"""A bed beside an injection site in the simulator's physics: what the site's model error explains is no residual."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation.cli.main import run
from navigation.simulate.folder import REFERENCE_UTC_S, simulate_scan_folder
from navigation.simulate.scenes import build_scene
from navigation.simulate.setup import write_setup
from navigation.simulate.truth import truth_of

# The site reaches into what was outlined; nothing else is there. A remnant nearer to it than this is the site's.
OF_THE_SITE_MM = 12.0


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    write_setup(build_scene("occult", 1, 1), folder / "setup", REFERENCE_UTC_S, study=False)
    grid, water = (folder / "setup" / n for n in ("probe_grid.csv", "probe_air_water.json"))
    words = [str(grid), "--nuclide", "Tc-99m", "--air-water", str(water), "--out", str(folder / "probe.json")]
    assert run(["calibrate", "detector", *words]) == 0
    return folder / "probe.json"


@pytest.mark.parametrize("seed", [654721, 400705])
def test_nothing_but_the_site_is_suspected_beside_it(seed: int, probe: Path, tmp_path: Path) -> None:
    scene = simulate_scan_folder("node", seed, tmp_path / "scan", "scan-2", probe_seed=1)
    (site,) = truth_of(scene, REFERENCE_UTC_S)["scan-2"]["other_activity"]
    words = [str(tmp_path / "scan"), "--probe", str(probe), "--bed", str(tmp_path / "scan" / "bed.json")]
    assert run(["bed-check", *words, "--threshold-kbq", "8", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "bed_check.json").read_text())
    assert found["finding"] != "none-above"
    for residual in found["residuals"]:
        assert np.linalg.norm(np.array(residual["position_mm"]) - site["position_mm"]) < OF_THE_SITE_MM
