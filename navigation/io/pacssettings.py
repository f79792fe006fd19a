"""Where a PACS is and who we are to it: a TOML file, single values over it, limits of what it may send.

An application entity title has 1 to 16 characters of the default repertoire without backslash (DICOM PS3.5
6.2, VR AE).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tracking.errors import InputError
from tracking.tomlfile import read_toml

CALLING_AET = "GAMMANAV"
# A PACS that reads a study from tape or from a colder store answers within this or says that it is busy.
TIMEOUT_S = 30.0
_LONGEST_TITLE = 16
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_TEXTS = ("host", "called_aet", "calling_aet")
_NUMBERS = ("port", "timeout_s", "most_files", "most_gib")
_TLS = ("ca", "certificate", "key")
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """What one retrieval may bring; beyond it nothing is kept.

    The defaults hold a whole-body PET/CT of several reconstructions; `keep_free_bytes` stays free on the disk,
    on which a case may be recorded at the same time.
    """

    most_files: int = 20_000
    most_bytes: int = 16 * _GIB
    keep_free_bytes: int = _GIB // 4


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: who is trusted, and who we are where the peer asks for it."""

    ca: str
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """One PACS. Raises InputError on a port, a title or a time that cannot be."""

    host: str
    port: int
    called_aet: str
    calling_aet: str = CALLING_AET
    timeout_s: float = TIMEOUT_S
    limits: Limits = Limits()
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise InputError("host: is empty")
        if not 0 < self.port < 1 << 16:
            raise InputError(f"port: {self.port} is not within 1 to 65535")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0.0):
            raise InputError(f"timeout_s: {self.timeout_s:g} is not above 0")
        if self.limits.most_files < 1 or self.limits.most_bytes < 1:
            raise InputError("most_files, most_gib: must be above 0")
        for key in ("called_aet", "calling_aet"):
            _check_title(key, getattr(self, key))

    @property
    def where(self) -> str:
        """The peer in a message: title, host and port."""
        return f"{self.called_aet} at {self.host}:{self.port}"

    def as_json(self) -> dict[str, Any]:
        """What the process that talks to the peer needs."""
        return asdict(self)


def peer_from_json(content: Mapping[str, Any]) -> Peer:
    """The inverse of `Peer.as_json`."""
    tls = content["tls"]
    nested = {"limits": Limits(**content["limits"]), "tls": None if tls is None else Tls(**tls)}
    return Peer(**{**content, **nested})


def is_uid(text: str) -> bool:
    """Whether it has the form of a DICOM UID (PS3.5 9.1)."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def _check_title(key: str, title: str) -> None:
    fits = title.strip() and len(title) <= _LONGEST_TITLE and title.isascii() and title.isprintable()
    if not fits or "\\" in title:
        raise InputError(f"{key}: {title!r} is no application entity title (1 to 16 plain characters)")


def read_peer(settings: Path | None, given: Mapping[str, Any]) -> Peer:
    """The PACS of a settings file, with the values that are given beside it (None: not given).

    Raises InputError naming the file and the key.
    """
    found = {} if settings is None else _settings(settings)
    values = found | {k: v for k, v in given.items() if v is not None}
    absent = [key for key in ("host", "port", "called_aet") if key not in values]
    if absent:
        where = "give them or a file with --settings" if settings is None else f"not in {settings}"
        raise InputError(f"{', '.join(absent)} of the PACS: {where}")
    limits = Limits()
    if "most_files" in values:
        limits = replace(limits, most_files=values.pop("most_files"))
    if "most_gib" in values:
        limits = replace(limits, most_bytes=int(values.pop("most_gib") * _GIB))
    try:
        return Peer(**values, limits=limits)
    except InputError as fault:
        raise fault if settings is None else InputError(f"{settings}, {fault}") from None


def _settings(file: Path) -> dict[str, Any]:
    """The known keys of the file, each of its type."""
    table = read_toml(file)
    unknown = sorted(set(table) - {*_TEXTS, *_NUMBERS, "tls"})
    if unknown:
        raise InputError(f"{file}, {unknown[0]}: unknown key")
    for key in set(_TEXTS) & set(table):
        if not isinstance(table[key], str):
            raise InputError(f"{file}, {key}: {table[key]!r} is not text")
    for key in set(_NUMBERS) & set(table):
        whole = key in ("port", "most_files")
        if isinstance(table[key], bool) or not isinstance(table[key], int if whole else int | float):
            raise InputError(f"{file}, {key}: {table[key]!r} is not a {'whole ' if whole else ''}number")
        if not math.isfinite(table[key]):
            raise InputError(f"{file}, {key}: {table[key]!r} is not finite")
    return table | ({"tls": _tls(file, table["tls"])} if "tls" in table else {})


def _tls(file: Path, table: Any) -> Tls:
    """The files of [tls], those with a relative path beside the settings."""
    if not isinstance(table, dict) or not set(table) <= set(_TLS) or "ca" not in table:
        raise InputError(f"{file}, tls: needs `ca` and may have `certificate` and `key`")
    if ("certificate" in table) != ("key" in table):
        raise InputError(f"{file}, tls: `certificate` and `key` go together")
    for key, name in table.items():
        if not isinstance(name, str) or not (file.parent / name).is_file():
            raise InputError(f"{file}, tls.{key}: {name!r} is no file")
    return Tls(**{key: str((file.parent / name).resolve()) for key, name in table.items()})
