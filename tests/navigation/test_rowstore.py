"""The row store: growing without a copy, its cap, and what merging rows of nearly equal pose does to an image."""

from __future__ import annotations

import numpy as np
import pytest

from navigation import _core
from navigation.projector import Projector
from navigation.reconstruction.compaction import FINE_MM, LEVER_MM, WIDEST_MM, merges, placed
from navigation.reconstruction.rowstore import FREED_ROWS, RowStore, merged
from tests.navigation.scan_model import response
from tracking.sample import Readings

STRIDE_BYTES = 64  # of up to 32 columns


def poses(tips: np.ndarray, tilt_rad: np.ndarray | None = None) -> np.ndarray:
    """Looking down from `tips` (n, 3), tilted about the x axis."""
    tilt = np.zeros(len(tips)) if tilt_rad is None else tilt_rad
    out = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (len(tips), 1, 1))
    out[:, 1, 1], out[:, 1, 2] = -np.cos(tilt), -np.sin(tilt)
    out[:, 2, 1], out[:, 2, 2] = np.sin(tilt), -np.cos(tilt)
    out[:, :3, 3] = tips
    return out


def walk(n: int, seed: int = 1) -> np.ndarray:
    """(n, 4, 4): a hand that wanders over 40 x 40 mm, 1 mm from reading to reading, back and forth."""
    rng = np.random.default_rng(seed)
    along = np.cumsum(rng.normal(0, 1.0, (n, 2)), axis=0)
    tips = np.column_stack([20 * np.sin(along / 15), np.full(n, 2.0)])
    return poses(tips, rng.uniform(-0.1, 0.1, n))


def test_rows_stay_where_they_are_as_the_store_grows() -> None:
    store = RowStore(20)
    rows = np.random.default_rng(0).uniform(0, 1, (600, 20)).astype(np.float32)
    store.append(rows[:10])
    view = store.packed
    store.append(rows[10:])
    assert np.shares_memory(view, store.packed)
    assert store.unpacked() == pytest.approx(rows, rel=2.0**-11 * 1.01, abs=1e-9)


def test_rows_without_poses_are_never_merged_and_outgrow_the_cap() -> None:
    store = RowStore(20, cap_bytes=64 * STRIDE_BYTES)
    rows = np.random.default_rng(0).uniform(0, 1, (300, 20)).astype(np.float32)
    assert (store.append(rows) == np.arange(300)).all()
    assert store.unpacked() == pytest.approx(rows, rel=2.0**-11 * 1.01, abs=1e-9)
    assert store.merged_mm == 0.0


def test_a_full_store_keeps_counts_live_time_and_weighted_rows() -> None:
    n, capacity = 2000, 640
    rng = np.random.default_rng(2)
    rows = rng.uniform(0.5, 1.5, (n, 20)).astype(np.float32)
    live, counts = rng.uniform(0.05, 0.2, n), rng.poisson(5.0, n).astype(float)
    store = RowStore(20, cap_bytes=capacity * STRIDE_BYTES)
    y, t, weighted, sizes = np.zeros(0), np.zeros(0), np.zeros((0, 20)), np.zeros(0)
    for low in range(0, n, 130):
        part = slice(low, min(low + 130, n))
        into = store.append(rows[part], walk(n)[part], live[part])
        y, t = merged(into, np.append(y, counts[part])), merged(into, np.append(t, live[part]))
        weighted = merged(into, np.concatenate([weighted, rows[part] * live[part, None]]))
        sizes = merged(into, np.append(sizes, np.ones(part.stop - low)))
    assert len(store) <= capacity
    assert len(y) == len(store)
    assert y.sum() == counts.sum()
    assert t.sum() == pytest.approx(live.sum())
    assert (store.readings == sizes).all()
    # Each merge rounds anew to float16; rows took part in a handful.
    assert store.unpacked() == pytest.approx(weighted / t[:, None], rel=8 * 2.0**-11)


def test_what_is_merged_depends_on_the_rows_and_not_on_how_they_came() -> None:
    rows = np.random.default_rng(3).uniform(0, 1, (1500, 20)).astype(np.float32)
    live, path = np.full(1500, 0.1), walk(1500)
    stores = [RowStore(20, cap_bytes=500 * STRIDE_BYTES) for _ in range(2)]
    stores[0].append(rows, path, live)
    for low in range(0, 1500, 7):
        part = slice(low, low + 7)
        stores[1].append(rows[part], path[part], live[part])
    assert stores[0].packed.tobytes() == stores[1].packed.tobytes()
    assert stores[0].scales.tobytes() == stores[1].scales.tobytes()


def test_every_reading_lies_within_the_stated_distance_of_its_row() -> None:
    path, live = walk(900), np.linspace(0.05, 0.2, 900)
    place = placed(path)
    merge = merges(place, np.zeros(900), live, np.zeros(900, dtype=np.int64), 600)
    heads = np.unique(merge.label)
    assert len(heads) == 300
    for head in heads:
        members = merge.label == head
        centre = np.average(place[members], axis=0, weights=live[members])
        assert merge.centre[head] == pytest.approx(centre)
        farthest = np.linalg.norm(place[members] - centre, axis=1).max()
        assert farthest <= merge.radius_mm[head] * (1 + 1e-9) + 1e-9
    assert merge.radius_mm[heads].max() < FINE_MM


def test_pose_distance_counts_shift_and_tilt_but_not_the_turn_about_the_axis() -> None:
    two = poses(np.array([[0.0, 0, 0], [3.0, 0, 0]]), np.array([0.0, 0.1]))
    apart = np.linalg.norm(np.diff(placed(two), axis=0))
    # A chord of 2 sin(0.05) at the lever's end, and 3 mm beside it.
    assert apart == pytest.approx(np.hypot(3.0, LEVER_MM * 2 * np.sin(0.05)))
    turned = two[:1].copy()
    turned[0, :3, :3] = turned[0, :3, :3] @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert placed(turned) == pytest.approx(placed(two[:1]))


def test_rows_of_different_kinds_never_join() -> None:
    same = np.tile(placed(poses(np.zeros((1, 3)))), (40, 1))
    kind = np.arange(40) % 4
    merge = merges(same, np.zeros(40), np.ones(40), kind, 100)
    # One row of each kind is left, though more were to go.
    assert sorted(np.unique(merge.label)) == [0, 1, 2, 3]
    assert (kind[merge.label] == kind).all()


def test_rows_that_see_different_places_never_join() -> None:
    # Four plain rows 129 mm apart among rows that stay alone: nothing may go, whatever is asked.
    tips = np.column_stack([129.0 * np.arange(100), np.zeros((100, 2))])
    kind = np.where(np.arange(100) % 25 == 0, 0, 1 + np.arange(100))
    tips[kind == 0, 0] = 129.0 * np.arange(4)
    merge = merges(placed(poses(tips)), np.zeros(100), np.ones(100), kind, FREED_ROWS)
    assert (merge.label == np.arange(100)).all()


def test_pairs_join_up_to_the_widest_distance_and_no_farther() -> None:
    # Pairs of equal weight: each of the two lies half their distance from the common centre.
    apart = 2 * WIDEST_MM * np.array([0.1, 0.5, 0.99, 1.01, 2.0])
    tips = np.zeros((10, 3))
    tips[:, 0] = np.repeat(1000.0 * np.arange(5), 2)
    tips[1::2, 0] += apart
    merge = merges(placed(poses(tips)), np.zeros(10), np.ones(10), np.zeros(10, dtype=np.int64), 10)
    assert (merge.label[1::2] == merge.label[::2]).tolist() == [True, True, True, False, False]
    assert WIDEST_MM / 2 < merge.radius_mm[merge.label].max() <= WIDEST_MM


def test_a_store_of_rows_far_apart_outgrows_its_cap_and_stays_a_function_of_its_rows() -> None:
    # Every tenth row is plain and wanders over a metre; the others stay alone.
    n = 900
    rng = np.random.default_rng(4)
    path = poses(np.column_stack([rng.uniform(0, 1000, (n, 2)), np.zeros(n)]))
    kind = np.where(np.arange(n) % 10 == 0, 0, 1 + np.arange(n))
    rows, live = rng.uniform(0.1, 1, (n, 20)).astype(np.float32), rng.uniform(0.05, 0.2, n)
    stores = [RowStore(20, cap_bytes=200 * STRIDE_BYTES) for _ in range(2)]
    t = merged(stores[0].append(rows, path, live, kind), live)
    for low in range(0, n, 7):
        part = slice(low, low + 7)
        stores[1].append(rows[part], path[part], live[part], kind[part])
    assert stores[0].packed.tobytes() == stores[1].packed.tobytes()
    assert stores[0].scales.tobytes() == stores[1].scales.tobytes()
    assert 0.9 * n < len(stores[0]) <= n
    assert stores[0].merged_mm <= WIDEST_MM
    expected = (rows * live[:, None]).sum(axis=0, dtype=float)
    assert t @ stores[0].unpacked() == pytest.approx(expected, rel=2.0**-10)


def test_the_newest_rows_stay_as_they_are() -> None:
    still = poses(np.zeros((700, 3)))
    store = RowStore(20, cap_bytes=600 * STRIDE_BYTES)
    into = store.append(np.ones((700, 20), dtype=np.float32), still, np.full(700, 0.1))
    # At the last merge a quarter of the rows was too new to be touched.
    assert len(np.unique(into[-100:])) == 100
    assert store.merged_mm == pytest.approx(0.0, abs=1e-9)


def test_merging_hardly_changes_the_image() -> None:
    # 1,500 readings of a focus over a background, kept in 512 rows: the expected counts of the merged rows are
    # those of the model exactly, so the image differs only by what the finer pose would have resolved.
    path = walk(1500)
    axis = np.arange(-20.0, 21.0, 5.0)
    x, y, z = np.meshgrid(axis, axis, [-25.0, -20.0, -15.0, -10.0], indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    truth = np.full(len(points), 0.2)
    truth[np.argmin(np.linalg.norm(points - [5.0, -5.0, -15.0], axis=1))] = 60.0
    live = np.full(1500, 0.1)
    rows = Projector(response(), None).rows(points, readings_at(path))
    rng, expected = np.random.default_rng(5), live * (rows.astype(float) @ truth)
    counts, again = (rng.poisson(expected).astype(float) for _ in range(2))

    def image(kept: int, seen: np.ndarray) -> tuple[np.ndarray, RowStore]:
        store = RowStore(len(points), cap_bytes=kept * 2 * (-(-len(points) // 32) * 32))
        into = store.append(rows, path, live)
        return em(store, merged(into, seen), merged(into, live), passes=40), store

    (full, _), (other, _), (small, store) = image(2048, counts), image(2048, again), image(512, counts)
    assert len(store) <= 512
    assert 0.0 < store.merged_mm < FINE_MM
    assert np.argmax(small) == np.argmax(full)
    # A fifth of what another draw of the same counts changes.
    assert np.linalg.norm(small - full) < 0.2 * np.linalg.norm(other - full)


def em(store: RowStore, counts: np.ndarray, live_s: np.ndarray, passes: int) -> np.ndarray:
    """Plain EM from a level of 0.2: subsets would divide merged readings otherwise."""
    x, flat = store.padded(np.full(store.width, 0.2)), np.zeros(store.stride, dtype=np.float32)
    told = (counts.astype(np.float32), live_s.astype(np.float32), np.zeros(len(counts), dtype=np.uint8))
    for _ in range(passes):
        _core.em_subset(
            store.packed, store.scales, *told, 0.0, False, np.inf, 0, 1, flat, 0.0, x, np.empty_like(x)
        )
    return x[: store.width].astype(float)


def readings_at(path: np.ndarray) -> Readings:
    n = len(path)
    return Readings(np.arange(n) * 0.1, np.zeros(n), np.full(n, 0.1), path, np.ones(n), np.arange(n + 1))


def test_twenty_thousand_readings_stay_below_the_cap() -> None:
    cap, width = 1024 * STRIDE_BYTES, 20
    store = RowStore(width, cap_bytes=cap)
    path, rows = walk(20_000), np.random.default_rng(7).uniform(0, 1, (2000, width)).astype(np.float32)
    for low in range(0, 20_000, 2000):
        store.append(rows, path[low : low + 2000], np.full(2000, 0.1))
    assert store.packed.nbytes <= cap
    assert store.readings.sum() == 20_000
