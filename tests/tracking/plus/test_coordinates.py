"""Calibrations in PLUS files: read strictly, written back without touching the rest."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from navigation.cli.main import run
from tracking.errors import InputError
from tracking.plus import read_coordinate_definitions, write_coordinate_definition
from tracking.scanfolder import MARKER_POSES, CountTable, PoseTable, Scan, readings_of
from tracking.tip import read_tip, tip_matrix

HALF_ROOT = float(np.sqrt(0.5))
# A tip 88.5 mm below the marker, tilted by 45 degrees about y: +Z (third column) points away from the marker.
TIP = np.array(
    [[HALF_ROOT, 0, HALF_ROOT, 1.5], [0, 1, 0, 0], [-HALF_ROOT, 0, HALF_ROOT, -88.5], [0, 0, 0, 1]]
)
BEFORE = """<?xml version="1.0" encoding="UTF-8"?>
<PlusConfiguration version="2.1">
  <!-- a remark with <Transform From="Nothing" To="Nowhere"/> in it, and an umlaut: ä -->
  <DataCollection StartupDelaySec="1.0"><Device Id="T" Type="PolarisTracker"   ToolReferenceFrame="Tracker"/>
  </DataCollection>
  <CoordinateDefinitions>
"""
AFTER = """  </CoordinateDefinitions>
  <PlusOpenIGTLinkServer ListeningPort="18954"><DefaultClientInfo><TransformNames>
    <Transform Name="ProbeToTracker" /></TransformNames></DefaultClientInfo></PlusOpenIGTLinkServer>
</PlusConfiguration>
"""
IMAGE = """    <Transform From="Image" To="TransducerOrigin"
      Matrix="0.2 0 0 0\t0 0.2 0 0
              0 0 0.2 0  0 0 0 1" />
"""


def element(source: str, target: str, matrix: np.ndarray, rest: str = "") -> str:
    numbers = " ".join(repr(float(x)) for x in matrix.ravel())
    return f'    <Transform From="{source}" To="{target}" Matrix="{numbers}" {rest}/>\n'


def plus_file(folder: Path, *elements: str, newline: str = "\n") -> Path:
    path = folder / "plus.xml"
    path.write_bytes((BEFORE + "".join(elements) + AFTER).replace("\n", newline).encode())
    return path


def test_definitions_come_with_error_and_date(tmp_path: Path) -> None:
    stylus = element("StylusTip", "Stylus", TIP, 'Error="0.554951" Date="012617_105449" Persistent="TRUE" ')
    found = read_coordinate_definitions(plus_file(tmp_path, stylus, IMAGE))
    assert list(found) == ["StylusTipToStylus", "ImageToTransducerOrigin"]
    tip = found["StylusTipToStylus"]
    np.testing.assert_array_equal(tip.matrix, TIP)
    assert (tip.source, tip.target, tip.error_mm, tip.date) == (
        "StylusTip",
        "Stylus",
        0.554951,
        "012617_105449",
    )
    assert tip.rigid().wire_name == "StylusTipToStylus"
    image = found["ImageToTransducerOrigin"]
    np.testing.assert_array_equal(np.diag(image.matrix), [0.2, 0.2, 0.2, 1.0])
    assert (image.error_mm, image.date) == (None, None)
    with pytest.raises(InputError, match="ImageToTransducerOrigin: rotation part is not orthonormal"):
        image.rigid()


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (element("StylusTip", "Stylus", TIP[:3]), "StylusTipToStylus, Matrix: has 12 numbers"),
        (element("StylusTip", "Stylus", TIP * np.nan), "StylusTipToStylus, Matrix: a number is not finite"),
        (element("StylusTip", "Stylus", 2 * TIP), "StylusTipToStylus, Matrix: last row"),
        ('<Transform From="A" To="B" Matrix="one two"/>', "AToB, Matrix: 'one two' are no numbers"),
        ('<Transform From="A" To="B"/>', "AToB, Matrix: has 0 numbers"),
        ('<Transform To="B" Matrix="1"/>', "Transform From='': is no name"),
        ('<Transform From="AToC" To="B" Matrix="1"/>', "Transform From='AToC': is no name"),
        (element("A", "B", TIP, 'Error="-1" '), "AToB, Error: '-1' is no error"),
        (element("A", "B", TIP, 'Error="small" '), "AToB, Error: 'small' are no numbers"),
        (element("A", "B", TIP) + element("A", "B", TIP), "line 8: AToB is defined twice"),
        ("<Transform ", "not XML"),
        ("</CoordinateDefinitions><CoordinateDefinitions>", "a second CoordinateDefinitions"),
        ("<a>" * 70 + "</a>" * 70, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(bad: str, named: str, tmp_path: Path) -> None:
    path = plus_file(tmp_path, bad)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        read_coordinate_definitions(path)
    assert str(path) in str(caught.value)
    assert "line " in str(caught.value)
    assert named in str(caught.value)
    with pytest.raises(InputError):
        write_coordinate_definition(path, "A", "A To", TIP)
    assert path.read_bytes() == before


BOMB = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(12))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (f"<!DOCTYPE x [{BOMB}]><PlusConfiguration>&l11;</PlusConfiguration>", "document type"),
        ('<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]><PlusConfiguration/>', "document type"),
        ('<!DOCTYPE x SYSTEM "http://localhost/x.dtd"><PlusConfiguration/>', "document type"),
        ("<html></html>", "no PLUS configuration but <html>"),
        ("<PlusConfiguration/>", "empty PLUS configuration"),
        ("", "no element found"),
        ('<?xml version="1.0" encoding="none"?><PlusConfiguration/>', "empty PLUS configuration"),
        ('<?xml version="1.0" encoding="utf-7"?><PlusConfiguration/>', "empty PLUS configuration"),
        ("<PlusConfiguration>" + " " * (4 << 20) + "</PlusConfiguration>", "more than 4194304 bytes"),
    ],
)
def test_hostile_and_foreign_files_are_refused(content: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "plus.xml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"plus\.xml") as caught:
        read_coordinate_definitions(path)
    assert named in str(caught.value)


def test_other_encodings_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plus.xml"
    path.write_bytes((BEFORE + AFTER).replace("UTF-8", "UTF-16").encode("utf-16"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_coordinate_definitions(path)
    with pytest.raises(InputError, match=r"none\.xml: cannot be read"):
        read_coordinate_definitions(tmp_path / "none.xml")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_writing_replaces_one_element_and_nothing_else(newline: str, tmp_path: Path) -> None:
    old = element("ProbeTip", "Probe", np.eye(4), 'Persistent="TRUE" ')
    path = plus_file(tmp_path, old, IMAGE, newline=newline)
    before = path.read_bytes()
    write_coordinate_definition(path, "ProbeTip", "Probe", TIP, 0.31, "2026.11.22 19:00:00")
    written = path.read_bytes()
    start = before.index(b'<Transform From="ProbeTip"')
    end = before.index(b"/>", start) + 2
    assert written.startswith(before[:start])
    assert written.endswith(before[end:])
    (new,) = [e for e in ElementTree.fromstring(written).iter("Transform") if e.get("From") == "ProbeTip"]
    assert new.get("Persistent") == "TRUE"
    found = read_coordinate_definitions(path)["ProbeTipToProbe"]
    np.testing.assert_array_equal(found.matrix, TIP)  # to the last bit
    assert (found.error_mm, found.date) == (0.31, "2026.11.22 19:00:00")


@pytest.mark.parametrize(
    ("group", "others"),
    [
        ("<CoordinateDefinitions>\n" + IMAGE + "</CoordinateDefinitions>", ["ImageToTransducerOrigin"]),
        ("<CoordinateDefinitions></CoordinateDefinitions>", []),
        ("<CoordinateDefinitions />", []),
        ("<CoordinateDefinitions/><Other/>", []),
        ("", []),
    ],
)
def test_a_new_definition_finds_its_place(group: str, others: list[str], tmp_path: Path) -> None:
    path = tmp_path / "plus.xml"
    path.write_text(f"<PlusConfiguration>\n  {group}\n</PlusConfiguration>\n")
    write_coordinate_definition(path, "ProbeTip", "Probe", TIP)
    write_coordinate_definition(path, "StylusTip", "Stylus", np.eye(4))
    assert list(read_coordinate_definitions(path)) == [*others, "ProbeTipToProbe", "StylusTipToStylus"]
    root = ElementTree.fromstring(path.read_text())
    assert len(root.findall("CoordinateDefinitions")) == 1  # PLUS looks at the first only
    assert len(root.findall("CoordinateDefinitions/Transform")) == len(others) + 2


@pytest.mark.parametrize("matrix", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.eye(4)[:3]])
def test_no_matrix_that_the_reader_would_refuse_is_written(matrix: np.ndarray, tmp_path: Path) -> None:
    path = plus_file(tmp_path, IMAGE)
    before = path.read_bytes()
    with pytest.raises(InputError, match="Matrix"):
        write_coordinate_definition(path, "ProbeTip", "Probe", matrix)
    assert path.read_bytes() == before


def test_a_tip_is_read_from_a_plus_file_by_the_tools_name(tmp_path: Path) -> None:
    path = plus_file(
        tmp_path, element("ProbeTip", "Probe", TIP), element("StylusTip", "Stylus", np.eye(4)), IMAGE
    )
    np.testing.assert_array_equal(tip_matrix(read_tip([path])), TIP)
    np.testing.assert_array_equal(tip_matrix(read_tip([path], "Stylus")), np.eye(4))
    only_stylus = plus_file(tmp_path, element("StylusTip", "Stylus", TIP))
    with pytest.raises(InputError, match=r"plus\.xml: .* no ProbeTipToProbe \(but StylusTipToStylus\)"):
        read_tip([only_stylus])  # a stylus' tip is never taken for the probe's


def test_a_scaled_tip_is_refused(tmp_path: Path) -> None:
    scaled = np.diag([2.0, 2.0, 2.0, 1.0])
    with pytest.raises(InputError, match="ProbeTipToProbe, T_probe_probetip: rotation part"):
        read_tip([plus_file(tmp_path, element("ProbeTip", "Probe", scaled))])


def test_an_axis_displaces_the_direction_of_a_plus_tip(tmp_path: Path) -> None:
    path = plus_file(tmp_path, element("ProbeTip", "Probe", TIP))
    offset = tmp_path / "tip.json"
    offset.write_text(json.dumps({"tip_offset_mm": [1, 2, 3], "axis": [0, 0, 1]}))
    np.testing.assert_array_equal(tip_matrix(read_tip([path, offset]))[:3, 3], [1, 2, 3])


def test_the_command_takes_a_calibration_there_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plus_file(tmp_path, IMAGE)
    tip, stylus = tmp_path / "tip.json", tmp_path / "stylus.json"
    tip.write_text(json.dumps({"tip_offset_mm": [0, 0, -120], "axis": [0, 0, -1], "rms_mm": 0.2}))
    stylus.write_text(json.dumps({"tip_offset_mm": [0, 0, -150.0]}))
    words = ["plus-config", "--into", str(path), "--tip", str(tip), "--stylus", str(stylus)]
    assert run(words) == 0
    found = read_coordinate_definitions(path)
    assert found["ProbeTipToProbe"].error_mm == 0.2
    np.testing.assert_allclose(found["ProbeTipToProbe"].matrix, tip_matrix(read_tip([tip])), rtol=0, atol=0)
    # PLUS: the tip's -Z axis points back to the marker, so +Z runs along the offset.
    np.testing.assert_allclose(found["StylusTipToStylus"].matrix[:3, 2], [0, 0, -1], atol=1e-12)
    assert run(["plus-config", "--into", str(tmp_path / "none.xml"), "--tip", str(tip)]) == 2
    assert "none.xml" in capsys.readouterr().err
    before = path.read_bytes()
    for option, value in (("--out", str(tmp_path / "other.xml")), ("--host", "10.0.0.1"), ("--port", "3")):
        assert run([*words, option, value]) == 2
        assert f"{option} is not for it" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_scan_is_placed_with_the_tip_of_a_plus_file(tmp_path: Path) -> None:
    t = 0.05 * np.arange(24)
    poses = np.tile(np.eye(4), (len(t), 1, 1))
    poses[:, 0, 3] = 30.0 * t
    counts = CountTable(0.1 * np.arange(1, 12), np.arange(1.0, 12.0), np.full(11, 0.1))
    scan = Scan("Tc-99m", None, MARKER_POSES, PoseTable(t, poses), counts)
    placed = readings_of(scan, [plus_file(tmp_path, element("ProbeTip", "Probe", TIP))])
    # The marker moves without turning: every pose of the tip is the tip's, shifted along x by at most 36 mm.
    np.testing.assert_allclose(placed.poses[:, :3, :3], np.tile(TIP[:3, :3], (len(placed.poses), 1, 1)))
    np.testing.assert_allclose(placed.poses[:, 1:3, 3], np.tile(TIP[1:3, 3], (len(placed.poses), 1)))
    assert len(placed) > 8
