"""The store of calibrations: one record in use for each probe, back to the one before, and no silent change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from calibration.records.binding import Identity
from calibration.records.record import approved, sealed, stamped
from calibration.records.store import HEAD, JOURNAL, RECORDS, Store, read_record
from tracking.errors import GateRefusedError, InputError

ANY = Identity()


def record(serial: str = "SN7", nuclide: str = "Tc-99m", **content: Any) -> dict[str, Any]:
    """A detector's record as far as a store looks into it."""
    known = {"response": {"leak": 0.1}, "accepted": True, "reasons": []} | content
    head = {"operator": "Ada", "probe_serial": serial, "nuclide": nuclide}
    return stamped(known, "detector", window_kev=(126.0, 154.0), **head)


def put(store: Path, content: dict[str, Any], by: str = "Ben") -> dict[str, Any]:
    Store(store).activate(content, by, Path("probe.json"))
    return content


def in_use(store: Path, stated: Identity = ANY) -> str:
    return str(read_record(store, "detector", stated)[0]["id"])


def test_the_newest_activated_is_in_use_and_undo_goes_back_step_by_step(tmp_path: Path) -> None:
    first, second, third = (put(tmp_path / "s", record()) for _ in range(3))
    store = Store(tmp_path / "s")
    assert in_use(tmp_path / "s") == third["id"]
    assert [e.id if e else None for e in store.undo("Cara", None, ANY)] == [third["id"], second["id"]]
    assert in_use(tmp_path / "s") == second["id"]
    store.undo("Cara", "detector", Identity("Tc-99m"))
    assert read_record(tmp_path / "s", "detector")[0] == first
    with pytest.raises(InputError, match="none before"):
        store.undo("Cara", None, ANY)
    put(tmp_path / "s", third)  # and forward again
    store.undo("Cara", None, ANY)
    assert in_use(tmp_path / "s") == first["id"]
    history = [(e.number, e.action, e.by, e.id) for e in store.entries()]
    assert history[3] == (4, "undo", "Cara", third["id"])
    assert len(history) == 7


def test_a_record_without_one_before_is_taken_out_of_use(tmp_path: Path) -> None:
    first = put(tmp_path, record())
    Store(tmp_path).undo("Cara", None, ANY, withdraw=True)
    with pytest.raises(InputError, match="no detector calibration is in use"):
        read_record(tmp_path, "detector")
    put(tmp_path, first)
    assert in_use(tmp_path) == first["id"]


def test_probes_nuclides_and_kinds_do_not_displace_each_other(tmp_path: Path) -> None:
    mine, other, indium = (put(tmp_path, r) for r in (record(), record("SN8"), record(nuclide="In-111")))
    tip = put(tmp_path, stamped({"tip_offset_mm": [0.0, 0.0, 9.0]}, "tip", probe_serial="SN7"))
    assert in_use(tmp_path, Identity("Tc-99m", probe_serial="sn 7")) == mine["id"]
    assert in_use(tmp_path, Identity(probe_serial="SN8")) == other["id"]
    assert in_use(tmp_path, Identity("In-111")) == indium["id"]
    assert read_record(tmp_path, "tip")[0] == tip
    assert sum(row.active for row in Store(tmp_path).rows()) == 4


def test_which_one_is_meant_must_be_clear_and_fit(tmp_path: Path) -> None:
    mine, other = put(tmp_path, record()), put(tmp_path, record("SN8"))
    with pytest.raises(InputError, match=f"2 calibrations.*{mine['id']}.*probe SN7.*{other['id']}") as fault:
        read_record(tmp_path, "detector", Identity("Tc-99m"))
    assert "\n" not in str(fault.value)
    with pytest.raises(
        GateRefusedError, match=r"no detector calibration in use fits.*is for Tc-99m.*is In-111"
    ):
        read_record(tmp_path, "detector", Identity("In-111"))
    with pytest.raises(InputError, match="no tip calibration is in use"):
        read_record(tmp_path, "tip")


def test_the_approval_replaces_its_draft(tmp_path: Path) -> None:
    draft = put(tmp_path, record())
    signed = put(tmp_path, approved(draft, "Ben", "probe.json"))
    assert read_record(tmp_path, "detector")[0] == signed
    Store(tmp_path).undo("Cara", None, ANY)
    assert read_record(tmp_path, "detector")[0] == draft


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"response": {}}, InputError, "no id"),
        ({"id": "x", "response": {}}, InputError, "no checksum"),
        (sealed({"id": "x"}), InputError, "no calibration of a known kind"),
        (record() | {"response": {}}, GateRefusedError, "altered"),
        (record(accepted=False, reasons=["no source"]), GateRefusedError, "no source"),
        (sealed(record() | {"expiry": "2001-01-01"}), GateRefusedError, "expired"),
    ],
)
def test_what_may_not_be_used_is_not_taken(
    tmp_path: Path, content: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        put(tmp_path / "s", content)
    assert not (tmp_path / "s").exists()


def test_misuse_is_told_and_changes_nothing(tmp_path: Path) -> None:
    store = tmp_path / "s"
    with pytest.raises(InputError, match="is no store of calibrations"):
        Store(store).undo("Cara", None, ANY)
    assert not store.exists()
    content = put(store, record())
    before = (store / JOURNAL).read_bytes()
    for action, words in (
        (lambda: put(store, content), "in use already"),
        (lambda: put(store, record(), " "), "names nobody"),
        (lambda: put(store, sealed(content | {"response": {"leak": 9.0}})), "another record with the id"),
        (lambda: put(Path(__file__).parent, record()), "holds other things"),
    ):
        with pytest.raises((InputError, GateRefusedError), match=words):
            action()
    assert (store / JOURNAL).read_bytes() == before


def test_a_record_of_the_store_is_read_only_and_an_altered_one_is_named(tmp_path: Path) -> None:
    first = put(tmp_path, record())
    second = put(tmp_path, record())
    files = {json.loads(p.read_text())["id"]: p for p in (tmp_path / RECORDS).iterdir()}
    assert {p.stat().st_mode & 0o777 for p in files.values()} == {0o444}
    for key, change in ((second["id"], {"leak": 9.0}), (first["id"], {"leak": 8.0})):
        files[key].chmod(0o644)
        files[key].write_text(json.dumps(sealed(json.loads(files[key].read_text()) | {"response": change})))
    with pytest.raises(GateRefusedError, match=f"{second['id']}.*altered after it was put into the store"):
        read_record(tmp_path, "detector")
    with pytest.raises(GateRefusedError, match=f"{first['id']}.*altered"):
        Store(tmp_path).undo("Cara", None, ANY)
    assert all("altered" in str(row.fault) for row in Store(tmp_path).rows())
    files[first["id"]].unlink()
    with pytest.raises(GateRefusedError, match=f"{first['id']}.*missing"):
        Store(tmp_path).undo("Cara", None, ANY)


def test_undo_does_not_bring_back_what_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = sealed(record() | {"expiry": "2001-01-01"})
    monkeypatch.setattr(
        "calibration.records.store._require_fit", lambda content, path: None
    )  # it was in date then
    put(tmp_path, old)
    new = put(tmp_path, record())
    with pytest.raises(GateRefusedError, match="expired on 2001-01-01"):
        Store(tmp_path).undo("Cara", None, ANY)
    assert in_use(tmp_path) == new["id"]


def journal_of(store: Path) -> list[str]:
    return (store / JOURNAL).read_text().splitlines(keepends=True)


def swapped(lines: list[str]) -> list[str]:
    return [lines[1], lines[0], *lines[2:]]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda lines: lines[:-1], HEAD),
        (lambda lines: [], HEAD),
        (lambda lines: lines[1:], f"{JOURNAL}, row 1"),
        (swapped, f"{JOURNAL}, row 1"),
        (lambda lines: [lines[0], lines[2]], f"{JOURNAL}, row 2"),
        (lambda lines: [lines[0], lines[1].replace("Ben", "Eve"), lines[2]], f"{JOURNAL}, row 2"),
        (lambda lines: [*lines[:2], lines[2][:40]], f"{JOURNAL}, row 3"),
        (lambda lines: [*lines, "{}\n"], f"{JOURNAL}, row 4"),
        (lambda lines: [*lines, "[]\n"], f"{JOURNAL}, row 4"),
    ],
)
def test_an_altered_journal_is_refused_by_file_and_row(tmp_path: Path, change: Any, where: str) -> None:
    for _ in range(3):
        put(tmp_path, record())
    (tmp_path / JOURNAL).write_text("".join(change(journal_of(tmp_path))))
    for use in (lambda: read_record(tmp_path, "detector"), lambda: put(tmp_path, record())):
        with pytest.raises(GateRefusedError, match=where):
            use()


def test_a_lost_file_of_the_store_is_told(tmp_path: Path) -> None:
    put(tmp_path, record()), put(tmp_path, record())
    (tmp_path / HEAD).rename(tmp_path / "kept")
    with pytest.raises(GateRefusedError, match=r"head\.json: is missing"):
        Store(tmp_path).entries()
    (tmp_path / "kept").rename(tmp_path / HEAD)
    (tmp_path / JOURNAL).unlink()
    with pytest.raises(GateRefusedError, match=r"journal\.jsonl: is missing"):
        put(tmp_path, record())


@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_a_crash_between_two_files_leaves_a_store_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    # An activation writes the record, the journal, the head, in this order; each may be the last thing that happens.
    first = put(tmp_path, record())
    second, replace, left = record(), os.replace, [dies_at]

    def until_dead(source: str, target: Path) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", until_dead)
        with pytest.raises(KeyboardInterrupt):
            put(tmp_path, second)
    expected = second if dies_at == 2 else first  # in use from the moment at which the journal says so
    assert in_use(tmp_path) == expected["id"]
    third = put(tmp_path, record())
    assert in_use(tmp_path) == third["id"]
    assert not list(tmp_path.rglob(".*.json.*"))


WRITER = """
import sys
from pathlib import Path
from calibration.records.record import stamped
from calibration.records.store import Store
for i in range(5):
    known = {"response": {"leak": 0.1}, "accepted": True}
    Store(Path(sys.argv[1])).activate(stamped(known, "detector", probe_serial=sys.argv[2]), "Ben", Path("p"))
"""


def test_writers_at_once_take_turns(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "ABC"]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    entries = Store(tmp_path).entries()
    assert [e.number for e in entries] == list(range(1, 16))
    assert {s: sum(e.slot[1] == s for e in entries) for s in "ABC"} == {"A": 5, "B": 5, "C": 5}
    assert sum(row.active for row in Store(tmp_path).rows()) == 3
