"""Records into sequence files and back, and old sequences with counts from elsewhere into records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tracking.recording.scene import EPOCH_S, record, shifted
from tests.tracking.sequence.test_reader import frame, meta
from tracking.errors import InputError
from tracking.hub import Hub
from tracking.igtl.codec import decode
from tracking.igtl.counts import counts_from_message, is_counts
from tracking.igtl.poses import poses_from_message
from tracking.recording.export import export_scan, open_scan, open_source, phases_of
from tracking.recording.phases import Source
from tracking.recording.reader import Record
from tracking.recording.sequence_export import write_sequence
from tracking.recording.sequence_import import ImportOptions, SequenceRecord
from tracking.sample import CountSample, PoseSample, PoseStatus
from tracking.scanfolder import CountTable, read_scan, readings_of
from tracking.sequence import read_sequence


def poses_in(source: Source) -> dict[tuple[str, float], PoseSample]:
    found = [p for e in source.events("raw") for p in poses_from_message(decode(e.payload))]
    return {(p.name, p.t_s): p for p in found}


def counts_in(source: Source) -> list[CountSample]:
    messages = [decode(e.payload) for e in source.events("raw")]
    return [counts_from_message(m) for m in messages if is_counts(m)]


def table(ends: Iterable[float], window_s: float = 0.1) -> CountTable:
    t = np.array(list(ends))
    return CountTable(t, np.arange(1.0, len(t) + 1), np.full(len(t), window_s))


@pytest.mark.parametrize("name", ["a.igs.mha", "a.seq.nrrd"])
def test_there_and_back(tmp_path: Path, name: str) -> None:
    before = Record(
        record(tmp_path / "r.record", {"dead_time_s": 1e-5, "T_probe_probetip": shifted(0, 0, 9).tolist()})
    )
    assert write_sequence(before, tmp_path / name, phases_of(before)) == 200
    after = SequenceRecord(tmp_path / name)
    old, new = poses_in(before), poses_in(after)
    assert set(old) <= set(new)
    for key, sample in old.items():
        assert np.array_equal(new[key].matrix, sample.matrix)  # to the bit, so to far less than 1e-6 mm
        assert new[key].status is sample.status
    # Where the probe was silent the sequence says so.
    silent = set(new) - set(old)
    assert len(silent) == 14
    assert all(new[key].status is PoseStatus.INVALID for key in silent)
    assert [(c.t_s, c.seq, c.counts, c.interval_s, c.counts_total) for c in counts_in(after)] == [
        (c.t_s, c.seq, c.counts, c.interval_s, c.counts_total) for c in counts_in(before)
    ]
    assert phases_of(after) == phases_of(before)
    for key in ("nuclide", "epoch_s", "dead_time_s", "simulated", "T_probe_probetip"):
        assert after.meta[key] == before.meta[key]


def test_the_scans_are_the_same(tmp_path: Path) -> None:
    source = Record(record(tmp_path / "r.record"))
    write_sequence(source, tmp_path / "a.mha", phases_of(source))
    for phase in ("scan-1", "scan-2"):
        one, two = export_scan(source, phase), open_scan(tmp_path / f"a.mha#{phase}")
        assert np.array_equal(one.counts.counts, two.counts.counts)
        assert np.array_equal(one.counts.t_s, two.counts.t_s)
        seen = one.poses.visible
        again = np.isin(two.poses.t_s, one.poses.t_s[seen])
        assert np.array_equal(one.poses.matrices[seen], two.poses.matrices[again])
        assert (one.reference_time, one.nuclide, one.simulated) == (two.reference_time, "Tc-99m", True)


def test_stamps_in_the_file_are_small(tmp_path: Path) -> None:
    """Slicer keeps six digits of a timestamp: Unix seconds would make one frame of a thousand seconds."""
    source = Record(record(tmp_path / "r.record"))
    write_sequence(source, tmp_path / "a.mha", {})
    sequence = read_sequence(tmp_path / "a.mha")
    assert sequence.fields["GammaTimeZeroS"] == repr(EPOCH_S)
    assert len({f"{t:.6g}" for t in sequence.times.values()}) == len(sequence.times) == 200
    assert sequence.fields["GammaSimulation"] == "SIMULATION"


def test_surface_and_partial_tip_go_along(tmp_path: Path) -> None:
    surface = np.random.default_rng(1).normal(0.0, 100.0, (23, 3))
    tip = {"tip_offset_mm": [1.0, 2.0, 3.0], "axis": [0.0, 0.0, 1.0]}
    source = Record(record(tmp_path / "r.record", {"tip": tip}))
    phases = phases_of(source)
    phases["scan-1"] = replace(phases["scan-1"], surface_mm=surface, count_latency_s=0.09)
    write_sequence(source, tmp_path / "a.mha", phases)
    assert open_scan(tmp_path / "a.mha#scan-2").surface_mm is None
    scan = open_scan(tmp_path / "a.mha#scan-1")
    assert scan.surface_mm is not None
    assert np.array_equal(scan.surface_mm, surface)
    assert scan.count_latency_s == 0.09
    assert scan.tip == tip
    # The tip lies 3 mm along z and 1, 2 mm across: probe (20 t, 5, -3) in reference (t / 2, -2, 1).
    readings = readings_of(scan)
    np.testing.assert_allclose(
        readings.poses[:, 1:3, 3], [[5.0 + 2.0 + 2.0, -3.0 - 1.0 + 3.0]] * len(readings.poses), atol=1e-4
    )


def old_sequence(
    path: Path, names: tuple[str, ...] = ("ProbeToTracker", "ReferenceToTracker"), n: int = 50
) -> Path:
    """As PLUS wrote: 20 Hz from 345.0 s on, no counts; frame 7 of the probe is INVALID with a matrix far off."""
    lines = []
    for i in range(n):
        for k, name in enumerate(names):
            bad = i == 7 and k == 0
            part = frame(i, 999.0 if bad else 2.0 * i + k, "INVALID" if bad else "OK", 345.0 + 0.05 * i, name)
            lines += part if k == 0 else part[:2]
    return meta(path, lines, n)


def test_an_old_sequence_with_counts_from_elsewhere(tmp_path: Path) -> None:
    path = old_sequence(tmp_path / "old.igs.mha")
    options = ImportOptions(counts=table(0.1 * np.arange(1, 25)), counts_offset_s=345.0, nuclide="Tc-99m")
    source = SequenceRecord(path, options)
    scan = export_scan(source, "old")
    assert scan.counts.counts.tolist() == list(range(1, 25))
    np.testing.assert_allclose(scan.counts.t_s, 0.1 * np.arange(1, 25), atol=1e-9)
    assert scan.reference_time is None  # 345 s on PLUS's own clock is no date
    assert scan.pose_name == "ProbeToReference"
    # Probe at 2 i, reference at 2 i + 1 along x: -1 throughout, and never 999.
    seen = scan.poses.visible
    assert np.flatnonzero(~seen).tolist() == [7]
    np.testing.assert_allclose(scan.poses.matrices[seen, 0, 3], -1.0, atol=1e-4)
    np.testing.assert_allclose(readings_of(scan, T_probe_probetip=np.eye(4)).poses[:, 0, 3], -1.0, atol=1e-4)
    assert "ProbeToTracker: 1 INVALID of 50 frames not used" in source.notes


def test_the_invalid_matrix_is_not_even_handed_on(tmp_path: Path) -> None:
    source = SequenceRecord(old_sequence(tmp_path / "old.mha"))
    bad = [p for p in poses_in(source).values() if p.status is PoseStatus.INVALID]
    assert len(bad) == 1
    assert np.array_equal(bad[0].matrix, np.eye(4))
    assert "no counts: --counts adds them" in source.notes
    with pytest.raises(InputError, match="no counts in old"):
        export_scan(source, "old")


def test_counts_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = old_sequence(tmp_path / "old.mha")
    with pytest.raises(InputError, match=r"old\.mha: names no nuclide for its counts: --nuclide"):
        SequenceRecord(path, ImportOptions(counts=table([345.5])))
    with pytest.raises(
        InputError, match=r"poses \(345.000 to 347.450 s\) and the counts \(0.400 to 0.500 s\)"
    ):
        SequenceRecord(path, ImportOptions(counts=table([0.5]), nuclide="Tc-99m"))
    for offset_s in (-9.0, 1e12, float("nan")):
        with pytest.raises(InputError, match="negative or beyond any clock: --counts-offset-s"):
            SequenceRecord(
                path, ImportOptions(counts=table([0.5]), nuclide="Tc-99m", counts_offset_s=offset_s)
            )
    within = meta(
        tmp_path / "b.mha", [*frame(0, 1.0), "Seq_Frame0000_Counts = 3", "Seq_Frame0000_IntervalS = 0.1"], 1
    )
    with pytest.raises(InputError, match="holds counts already"):
        SequenceRecord(within, ImportOptions(counts=table([0.5]), nuclide="Tc-99m"))


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("Counts = 3", "Seq_Frame0000_IntervalS is missing"),
        ("IntervalS = 0.1", "Seq_Frame0000_Counts is missing"),
        ("Counts = -3", "Seq_Frame0000_Counts is -3"),
        ("Counts = many", "Seq_Frame0000_Counts is 'many'"),
    ],
)
def test_bad_count_fields_are_named(tmp_path: Path, field: str, says: str) -> None:
    other = [] if "missing" in says else ["Seq_Frame0000_IntervalS = 0.1"]
    path = meta(tmp_path / "b.mha", [*frame(0, 1.0), *frame(1, 2.0), f"Seq_Frame0000_{field}", *other], 2)
    with pytest.raises(InputError, match=says):
        SequenceRecord(path, ImportOptions(nuclide="Tc-99m"))


def test_the_simplest_counts_inside(tmp_path: Path) -> None:
    """Counts and IntervalS alone: the interval ends with its frame, totals are made."""
    lines = [
        x
        for i in range(1, 40)
        for x in (*frame(i, 2.0 * i), f"Seq_Frame{i:04d}_Counts = {i}", f"Seq_Frame{i:04d}_IntervalS = 0.1")
    ]
    source = SequenceRecord(meta(tmp_path / "b.mha", lines, 40), ImportOptions(nuclide="Tc-99m"))
    hub = Hub()
    got = [i for e in source.events("raw") for i in hub.handle(e.source, e.arrival_s, e.payload)]
    assert [i.counts for i in (*got, *hub.counts.flush())] == [float(i) for i in range(1, 40)]
    assert (hub.counts.gaps, hub.counts.lost_s) == (0, 0.0)
    assert "1 frames are announced but missing" in source.notes


@pytest.mark.parametrize(
    ("names", "options", "probe", "note"),
    [
        (
            ("ProbeToTracker", "ReferenceToTracker", "StylusToTracker"),
            {},
            "ProbeToTracker",
            "ReferenceToTracker the reference",
        ),
        (
            ("ProbeToTrackerBase", "ReferenceToTrackerBase"),
            {},
            "ProbeToTracker",
            "ReferenceToTrackerBase the reference",
        ),
        (("ProbeToTracker", "ProbeToReference"), {}, "ProbeToReference", "ProbeToReference is the probe"),
        (
            ("ProbeTipToReference", "ProbeToReference"),
            {},
            "ProbeTipToReference",
            "ProbeTipToReference is the probe",
        ),
        (("ProbeTipToTracker", "ReferenceToTracker"), {}, "ProbeToTracker", "ProbeTipToTracker is the probe"),
        (("StylusToTracker",), {}, "ProbeToReference", "Tracker stands for it"),
        (("StylusToTracker", "NeedleToTracker"), {}, "ProbeToReference", "StylusToTracker is the probe"),
        (
            ("AToTracker", "BToTracker"),
            {"probe": "BToTracker"},
            "ProbeToReference",
            "BToTracker is the probe",
        ),
        (
            ("AToTracker", "BToTracker"),
            {"probe": "ATransform", "reference": None},
            None,
            "no transform ATransform; it holds AToTracker, BToTracker",
        ),
        (
            ("AToTracker", "BToTracker"),
            {"probe": "AToTrackerTransform", "reference": "BToTracker"},
            "ProbeToTracker",
            "BToTracker the reference",
        ),
        (
            ("AToTracker", "BToWorld"),
            {"probe": "AToTracker", "reference": "BToWorld"},
            None,
            "do not meet in Tracker",
        ),
        (("AToTracker", "BToTracker"), {}, None, "--probe names one of AToTracker, BToTracker"),
        (("Linear_3",), {}, None, "no transform of the form FromToTo"),
        # The probe that was not meant must not be taken for it.
        (
            ("ProbeToReference", "StylusToTracker"),
            {"probe": "StylusToTracker"},
            "ProbeToReference",
            "ProbeToReference: left out",
        ),
    ],
)
def test_which_is_the_probe(
    tmp_path: Path, names: tuple[str, ...], options: dict[str, str], probe: str | None, note: str
) -> None:
    path = old_sequence(tmp_path / "old.mha", names)
    if probe is None:
        with pytest.raises(InputError, match=note):
            SequenceRecord(path, ImportOptions(**options))
        return
    source = SequenceRecord(
        path, ImportOptions(counts=table(345.0 + 0.1 * np.arange(1, 20)), nuclide="Tc-99m", **options)
    )
    assert note in " ".join(source.notes)
    scan = export_scan(source, "old")
    tip = "Tip" in names[0]
    assert scan.pose_name == ("ProbeTipToReference" if tip else "ProbeToReference")
    by_wire = {p.name for p in poses_in(source).values()}
    assert probe in by_wire


def test_the_tip_of_a_file_is_used(tmp_path: Path) -> None:
    tip = {"T_probe_probetip": shifted(0.0, 0.0, 70.0).tolist()}
    options = ImportOptions(counts=table(345.0 + 0.1 * np.arange(1, 20)), nuclide="Tc-99m", tip=tip)
    readings = readings_of(export_scan(SequenceRecord(old_sequence(tmp_path / "old.mha"), options), "old"))
    np.testing.assert_allclose(
        readings.poses[:, 2, 3], 70.0, atol=1e-4
    )  # both markers lie at z = 5 mm less 5 mm


def test_repeated_times_lose_no_count(tmp_path: Path) -> None:
    lines = [x for i in range(20) for x in frame(i, 2.0 * i, "OK", 0.1 * (i // 2 + 1))]
    lines += [
        x
        for i in range(20)
        for x in (
            f"Seq_Frame{i:04d}_Counts = 1",
            f"Seq_Frame{i:04d}_IntervalS = 0.05",
            f"Seq_Frame{i:04d}_CountTimestamp = {0.05 * (i + 1)}",
        )
    ]
    source = SequenceRecord(meta(tmp_path / "b.mha", lines, 20), ImportOptions(nuclide="Tc-99m"))
    assert "ProbeToTracker: 10 frames repeat the time of another" in source.notes
    assert sum(c.counts for c in counts_in(source)) == 20


@pytest.mark.parametrize("t_s", ["-3", "4294967297"])
def test_a_stamp_that_the_wire_cannot_carry_is_named(tmp_path: Path, t_s: str) -> None:
    lines = [
        *frame(0, 1.0),
        f"Seq_Frame0001_ProbeToTrackerTransform = {'1 0 0 2 0 1 0 0 0 0 1 5 0 0 0 1'}",
        f"Seq_Frame0001_Timestamp = {t_s}",
    ]
    with pytest.raises(InputError, match="Seq_Frame0001_Timestamp"):
        SequenceRecord(meta(tmp_path / "b.mha", lines, 2))


@pytest.mark.parametrize(
    "field",
    [
        "GammaTimeZeroS = soon",
        f"GammaTimeZeroS = {10**400}",
        "GammaPhase0000 = 7",
        'GammaPhase0000 = {"name": "a", "start_s": "now"}',
        "GammaEpochS = {",
    ],
)
def test_a_bad_head_is_named(tmp_path: Path, field: str) -> None:
    path = meta(tmp_path / "b.mha", [field, *frame(0, 1.0), *frame(1, 2.0)], 2)
    with pytest.raises(InputError, match=field.split()[0]):
        phases_of(SequenceRecord(path))


def test_the_real_sequences(test_data: Path) -> None:
    folder = test_data / "plus_timing"
    counts = table(1898165.1 + 0.1 * np.arange(1, 91))
    source = SequenceRecord(
        folder / "TransformInterpolationTest.igs.mha", ImportOptions(counts=counts, nuclide="Tc-99m")
    )
    scan = export_scan(source, "TransformInterpolationTest")
    assert np.flatnonzero(~scan.poses.visible).tolist() == [7]
    # Neighbouring frames of that hand never lie further apart; an identity on either side would be 300 mm off.
    steps = np.linalg.norm(np.diff(scan.poses.matrices[scan.poses.visible, :3, 3], axis=0), axis=1)
    assert steps.max() < 10.0
    wire = SequenceRecord(folder / "NwirePhantomFreehandCropped.igs.mha")
    stylus = [p for p in poses_in(wire).values() if p.name == "StylusToTracker"]
    assert len(stylus) == 20
    assert all(p.status is PoseStatus.INVALID and np.array_equal(p.matrix, np.eye(4)) for p in stylus)


def test_a_real_scan_through_a_sequence(test_data: Path, tmp_path: Path) -> None:
    """Four occlusions, a counter 130 ms late: folder and sequence place the same readings."""
    from navigation.cli.main import run

    folder = test_data / "recordings" / "occult_real"
    assert run(["import", str(folder), "--out", str(tmp_path / "r.gnav")]) == 0
    source, _ = open_source(tmp_path / "r.gnav")
    write_sequence(source, tmp_path / "r.igs.mha", phases_of(source))
    one, two = (
        readings_of(read_scan(folder), (), 0.13),
        readings_of(open_scan(tmp_path / "r.igs.mha"), (), 0.13),
    )
    assert (len(one), one.unplaced) == (len(two), two.unplaced)
    assert np.array_equal(one.counts, two.counts)
    np.testing.assert_allclose(one.mid_poses[:, :3, 3], two.mid_poses[:, :3, 3], atol=1e-3)


@pytest.mark.parametrize(
    "numbers",
    [
        lambda i: (i, 10 * i, 0.1 * i),
        lambda i: (1, 10 * i, 0.1 * i),  # the same number again and again
        lambda i: (20 - i, 10 * i, 0.1 * i),
        lambda i: (i % 4, 10 * i, 0.1 * i),  # files put together
        lambda i: (i, 0, 0.1 * i),
        lambda i: (i, 10 * (20 - i), 0.1 * i),
        lambda i: (i, 1000 * i, 0.1 * i),
        lambda i: (i, 10 * i, 0.0),
    ],
)
def test_numbers_that_do_not_add_up_cost_no_count(
    tmp_path: Path, numbers: Callable[[int], tuple[int, int, float]]
) -> None:
    lines = ["GammaNuclide = Tc-99m", *frame(0, 1.0)]
    for i in range(1, 10):
        seq, total, live_s = numbers(i)
        named = {"Counts": 10, "IntervalS": 0.1, "Seq": seq, "CountsTotal": total, "LiveTimeS": live_s}
        lines += [*frame(i, 1.0 + 0.1 * i), *(f"Seq_Frame{i:04d}_{k} = {v}" for k, v in named.items())]
    source = SequenceRecord(meta(tmp_path / "a.mha", lines, 10), ImportOptions(probe="ProbeToTracker"))
    hub = Hub()
    intervals = [i for e in source.events("raw") for i in hub.handle(e.source, e.arrival_s, e.payload)]
    intervals += hub.counts.flush()
    # nine intervals of 10 counts in 0.1 s, each told once
    assert [i.counts for i in intervals] == [10.0] * 9
    np.testing.assert_allclose([i.window_s for i in intervals], 0.1, rtol=0, atol=1e-9)
