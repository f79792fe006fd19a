"""The uncertainty budget of a calibration per kBq: what its scale rests on, and what tissue adds.

The scale's part goes into every activity told later; that of scatter is for a source 30 mm deep, as in the response.
"""

from __future__ import annotations

from typing import Any

from calibration.physics.budget import Budget, Component
from calibration.physics.nuclide import Nuclide
from calibration.physics.source import SourceStatement, place_component
from calibration.probe.gridfit import MODEL_ERROR_FLOOR
from calibration.probe.response import TYPICAL_SCATTER_SHARE

NOT_STATED = SourceStatement()
# Where the budget is told for: a source so far in front of the face.
TYPICAL_DEPTH_MM = 30.0


def scale_budget(
    counting_sd: float, distance_mm: float | None, nuclide: Nuclide, source: SourceStatement = NOT_STATED
) -> Budget:
    """Of cps per kBq in air: `counting_sd` relative, the source at `distance_mm` from the crystal.

    None for the distance where the fit itself carries what is unknown of the source's place.
    """
    return Budget.of(
        [
            Component("counts of the calibration", "A", counting_sd, "counted", distribution="Poisson"),
            Component("model of the response", "B", MODEL_ERROR_FLOOR, "error of any model of a probe"),
            None if distance_mm is None else place_component(distance_mm),
            *source.components(nuclide),
        ]
    )


def scatter_component(scatter_scale_sd: float, origin: str) -> Component:
    """Of an activity in tissue: the scatter's own uncertainty times its share of the counts."""
    return Component(
        "scatter in tissue, 30 mm deep", "B", scatter_scale_sd, origin, sensitivity=TYPICAL_SCATTER_SHARE
    )


def with_budget(
    content: dict[str, Any],
    counting_sd: float,
    distance_mm: float | None,
    nuclide: Nuclide,
    source: SourceStatement = NOT_STATED,
) -> dict[str, Any]:
    """A calibration's content with its budget and its source's statement, its scale's uncertainty renewed.

    The content needs `response` and `attenuation`; its checksum is the caller's to make.
    """
    scale = scale_budget(counting_sd, distance_mm, nuclide, source)
    attenuation = content["attenuation"]
    scatter = scatter_component(
        float(attenuation["scatter_scale_sd"]), str(attenuation.get("source", "calibration"))
    )
    return content | {
        "response": content["response"] | {"scale_relative_sd": scale.relative_sd},
        "uncertainty_budget": Budget.of([*scale.components, scatter]).to_json(),
        "source": source.to_json(nuclide),
    }
