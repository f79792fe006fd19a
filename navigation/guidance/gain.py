"""What a further look from a pose would add to the Fisher information on a source at each place.

The background is a nuisance of the scan and of the look alike. With efficient information J of a place, K what the
nuisance takes of it and S the nuisance's covariance, a look with row r, background row b and weight w adds exactly
`w (r - b K)^2 / (1 + w b S b)`: the Schur complement after an update of rank one (Sherman and Morrison 1950,
DOI 10.1214/aoms/1177729893).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import inverse_information
from navigation.uncertainty import Nuisance

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Information:
    """Of a scan so far, at places (m,): efficient information in 1/kBq2, and the nuisance's part in it.

    `carried` (q, m) is how the nuisance moves with an activity there, `covariance` (q, q) the nuisance's own.
    """

    own: Array
    carried: Array
    covariance: Array

    @staticmethod
    def of(rows: Array32, nuisance: Nuisance) -> Information:
        """Rows (n, m) in cps per kBq at the reference time."""
        _, weight = nuisance.data.weights(nuisance.rate_cps)
        weighted = weight[:, None] * nuisance.design
        curvature = nuisance.design.T @ weighted + np.diag(nuisance.precision)
        covariance = inverse_information(curvature)
        cross = (weighted.astype(np.float32).T @ rows).astype(np.float64)
        carried = covariance @ cross
        plain = np.einsum("nm,nm,n->m", rows, rows, weight.astype(np.float32), optimize=True)
        own = np.maximum(plain.astype(np.float64) - np.einsum("qm,qm->m", cross, carried), 0.0)
        return Information(own, carried, covariance)

    def gained(self, rows: Array, background: Array, weight: Array) -> Array:
        """(p, m) in 1/kBq2 by each of p looks alone: rows (p, m), background rows (p, q), weights (p,) in s2."""
        residual = rows - background @ self.carried
        shared = 1.0 + weight * np.einsum("pq,qr,pr->p", background, self.covariance, background)
        result: Array = (weight / shared)[:, None] * residual**2
        return result
