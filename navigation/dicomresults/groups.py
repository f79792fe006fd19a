"""Measurement groups of the report (TID 1410 at a point, else TID 1501), their numbers and their sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from navigation.dicomresults import codes
from navigation.dicomresults.common import SIMULATION, Context

if TYPE_CHECKING:
    from highdicom.sr import (
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TextContentItem,
    )

    Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations

KBQ, KBQ_PER_ML, MM, ONE, PERCENT = "kBq", "kBq/ml", "mm", "1", "%"
SECONDS, COUNTS, CPS = "s", "{counts}", "{counts}/s"
# Numbers go out with as many digits as a decimal string of 16 characters is sure to hold.
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Subject:
    """What a group is about: code of the finding, the name people know it by, and its tracking UID."""

    finding: str
    label: str
    uid: str


def group(
    subject: Subject,
    figures: Sequence[Measurement | None],
    context: Context,
    *,
    told: Sequence[QualitativeEvaluation] = (),
    sentences: Sequence[TextContentItem] = (),
    place_mm: NDArray[np.float64] | None = None,
) -> Group:
    """One group; `place_mm` (3,) is a point of Reference, shown in the frame of reference of `context`."""
    from highdicom.sr import (
        GraphicTypeValues3D,
        ImageRegion3D,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        TrackingIdentifier,
    )

    label = f"{SIMULATION} {subject.label}" if context.simulated else subject.label
    tracking = TrackingIdentifier(subject.uid, label)
    finding, known = codes.own(subject.finding), [f for f in figures if f is not None]
    made: Group
    if place_mm is None:
        made = MeasurementsAndQualitativeEvaluations(
            tracking, finding_type=finding, measurements=known, qualitative_evaluations=list(told)
        )
    else:
        point = context.place.points(place_mm)[None, :]
        made = PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking,
            referenced_region=ImageRegion3D(GraphicTypeValues3D.POINT, point, context.place.frame_uid),
            finding_type=finding,
            measurements=known,
            qualitative_evaluations=list(told),
        )
    made[0].ContentSequence.extend(sentences)
    return made


def figure(concept: str, value: float | None, ucum: str) -> Measurement | None:
    """One number; None where it is not known or has no end."""
    from highdicom.sr import Measurement

    if value is None or not np.isfinite(value):
        return None
    return Measurement(codes.own(concept), float(f"{value:.{DIGITS}g}"), codes.unit(ucum))


def evaluation(concept: str, value: str) -> tuple[QualitativeEvaluation, ...]:
    """One answer in words that are coded; nothing for a word without a code."""
    from highdicom.sr import QualitativeEvaluation

    return (QualitativeEvaluation(codes.own(concept), codes.own(value)),) if value in codes.OWN else ()


def finding(text: str) -> TextContentItem:
    """A sentence of what was found, as it is: what strikes a person's words out could strike out a "no"."""
    return _sentence("121071", "Finding", text)


def comment(text: str) -> TextContentItem:
    """A remark."""
    return _sentence("121106", "Comment", text)


def _sentence(code: str, meaning: str, text: str) -> TextContentItem:
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(codes.dcm(code, meaning), text, RelationshipTypeValues.CONTAINS)
