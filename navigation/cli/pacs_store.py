"""`gammanav pacs store`: the results of a case to a PACS."""

from __future__ import annotations

from pathlib import Path

import click

from navigation.cli.pacsoptions import peer_options
from navigation.io.pacs import Stored, store
from navigation.io.pacssettings import Peer
from tracking.errors import InputError


@click.command(
    "store",
    epilog="Example: gammanav pacs store report/dicom --settings pacs.toml --deidentified",
    short_help="Send the results of a case.",
)
@click.argument("folder", type=click.Path(path_type=Path))
@peer_options
@click.option(
    "--identified/--deidentified",
    "identified",
    default=None,
    help="Which of the two the objects are; has to be said, and is compared with every object.",
)
def command(folder: Path, peer: Peer, identified: bool | None) -> None:
    """Send the DICOM objects that `gammanav report` wrote into FOLDER to a PACS (C-STORE).

    Only objects of this program are sent, and none unless all of them fit. Afterwards the PACS is asked whether it
    lists every one of them; one that does not ends with code 2.
    """
    if identified is None:
        raise click.UsageError("say whether the objects go --identified or --deidentified")
    files = sorted(folder.glob("*.dcm")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder}: no DICOM objects here (looked for *.dcm)")
    click.echo(summary(store(peer, files, identified=identified)))


def summary(stored: Stored) -> str:
    """One line: what went, as what, and what the peer says of it."""
    kinds = ", ".join(f"{kind} {n}" for kind, n in stored.kinds.items())
    words = [
        f"{stored.sent} objects stored ({kinds})",
        "identified" if stored.identified else "de-identified",
    ]
    if stored.simulated:
        words.insert(0, "SIMULATION")
    if stored.warned:
        words.append(f"{stored.warned} with a warning")
    words.append("the PACS lists them" if stored.listed else "not confirmed: the PACS offers no C-FIND")
    return "; ".join(words)
