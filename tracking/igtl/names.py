"""Device names and metadata keys on the wire, as PLUS, SlicerIGT and this project write them.

Transforms are `FromToTo` (points of From into To), images `<What>_<Frame>`; a name has at most 20 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tracking.errors import InputError
from tracking.igtl.header import NAME_BYTES
from tracking.sample import PoseStatus
from tracking.transform import frames_of

PROBE_TO_TRACKER = "ProbeToTracker"
REFERENCE_TO_TRACKER = "ReferenceToTracker"
PROBE_TO_REFERENCE = "ProbeToReference"
PROBE_TIP_TO_REFERENCE = "ProbeTipToReference"
STYLUS_TIP_TO_REFERENCE = "StylusTipToReference"
TRACKER_TO_REFERENCE = "TrackerToReference"
CAMERA_TO_REFERENCE = "CameraToReference"
REFERENCE_TO_RAS = "ReferenceToRas"
GAMMA_PROBE = "GammaProbe"
ACTIVITY = "Activity_Reference"
RELATIVE_SD = "RelSd_Reference"
COVERAGE = "Coverage_Reference"
HOT_SPOTS = "HotSpots"
SPOTS = "Spots"
TARGETS = "Targets"
CT = "CT_Ras"
SPECT = "SPECT_Ras"
PET = "PET_Ras"
SKIN = "Skin_Ras"
BED_CHECK = "BedCheck"
SCAN_NEXT = "ScanNextToReference"
REMOVED_HERE = "RemovedHere"
TIMED_COUNTS = "TimedCounts"
COUNT_RATE = "CountRate"
ENGINE_STATUS = "EngineStatus"
ENGINE = "Engine"

TRANSFORM_VALID = "TransformValid"
TRANSFORM_STATUS = "TransformStatus"
# Behind the name of a tool in TDATA.
TOOL_STATUS = "Status"


def transform_name(source: str, target: str) -> str:
    """SourceToTarget; InputError if it is ambiguous or longer than the wire allows."""
    name = f"{source}To{target}"
    try:
        frames_of(name)
    except ValueError as error:
        raise InputError(str(error)) from error
    if len(name.encode("utf-8")) > NAME_BYTES:
        raise InputError(f"transform name {name!r} is longer than {NAME_BYTES} bytes")
    return name


def pose_status(metadata: Mapping[str, str]) -> PoseStatus:
    """What a message's metadata say of its pose; UNKNOWN when they say nothing.

    A word that PLUS does not use and a contradiction (OK but not valid) count as INVALID.
    """
    word, valid = metadata.get(TRANSFORM_STATUS), metadata.get(TRANSFORM_VALID)
    if word is None:
        return {None: PoseStatus.UNKNOWN, "1": PoseStatus.OK}.get(valid, PoseStatus.INVALID)
    status = PoseStatus.__members__.get(word.upper(), PoseStatus.INVALID)
    return PoseStatus.INVALID if status.usable and valid not in (None, "1") else status


def tool_status(name: str, metadata: Mapping[str, str]) -> PoseStatus:
    """What a TDATA or QTDATA says of one of its tools: PLUS writes `<name>Status` for each of them.

    A word on the whole message counts as well; the worse of the two holds.
    """
    whole, word = pose_status(metadata), metadata.get(f"{name}{TOOL_STATUS}")
    if word is None or not whole.usable:
        return whole
    return pose_status({TRANSFORM_STATUS: word})


def status_metadata(status: PoseStatus) -> dict[str, str]:
    """The two entries that say whether a pose is valid; nothing for UNKNOWN."""
    if status is PoseStatus.UNKNOWN:
        return {}
    return {TRANSFORM_VALID: "1" if status.usable else "0", TRANSFORM_STATUS: status.value}
