"""Counts noted by hand: a table gives the same ratios, and a bad one is named with its row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calibration.counter.deadtime import DeadTime
from navigation.cli.main import run
from navigation.timed.noted import read_noted
from tracking.errors import InputError

TABLE = """# counted in theatre 3
kind,counts,live_s,specimen,name,t_s
background,100,10,,axilla,0
target,320,10,,sentinel node,60
exvivo,4000,10,1,,21625.2
Bed,12,20,,,
"""


def noted(folder: Path, text: str) -> Path:
    path = folder / "counts.csv"
    path.write_text(text)
    return path


def test_a_table_is_read_with_decay_and_dead_time(tmp_path: Path) -> None:
    counts = read_noted(noted(tmp_path, TABLE), "Tc-99m", DeadTime(1e-4))
    assert [c.label for c in counts] == ["background axilla", "target sentinel node", "specimen 1", "bed"]
    # 6.007 h after the reference time half is left.
    assert counts[2].decay == pytest.approx(0.5, abs=5e-4)
    # What nobody dated follows the one before it, and does not decay.
    assert (counts[3].start_s, counts[3].decay) == (counts[2].end_s, 1.0)
    # 4,000 events of 0.1 ms are 0.4 s of 10.
    assert counts[2].live_s == pytest.approx(9.6)
    assert read_noted(noted(tmp_path, TABLE), None)[2].decay == 1.0


def test_the_command_takes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(noted(tmp_path, TABLE))
    assert run(["counts", table, "--nuclide", "99mTc", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "target sentinel node over background axilla: 3.21" in said
    assert "10 % rule met (below 10 %)" in said
    content = json.loads((tmp_path / "out" / "timed_counts.json").read_text())
    assert (content["nuclide"], content["reference_time"], content["simulated"]) == ("Tc-99m", None, False)
    assert run(["counts", table, "--nuclide", "Kryptonite"]) == 2
    assert run(["counts", str(tmp_path / "case.gnav"), "--nuclide", "Tc-99m"]) == 2
    assert run(["counts", str(tmp_path / "nothing.csv")]) == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("lesion,3,10,,,", "row 1.*a count is of"),
        ("target,-3,10,,,", "row 1.*not below 0"),
        ("target,3,0,,,", "row 1.*above 0"),
        ("target,3,,,,", "row 1.*have to be numbers"),
        ("target,three,10,,,", "row 1, counts: 'three'"),
        ("target,nan,10,,,", "row 1, counts: 'nan'"),
        ("target,3,10,2,,", "row 1: only a specimen"),
        ("specimen,3,10,,,", "row 1: a specimen has a number"),
        ("target,3,10,,,inf", "row 1, t_s"),
        ("target,1e300,10,,,", "row 1: no probe counts"),
        ("target,3,1e9,,,", "row 1.*up to a day"),
        ("target,3,10,,,1e9", "row 1, t_s.*half-lives"),
        ("target,3,10,,,-1e300", "row 1, t_s.*half-lives"),
        ("target", "row 1.*have to be numbers"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, words: str) -> None:
    path = noted(tmp_path, f"kind,counts,live_s,specimen,name,t_s\n{row}\n")
    with pytest.raises(InputError, match=words):
        read_noted(path, "Tc-99m")


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_bytes(b"kind,counts,live_s\n\xff\xfe\x00,3,4\n")
    with pytest.raises(InputError, match="is no table"):
        read_noted(path, None)


@pytest.mark.parametrize("header", ["kind,counts", "kind,counts,live_s,colour", ""])
def test_a_table_without_its_columns_is_named(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match="a table of counts has"):
        read_noted(noted(tmp_path, f"{header}\ntarget,3,10,red\n" if header else ""), None)
