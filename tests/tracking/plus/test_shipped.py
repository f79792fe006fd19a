"""The configurations that come along say what PlusServer must do, in PLUS's own words."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from navigation.cli.main import run
from tracking.errors import InputError
from tracking.plus import KINDS, plus_configuration, read_coordinate_definitions
from tracking.transform import frames_of

ENGINES_OWN_PORT = "18944"
NDI = ("vega", "polaris")


def root_of(kind: str) -> ElementTree.Element:
    return ElementTree.fromstring(plus_configuration(kind))


def one(root: ElementTree.Element, path: str) -> ElementTree.Element:
    (found,) = root.findall(path)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_poses_are_told_from_the_first_message_on(kind: str) -> None:
    root = root_of(kind)
    assert root.tag == "PlusConfiguration"
    server = one(root, "PlusOpenIGTLinkServer")
    assert server.get("SendValidTransformsOnly") == "FALSE"
    assert server.get("IgtlMessageCrcCheckEnabled") == "TRUE"
    # Metadata exist in version 2 only; PLUS takes the first version from here.
    assert one(server, "DefaultClientInfo").get("ClientHeaderVersion") == "2"
    assert [m.get("Type") for m in server.iter("Message")] == ["TRANSFORM"]
    assert server.get("ListeningPort") == "18954" != ENGINES_OWN_PORT


@pytest.mark.parametrize("kind", KINDS)
def test_channels_tools_and_transforms_fit_together(kind: str) -> None:
    root = root_of(kind)
    device = one(root, "DataCollection/Device")
    server = one(root, "PlusOpenIGTLinkServer")
    channel = one(device, "OutputChannels/OutputChannel")
    tools = [s.get("Id") for s in device.findall("DataSources/DataSource")]
    assert server.get("OutputChannelId") == channel.get("Id")
    assert [s.get("Id") for s in channel.findall("DataSource")] == tools
    frames = {*tools, device.get("ToolReferenceFrame")}
    for name in (t.get("Name", "") for t in server.iter("Transform")):
        assert set(frames_of(name)) <= frames
        assert len(name) <= 20


@pytest.mark.parametrize("kind", NDI)
def test_every_tool_of_an_ndi_tracker_is_told_by_itself(kind: str) -> None:
    """Probe and reference apart: only then is it known which of them was lost."""
    names = [t.get("Name") for t in one(root_of(kind), "PlusOpenIGTLinkServer").iter("Transform")]
    assert names == ["ProbeToTracker", "StylusToTracker", "ReferenceToTracker"]


def test_the_fake_tracker_is_marked_as_simulation() -> None:
    text = plus_configuration("fake")
    root = ElementTree.fromstring(text)
    device = one(root, "DataCollection/Device")
    assert (device.get("Type"), device.get("Mode")) == ("FakeTracker", "SmoothMove")
    assert "SIMULATION" in str(one(root, "DataCollection/DeviceSet").get("Name"))
    # The modes of the fake tracker know these tools by name; each needs a port.
    assert {s.get("Id"): s.get("PortName") for s in device.iter("DataSource") if s.get("Type")} == {
        "Probe": "0",
        "Reference": "1",
        "MissingTool": "2",
    }


def test_places_are_filled_in() -> None:
    roms = {"Probe": 'tools/my "first" & only.rom', "Reference": "r.rom"}
    root = ElementTree.fromstring(plus_configuration("vega", roms=roms, host="10.0.0.7", port=19000))
    device = one(root, "DataCollection/Device")
    assert (device.get("Type"), device.get("NetworkHostname")) == ("NDITracker", "10.0.0.7")
    assert {s.get("Id"): s.get("RomFile") for s in device.findall("DataSources/DataSource")} == {
        "Probe": 'tools/my "first" & only.rom',
        "Stylus": "Stylus.rom",
        "Reference": "r.rom",
    }
    assert one(root, "PlusOpenIGTLinkServer").get("ListeningPort") == "19000"
    serial = one(
        ElementTree.fromstring(plus_configuration("polaris", serial_port=3)), "DataCollection/Device"
    )
    assert (serial.get("SerialPort"), serial.get("NetworkHostname")) == ("3", None)


@pytest.mark.parametrize(
    "places",
    [{"kind": "aurora"}, {"kind": "fake", "host": "h"}, {"kind": "vega", "serial_port": 1},
     {"kind": "vega", "roms": {"Needle": "n.rom"}}, {"kind": "fake", "roms": {"Probe": "p.rom"}}],
)  # fmt: skip
def test_what_has_no_place_is_refused(places: dict[str, object]) -> None:
    with pytest.raises(InputError, match="PLUS configuration"):
        plus_configuration(**places)  # type: ignore[arg-type]


def test_the_command_writes_one_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plus.xml"
    assert (
        run(["plus-config", "polaris", "--serial-port", "4", "--probe-rom", "p.rom", "--out", str(out)]) == 0
    )
    assert read_coordinate_definitions(out) == {}
    first = out.read_bytes()
    assert run(["plus-config", "fake", "--out", str(out)]) == 2
    assert (
        run(["plus-config", "vega", "--out", str(out), "--force", "--tip", str(tmp_path / "none.json")]) == 2
    )
    assert run(["plus-config", "--out", str(out)]) == 2
    assert out.read_bytes() == first
    assert "already exists" in capsys.readouterr().err
