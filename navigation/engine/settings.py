"""What a case fixes before the first message: tools, sources, nuclide, zero of time; the record's head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.daily.background import DEFAULT_MINUTES
from calibration.probe.sheath import BARE, Sheath
from navigation.engine.snapshot import LatencyState, Registration
from navigation.engine.tools import Tips
from navigation.field import AUTOMATIC, MapGrid
from navigation.studymodel import StudyModel
from navigation.timed.count import DEFAULT_S
from tracking.igtl.link import SILENCE_S
from tracking.inputs import ClockKind, Inputs, WorkingVolume
from tracking.ndi.settings import NdiSettings

# Drift of a reference and tissue that settles are told by a check; navigation systems ask for one about this often.
RECHECK_MINUTES = 30.0


@dataclass(frozen=True, slots=True)
class SourceRole:
    """A connection and what it may send; of an NDI tracker the driver on this computer is what is connected."""

    host: str
    port: int
    poses: bool
    counts: bool
    metadata: bool = True  # False for a peer that only knows header version 1
    clock: ClockKind = ClockKind.SHARED
    volume: WorkingVolume | None = None  # where the tracker measures
    ndi: NdiSettings | None = None
    devices: tuple[str, ...] | None = None  # the only names taken from it
    silence_s: float = SILENCE_S  # a source that says nothing at all for so long is connected anew
    good_volume: WorkingVolume | None = None  # where it is as good as it was accepted

    @property
    def where(self) -> str:
        """Where the instrument or its server stands: for messages."""
        return self.ndi.where if self.ndi is not None else f"{self.host}:{self.port}"

    @property
    def inputs(self) -> Inputs:
        """The same, as the hub takes it."""
        return Inputs(self.poses, self.counts, self.clock, self.volume, self.devices, self.good_volume)

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "host": self.host,
            "port": self.port,
            "poses": self.poses,
            "counts": self.counts,
            "metadata": self.metadata,
            "clock": self.clock.value,
            "volume_mm": _corners(self.volume),
            "good_volume_mm": _corners(self.good_volume),
            "ndi": None if self.ndi is None else self.ndi.to_json(),
            "devices": None if self.devices is None else list(self.devices),
            "silence_s": self.silence_s,
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> SourceRole:
        """What `to_json` wrote, or a record of before the clocks were told apart and NDI was a source."""
        role = dict(found)
        ndi = role.pop("ndi", None)
        what = Inputs.from_json(role)
        for key in ("clock", "volume_mm", "good_volume_mm", "devices"):
            role.pop(key, None)
        driver = None if ndi is None else NdiSettings.from_json(ndi)
        return SourceRole(
            **role,
            clock=what.clock,
            volume=what.volume,
            devices=what.devices,
            ndi=driver,
            good_volume=what.good_volume,
        )


def _corners(volume: WorkingVolume | None) -> list[tuple[float, float, float]] | None:
    return None if volume is None else [volume.low_mm, volume.high_mm]


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """A case as configured. `epoch_s` (Unix) is t = 0 of the scans and the reference time of activities."""

    case_id: str
    nuclide: str
    epoch_s: float
    tips: Tips
    sources: Mapping[str, SourceRole]
    calibration: dict[str, Any] | None = None
    latency: LatencyState = field(default_factory=lambda: LatencyState(0.0, None, False))
    registration: Registration = field(default_factory=Registration)
    surface_mm: NDArray[np.float64] | None = None
    dead_time_s: float | None = None
    continuous_touch: bool = True
    simulated: bool = False
    injection: Mapping[str, Any] | None = (
        None  # what was given to the patient, as calibration.physics.injection reads it
    )
    sheath: Sheath = BARE  # what covers the probe
    background_minutes: float = DEFAULT_MINUTES  # a background check is due again after so long, 0: never
    gates: Mapping[str, Any] = field(default_factory=dict)  # thresholds that the case sets
    stated: Mapping[str, Any] = field(default_factory=dict)  # window, probe and collimator, as the case says
    records: tuple[Mapping[str, Any], ...] = ()  # stamps of tip and latency, beside the calibration's own
    grid: MapGrid = AUTOMATIC  # what the case fixes of the map's grid
    landmarks: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)  # of the study, LPS mm
    recheck_minutes: float = RECHECK_MINUTES  # a registration is to be checked again after so long, 0: never
    study: StudyModel | None = None  # the preoperative study; a registration brings it into Reference
    study_check: Mapping[str, Any] | None = None  # how it compared with the case, without a patient's data
    publish_host: str = "127.0.0.1"  # any other address of this computer lets other machines look on
    count_s: float = DEFAULT_S  # what a timed count takes
    bed: Mapping[str, Any] = field(
        default_factory=dict
    )  # threshold_kbq, depth_mm, confidence wanted of a bed
    pedal: Mapping[str, Any] | None = None  # who may press for a count, as `engine.pedal` reads it

    @property
    def tracked(self) -> bool:
        """Whether anything sends poses; without that there are timed counts alone."""
        return any(role.poses for role in self.sources.values())

    def to_json(self) -> dict[str, Any]:
        """Everything, so that a replay starts from the same state."""
        return {
            "case_id": self.case_id,
            "nuclide": self.nuclide,
            "epoch_s": self.epoch_s,
            "tips": {
                "probe": self.tips.probe.tolist(),
                "stylus": None if self.tips.stylus is None else self.tips.stylus.tolist(),
            },
            "sources": {name: role.to_json() for name, role in self.sources.items()},
            "calibration": self.calibration,
            "latency": [self.latency.count_latency_s, self.latency.ci95_s, self.latency.determined],
            "registration": [
                self.registration.id,
                self.registration.matrix.tolist(),
                self.registration.tre_mm,
            ],
            "surface_mm": None if self.surface_mm is None else self.surface_mm.tolist(),
            "dead_time_s": self.dead_time_s,
            "continuous_touch": self.continuous_touch,
            "simulated": self.simulated,
            "publish_host": self.publish_host,
            "count_s": self.count_s,
            "bed": dict(self.bed),
            "pedal": None if self.pedal is None else dict(self.pedal),
            "map": self.grid.to_json(),
            "gates": dict(self.gates),
            "stated": dict(self.stated),
            "records": [dict(stamp) for stamp in self.records],
            "background_minutes": self.background_minutes,
            "sheath": [self.sheath.transmission, self.sheath.sd],
            "injection": None if self.injection is None else dict(self.injection),
            "study": None if self.study is None else self.study.to_json(),
            "landmarks": {name: list(place) for name, place in self.landmarks.items()},
            "recheck_minutes": self.recheck_minutes,
            "study_check": None if self.study_check is None else dict(self.study_check),
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Settings:
        """The settings that `to_json` wrote. Raises KeyError or TypeError when they are not."""
        tips, surface = found["tips"], found["surface_mm"]
        stylus = None if tips["stylus"] is None else np.array(tips["stylus"], dtype=np.float64)
        lag, interval, determined = found["latency"]
        reg_id, reg_matrix, tre = found["registration"]
        return Settings(
            found["case_id"],
            found["nuclide"],
            float(found["epoch_s"]),
            Tips(np.array(tips["probe"], dtype=np.float64), stylus),
            {name: SourceRole.from_json(role) for name, role in found["sources"].items()},
            found["calibration"],
            LatencyState(lag, None if interval is None else (interval[0], interval[1]), determined),
            Registration(reg_id, np.array(reg_matrix, dtype=np.float64), tre),
            None if surface is None else np.array(surface, dtype=np.float64),
            found["dead_time_s"],
            found["continuous_touch"],
            found["simulated"],
            # None of these is in records of the first version.
            sheath=Sheath(*found.get("sheath", (1.0, 0.0))),
            background_minutes=float(found.get("background_minutes", DEFAULT_MINUTES)),
            injection=found.get("injection"),
            gates=found.get("gates", {}),
            grid=MapGrid.from_json(found.get("map")),
            stated=found.get("stated", {}),
            records=tuple(found.get("records", ())),
            publish_host=found.get("publish_host", "127.0.0.1"),
            count_s=float(found.get("count_s", DEFAULT_S)),
            pedal=found.get("pedal"),
            bed=found.get("bed", {}),
            study_check=found.get("study_check"),
            landmarks={n: (p[0], p[1], p[2]) for n, p in found.get("landmarks", {}).items()},
            recheck_minutes=float(found.get("recheck_minutes", RECHECK_MINUTES)),
            study=None if found.get("study") is None else StudyModel.from_json(found["study"]),
        )
