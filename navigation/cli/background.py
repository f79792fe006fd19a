"""`gammanav calibrate background`: counts of the room or the patient, and whether they have risen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from navigation.cli.pivot import refuse_existing, write_result
from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from calibration.counter.counttest import Counted
    from calibration.daily.background import Background
    from tracking.scanfolder import CountTable


@click.command(
    "background",
    epilog="Example: gammanav calibrate background quiet-room --reference background-monday.json"
    " --out background.json",
    short_help="Background counts, and whether they rose.",
)
@click.argument("scan", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(["room", "patient"]),
    default="room",
    show_default=True,
    help="What was counted.",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Earlier background.json to compare with, the oldest first.",
)
@click.option("--nuclide", help="Where SCAN does not name one.")
@click.option("--operator", help="Who measured.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, background.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    scan: Path,
    kind: str,
    references: tuple[Path, ...],
    nuclide: str | None,
    operator: str | None,
    out: Path,
    force: bool,
) -> None:
    """Counts of SCAN with no source in view: a scan, a record, or a counts.csv alone; poses are not needed.

    With --reference a rise by more than three sigma is refused ("accepted": false, exit code 3): a contaminated
    probe tip or drape looks like this.
    """
    from calibration.daily.background import UNSTEADY, rise, standing

    refuse_existing(out, force)
    now, simulated = measured(scan, kind, nuclide)
    earlier = [read_background(path) for path in references]
    against = [rise(each, now) for each in earlier]
    reasons = [UNSTEADY] if now.unsteady else []
    reasons += [
        f"risen by {found.sigma:.1f} sigma over {each.counted.rate_cps:.2f} cps of {path}: contaminated tip or drape?"
        for path, each, found in zip(references, earlier, against, strict=True)
        if found.risen
    ]
    stands = standing([*earlier, now])
    if stands is not None and stands.slowly and not reasons:
        reasons.append(f"rises slowly over {len(earlier)} earlier ones: contaminated tip or drape?")
    content = now.content() | {
        "operator": operator,
        "compared": [
            {"with": str(path)} | found.content() for path, found in zip(references, against, strict=True)
        ],
        "accepted": not reasons,
        "reasons": reasons,
        "simulated": simulated,
    }
    write_result(out, content)
    if simulated:
        click.echo("SIMULATION")
    if reasons:
        raise GateRefusedError(f"{out}: background {'; '.join(reasons)}")
    click.echo(summary(now))


def summary(found: Background) -> str:
    """One line for the terminal."""
    low, high = found.counted.ci95_cps
    return (
        f"{found.kind} background {found.counted.rate_cps:.2f} cps ({low:.2f} to {high:.2f}),"
        f" {found.counted.counts:.0f} counts in {found.counted.live_s:.0f} s"
    )


def measured(where: Path, kind: str, named: str | None = None) -> tuple[Background, bool]:
    """The counts of a scan, a record or a counts.csv, and whether they are simulated. Raises InputError."""
    from calibration.counter.counttest import counted
    from calibration.daily.background import SHORTEST_S, Background
    from calibration.physics.nuclide import nuclide as nuclide_by_name

    table, head = _counts(where)
    name = named or head.get("nuclide")
    if not name:
        raise InputError(f"{where}: names no nuclide: --nuclide does")
    found = counted(table.counts, table.window_s)
    if found.live_s < SHORTEST_S:
        raise InputError(f"{where}: {found.live_s:.2f} s of counts; at least {SHORTEST_S:g} s are needed")
    begin = head.get("reference_time")
    middle = None
    if begin is not None:
        zero = datetime.fromisoformat(str(begin))
        middle = zero.replace(tzinfo=zero.tzinfo or UTC) + timedelta(seconds=float(np.median(table.t_s)))
    known = nuclide_by_name(str(name)).name
    return Background(kind, found, known, middle), bool(head.get("simulated", False))


def _counts(where: Path) -> tuple[CountTable, dict[str, Any]]:
    from tracking.jsonfile import read_json
    from tracking.recording.export import open_scan
    from tracking.scanfolder import read_counts_csv

    if where.suffix.lower() == ".csv":
        return read_counts_csv(where), {}
    if where.is_dir():
        head = where / "scan.json"
        return read_counts_csv(where / "counts.csv"), read_json(head) if head.is_file() else {}
    scan = open_scan(where)
    return scan.counts, {
        "nuclide": scan.nuclide,
        "reference_time": scan.reference_time,
        "simulated": scan.simulated,
    }


def read_background(path: Path) -> Background:
    """A background.json. Raises InputError."""
    from calibration.daily.background import Background
    from tracking.jsonfile import read_json

    return Background.of(read_json(path), str(path))


def counted_at(path: Path) -> Counted:
    """The counts of a background.json or of a scan without a source. Raises InputError."""
    if path.suffix.lower() == ".json":
        return read_background(path).counted
    return measured(path, "room", None if path.is_dir() or path.suffix.lower() != ".csv" else "Tc-99m")[
        0
    ].counted
