"""Coverage of a bed while it is scanned: as the bed check has it, a function of readings and schedule alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from navigation.bed import Bed
from navigation.bedcheck import check_bed
from navigation.coverage import Aim, BedCoverage
from navigation.engine.imaging import Imager
from navigation.engine.jobs import ScanBasis, TickJob
from navigation.reconstruction import reconstruct
from navigation.reconstruction.livescan import LiveScan
from navigation.schedule import LAST_WORK, Frame, Work
from tests.navigation.scan_model import filled, raster, setup
from tracking.sample import Readings

THRESHOLD_KBQ = 8.0
TICK = 60


def bed() -> Bed:
    axis = np.arange(-15.0, 16.0, 5.0)
    x, y = np.meshgrid(axis, axis)
    return Bed(np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]), 6.0)


@pytest.fixture(scope="module")
def readings() -> Readings:
    return filled(raster(240), [], 0.2, seed=3)


def played(
    readings: Readings, aim: Aim | None, bed_asked: bool = True, beside: ThreadPoolExecutor | None = None
) -> list[Frame]:
    scan = LiveScan(setup(), beside) if beside is not None else LiveScan(setup())
    scan.aim_at(aim)
    frames = []
    for low in range(0, len(readings), TICK):
        scan.add(readings.select(slice(low, min(low + TICK, len(readings)))))
        frames.append(scan.advance(Work(adopt=True, seek=True, bed=bed_asked, grow=True, widen=True)))
    return [*frames, scan.advance(LAST_WORK)]


def told(frame: Frame) -> BedCoverage:
    assert frame.coverage is not None
    return frame.coverage


@pytest.fixture(scope="module")
def frames(readings: Readings) -> list[Frame]:
    return played(readings, Aim(bed(), THRESHOLD_KBQ))


def test_what_is_covered_at_the_end_is_what_the_bed_check_says(
    readings: Readings, frames: list[Frame]
) -> None:
    last = told(frames[-1])
    check = check_bed(reconstruct(setup(), readings), bed(), THRESHOLD_KBQ)
    assert check.bed_map is not None and last.share is not None
    assert last.readings == len(readings)
    np.testing.assert_allclose(last.points_mm, check.bed_map.points_mm)
    assert last.share == pytest.approx(check.covered_fraction, abs=0.03)
    both = last.covered & check.bed_map.covered
    np.testing.assert_allclose(last.mda_kbq[both], check.bed_map.mda_kbq[both], rtol=0.03)
    assert last.widest_mm == pytest.approx(check.largest_uncovered_mm, abs=4.1)


def test_the_part_that_was_not_scanned_is_unseen_and_is_where_to_scan_next(
    readings: Readings, frames: list[Frame]
) -> None:
    half = told(frames[2])  # the raster goes along y: half of it is done
    y = half.points_mm[:, 1]
    assert half.covered is not None and half.covered[y < -8.0].mean() > half.covered[y > 8.0].mean() + 0.5
    assert half.unseen[y > 15.0].any() and not half.unseen[y < -8.0].any()
    assert half.worst_kbq is None and not half.reached
    look = half.scan_next
    assert look is not None and look.of == "bed" and look.place_mm[1] > 0.0
    assert look.now is None and look.seconds >= 1.0


def test_the_same_schedule_gives_the_same_coverage_beside_or_at_once(
    readings: Readings, frames: list[Frame]
) -> None:
    with ThreadPoolExecutor(1) as beside:
        again = played(readings.head(120), Aim(bed(), THRESHOLD_KBQ), beside=beside)
        for first, second in zip(again[:2], frames, strict=False):
            assert (first.coverage is None) == (second.coverage is None)
            if first.coverage is None or second.coverage is None:
                continue
            assert np.array_equal(first.coverage.mda_kbq, second.coverage.mda_kbq)
            assert np.array_equal(first.coverage.limit_kbq, second.coverage.limit_kbq)
            looks = [c.scan_next for c in (first.coverage, second.coverage)]
            assert (looks[0] is None) == (looks[1] is None)
            assert looks[0] is None or np.array_equal(looks[0].pose, looks[1].pose)


def test_a_schedule_that_asks_for_no_bed_tells_none_and_the_same_map(
    readings: Readings, frames: list[Frame]
) -> None:
    plain = played(readings.head(120), Aim(bed(), THRESHOLD_KBQ), bed_asked=False)
    assert all(frame.coverage is None for frame in plain)
    for first, second in zip(plain[:2], frames, strict=False):
        assert (first.map is None) == (second.map is None)
        assert first.map is None or np.array_equal(first.map.activity, second.map.activity)


def test_without_a_threshold_nothing_is_called_covered(readings: Readings) -> None:
    last = told(played(readings.head(120), Aim(bed()))[-1])
    assert last.covered is None and last.share is None and not last.reached
    assert np.isfinite(last.mda_kbq).any()
    assert last.scan_next is not None  # what lags behind the rest


def test_a_focus_is_no_reason_to_count_for_ever(readings: Readings) -> None:
    hot = filled(raster(160), [((2.0, -8.0, -4.0), 60.0)], 0.2, seed=4)
    last = told(played(hot, Aim(bed(), THRESHOLD_KBQ))[-1])
    assert last.covered is not None
    near = np.linalg.norm(last.points_mm - [2.0, -8.0, -4.0], axis=1) < 2.0
    assert not last.covered[near].any()


def test_another_outline_forgets_what_was_covered(readings: Readings) -> None:
    scan, first = LiveScan(setup()), Aim(bed(), THRESHOLD_KBQ)
    scan.aim_at(first)
    scan.add(readings.select(slice(0, 80)))
    work = Work(adopt=True, seek=True, bed=True)
    for _ in range(3):
        frame = scan.advance(work)
    assert told(frame).aim is first
    other = Aim(Bed(bed().points_mm + [4.0, 0.0, 0.0], 6.0), THRESHOLD_KBQ)
    scan.aim_at(other)
    # A search for the bed before was on its way: what it tells is of no use any more.
    assert scan.advance(Work(adopt=True)).coverage is None


def test_an_outline_that_encloses_nothing_has_no_coverage(readings: Readings) -> None:
    line = Bed(np.column_stack([np.arange(20.0), np.zeros(20), np.zeros(20)]), 6.0)
    assert all(frame.coverage is None for frame in played(readings.head(80), Aim(line, THRESHOLD_KBQ)))


def test_a_schedule_without_a_bed_stands_in_the_record_as_before() -> None:
    assert "bed" not in Work().to_json()
    assert Work.from_json(Work(bed=True).to_json()).bed
    assert not Work.from_json(Work().to_json()).bed


def test_the_record_tells_a_coverage_bit_for_bit_and_nothing_where_none_was_asked_for(
    readings: Readings,
) -> None:
    def digests(work: Work) -> list[dict[str, object]]:
        imager, basis = (
            Imager(lambda _: LiveScan(setup())),  # type: ignore[arg-type, return-value]
            ScanBasis("scan-1", {}, "Tc-99m", None, None, 0.0, None, None, False),
        )
        aim = Aim(bed(), THRESHOLD_KBQ)
        parts = [readings.select(slice(low, low + TICK)) for low in (0, TICK, 2 * TICK)]
        jobs = [TickJob(basis, i, part, None, False, work, aim) for i, part in enumerate(parts)]
        return [imager.run(job).digest for job in jobs]

    asked, again = (digests(Work(adopt=True, seek=True, bed=True)) for _ in range(2))
    assert asked == again and "bed" in asked[-1]
    plain = digests(Work(adopt=True, seek=True))
    assert all("bed" not in found and "bed" not in found["work"] for found in plain)  # type: ignore[operator]
    assert [found["map"] for found in plain[1:]] == [found["map"] for found in asked[1:]]
