"""`gammanav register accept`: a person takes the shift that a scan proposes into the registration of the study."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from navigation.cli.pivot import refuse_existing, write_result
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import read_json


@click.command(
    "accept",
    epilog='Example: gammanav register accept reg.json shift.json --by "A. Klein" --out corrected.json',
    short_help="Take a proposed shift into a registration.",
)
@click.argument("registration", type=click.Path(path_type=Path))
@click.argument("proposal", type=click.Path(path_type=Path))
@click.option("--by", required=True, help="Who confirms it.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The corrected registration.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(registration: Path, proposal: Path, by: str, out: Path, force: bool) -> None:
    """Correct REGISTRATION (of a study) by PROPOSAL (of `register activity`), in the name of a person.

    The result names both and whoever confirmed it; neither file is changed.
    """
    from navigation.registration.activityfile import corrected_registration

    refuse_existing(out, force)
    if not by.strip():
        raise InputError("--by: somebody has to confirm it")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        content = corrected_registration(read_json(registration), read_json(proposal), by.strip(), now)
    except GateRefusedError as fault:
        raise GateRefusedError(f"{proposal}: {fault}") from None
    except InputError as fault:
        raise InputError(f"{registration}, {proposal}: {fault}") from None
    write_result(out, content)
    click.echo(f"{out}: corrected by {content['shift_mm']:.1f} mm, confirmed by {by.strip()}")
