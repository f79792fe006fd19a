"""Options of `gammanav pacs`: which PACS, and which study is looked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from navigation.cli.numbers import Finite
from navigation.io.pacssettings import CALLING_AET, TIMEOUT_S, read_peer

_PEER_KEYS = ("host", "port", "called_aet", "calling_aet", "timeout_s")
DAY = click.DateTime(formats=["%Y-%m-%d", "%Y%m%d"])


def peer_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options that say which PACS; the command gets `peer`."""

    @functools.wraps(function)
    def with_peer(*args: Any, settings: Path | None, **options: Any) -> None:
        given = {key: options.pop(key) for key in _PEER_KEYS}
        function(*args, peer=read_peer(settings, given), **options)

    options = (
        click.option("--settings", type=click.Path(path_type=Path), help="TOML file that says which PACS."),
        click.option("--host", help="Its name or address."),
        click.option("--port", type=int, help="Its DICOM port, often 104, 4242 or 11112."),
        click.option("--called-aet", help="Its application entity title."),
        click.option("--calling-aet", help=f"Our application entity title, by default {CALLING_AET}."),
        click.option(
            "--timeout",
            "timeout_s",
            type=Finite(min=0.0, min_open=True),
            help=f"Longest silence in seconds, by default {TIMEOUT_S:g}.",
        ),
    )
    return functools.reduce(lambda f, option: option(f), reversed(options), with_peer)


def query_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options that say which study is looked for; the command gets `asked`, keywords of a Query."""

    @functools.wraps(function)
    def with_query(*args: Any, since: datetime | None, until: datetime | None, **options: Any) -> None:
        asked = {key: options.pop(key) for key in ("patient_id", "name", "accession")}
        days = {k: f"{day:%Y%m%d}" for k, day in (("since", since), ("until", until)) if day is not None}
        function(*args, asked=asked | days, **options)

    options = (
        click.option("--patient-id", default="", help="The patient's number; * and ? stand for characters."),
        click.option("--name", default="", help="The patient's name, as FAMILY^GIVEN or FAMILY*."),
        click.option("--accession", default="", help="Accession number."),
        click.option("--since", type=DAY, help="First day of the study."),
        click.option("--until", type=DAY, help="Last day of the study."),
    )
    return functools.reduce(lambda f, option: option(f), reversed(options), with_query)
