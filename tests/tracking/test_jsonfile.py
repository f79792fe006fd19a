"""JSON without NaN, and result folders that are whole or absent."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from tracking.errors import InputError
from tracking.jsonfile import number_of, prepare_out, read_json, write_json


def test_numpy_goes_out_as_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {
        "array": np.arange(6.0).reshape(2, 3),
        "whole": np.int64(3),
        "flag": np.bool_(True),
        "path": Path("x") / "y",
        "word": "Größe µ",
        "unknown": None,
    }
    write_json(path, content)
    assert read_json(path) == {
        "array": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "whole": 3,
        "flag": True,
        "path": "x/y",
        "word": "Größe µ",
        "unknown": None,
    }
    assert "Größe µ".encode() in path.read_bytes()


@pytest.mark.parametrize("bad", [float("nan"), np.inf, np.array([1.0, np.nan])])
def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path, bad: object) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"new": bad})
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_json(tmp_path / "a.json", {})
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.json, row 1: not JSON"),
        ('{"a": 1,\n "b": }', r"a\.json, row 2: not JSON"),
        ("[1, 2]", r"a\.json: holds a list"),
        ('{"a": NaN}', r"a\.json: not JSON \(NaN is not allowed"),
        ("[" * 100_000, r"a\.json: not JSON"),
    ],
)
def test_bad_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_json(tmp_path / "b.json")


def test_optional_numbers() -> None:
    path = Path("scan.json")
    assert number_of({}, "a", path) is None
    assert number_of({"a": None}, "a", path) is None
    assert number_of({"a": 2}, "a", path) == 2.0
    for bad in ("2", True, [1], float("inf")):
        with pytest.raises(InputError, match=r"scan\.json, a: .* is not a number"):
            number_of({"a": bad}, "a", path)
    with pytest.raises(InputError, match=r"scan\.json, a: -0\.1 is below 0"):
        number_of({"a": -0.1}, "a", path, lowest=0.0)


def test_folder_appears_when_the_work_is_done(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with prepare_out(target) as out:
        (out / "spots.json").write_text("{}")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["spots.json"]
    assert [p.name for p in target.parent.iterdir()] == ["out"]


def test_failed_work_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with prepare_out(tmp_path / "out") as out:
            (out / "spots.json").write_text("{}")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_result_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "spots.json").write_text("old")
    began = False
    with pytest.raises(InputError, match=r"spots\.json: already exists \(--force"), prepare_out(tmp_path):
        began = True
    assert not began
    assert (tmp_path / "spots.json").read_text() == "old"


def test_any_file_in_the_way_is_refused_after_the_work(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("old")

    def write_both() -> None:
        with prepare_out(tmp_path) as out:
            (out / "mine.txt").write_text("new")
            (out / "other.txt").write_text("new")

    with pytest.raises(InputError, match=r"mine\.txt: already exists"):
        write_both()
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_force_replaces_results_and_leaves_other_files(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "scan-1").mkdir(parents=True)
    (target / "scan-1" / "stale.json").write_text("old")
    (target / "log.txt").write_text("mine")
    with prepare_out(target, force=True) as out:
        (out / "scan-1").mkdir()
        (out / "scan-1" / "spots.json").write_text("new")
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*")) == [
        "log.txt",
        "scan-1",
        "scan-1/spots.json",
    ]


def test_a_folder_with_foreign_files_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("mine")
    with prepare_out(tmp_path) as out:
        (out / "spots.json").write_text("{}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.txt", "spots.json"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with (
        pytest.raises(InputError, match="is a file, not a folder"),
        prepare_out(tmp_path / "out", force=True),
    ):
        pass
