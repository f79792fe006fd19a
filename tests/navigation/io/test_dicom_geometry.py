"""The geometry proof on planes without files: each defect alone is named, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from navigation.io.defects import Code
from navigation.io.dicom_geometry import Proof, SlicePlanes, prove

STEP_MM = 2.5


def planes(
    n: int = 12,
    rotation: np.ndarray | None = None,
    places: np.ndarray | None = None,
    shear: tuple[float, float] = (0.0, 0.0),
    **changes: object,
) -> SlicePlanes:
    """Slices of 8 columns and 6 rows along the normal of a turned frame."""
    axes = np.eye(3) if rotation is None else rotation
    s = np.arange(n) * STEP_MM if places is None else places
    inner = np.stack([s * shear[0], s * shear[1], s], axis=1)
    positions = np.array([10.0, -20.0, 30.0]) + inner @ axes.T
    orientations = np.tile(np.concatenate([axes[:, 0], axes[:, 1]]), (len(s), 1))
    fields = {"pixel_mm": (0.8, 1.2), "size": (8, 6)} | changes
    return SlicePlanes(positions, orientations, **fields)  # type: ignore[arg-type]


def codes(proof: Proof) -> list[str]:
    return [d.code.value for d in proof.defects]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 40), decimals=st.integers(3, 9))
def test_any_regular_series_passes_whatever_its_rotation_and_order(seed: int, n: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(rng=rng).as_matrix()
    true = planes(n, rotation)
    shuffle = rng.permutation(n)
    rounded = SlicePlanes(
        np.round(true.positions_mm[shuffle], decimals),
        np.round(true.orientations[shuffle], max(decimals, 5)),
        true.pixel_mm,
        true.size,
    )
    proof = prove(rounded)
    assert proof.defects == ()
    assert proof.grid is not None
    np.testing.assert_array_equal(shuffle[proof.order], np.arange(n))
    corner = proof.grid.origin_mm + proof.grid.direction @ (proof.grid.spacing_mm * [7, 5, n - 1])
    expected = true.positions_mm[-1] + rotation @ [7 * 0.8, 5 * 1.2, 0.0]
    assert np.linalg.norm(corner - expected) < 0.1


def test_the_48_axis_permutations_and_flips_are_distinguished() -> None:
    seen = set()
    for permutation in np.array(np.meshgrid([0, 1, 2], [0, 1, 2], [0, 1, 2])).reshape(3, -1).T:
        if len(set(permutation.tolist())) < 3:
            continue
        for signs in np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).reshape(3, -1).T:
            axes = np.eye(3)[:, permutation] * signs
            # frames in file order, so that a third axis against the normal stays as it is
            steps = np.outer(np.arange(5) * STEP_MM, axes[:, 2])
            orientations = np.tile(np.concatenate([axes[:, 0], axes[:, 1]]), (5, 1))
            proof = prove(SlicePlanes(steps, orientations, (1.0, 1.0), (4, 4), ordered=True))
            assert proof.grid is not None
            np.testing.assert_allclose(proof.grid.direction, axes, atol=1e-12)
            seen.add(proof.grid.direction.round(6).tobytes())
    assert len(seen) == 48


def test_a_missing_slice() -> None:
    proof = prove(planes(places=np.array([0.0, 5.0, 10.0, 20.0])))
    assert codes(proof) == ["MISSING_SLICE"]
    assert proof.grid is None
    assert "1 missing at a step of 5.000 mm" in proof.defects[0].detail


def test_two_missing_at_the_ends_of_three() -> None:
    assert codes(prove(planes(places=np.array([0.0, 5.0, 15.0])))) == ["MISSING_SLICE"]


def test_slices_at_one_position() -> None:
    places = np.array([0.0, 2.5, 2.5, 5.0, 7.5])
    assert codes(prove(planes(places=places))) == ["DUPLICATE_POSITION"]
    assert codes(prove(planes(places=np.zeros(4)))) == ["DUPLICATE_POSITION"]


@pytest.mark.parametrize(
    "places",
    [
        [0.0, 2.5, 5.0, 7.8, 10.0, 12.5],  # one slice 0.3 mm off
        [0.0, 2.0, 4.0, 7.0, 10.0, 13.0],  # the step changes half way
        [0.0, 2.0, 4.05, 6.15, 8.3, 10.5, 12.75],  # a step that grows
    ],
)
def test_uneven_steps(places: list[float]) -> None:
    assert codes(prove(planes(places=np.array(places)))) == ["UNEQUAL_SPACING"]


def test_rounded_positions_are_even() -> None:
    # 0.625 mm steps in tenths of a millimetre are steps of 0.6 and 0.7
    assert codes(prove(planes(places=np.round(np.arange(60) * 0.625, 1)))) == []


def test_mixed_orientation() -> None:
    good = planes(10)
    orientations = good.orientations.copy()
    orientations[3] = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
    proof = prove(SlicePlanes(good.positions_mm, orientations, good.pixel_mm, good.size))
    assert "MIXED_ORIENTATION" in codes(proof)
    assert "1 of 10" in proof.defects[0].detail
    assert proof.grid is None


def test_a_tilted_gantry_is_named_with_its_angle() -> None:
    slope = float(np.tan(np.radians(14.0)))
    proof = prove(planes(shear=(0.0, slope)))
    assert codes(proof) == ["GANTRY_TILT"]
    assert proof.tilt_deg == pytest.approx(14.0)
    assert proof.only_tilted
    # 11 steps of 2.5 mm shift the last slice by 6.86 mm: six more rows of 1.2 mm
    assert proof.grid is not None
    assert proof.grid.size == (8, 12, 12)
    np.testing.assert_allclose(proof.shift_mm[-1], [0.0, 27.5 * slope])


def test_tilt_and_a_missing_slice_are_both_named() -> None:
    proof = prove(planes(places=np.array([0.0, 5.0, 10.0, 20.0]), shear=(0.0, 0.25)))
    assert sorted(codes(proof)) == ["GANTRY_TILT", "MISSING_SLICE"]
    assert proof.grid is None
    assert not proof.only_tilted


def test_a_small_tilt_over_a_short_way_is_no_defect() -> None:
    # 0.2 mm per metre over 27.5 mm
    assert codes(prove(planes(shear=(2e-4, 0.0)))) == []


def test_a_tilt_only_the_header_knows_of() -> None:
    assert codes(prove(planes(stated_tilt_deg=12.0))) == ["GANTRY_TILT"]
    tilted_stack = Rotation.from_euler("x", 12.0, degrees=True).as_matrix()
    assert codes(prove(planes(rotation=tilted_stack, stated_tilt_deg=12.0))) == []


def test_slices_shifted_against_each_other() -> None:
    good = planes(10)
    positions = good.positions_mm.copy()
    positions[4, 0] += 3.0
    assert codes(prove(SlicePlanes(positions, good.orientations, good.pixel_mm, good.size))) == [
        "MIXED_SERIES"
    ]


def test_axes_that_are_none() -> None:
    good = planes(4)
    skewed = np.tile([1.0, 0.0, 0.0, 0.3, 1.0, 0.0], (4, 1))
    assert codes(prove(SlicePlanes(good.positions_mm, skewed, (1.0, 1.0), (4, 4)))) == ["NOT_A_VOLUME"]


def test_what_is_fatal() -> None:
    recorded = {c.value for c in Code if not c.fatal}
    assert recorded == {"NEGATIVE_SPACING", "NO_PATIENT_POSITION", "NO_FRAME_OF_REFERENCE", "FRAME_MISMATCH"}
