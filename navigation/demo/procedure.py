"""The steps of the demonstration: calibrate, touch, scan, resect, touch the bed, scan again, judge.

The engine gets what a real one would get: two sockets, the case file and the hospital's calibration data.
"""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navigation.case import read_case
from navigation.demo.calibrations import detector_calibration, sweep_latency
from navigation.demo.landmarks import register_touches
from navigation.demo.progress import Progress
from navigation.demo.simulator import Simulator
from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.jobs import Outcome
from navigation.engine.session import BED, SCAN, SURFACE, SWEEP
from navigation.io.study import import_study, load_study
from navigation.studymodel import StudyModel
from navigation.targetplan import propose
from navigation.targets import TargetList, save_targets
from navigation.uptake import load_regions
from navigation.viewer import Window
from tracking.errors import SurroundingsError

# Lengths of the phases in s: with everything between them the whole stays below 90 s on two cores.
SWEEP_S, TOUCH_S, LANDMARKS_S, SCAN_S, BED_S, RESCAN_S = 6.0, 4.5, 5.0, 30.0, 4.5, 20.0
TOTAL_S = SWEEP_S + TOUCH_S + LANDMARKS_S + SCAN_S + BED_S + RESCAN_S + 10.0
# A hand that picks up a tool needs up to a second to reach the patient; only then does the pedal go down.
APPROACH_S = 1.1
# What the surgeon asks of the bed, and how deep behind its surface.
THRESHOLD_KBQ, CONFIDENCE, BED_DEPTH_MM = 8.0, 0.95, 6.0
# Sources on loopback answer at once; a full analysis takes seconds.
CONNECT_S, ANSWER_S, ANALYSIS_S = 5.0, 10.0, 120.0
# How long the bed's finding stands in the window before it closes: the window keeps one picture a second.
LOOK_S = 1.5
FIRST, SECOND, SWEEP_NAME = "scan-1", "scan-2", "sweep"


@dataclass(frozen=True, slots=True, eq=False)
class Performed:
    """What the procedure left: the case (stopped later), and the outcomes of its analyses in order."""

    outcomes: tuple[Outcome, ...]
    statistics: dict[str, Any]


class Procedure:
    """One run of the demonstration. `work` is where files go; `setup` holds the hospital's files."""

    def __init__(
        self,
        simulator: Simulator,
        case: LiveCase,
        work: Path,
        setup: Path,
        progress: Progress,
        window: Window,
    ) -> None:
        self.simulator = simulator
        self.case = case
        self.work = work
        self.setup = setup
        self.progress = progress
        self.window = window
        self._later: list[Future[Outcome | None]] = []

    def perform(self) -> Performed:
        """All steps. Raises SurroundingsError when the devices go away."""
        lost = self.case.engine.wait_connected(CONNECT_S)
        if lost is not None:
            raise SurroundingsError(f"{lost}: no connection to the simulated device")
        with ThreadPoolExecutor(1) as beside:
            probe = beside.submit(detector_calibration, self.setup)
            self._reading("Latency sweep over a check source", "sweep", SWEEP_S, SWEEP, SWEEP_NAME)
            latency = beside.submit(self._latency, probe)
            study = beside.submit(self._study)
            self._touching("Touching the skin", "touch", TOUCH_S, SURFACE)
            self._register(study)
            self.progress.say("Detector calibration")
            self._do("calibration", probe=probe.result())
            self._do("latency", **latency.result())
            self._do("study", study=study.result())
        self._reading("Scanning", FIRST, SCAN_S, SCAN, FIRST)
        self._later.append(self.case.engine.command("analyze", scan=FIRST))
        self.simulator.phase("resect", 0.0)
        for target in self.case.session.target_desk.targets.open:
            end = {"outcome": "removed", "reason": "resected in the simulation", "by": "simulated surgeon"}
            self._do("target_end", target=target.name, **end)
        self._touching("Resected; touching the bed", "touch-bed", BED_S, BED)
        threading.Thread(target=_load_report, name="report-import", daemon=True).start()
        self._reading("Scanning the bed", "rescan", RESCAN_S, SCAN, SECOND)
        self.progress.say("Judging the bed")
        self._later.append(self.case.engine.command("analyze", scan=SECOND))
        self._later.append(self._check_bed())
        outcomes = [self._result(future, ANALYSIS_S) for future in self._later]
        if self.window.running:
            self._pause(LOOK_S)
        return Performed(tuple(o for o in outcomes if o is not None), self.case.statistics.content())

    def _study(self) -> dict[str, Any]:
        """Import the study, take its foci for targets, and make of it what the engine keeps."""
        folder = self.work / "study"
        import_study(self.setup / "dicom", folder)
        now = self.case.engine.clock()
        found = propose(load_study(folder), load_regions(folder), now)
        save_targets(folder, TargetList(found.targets, simulated=True))
        return StudyModel.of_folder(folder).to_json()

    def _register(self, study: Future[dict[str, Any]]) -> None:
        """Touch the landmarks of the study; a refused registration leaves the case unregistered."""
        self.progress.say("Touching the landmarks of the CT")
        self.simulator.phase("landmarks", LANDMARKS_S)
        self._wait_stop("landmarks", LANDMARKS_S)
        events = self.simulator.events("landmarks")
        targets = [t["position_mm"] for t in study.result()["targets"]["targets"]]
        found = register_touches(self.case.session, events, self.setup, self.work, targets)
        if found is not None:
            self._do("registration", **found)

    def _check_bed(self) -> Future[Outcome | None]:
        return self.case.engine.command(
            "check_bed",
            scan=SECOND,
            before=FIRST,
            threshold_kbq=THRESHOLD_KBQ,
            confidence=CONFIDENCE,
            depth_mm=BED_DEPTH_MM,
        )

    def _latency(self, probe: Future[dict[str, Any]]) -> dict[str, Any]:
        return sweep_latency(self.case.session, SWEEP_NAME, probe.result(), self.setup)

    def _reading(self, words: str, phase: str, seconds: float, mode: str, name: str) -> None:
        self.progress.say(words)
        self.simulator.phase(phase, seconds)
        self._pause(APPROACH_S)
        self._do("start", mode=mode, name=name)
        self._wait_stop(phase, seconds - APPROACH_S)
        # Nobody waits for the last map here: the next phase begins while it is computed.
        self._later.append(self.case.engine.command("stop"))

    def _touching(self, words: str, phase: str, seconds: float, mode: str) -> None:
        self.progress.say(words)
        self.simulator.phase(phase, seconds)
        self._pause(APPROACH_S)
        self._do("start", mode=mode)
        self._wait_stop(phase, seconds - APPROACH_S)
        self._do("stop")

    def _wait_stop(self, phase: str, seconds: float) -> None:
        self.simulator.wait_stop(phase, seconds, self._alive)

    def _pause(self, seconds: float) -> None:
        self.simulator.pause(seconds, self._alive)

    def _alive(self) -> None:
        """Called several times a second: moves the bar, and gives up when a source stays away."""
        self.progress.tick()
        self.simulator.check()

    def _do(self, command: str, **content: Any) -> Outcome | None:
        return self._result(self.case.engine.command(command, **content), ANSWER_S)

    @staticmethod
    def _result(future: Future[Outcome | None], seconds: float) -> Outcome | None:
        try:
            return future.result(seconds)
        except TimeoutError:
            raise SurroundingsError(f"the engine did not answer within {seconds:.0f} s") from None


def _load_report() -> None:
    """Import what the report will need while the devices are busy anyway."""
    importlib.import_module("matplotlib.figure")
    importlib.import_module("matplotlib.backends.backend_agg")
    importlib.import_module("navigation.report")


def run_procedure(
    simulator: Simulator,
    work: Path,
    setup: Path,
    port: int,
    progress: Progress,
    window: Window,
) -> tuple[LiveCase, Performed]:
    """Run the case on the simulator's sockets; the window opens once the publisher listens."""
    from navigation.engine.reconstruct import build_imaging

    with LiveCase(read_case(setup / "case.toml"), work / RECORD_NAME, port, build_imaging) as case:
        window.open(case.publisher.server.port)
        performed = Procedure(simulator, case, work, setup, progress, window).perform()
    return case, performed
