"""What a case knows of its preoperative study, small enough for the record's head: a replay needs no images.

Attenuation, organs, targets and regions of physiological uptake in the study's frame (LPS mm); a registration brings
them into Reference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.ctmap import StudyTissue, tissue_of_study
from navigation.io.study import load_study
from navigation.organs import Organ, organs_of_study
from navigation.pointlayer import Known
from navigation.targets import TargetList, load_targets, targets_of
from navigation.uptake import Uptake, load_regions, regions_of
from navigation.volume import Spot
from tracking.errors import InputError
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

# Shares and points of an organ beyond this are noise: a hundredth of a millimetre, a ten-thousandth.
DECIMALS_MM, DECIMALS_SHARE = 2, 6
WHERE = Path("the study of the case")


@dataclass(frozen=True, slots=True, eq=False)
class StudyModel:
    """A study without its images. `tissue` is None without a CT; `id` is of everything in it but the targets.

    `frame_of_reference` is the UID that its images share, as study.json tells it.
    """

    id: str
    tissue: StudyTissue | None
    organs: tuple[Organ, ...]
    targets: TargetList
    uptake: Uptake
    simulated: bool = False
    frame_of_reference: str | None = None

    @staticmethod
    def of_folder(study: Path) -> StudyModel:
        """Of an imported study folder. Raises InputError for one that cannot be read or has no frame in common."""
        found = load_study(study)
        ct, functional = found.ct, found.functional
        usable = functional is not None and functional.usable
        model = StudyModel(
            "",
            tissue_of_study(study) if ct is not None and ct.usable else None,
            tuple(_rounded(o) for o in organs_of_study(study)) if usable else (),
            load_targets(study),
            load_regions(study),
            found.simulated,
            found.series[0].frame_of_reference,
        )
        return replace(model, id=model._digest())

    def _digest(self) -> str:
        content = self.to_json()
        rest = {key: content[key] for key in ("tissue", "organs", "regions")}
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "id": self.id,
            "tissue": None if self.tissue is None else self.tissue.to_json(),
            "organs": [_organ_json(o) for o in self.organs],
            "targets": self.targets.as_json(),
            "regions": self.uptake.as_json(),
            "simulated": self.simulated,
            "frame_of_reference": self.frame_of_reference,
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> StudyModel:
        """What `to_json` wrote. Raises KeyError, TypeError, ValueError or InputError when it is not that."""
        tissue = found["tissue"]
        return StudyModel(
            str(found["id"]),
            None if tissue is None else StudyTissue.from_json(tissue),
            tuple(_organ(o) for o in found["organs"]),
            targets_of(found["targets"], WHERE),
            regions_of(found["regions"], WHERE),
            found["simulated"] is True,
            found.get("frame_of_reference"),
        )

    def ct(self, T_study_reference: Array) -> StudyTissue | None:
        """Attenuation under a registration (4, 4)."""
        return None if self.tissue is None else self.tissue.registered(T_study_reference)

    def known(self, T_study_reference: Array) -> tuple[Known, ...]:
        """The organs in Reference as the joint fit takes them."""
        inverse = invert_rigid(T_study_reference)
        return tuple(organ.moved(inverse).known() for organ in self.organs)

    def labelled(self, spots: tuple[Spot, ...], T_study_reference: Array) -> tuple[Spot, ...]:
        """Spots, in Reference, that lie in a region of physiological uptake say so."""
        if not self.uptake.regions:
            return spots
        T = T_study_reference
        return tuple(_labelled(s, self.uptake.label_of(T[:3, :3] @ s.position_mm + T[:3, 3])) for s in spots)


def _labelled(spot: Spot, label: str | None) -> Spot:
    return spot if label is None else replace(spot, reasons=(*spot.reasons, label))


def _rounded(organ: Organ) -> Organ:
    """As it comes back from a file, so that a case and its replay rest on the same."""
    shares = np.round(organ.shares, DECIMALS_SHARE)
    return replace(organ, points_mm=np.round(organ.points_mm, DECIMALS_MM), shares=shares / shares.sum())


def _organ_json(organ: Organ) -> dict[str, Any]:
    return {
        "name": organ.name,
        "points_mm": organ.points_mm.tolist(),
        "shares": organ.shares.tolist(),
        "volume_ml": organ.volume_ml,
        "mean_kbq_per_ml": organ.mean_kbq_per_ml,
    }


def _organ(found: Mapping[str, Any]) -> Organ:
    points, shares = (np.array(found[key], dtype=np.float64) for key in ("points_mm", "shares"))
    if points.ndim != 2 or points.shape[1] != 3 or shares.shape != (len(points),):
        raise InputError(f"{WHERE}: an organ's points and shares do not fit")
    mean = found["mean_kbq_per_ml"]
    return Organ(str(found["name"]), points, shares, float(found["volume_ml"]), mean)
