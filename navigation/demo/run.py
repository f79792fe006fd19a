"""The demonstration from nothing to its folder: child processes, procedure, results, report, comparison."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from navigation.demo.interrupts import Interrupts
from navigation.demo.procedure import FIRST, TOTAL_S, Performed, run_procedure
from navigation.demo.progress import Progress
from navigation.demo.simulator import Simulator
from navigation.demo.summary import five_lines
from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.jobs import BedJob
from navigation.engine.results import write_results
from navigation.viewer import Window
from tracking.errors import GammanavError
from tracking.jsonfile import RESULT_NAMES, prepare_out, write_json


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user asked for."""

    out: Path
    scene: str
    seed: int
    port: int
    sim_port: int
    headless: bool
    force: bool


def run_demo(plan: Plan) -> list[str]:
    """Run it all; returns the five lines.

    Raises InputError for an existing result, SurroundingsError for ports, devices and displays.
    """
    with (
        Interrupts() as interrupts,
        prepare_out(plan.out, plan.force, (*RESULT_NAMES, RECORD_NAME)) as out,
        Progress(TOTAL_S) as progress,
    ):
        progress.say("Starting the simulated devices")
        case, performed, remark = _perform(plan, out.path, progress, interrupts)
        progress.say("Writing the report")
        lines = _write(case, performed, out.path, plan.out)
    return [*lines, *([remark] if remark else [])]


def _perform(
    plan: Plan, out: Path, progress: Progress, interrupts: Interrupts
) -> tuple[LiveCase, Performed, str | None]:
    setup = out / "setup"
    with ExitStack() as stack:
        simulator = stack.enter_context(
            Simulator(plan.scene, plan.seed, plan.sim_port, out / "truth.json", setup, interrupts)
        )
        window = Window(plan.headless, out / "window.png", out / "study")

        stack.callback(window.close)
        case, performed = run_procedure(simulator, out, setup, plan.port, progress, window)
    return case, performed, window.remark


def _write(case: LiveCase, performed: Performed, work: Path, out: Path) -> list[str]:
    from navigation.report import write_report

    write_results(case.session, performed.outcomes, work)
    write_json(work / "live.json", performed.statistics)
    write_report(work)
    results = {o.job.basis.scan: o.result for o in performed.outcomes if o.result is not None}
    checks = [
        o.bed_check for o in performed.outcomes if isinstance(o.job, BedJob) and o.bed_check is not None
    ]
    if FIRST not in results or not checks:
        raise GammanavError("the procedure ended without all of its results")
    surface = case.session.scan(FIRST).surface_mm
    return five_lines(results[FIRST], checks[-1], surface, work / "truth.json", out / "report.html")
