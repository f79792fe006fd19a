"""A case's sources become devices, and what an NDI tracker sees reaches the case."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation.case import read_case
from navigation.engine.settings import Settings
from navigation.engine.sources import device_for
from tests.contract.device_contract import Listener
from tests.tracking.ndi.fake_polaris import TcpPolaris
from tracking.device import IgtlDevice
from tracking.errors import InputError
from tracking.hub import Hub
from tracking.inputs import ClockKind
from tracking.ndi import NdiDevice

PROBE, REFERENCE = "8700339", "8700449"
REST = 'nuclide = "Tc-99m"\n[probe]\nport = 18955\n'


def case_file(folder: Path, tracker: str, roms: Path | None = None) -> Path:
    (folder / "tip.json").write_text(json.dumps({"tip_offset_mm": [0, 0, 100], "axis": [0, 0, 1]}))
    for part, name in ((PROBE, "probe.rom"), (REFERENCE, "reference.rom")):
        if roms is not None:
            (folder / name).write_bytes((roms / f"{part}.rom").read_bytes())
    path = folder / "case.toml"
    path.write_text(REST + tracker)
    return path


def ndi_case(port: int) -> str:
    return (
        f'[tracker]\nkind = "ndi"\nhost = "127.0.0.1"\nport = {port}\n'
        '[tracker.roms]\nProbe = "probe.rom"\nReference = "reference.rom"\n'
    )


def test_an_ndi_tracker_in_the_case_file_is_a_source(test_data: Path, tmp_path: Path) -> None:
    fake = TcpPolaris(
        {
            PROBE: lambda frame: (1, 0, 0, 0, 0.1 * frame, 0, -1400, 0.1),
            REFERENCE: lambda frame: (1, 0, 0, 0, 0, 0.001 * frame, -1500, 0.1),
        }
    )
    fake.start()
    settings = read_case(case_file(tmp_path, ndi_case(fake.port), test_data / "plus_ndi_rom"))
    role = settings.sources["tracker"]
    assert role.clock is ClockKind.SHARED  # stamped by this computer, wherever the tracker stands
    listener, hub = Listener(), Hub({"tracker": role.inputs})
    device = device_for(role, "tracker", listener.on_raw, listener.on_state, lambda: 1000.0)
    assert isinstance(device, NdiDevice)
    with device:
        listener.wait_for_messages(120)
    fake.stop()
    for event in listener.raw:
        hub.handle(*event)
    newest = hub.buffer.track("ProbeToTracker").newest_t_s
    assert newest is not None
    poses, valid = hub.buffer.tool_in_reference("Probe", np.array([newest - 0.05]))
    assert valid[0]
    assert poses[0, 2, 3] == pytest.approx(100.0)  # -1400 seen from a reference at -1500
    assert {arrival for _, arrival, _ in listener.raw} == {1000.0}


def test_the_tracker_survives_the_record(test_data: Path, tmp_path: Path) -> None:
    settings = read_case(case_file(tmp_path, ndi_case(8765), test_data / "plus_ndi_rom"))
    for rom in tmp_path.glob("*.rom"):
        rom.unlink()  # a record is replayed where the tool definitions are not
    again = Settings.from_json(json.loads(json.dumps(settings.to_json())))
    assert again.sources == settings.sources
    assert again.sources["tracker"].ndi is not None


@pytest.mark.parametrize("kind", ["", 'kind = "openigtlink"\n'])
def test_an_openigtlink_sender_is_the_default(kind: str, tmp_path: Path) -> None:
    settings = read_case(case_file(tmp_path, f"[tracker]\n{kind}port = 18954\n"))
    for name, role in settings.sources.items():
        device = device_for(role, name, lambda *_: None, None, lambda: 0.0)
        assert isinstance(device, IgtlDevice)
        assert device.name == name


@pytest.mark.parametrize(
    ("tracker", "named"),
    [
        ('[tracker]\nkind = "aurora"\nport = 1\n', "tracker.kind"),
        ('[tracker]\nkind = "ndi"\nhost = "h"\n', "tracker.roms"),
        ('[tracker]\nkind = "ndi"\n[tracker.roms]\nProbe = "probe.rom"\n', "either a host or a serial line"),
        ('[tracker]\nkind = "ndi"\nhost = 3\n[tracker.roms]\nProbe = "probe.rom"\n', "tracker.host"),
        ('[tracker]\nkind = "ndi"\nhost = "h"\nprot = 3\n[tracker.roms]\nProbe = "probe.rom"\n', "'prot'"),
        ('[tracker]\nkind = "ndi"\nhost = "h"\nport = 70000\n[tracker.roms]\nP = "p.rom"\n', "tracker.port"),
        ('[tracker]\nkind = "ndi"\nserial = "s"\nbaud = 1\n[tracker.roms]\nProbe = "probe.rom"\n', "baud 1"),
        ('[tracker]\nkind = "ndi"\nhost = "h"\n[tracker.roms]\nProbe = "none.rom"\n', "none.rom"),
        ('[tracker]\nkind = "ndi"\nhost = "h"\n[tracker.roms]\nAToB = "probe.rom"\n', "AToBToTracker"),
    ],
)
def test_a_bad_tracker_is_named_with_its_key(
    tracker: str, named: str, test_data: Path, tmp_path: Path
) -> None:
    path = case_file(tmp_path, tracker, test_data / "plus_ndi_rom")
    with pytest.raises(InputError) as caught:
        read_case(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)


def test_a_probe_is_no_ndi_tracker(tmp_path: Path) -> None:
    path = case_file(tmp_path, "[tracker]\nport = 18954\n")
    path.write_text(path.read_text().replace("[probe]", '[probe]\nkind = "ndi"'))
    with pytest.raises(InputError, match=r"probe\.kind"):
        read_case(path)


def test_tips_of_probe_and_stylus_may_come_from_one_plus_file(tmp_path: Path) -> None:
    eye = " ".join(str(int(x)) for x in np.eye(4).ravel())
    (tmp_path / "plus.xml").write_text(
        "<PlusConfiguration><CoordinateDefinitions>"
        '<Transform From="ProbeTip" To="Probe" Matrix="1 0 0 7 0 1 0 0 0 0 1 0 0 0 0 1"/>'
        f'<Transform From="StylusTip" To="Stylus" Matrix="{eye}"/>'
        "</CoordinateDefinitions></PlusConfiguration>"
    )
    path = case_file(tmp_path, "[tracker]\nport = 18954\n")
    path.write_text('tip = "plus.xml"\nstylus = "plus.xml"\n' + path.read_text())
    tips = read_case(path).tips
    assert tips.probe[0, 3] == 7.0
    assert tips.stylus is not None
    assert tips.stylus[0, 3] == 0.0
