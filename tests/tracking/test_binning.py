"""Short intervals summed to readings: nothing lost, nothing doubled, and the same however they come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.binning import BIN_S, bins_of, summed


def regular(n: int, window_s: float) -> tuple[np.ndarray, np.ndarray]:
    return 1.7e9 + window_s * np.arange(1, n + 1), np.full(n, window_s)


def test_a_kilohertz_becomes_ten_hertz() -> None:
    bins = bins_of(*regular(1000, 1e-3))
    assert bins.tolist() == list(range(0, 1001, 100))
    assert summed(np.arange(1000), bins)[:2].tolist() == [sum(range(100)), sum(range(100, 200))]


@pytest.mark.parametrize("window_s", [0.05, 0.1, 1.0])
def test_slower_counters_stay_as_they_are(window_s: float) -> None:
    assert bins_of(*regular(7, window_s)).tolist() == list(range(8))


def test_a_hole_ends_a_bin() -> None:
    end, window = regular(30, 1e-2)
    end[14:] += 0.02
    # ten, then four up to the hole, ten, and the six that are left
    assert bins_of(end, window).tolist() == [0, 10, 14, 24, 30]


def test_jitter_of_the_stamps_is_no_hole() -> None:
    end, window = regular(100, 1e-3)
    end += np.random.default_rng(1).uniform(0.0, 0.004, 100)
    assert bins_of(np.sort(end), window).tolist() == [0, 100]


def test_an_open_bin_waits_for_what_may_join_it() -> None:
    end, window = regular(25, 1e-2)
    assert bins_of(end, window, final=False).tolist() == [0, 10, 20]
    assert bins_of(end[:20], window[:20], final=False).tolist() == [0, 10, 20]
    assert bins_of(end, window, final=True).tolist() == [0, 10, 20, 25]
    assert bins_of(end[:3], window[:3], final=False).tolist() == [0]


def test_nothing_gives_no_bin() -> None:
    assert bins_of([], []).tolist() == [0]
    assert summed([], bins_of([], [])).tolist() == []
    assert summed([4.0], bins_of(*regular(1, 1e-3), final=False)).tolist() == []


@given(
    st.lists(st.sampled_from([1e-3, 2e-2, 4e-2, 0.1, 0.3]), min_size=1, max_size=60),
    st.lists(st.integers(1, 59), max_size=5),
)
def test_bins_do_not_depend_on_how_the_intervals_come_in(windows: list[float], cuts: list[int]) -> None:
    window = np.array(windows)
    end = 1.7e9 + np.cumsum(window)
    whole = bins_of(end, window)
    assert whole[0] == 0
    assert whole[-1] == len(window)
    assert (np.diff(whole) > 0).all()
    assert (summed(window, whole) <= np.maximum(BIN_S, window.max()) + 1e-5).all()
    found, settled = [0], 0
    for stop in [*sorted({c for c in cuts if c < len(window)}), len(window)]:
        part = bins_of(end[settled:stop], window[settled:stop], final=stop == len(window))
        found += [settled + int(i) for i in part[1:]]
        settled = found[-1]
    assert found == whole.tolist()
