"""Half an hour of the window, thinned out: nothing grows, nothing fails, and each gap is told as what it is."""

from __future__ import annotations

from benchmarks.soak import NOTHING, soak

# Of some 250 frames after the first sixth: a picture kept per frame (4.8 MiB) or a map (1.8 MiB) would take a GiB.
MOST_GROWTH_MIB = 60.0


def test_half_an_hour_leaves_nothing_behind(qapp: object) -> None:
    found = soak(30, frames_a_minute=10, with_3d=False, gaps_every=5)
    assert len(found.frames_ms) >= 300
    assert found.memory_mib[2] - found.memory_mib[0] < MOST_GROWTH_MIB, found.memory_mib
    assert found.threads[1] <= found.threads[0]
    assert found.files[1] <= found.files[0] + 2
    assert any("ENGINE SILENT" in words for words in found.banners["silent"])
    assert "PROBE NOT SEEN" in found.banners["lost"]
    assert NOTHING in found.banners[""]
    assert NOTHING not in found.banners["silent"] | found.banners["lost"]
