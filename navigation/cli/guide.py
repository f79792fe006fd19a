"""`gammanav calibrate guide`: one step of a calibration, led by words and pictures, on a terminal or in a window."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from navigation.cli.numbers import Finite
from navigation.plots import plots_option
from tracking.errors import InputError, SurroundingsError

if TYPE_CHECKING:
    from navigation.engine.settings import SourceRole
    from navigation.guided.session import Outcome, Session
    from navigation.guided.steps import Wish

NAMES = ("pivot", "axis", "divot", "background", "grid", "detector-scan", "check")
# A step that has not ended after this has been left alone.
DEFAULT_LONGEST_S = 1800.0


@click.command(
    "guide",
    epilog="Example: gammanav calibrate guide pivot case.toml --tool Probe --out calibration-1",
    short_help="One step, led by words and pictures.",
)
@click.argument("step", type=click.Choice(NAMES))
@click.argument("case", required=False, type=click.Path(path_type=Path))
@click.option("--live", help="Tracker at HOST:PORT instead of CASE.")
@click.option("--counter", help="Probe at HOST:PORT instead of CASE; default: the tracker's port + 1.")
@click.option("--tool", default="Probe", show_default=True, help="The tool that is calibrated.")
@click.option(
    "--tip", "tips", multiple=True, type=click.Path(path_type=Path), help="Nominal tip.json and/or axis.json."
)
@click.option("--source", help="Place X,Y,Z of the point source in Reference, mm.")
@click.option("--activity-kbq", type=Finite(min=0.0, min_open=True), help="Its activity now, kBq.")
@click.option(
    "--check-source",
    type=click.Path(path_type=Path),
    help="Both from a file: position_mm, activity_kbq, its time.",
)
@click.option("--nuclide", help="Nuclide of the source; default: the case's, else the file's.")
@click.option("--response", type=click.Path(path_type=Path), help="probe.json of the same probe from a grid.")
@click.option("--dead-time-s", type=Finite(min=0.0), help="Dead time of the counter, s; default: the case's.")
@click.option(
    "--points", default=40, show_default=True, type=click.IntRange(20, 168), help="Places of the grid."
)
@click.option("--headless", is_flag=True, help="Words on the terminal, no window.")
@click.option("--screenshot", type=click.Path(path_type=Path), help="Leave a picture of the window.")
@click.option("--longest-s", default=DEFAULT_LONGEST_S, show_default=True, type=Finite(min=1.0))
@click.option(
    "--wait", default=10.0, show_default=True, type=Finite(min=0.0), help="Seconds for the sources."
)
@click.option("--operator", help="Who measures.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the results.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@plots_option
def command(step: str, case: Path | None, out: Path, **options: Any) -> None:
    """Do one STEP of a calibration with the instruments of CASE, a TOML file, or of --live.

    The words tell what to do next in your own view; the step ends by itself when the result will be good enough,
    and is then computed and written by the step's own command (`gammanav calibrate STEP`), with its exit code.
    A rehearsal without hardware: `gammanav simulate pivot --setup bench`, then this with bench/case.toml.
    """
    from navigation.guided.feed import Feed
    from navigation.guided.session import Session, require_free

    wish = _wish(step, case, out, options)
    roles = _roles(wish, options["live"], options["counter"])
    require_free(wish)
    if not options["headless"]:
        from navigation.guided.windowed import in_window, require_display

        require_display()
    with Feed(roles, wish.tool, wish.in_reference) as feed:
        session = Session(wish, feed)
        feed.wait(options["wait"])
        outcome: Outcome | None
        if options["headless"]:
            outcome = _on_terminal(session, options["longest_s"])
        else:
            outcome = in_window(session, options["longest_s"], options["screenshot"])
    if outcome is not None and outcome.code:
        raise click.exceptions.Exit(outcome.code)


def _wish(step: str, case: Path | None, out: Path, options: dict[str, Any]) -> Wish:
    """The command line, completed by the case file."""
    import numpy as np

    from calibration.gates import read_gates
    from navigation.guided.steps import Wish, check_source

    known = _case_values(case)
    wish = Wish(
        step,
        out,
        tool=options["tool"],
        tips=tuple(options["tips"]),
        nominal=_case_tip(case),
        activity_kbq=options["activity_kbq"],
        nuclide=options["nuclide"] or known.get("nuclide"),
        response=options["response"],
        dead_time_s=options["dead_time_s"]
        if options["dead_time_s"] is not None
        else known.get("dead_time_s"),
        points=options["points"],
        case=case,
        gates=read_gates(case),
        operator=options["operator"],
        probe_serial=known.get("probe_serial"),
        force=options["force"],
        plots=options["plots"],
    )
    if options["source"] is not None:
        from navigation.cli.detector_scan import parse_point

        wish = replace(wish, source_mm=np.array(parse_point(options["source"])))
    if options["check_source"] is not None:
        place, activity, name = check_source(options["check_source"], time.time())
        wish = replace(
            wish,
            source_mm=place if wish.source_mm is None else wish.source_mm,
            activity_kbq=activity if wish.activity_kbq is None else wish.activity_kbq,
            nuclide=wish.nuclide or name,
        )
    return _complete(wish)


def _complete(wish: Wish) -> Wish:
    """Refuse what cannot work before anybody moves a hand. Raises InputError."""
    if wish.with_counts and wish.nuclide is None:
        raise InputError(f"step {wish.step}: needs --nuclide, or a case that names it")
    if wish.step == "check" and wish.response is None:
        raise InputError("step check: needs --response probe.json, the calibration it is checked against")
    return wish


def _case_values(case: Path | None) -> dict[str, Any]:
    if case is None:
        return {}
    from tracking.profile import read_with_profile

    return read_with_profile(case)


def _case_tip(case: Path | None) -> Path | None:
    """The nominal tip beside the case."""
    file = None if case is None else case.parent / "tip.json"
    return file if file is not None and file.is_file() else None


def _roles(wish: Wish, live: str | None, counter: str | None) -> dict[str, SourceRole]:
    """The sources that the step needs."""
    from navigation.case import probe_of, tracker_of
    from navigation.livepose import parse_live

    if wish.case is None and live is None:
        raise InputError("give a CASE.toml, or --live HOST:PORT")
    roles = {}
    if wish.with_poses:
        roles["tracker"] = parse_live(live) if live is not None else tracker_of(_given(wish.case))
    if wish.with_counts:
        roles["probe"] = _counter(wish, live, counter) or probe_of(_given(wish.case))
    return roles


def _given(case: Path | None) -> Path:
    if case is None:
        raise InputError("give a CASE.toml, or --live and --counter HOST:PORT")
    return case


def _counter(wish: Wish, live: str | None, counter: str | None) -> SourceRole | None:
    from navigation.livepose import parse_live

    if counter is not None:
        return replace(parse_live(counter), poses=False, counts=True)
    if live is None:
        return None
    tracker = parse_live(live)
    return replace(tracker, port=tracker.port + 1, poses=False, counts=True)


def _on_terminal(session: Session, longest_s: float) -> Outcome:
    """Each new hint is a line. Raises SurroundingsError when the time is up or a source is gone."""
    from navigation.guided.session import LOOK_S

    end = time.monotonic() + longest_s
    before, stamped = "", False
    while not (told := session.look()).done:
        if session.feed.simulated and not stamped:
            click.echo("SIMULATION")
            stamped = True
        if told.hint != before:
            figures = "; ".join(f"{name} {value}" for name, value in told.figures)
            click.echo(f"{100 * told.progress:3.0f} %  {told.hint}" + (f"  [{figures}]" if figures else ""))
            before = told.hint
        if time.monotonic() > end:
            raise SurroundingsError(f"step {session.wish.step}: not done within {longest_s:g} s")
        time.sleep(LOOK_S)
    click.echo(f"100 %  {told.hint}")
    for reason in told.refusals:
        click.echo(f"but: {reason}")
    return session.finish()
