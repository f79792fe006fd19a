"""Sequence files as PLUS, Slicer and a bad disk leave them: read rightly, or one line that names the field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.errors import InputError
from tracking.sample import PoseStatus
from tracking.sequence import read_sequence

META = ["ObjectType = Image", "NDims = 3", "DimSize = 1 1 {n}", "Kinds = domain domain list"]
NRRD = ["NRRD0004", "# a comment", "type: unsigned char", "sizes: 1 1 {n}", "kinds: domain domain list"]


def matrix(x: float) -> str:
    return f"1 0 0 {x} 0 1 0 0 0 0 1 5 0 0 0 1"


def meta(path: Path, frames: list[str], n: int, head: list[str] | None = None, end: bytes = b"\0\0") -> Path:
    lines = [line.format(n=n) for line in (META if head is None else head)]
    text = "\n".join([*lines, *frames, "ElementDataFile = LOCAL", ""])
    path.write_bytes(text.encode("latin-1") + end)
    return path


def frame(
    i: int, x: float, status: str | None = "OK", t_s: float | None = None, name: str = "ProbeToTracker"
) -> list[str]:
    lines = [f"Seq_Frame{i:04d}_{name}Transform = {matrix(x)}"]
    lines += [] if status is None else [f"Seq_Frame{i:04d}_{name}TransformStatus = {status}"]
    return [*lines, f"Seq_Frame{i:04d}_Timestamp = {0.1 * i if t_s is None else t_s}"]


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    frames = [line for i in range(3) for line in frame(i, float(i), "INVALID" if i == 1 else "OK")]
    one = read_sequence(meta(tmp_path / "a.mha", frames, 3))
    text = "\n".join([line.format(n=3) for line in NRRD] + [f.replace(" = ", ":=", 1) for f in frames])
    (tmp_path / "a.seq.nrrd").write_bytes(text.encode() + b"\n\n\x1f\x8b\x08 pixels that nobody reads")
    two = read_sequence(tmp_path / "a.seq.nrrd")
    for sequence in (one, two):
        track = sequence.transforms["ProbeToTracker"]
        assert track.words == ("OK", "INVALID", "OK")
        assert track.faults == ("", "INVALID", "")
        assert track.matrices[:, 0, 3].tolist() == [0.0, 1.0, 2.0]
        np.testing.assert_allclose(sequence.times_of(track.frame), [0.0, 0.1, 0.2])
        assert sequence.missing == 0


def test_frames_in_any_order_and_many_digits(tmp_path: Path) -> None:
    frames = [*frame(12345, 2.0), *frame(3, 1.0)]
    sequence = read_sequence(meta(tmp_path / "a.mha", frames, 20000))
    track = sequence.transforms["ProbeToTracker"]
    assert track.frame.tolist() == [3, 12345]
    assert track.matrices[:, 0, 3].tolist() == [1.0, 2.0]
    assert sequence.missing == 20000 - 2


@pytest.mark.parametrize(
    ("word", "status", "fault"),
    [
        ("OK", PoseStatus.OK, ""),
        ("ok ", PoseStatus.OK, ""),
        ("Invalid", PoseStatus.INVALID, "INVALID"),
        ("MISSING", PoseStatus.MISSING, "MISSING"),
        ("OUT_OF_VOLUME", PoseStatus.OUT_OF_VOLUME, "OUT_OF_VOLUME"),
        ("UNKNOWN", PoseStatus.UNKNOWN, ""),
        ("REQ_TIMEOUT", PoseStatus.INVALID, "REQ_TIMEOUT"),
        ("splendid", PoseStatus.INVALID, "SPLENDID"),
        ("", PoseStatus.INVALID, "INVALID"),
        (None, PoseStatus.INVALID, "no status"),  # the other frame has one
    ],
)
def test_words_of_status(tmp_path: Path, word: str | None, status: PoseStatus, fault: str) -> None:
    frames = [*frame(0, 1.0, word), *frame(1, 2.0)]
    track = read_sequence(meta(tmp_path / "a.mha", frames, 2)).transforms["ProbeToTracker"]
    assert track.status(0) is status
    assert track.faults == (fault, "")


def test_where_no_frame_has_a_status_it_is_unknown(tmp_path: Path) -> None:
    frames = [*frame(0, 1.0, None), *frame(1, 2.0, None)]
    track = read_sequence(meta(tmp_path / "a.mha", frames, 2)).transforms["ProbeToTracker"]
    assert [track.status(i) for i in range(2)] == [PoseStatus.UNKNOWN] * 2
    assert track.faults == ("", "")


def test_rigidity_and_identity(tmp_path: Path) -> None:
    rows = {
        0: matrix(1.0),
        1: matrix(2.0).replace("1 0 0 2.0", "2 0 0 2.0"),
        2: matrix(3.0).replace("3.0", "-1.#IND"),  # what Windows prints for NaN
        3: "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
        4: "1 -8.43482e-005 0.000190641 0.3 8.39e-005 1 0.000146179 0.3 -0.00019 -0.000146 1 -0.06 0 0 0 1",
    }
    frames = [f"Seq_Frame{i:04d}_StylusToTrackerTransform = {row}" for i, row in rows.items()]
    track = read_sequence(meta(tmp_path / "a.mha", frames, 5)).transforms["StylusToTracker"]
    assert track.faults == ("", "not rigid", "not rigid", "identity", "")
    assert track.causes == {"not rigid": 2, "identity": 1}


def test_slicer_writes_a_little_differently(tmp_path: Path) -> None:
    """No space after the equals sign, no image at all, no end of the last line, names with underscores."""
    lines = [
        *(line.format(n=2) for line in META[:2]),
        "DimSize = 0 0 2",
        "Kinds = domain domain list",
        f"Seq_Frame0000_Linear_3Transform ={matrix(7.0)}",
        "Seq_Frame0000_Linear_3TransformStatus = OK",
        "Seq_Frame0000_Timestamp = 0.5",
        f"Seq_Frame0001_Linear_3Transform ={matrix(8.0)}",
        "Seq_Frame0001_Linear_3TransformStatus = OK",
        "Seq_Frame0001_Timestamp = 1.5",
        "ElementDataFile = LOCAL",
    ]
    (tmp_path / "s.seq.mha").write_text("\r\n".join(lines))
    sequence = read_sequence(tmp_path / "s.seq.mha")
    assert sequence.transforms["Linear_3"].matrices[:, 0, 3].tolist() == [7.0, 8.0]
    assert sequence.missing == 0


def test_pixels_beside_the_header(tmp_path: Path) -> None:
    path = meta(tmp_path / "a.mhd", frame(0, 1.0), 1, end=b"")
    path.write_text(path.read_text().replace("LOCAL", "a.zraw"))
    assert len(read_sequence(path).times) == 1
    header = "\n".join(
        [*(line.format(n=1) for line in NRRD), "data file: b.raw.gz", "Seq_Frame0000_Timestamp:=3"]
    )
    (tmp_path / "b.nhdr").write_text(header)
    assert read_sequence(tmp_path / "b.nhdr").times == {0: 3.0}


BAD = [
    (["Seq_Frame0000_ATransform = 1 0 0"], "Seq_Frame0000_ATransform is not a 4x4 matrix"),
    (
        ["Seq_Frame0000_ATransform = " + matrix(1.0).replace("5", "five")],
        "Seq_Frame0000_ATransform is not a 4x4",
    ),
    ([*frame(0, 1.0), *frame(0, 2.0)], "row 9: Seq_Frame0000_ProbeToTrackerTransformStatus appears twice"),
    (["Seq_Frame0000_Timestamp = 1", "Seq_Frame0000_Timestamp = 1"], "Seq_Frame0000_Timestamp appears twice"),
    (["Seq_Frame0000_Timestamp = soon"], "row 5: Seq_Frame0000_Timestamp is 'soon', not a number"),
    (["Seq_Frame0000_Timestamp = nan"], "Timestamp is 'nan', not a number"),
    (["Seq_Frame0000_Counts = "], "Seq_Frame0000_Counts is '', not a number"),
    (["Seq_Frame0009_Timestamp = 1"], "Seq_Frame0009 lies beyond the 2 frames"),
    (["Seq_FrameABC_Timestamp = 1"], "Seq_FrameABC_Timestamp is not Seq_FrameNNNN_Name"),
    (["a line of nothing"], "row 5: not a field"),
    ([], "no Seq_FrameNNNN_"),
]


@pytest.mark.parametrize(("lines", "says"), BAD, ids=[says[:30] for _, says in BAD])
def test_what_is_wrong_is_named(tmp_path: Path, lines: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_sequence(meta(tmp_path / "a.mha", lines, 2))
    assert "a.mha" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", ["\xb2", "9" * 5000], ids=["superscript", "long"])
def test_a_size_that_is_no_number_announces_nothing(tmp_path: Path, size: str) -> None:
    path = meta(tmp_path / "a.mha", frame(0, 1.0), 1)
    path.write_bytes(path.read_bytes().replace(b"DimSize = 1 1 1", f"DimSize = 1 1 {size}".encode("latin-1")))
    assert size.encode("latin-1") in path.read_bytes()
    assert read_sequence(path).missing == 0


def test_a_matrix_told_twice_is_named(tmp_path: Path) -> None:
    lines = [f"Seq_Frame0001_AToBTransform = {matrix(x)}" for x in (1.0, 2.0)]
    with pytest.raises(InputError, match="Seq_Frame0001_AToBTransform appears twice"):
        read_sequence(meta(tmp_path / "a.mha", lines, 2))


def test_a_missing_timestamp_is_named_by_who_needs_it(tmp_path: Path) -> None:
    lines = [line for line in (*frame(0, 1.0), *frame(1, 2.0)) if "0001_Timestamp" not in line]
    sequence = read_sequence(meta(tmp_path / "a.mha", lines, 2))
    with pytest.raises(InputError, match="Seq_Frame0001_Timestamp is missing"):
        sequence.times_of(sequence.transforms["ProbeToTracker"].frame)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither a MetaImage nor a NRRD"),
        (b"\x89PNG\r\n\x1a\n\0\0=", "neither a MetaImage nor a NRRD"),
        (b"NRRD0004\nsizes: 1 1 1\nSeq_Frame0000_Timestamp:=1\n", "breaks off before its empty line"),
        (b"NRRD0004\nwithout a colon\n\n", "row 2: not a field"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.nrrd").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_sequence(tmp_path / "x.nrrd")
    with pytest.raises(InputError, match="cannot be read"):
        read_sequence(tmp_path / "none.nrrd")


WHOLE = "\n".join([line.format(n=4) for line in META] + [x for i in range(4) for x in frame(i, float(i + 1))])


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, len(WHOLE) - 1))
def test_a_header_that_breaks_off_is_no_sequence(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.mha"
    path.write_text(WHOLE[:cut])
    with pytest.raises(InputError):
        read_sequence(path)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_a_flipped_byte_never_makes_a_lost_tool_seen(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    """With every frame INVALID, one changed byte may spoil a word or a line, but trusts no matrix."""
    text = bytearray(
        (WHOLE.replace("Status = OK", "Status = INVALID") + "\nElementDataFile = LOCAL\n").encode()
    )
    text[at] = byte
    path = tmp_path_factory.mktemp("flip") / "a.mha"
    path.write_bytes(bytes(text))
    try:
        tracks = read_sequence(path).transforms
    except InputError:
        return
    assert all(tracks["ProbeToTracker"].faults) if "ProbeToTracker" in tracks else tracks


def test_the_real_traps(test_data: Path) -> None:
    folder = test_data / "plus_timing"
    wire = read_sequence(folder / "NwirePhantomFreehandCropped.igs.mha").transforms
    assert wire["StylusToTracker"].causes == {"INVALID": 20}
    assert wire["ProbeToTracker"].causes == {}
    tracks = read_sequence(folder / "TransformInterpolationTest.igs.mha").transforms
    assert set(tracks) == {"ProbeToTracker", "ReferenceToTracker"}  # its field Stylus is no transform
    assert [i for i, fault in enumerate(tracks["ProbeToTracker"].faults) if fault] == [7]
    # The reference has no status at all, and the same placeholder in the same frame.
    assert [i for i, fault in enumerate(tracks["ReferenceToTracker"].faults) if fault] == [7]
    times = read_sequence(folder / "TimestampFilteringTest.igs.mha").times
    assert len(times) == 500
    assert times[0] == 1840749.750288  # the filtered stamp, not the raw 1840749.051
