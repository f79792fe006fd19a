"""The group `gammanav`: lazy subcommands, one-line errors, the exit codes 0, 2, 3 and 1.

`main` is the only place that turns an exception into words and a code, so that every command behaves alike.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from navigation.cli.faults import log_fault, one_line
from tracking.errors import GateRefusedError, InputError, SurroundingsError

EXIT_FAULT = 1
EXIT_INPUT = 2
EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells expect


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, "module:attribute", and its line in the list of commands."""

    where: str
    help: str


TOP = {
    "demo": Entry("navigation.cli.demo:command", "The whole procedure in a simulated operating room."),
    "simulate": Entry("navigation.cli.simulate:command", "Only the simulated tracker and probe."),
    "run": Entry("navigation.cli.run:command", "A live case: record, map, publish."),
    "probe-bridge": Entry("navigation.cli.probe_bridge:command", "A probe's serial line as OpenIGTLink."),
    "plus-config": Entry(
        "navigation.cli.plus_config:command", "PlusServer's configuration for this program."
    ),
    "replay": Entry("navigation.cli.replay:command", "The same engine on a record."),
    "import": Entry("navigation.cli.records:import_command", "Scan folder or PLUS sequence into a record."),
    "export": Entry("navigation.cli.records:export_command", "Record into files others open."),
    "verify": Entry("navigation.cli.verify:command", "Is a record whole and as it was written?"),
    "counts": Entry("navigation.cli.counts:command", "Timed counts of a record: table, ratios, rules."),
    "reconstruct": Entry("navigation.cli.reconstruct:command", "Map and foci of one scan, offline."),
    "bed-check": Entry("navigation.cli.bed_check:command", "What a scan says about a resection bed."),
    "specimen": Entry("navigation.cli.specimen:command", "What a specimen holds, counted outside the body."),
    "study": Entry("navigation.cli.study:command", "Import and check a preoperative study."),
    "report": Entry("navigation.cli.report:command", "Report of a case."),
    "doctor": Entry("navigation.cli.doctor:command", "What is installed and what is missing."),
}
CALIBRATE = {
    "detector": Entry("navigation.cli.detector:command", "Detector response from a point-source grid."),
    "detector-scan": Entry(
        "navigation.cli.detector_scan:command", "Detector centre, axis and count latency from a sweep."
    ),
    "crosstalk": Entry("navigation.cli.crosstalk:command", "Spill of a second nuclide between windows."),
    "pivot": Entry("navigation.cli.pivot:command", "Tip offset of a tracked tool."),
    "axis": Entry("navigation.cli.axis:command", "Direction a tracked probe looks."),
    "guide": Entry("navigation.cli.guide:command", "One step, led by words and pictures."),
    "camera": Entry(
        "navigation.cli.camera:command", "A video camera: its lens, and where it sits on its marker."
    ),
    "divot": Entry("navigation.cli.divot:command", "Is the tip where its calibration says?"),
    "tracker": Entry("navigation.cli.tracker:command", "A tracker against known distances."),
    "latency": Entry("navigation.cli.latency:command", "Time offset of counts against poses."),
    "approve": Entry("navigation.cli.keeping:approve", "A second person approves a draft."),
    "activate": Entry("navigation.cli.keeping:activate", "Put a record of a store to use."),
    "undo": Entry("navigation.cli.keeping:undo", "Back to the record used before."),
    "records": Entry("navigation.cli.keeping:records", "What a store holds, and its history."),
    "check": Entry("navigation.cli.check:command", "Daily quality check with trend."),
    "background": Entry("navigation.cli.background:command", "Background counts, and whether they rose."),
    "sheath": Entry("navigation.cli.sheath:command", "What a sterile sheath lets through."),
    "dead-time": Entry("navigation.cli.dead_time:command", "Dead time of the counter, and which kind it is."),
}

REGISTER = {
    "points": Entry("navigation.cli.register_points:command", "Matched points, as landmarks and fiducials."),
    "images": Entry("navigation.cli.register_images:command", "Two volumes, or a study's SPECT onto its CT."),
    "surface": Entry("navigation.cli.register_surface:command", "Touched points against a skin or a mesh."),
    "activity": Entry(
        "navigation.cli.register_activity:command", "Does the activity lie where the study says?"
    ),
    "accept": Entry("navigation.cli.register_accept:command", "Take a proposed shift into a registration."),
}
PACS = {
    "echo": Entry("navigation.cli.pacs:echo_command", "Does a PACS answer, and what does it offer?"),
    "find": Entry("navigation.cli.pacs:find_command", "Find studies, or the series of one."),
    "get": Entry("navigation.cli.pacs:get_command", "Bring a study, and import it."),
    "store": Entry("navigation.cli.pacs_store:command", "Send the results of a case."),
}
CHALLENGE = {
    "make": Entry("navigation.cli.challenge:make_command", "A set of simulated scans, truth apart."),
    "score": Entry("navigation.cli.challenge:score_command", "What a method's answers are worth."),
}
PLAN = {
    "targets": Entry("navigation.cli.plan_targets:command", "Places to reach: contours, foci, clicks."),
    "regions": Entry("navigation.cli.plan_regions:command", "Regions of physiological uptake."),
    "fiducials": Entry("navigation.cli.plan_anatomy:fiducials", "Skin markers in the CT."),
    "skin": Entry("navigation.cli.plan_anatomy:skin", "Skin surface out of the CT."),
    "bones": Entry("navigation.cli.plan_anatomy:bones", "Bone surface out of the CT."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def __init__(self, *args: Any, entries: dict[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Eager commands and entries, in the order of a procedure."""
        return [*self.entries, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now if it is one of the entries; None if there is none of that name."""
        entry = self.entries.get(cmd_name)
        return super().get_command(ctx, cmd_name) if entry is None else load(cmd_name, entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one."""
        rows = [(name, entry.help) for name, entry in self.entries.items()]
        rows += [(name, command.get_short_help_str(limit=70)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def load(name: str, entry: Entry) -> click.Command:
    """The click command at `entry.where`.

    Raises click.UsageError when this installation lacks the command's own module.
    """
    module_name, attribute = entry.where.split(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise SurroundingsError(
                f"`gammanav {name}` needs the package {error.name}, not installed here: see `gammanav doctor`"
            ) from error
        raise click.UsageError(f"this installation has no command `{name}`") from error
    command: click.Command = getattr(module, attribute)
    return command


def print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """`--version`: looked up only when asked for, since the metadata query is slow."""
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"gammanav {version('gammanav')} (research use only)")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    entries=TOP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: gammanav demo --headless --out demo-out",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=print_version)
@click.option("--verbose", is_flag=True, help="Log to stderr.")
def gammanav(verbose: bool) -> None:
    """Freehand nuclear imaging and navigation with a tracked gamma probe. Research use only."""
    logging.captureWarnings(True)  # libraries' warnings are for the log, not for the surgeon
    logging.basicConfig(
        level=logging.INFO if verbose else logging.CRITICAL + 1, format="%(asctime)s %(name)s: %(message)s"
    )


gammanav.add_command(
    LazyGroup(
        "calibrate",
        entries=CALIBRATE,
        help="Detector response, tool tips, count latency.",
        epilog="Example: gammanav calibrate detector grid.csv --nuclide Tc-99m --out probe.json",
    )
)
gammanav.add_command(
    LazyGroup(
        "register",
        entries=REGISTER,
        help="Transforms from a MOVING (source) frame into a FIXED (target) frame.",
        short_help="Bring two frames together.",
        epilog="Example: gammanav register points fixed.csv moving.csv --out reg.json",
    )
)
gammanav.add_command(
    LazyGroup(
        "pacs",
        entries=PACS,
        help="Bring a preoperative study from a PACS (C-FIND, C-GET), and send results to it (C-STORE).",
        short_help="A study out of a PACS, results into it.",
        epilog="Example: gammanav pacs find --settings pacs.toml --patient-id 12345",
    )
)
gammanav.add_command(
    LazyGroup(
        "plan",
        entries=PLAN,
        help="What an imported study holds: targets, regions of uptake, skin markers, skin, bone.",
        short_help="Targets and anatomy of a study.",
        epilog="Example: gammanav plan targets study --hours 3",
    )
)
gammanav.add_command(
    LazyGroup(
        "challenge",
        entries=CHALLENGE,
        help="Simulated scans on which methods of freehand SPECT can be compared, and their scores.",
        short_help="Compare methods on the same scans.",
        epilog="Example: gammanav challenge make --cases 30 --out set",
    )
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; every error ends as one line on stderr."""
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        with gammanav.make_context("gammanav", words) as context:
            outcome = gammanav.invoke(context)
    except click.exceptions.Exit as wish:
        return wish.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return 0
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        return complain(error.format_message(), where.command_path if where is not None else "gammanav")
    except (click.Abort, KeyboardInterrupt):
        click.echo("gammanav: interrupted", err=True)
        return EXIT_INTERRUPTED
    except GateRefusedError as error:
        complain(str(error))
        return EXIT_REFUSED
    except BrokenPipeError:
        # Whoever read our output has left; what is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INPUT
    except (InputError, OSError) as error:
        logging.getLogger(__name__).info("refused", exc_info=error)
        return complain(str(error) if isinstance(error, (InputError, SurroundingsError)) else one_line(error))
    return outcome if isinstance(outcome, int) else 0


def complain(message: str, who: str = "gammanav") -> int:
    """One line on stderr, whatever the message holds; returns the code for bad input."""
    click.echo(f"{who}: {' '.join(message.split())}", err=True)
    return EXIT_INPUT


def main() -> None:
    """Entry point of the console command."""
    try:
        code = run()
    except Exception as error:  # noqa: BLE001 - the last door: the traceback goes to the log, one line to the user
        click.echo(f"gammanav: {log_fault(error)}", err=True)
        code = EXIT_FAULT
    sys.exit(code)


if __name__ == "__main__":
    main()
