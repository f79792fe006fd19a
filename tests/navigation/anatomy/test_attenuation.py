"""The bilinear rule of the CT's attenuation against NIST's coefficients of real tissues at several energies."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from navigation.ctmap import relative_mu

# What a spectrum of 120 kV behind a body amounts to.
CT_KEV = 70.0
TISSUES = ("adipose", "breast", "muscle", "boneequivplastic", "bonecortical")


def mu_per_cm(folder: Path, name: str, kev: float) -> float:
    """Density on the first line; rows of energy in MeV and mass attenuation in cm2/g, edges with a letter before."""
    lines = (folder / f"{name}.csv").read_text().splitlines()
    rows = [re.findall(r"\d\.\d+E[+-]\d+", line)[:2] for line in lines[1:]]
    table = np.array([[float(v) for v in row] for row in rows if len(row) == 2])
    return float(lines[0]) * float(np.exp(np.interp(np.log(kev / 1000.0), *np.log(table.T))))


@pytest.mark.parametrize(("kev", "error"), [(140.5, 0.03), (171.3, 0.03), (245.4, 0.05), (511.0, 0.06)])
@pytest.mark.parametrize("tissue", TISSUES)
def test_relative_attenuation_of_tissues(tissue: str, kev: float, error: float, test_data: Path) -> None:
    # One slope over bone serves all energies: at 140 keV right, at 511 keV 5 % too much in solid cortex.
    folder = test_data / "nist_attenuation"
    hu = 1000.0 * (mu_per_cm(folder, tissue, CT_KEV) / mu_per_cm(folder, "water", CT_KEV) - 1.0)
    true = mu_per_cm(folder, tissue, kev) / mu_per_cm(folder, "water", kev)
    assert float(relative_mu(np.array([hu], dtype=np.float32))[0]) == pytest.approx(true, rel=error)
