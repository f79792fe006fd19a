"""`gammanav register points`: matched points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
from numpy.typing import NDArray

from navigation.cli.errorlimit import judge_errors, max_error_option
from navigation.cli.numbers import Finite
from navigation.cli.pivot import refuse_existing, write_result
from navigation.io.pointerrors import point_errors
from navigation.io.points import PointList, read_points
from navigation.registration.landmarks import (
    MAX_FRE_MM,
    FleBelief,
    LandmarkRegistration,
    PointErrors,
    register_landmarks,
)
from navigation.registration.pairs import WAYS, PointPairs, Way, match_points
from navigation.registration.rigid import fit_with_errors
from navigation.tissuemotion import tissue_motion
from tracking.errors import GateRefusedError, InputError
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

# What no landmark tells.
BESIDE = f"of a rigid patient; beside it, {tissue_motion().words}"
# What is stated without its readings is taken as if from a dozen: four touches of a point. Were it taken as certain,
# one stated a quarter too small would cover 85 targets of 100 instead of 89, one half too small 70 instead of 77.
_UNSTATED_DOF = 12.0


def _error_options(function: Callable[..., None]) -> Callable[..., None]:
    """What is known of the points' errors before the fit."""
    for option in (
        click.option(
            "--moving-fle", metavar="MM|FILE", help="The same for MOVING, such as a tracker's error in depth."
        ),
        click.option(
            "--fixed-fle",
            metavar="MM|FILE",
            help="Errors of FIXED: 3D RMS, or rows [label,]rms | sx,sy,sz | xx,yy,zz,xy,xz,yz.",
        ),
        click.option(
            "--fle-dof",
            type=Finite(min=1.0),
            help="Single-axis readings that --fle-mm comes from; default: 12, as four touches of a point.",
        ),
        click.option(
            "--fle-mm",
            type=Finite(min=0.0, min_open=True),
            help="Localisation error of a pair, 3D RMS of both lists together; default: told by the residuals.",
        ),
    ):
        function = option(function)
    return function


@click.command("points", epilog="Example: gammanav register points ct.mrk.json touched.csv --out reg.json")
@click.argument("fixed", type=click.Path(path_type=Path))
@click.argument("moving", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, reg.json.")
@click.option(
    "--match",
    "way",
    type=click.Choice(WAYS),
    default="auto",
    show_default=True,
    help="auto: labels if both have them, else order; any: by distances alone, lists may differ.",
)
@click.option(
    "--exclude", multiple=True, metavar="LABEL", help="Leave a pair out (label or number); repeatable."
)
@click.option("--why", help="Why it is left out, kept in the result.")
@click.option(
    "--targets", type=click.Path(path_type=Path), help="Points or targets.json whose error is predicted."
)
@click.option(
    "--targets-in",
    type=click.Choice(["moving", "fixed"]),
    help="Frame of the targets; default: moving, for a targets.json fixed (the study's).",
)
@click.option(
    "--max-fre-mm",
    default=MAX_FRE_MM,
    show_default=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Largest accepted FRE.",
)
@max_error_option
@_error_options
@click.option(
    "--picture", type=click.Path(path_type=Path), help="PNG: the points, and where the fit puts them."
)
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    fixed: Path,
    moving: Path,
    out: Path,
    way: str,
    exclude: tuple[str, ...],
    why: str | None,
    targets: Path | None,
    targets_in: str | None,
    max_fre_mm: float,
    max_error_mm: float | None,
    fle_mm: float | None,
    fle_dof: float | None,
    fixed_fle: str | None,
    moving_fle: str | None,
    picture: Path | None,
    force: bool,
) -> None:
    """Register matched points; T_target_source maps MOVING into FIXED.

    Files hold x,y,z or label,x,y,z; Slicer's .mrk.json and .fcsv are read too (as LPS). Labels are matched by
    name when both files have them, else points are matched by their order; a symmetric set then needs labels, or
    --match order. With --match any the order and number of the points may differ; what is not proven is refused.
    A registration that fails a gate is written with "accepted": false; the exit code is then 3.
    """
    refuse_existing(out, force)
    if picture is not None:
        refuse_existing(picture, force)
        _require_sides(fixed)
    lists = read_points(fixed), read_points(moving)
    belief = _belief(fle_mm, fle_dof, fixed_fle, moving_fle)
    stated = _stated_errors(lists, fixed_fle, moving_fle)
    known = belief if stated is None else _size_of(stated)
    matched = _pairs(fixed, moving, lists, cast(Way, way), known)
    pairs = matched.without(exclude)
    errors = None if stated is None else _errors_of(stated, pairs)
    wanted = None if targets is None else read_points(targets)
    frame = targets_in or _frame_of(targets)
    used = belief if errors is None else _size_of(errors)
    in_moving = None if wanted is None else _in_moving(wanted.points_mm, frame, pairs, errors)
    result = _registered(pairs, in_moving, max_fre_mm, errors, used)
    content = {
        **result.as_json(),
        "tissue_motion": tissue_motion().to_json(),
        **pairs.as_json(),
        "excluded": _excluded(matched, exclude, why, result),
    }
    names = None if wanted is None or wanted.labels is None else list(wanted.labels)
    judge_errors(content, max_error_mm, names)
    if wanted is not None:
        content["tre_mm"] |= {"targets": wanted.points_mm.tolist(), "frame": frame, "names": names}
    write_result(out, content)
    if picture is not None and result.fit is not None:
        _draw(picture, pairs, result, content)
    if not content["accepted"]:
        raise GateRefusedError(f"{out}: registration refused: {'; '.join(content['reasons'])}")
    click.echo(summary(result, content["warnings"], pairs.unmatched))


def _require_sides(fixed: Path) -> None:
    """A picture carries the patient's sides: only lists that say how they lie may be drawn. Raises InputError."""
    if not fixed.name.lower().endswith((".mrk.json", ".fcsv")):
        raise InputError(
            f"{fixed}: --picture needs a list that says LPS or RAS (.mrk.json, .fcsv): a table does not"
        )


def _draw(picture: Path, pairs: PointPairs, result: LandmarkRegistration, content: dict[str, Any]) -> None:
    from navigation.plots.fusion import points_picture
    from navigation.plots.write import write_plots

    fit = result.fit
    assert fit is not None
    moved = fit.apply(pairs.moving_mm)
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_plots(lambda: [points_picture(picture, pairs.fixed_mm, moved, pairs.names, content)])


def _belief(
    fle_mm: float | None, dof: float | None, fixed_fle: str | None, moving_fle: str | None
) -> FleBelief | None:
    """The localisation error that is given for all pairs."""
    if fle_mm is None:
        if dof is not None:
            raise InputError("--fle-dof says where --fle-mm comes from; it is given without it")
        return None
    if fixed_fle is not None or moving_fle is not None:
        raise InputError("--fle-mm is for both lists together: not beside --fixed-fle or --moving-fle")
    return FleBelief(fle_mm, _UNSTATED_DOF if dof is None else dof)


def _stated_errors(
    lists: tuple[PointList, PointList], fixed_fle: str | None, moving_fle: str | None
) -> PointErrors | None:
    """Covariances of all points of both lists; a list of which nothing is said counts as exact."""
    if fixed_fle is None and moving_fle is None:
        return None
    stated = [
        np.zeros((len(points), 3, 3)) if text is None else point_errors(text, points, name)
        for points, text, name in zip(
            lists, (fixed_fle, moving_fle), ("--fixed-fle", "--moving-fle"), strict=True
        )
    ]
    return PointErrors(*stated)


def _errors_of(stated: PointErrors, pairs: PointPairs) -> PointErrors:
    return PointErrors(stated.fixed_mm2[pairs.rows[:, 0]], stated.moving_mm2[pairs.rows[:, 1]])


def _size_of(errors: PointErrors) -> FleBelief | None:
    """The RMS error of a pair that stated covariances amount to; None where there is no pair."""
    if not len(errors.fixed_mm2) or not len(errors.moving_mm2):
        return None
    traces = [np.trace(c, axis1=1, axis2=2).mean() for c in (errors.fixed_mm2, errors.moving_mm2)]
    return FleBelief(math.sqrt(float(sum(traces))), _UNSTATED_DOF)


def _pairs(
    fixed: Path, moving: Path, lists: tuple[PointList, PointList], way: Way, belief: FleBelief | None
) -> PointPairs:
    try:
        return match_points(*lists, way, belief)
    except InputError as fault:
        raise InputError(f"{fixed}, {moving}: {fault}") from None


def _frame_of(targets: Path | None) -> str:
    """A list of targets is one of the study, into which things are registered; a table is of what was touched."""
    name = "" if targets is None else targets.name.lower()
    return "fixed" if name.endswith(".json") and not name.endswith(".mrk.json") else "moving"


def _in_moving(targets_mm: Array, frame: str, pairs: PointPairs, errors: PointErrors | None) -> Array:
    """Targets (k, 3) in MOVING; those given in FIXED are brought there by the fit itself."""
    if frame == "moving" or not len(pairs):
        return targets_mm
    back = invert_rigid(fit_with_errors(pairs.fixed_mm, pairs.moving_mm, errors).matrix)
    return np.asarray(targets_mm @ back[:3, :3].T + back[:3, 3])


def _registered(
    pairs: PointPairs,
    targets_mm: Array | None,
    max_fre_mm: float,
    errors: PointErrors | None,
    belief: FleBelief | None,
) -> LandmarkRegistration:
    """The registration of the pairs; one without a transform where the match is refused."""
    if pairs.reasons:
        there = np.zeros((0, 3)) if targets_mm is None else targets_mm
        unknown = np.full(len(there), np.nan)
        return LandmarkRegistration(None, None, np.zeros(0), there, unknown, pairs.reasons)
    return register_landmarks(
        pairs.fixed_mm,
        pairs.moving_mm,
        pairs.labels,
        targets_mm,
        max_fre_mm,
        errors=errors,
        belief=belief,
        certain=pairs.certain,
    )


def _excluded(
    pairs: PointPairs, names: tuple[str, ...], why: str | None, result: LandmarkRegistration
) -> list[dict[str, Any]]:
    """What was left out, why, and by how much the registration misses it."""
    told = []
    for name in dict.fromkeys(names):
        row = pairs.names.index(name)
        missed = None
        if result.fit is not None:
            away = pairs.fixed_mm[row] - result.fit.apply(pairs.moving_mm[row])
            missed = float(np.linalg.norm(away))
        told.append({"label": name, "why": why, "missed_by_mm": missed})
    return told


def summary(result: LandmarkRegistration, warnings: Sequence[str], unmatched: Sequence[str]) -> str:
    """What it may be wrong by, first; what was not used and the warnings below it."""
    pairs = len(result.leave_one_out_mm)
    lines = [f"registration of {pairs} pairs accepted: {_errors_in_words(result)}", f"  {BESIDE}"]
    if unmatched:
        lines.append(f"not used, in one list only: {', '.join(unmatched)}")
    return "\n".join([*lines, *(f"warning: {w}" for w in warnings)])


def _errors_in_words(result: LandmarkRegistration) -> str:
    """Predicted errors at the targets, or at the middle of the landmarks."""
    there = result.at_targets
    if not there:
        centre = result.at_centre
        if centre is None:
            return "error unknown"
        return (
            f"predicted error amid the landmarks {centre.rms_mm:.1f} mm RMS, at most {centre.bound95_mm:.1f} mm "
            "with 95 % confidence, more away from them (--targets)"
        )
    worst = max(there, key=lambda t: t.bound95_mm)
    where = "the target" if len(there) == 1 else f"the worst of {len(there)} targets"
    bound = f"at most {worst.bound95_mm:.1f} mm with 95 % confidence"
    return f"predicted error at {where} {worst.rms_mm:.1f} mm RMS, {bound}"
