"""How true a registration of images is, what it says of itself, and what it accepts that it should not.

Studies of the simulated room, imported as the user imports them, their SPECT or a second CT displaced by up to 30 mm
and 15 degrees; then pairs that must be refused; then, where it is at hand, the PET/CT of a patient, displaced alike.
The figures are TRE at the foci, how often it lies within twice the predicted RMS, wrong acceptances, and CPU time.

Run: python -m benchmarks.register_images [--runs N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.io.study import import_study, load_study
from navigation.registration.imagefiles import volume_of
from navigation.registration.images import ImageRegistration, register_images
from navigation.registration.imagesearch import mapped, rigid, turn
from navigation.registration.imagevolume import ImageVolume
from navigation.registration.series import registered_grid
from navigation.simulate.dicom import write_study
from navigation.simulate.phantom import ct_numbers, study_grid
from navigation.simulate.scenes import Scene, build_scene

Array = NDArray[np.float64]

MOST_MM, MOST_DEG = 30.0, 15.0
# An accepted registration that is further off than this at a focus is a wrong one.
WRONG_MM = 5.0
SCENES = ("bed", "occult", "node")
REFERENCE_UTC_S = 1_767_261_600.0
PATIENT = Path(__file__).resolve().parents[2] / "shared" / "data" / "petct_sts001"
LESION_MM = np.array([[70.9, 11.5, -789.2]])


@dataclass(frozen=True)
class Outcome:
    """One registration: errors and predictions (k,) in mm at its targets, and the CPU time."""

    kind: str
    result: ImageRegistration
    errors_mm: Array
    cpu_s: float


def displacement(rng: np.random.Generator, centre_mm: Array) -> Array:
    """(4, 4): a turn about the patient's middle by up to MOST_DEG and a shift of up to MOST_MM, any direction."""
    axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    rotation = turn(np.radians(rng.uniform(0.0, MOST_DEG)) * axis)
    return rigid(rotation, centre_mm - rotation @ centre_mm + rng.uniform(0.0, MOST_MM) * way)


def displaced(volume: ImageVolume, T: Array) -> ImageVolume:
    """The volume said to lie where T puts it; the registration to find is the inverse of T."""
    return replace(volume, grid=registered_grid(volume.grid, T))


def cropped(volume: ImageVolume, rng: np.random.Generator) -> ImageVolume:
    """Another field of view: up to a sixth cut from each end along the patient, a tenth across."""
    nx, ny, nz = volume.grid.size
    cut = [int(rng.uniform(0.0, s) * n) for s, n in ((0.1, nx), (0.1, ny), (1 / 6, nz)) for _ in (0, 1)]
    a, b, c = cut[0], cut[2], cut[4]
    array = volume.array[c : nz - cut[5], b : ny - cut[3], a : nx - cut[1]]
    grid = volume.grid
    size = (array.shape[2], array.shape[1], array.shape[0])
    origin = grid.origin_mm + grid.direction @ (grid.spacing_mm * np.array([a, b, c]))
    return replace(volume, array=np.ascontiguousarray(array), grid=replace(grid, origin_mm=origin, size=size))


def register(kind: str, fixed: ImageVolume, moving: ImageVolume, T: Array, targets_mm: Array) -> Outcome:
    """One registration of MOVING displaced by T; targets (k, 3) in FIXED."""
    began = time.process_time()
    result = register_images(fixed, displaced(moving, T), mapped(T, targets_mm))
    cpu_s = time.process_time() - began
    errors = np.linalg.norm(mapped(result.T_fixed_moving, mapped(T, targets_mm)) - targets_mm, axis=1)
    return Outcome(kind, result, errors, cpu_s)


def imported(scene: Scene) -> tuple[ImageVolume, ImageVolume]:
    """CT and SPECT of a scene, through DICOM."""
    with tempfile.TemporaryDirectory() as folder:
        write_study(scene, Path(folder) / "dicom", REFERENCE_UTC_S)
        import_study(Path(folder) / "dicom", Path(folder) / "study")
        study = load_study(Path(folder) / "study")
        assert study.ct is not None
        assert study.functional is not None
        return volume_of(study.ct), volume_of(study.functional)


def second_ct(scene: Scene) -> ImageVolume:
    """A CT of the same patient on another scanner: other voxels, another field, other noise."""
    grid = study_grid(scene.patient, (3.4, 3.4, 5.0), (120, 96, 44))
    return ImageVolume(ct_numbers(scene, grid).astype(np.float32), grid, "CT", "second CT")


def targets_of(scene: Scene) -> Array:
    """(k, 3): the foci in the study's frame."""
    return np.array(
        [mapped(scene.patient.T_study_body, s.points).mean(axis=0) for s in scene.patient.lesions]
    )


def foci_only(spect: ImageVolume) -> ImageVolume:
    """The SPECT of a tracer that nothing takes up but foci."""
    hot = spect.array > 0.3 * spect.array.max()
    return replace(spect, array=np.where(hot, spect.array, 0.0).astype(np.float32))


def outcomes(runs: int) -> Iterator[Outcome]:
    """Right and wrong pairs of simulated patients."""
    for run in range(runs):
        rng = np.random.default_rng(run)
        name = SCENES[run % len(SCENES)]
        scene, other = build_scene(name, 100 + run), build_scene(SCENES[(run + 1) % 3], 900 + run)
        ct, spect = imported(scene)
        targets = targets_of(scene)
        for kind, moving in (
            ("SPECT onto CT", cropped(spect, rng)),
            ("CT onto CT", cropped(second_ct(scene), rng)),
        ):
            yield register(kind, ct, moving, displacement(rng, ct.body_centre_mm), targets)
        T = displacement(rng, ct.body_centre_mm)
        _, others = imported(other)
        yield register("wrong: SPECT of another patient", ct, others, T, targets)
        yield register("wrong: CT of another patient", ct, second_ct(other), T, targets)
        yield register("wrong: CT mirrored", ct, second_ct(scene).mirrored(run % 3), T, targets)
        yield register("wrong: foci alone", ct, foci_only(spect), T, targets)


def patient_outcomes(runs: int) -> Iterator[Outcome]:
    """The PET of a patient onto the CT of the same session; the true transform is that of the scanner."""
    with tempfile.TemporaryDirectory() as folder:
        import_study(PATIENT, Path(folder) / "study")
        study = load_study(Path(folder) / "study")
        assert study.ct is not None
        assert study.functional is not None
        ct, pet = volume_of(study.ct), volume_of(study.functional)
        for run in range(runs):
            T = displacement(np.random.default_rng(run), LESION_MM[0])
            yield register("PET of a patient onto CT", ct, pet, T, LESION_MM)


def table(results: list[Outcome]) -> str:
    """One line per kind of pair."""
    lines = [
        f"{'pair':<33}{'n':>4}{'accepted':>10}{'TRE median / p95 / max, mm':>28}{'within 2 RMS':>14}{'CPU s':>7}"
    ]
    for kind in dict.fromkeys(o.kind for o in results):
        these = [o for o in results if o.kind == kind]
        good = [o for o in these if o.result.accepted]
        errors = np.concatenate([o.errors_mm for o in these])
        told = np.concatenate([2.0 * o.result.predicted_mm for o in these])
        tre = " / ".join(f"{v:.2f}" for v in (np.median(errors), np.quantile(errors, 0.95), errors.max()))
        within = f"{100 * float((errors <= told).mean()):.0f} %"
        cpu = float(np.median([o.cpu_s for o in these]))
        lines.append(f"{kind:<33}{len(these):>4}{len(good):>10}{tre:>28}{within:>14}{cpu:>7.1f}")
    accepted = [o for o in results if o.result.accepted]
    wrong = [o for o in accepted if o.kind.startswith("wrong") or o.errors_mm.max() > WRONG_MM]
    lines.append(
        f"accepted {len(accepted)}, of these wrong {len(wrong)} (another pair, or more than {WRONG_MM:g} mm off)"
    )
    return "\n".join(lines)


def main() -> None:
    """Run the study and print its table, then why what was refused was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    runs = parser.parse_args().runs
    results = []
    for outcome in outcomes(runs):
        results.append(outcome)
        print(_line(outcome), flush=True)
    if PATIENT.is_dir():
        for outcome in patient_outcomes(runs):
            results.append(outcome)
            print(_line(outcome), flush=True)
    print(table(results))


def _line(outcome: Outcome) -> str:
    said = "; ".join(outcome.result.reasons) or "accepted"
    found = outcome.result.findings
    leads = ", ".join(
        f"{found[k]:.1f}" for k in ("lead_over_displaced_sds", "lead_over_mirror_sds") if found[k]
    )
    return (
        f"{outcome.kind}: {outcome.errors_mm.max():.2f} mm, told {outcome.result.predicted_mm.max():.2f}, "
        f"leads over displaced and mirrored {leads} SDs: {said}"
    )


if __name__ == "__main__":
    main()
