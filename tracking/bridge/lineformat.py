"""How one make of probe writes its lines: a small TOML table, read strictly, every fault named by its key.

::

    name = "counts per 100 ms"
    [line]
    baud = 9600                     # also data_bits, parity, stop_bits, terminator
    [poll]                          # optional: for a probe that speaks when asked
    send = "?"
    every_s = 0.1
    [message]
    kind = "interval"               # or "cumulative", or "rate"
    pattern = '(?P<counts>\\d+)'     # named groups; or separator = "," and fields = ["time_ms", "", "counts"]
    interval_s = 0.1                # where the lines do not say it
    ignore = ['#.*']                # lines that are no readings
    checksum = "xor"                # or "sum": two hexadecimal digits after a star
    [counts]
    delay_s = 0.0                   # from the end of the counting interval to the line's arrival
    nuclide = "Tc-99m"              # optional, with window_kev and probe_serial: told in the STRING form
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tracking.errors import InputError
from tracking.tomlfile import read_toml

SHIPPED = ("interval", "rate", "cumulative")
KINDS = SHIPPED
CHECKSUMS = ("none", "xor", "sum")
PARITIES = {"none": "N", "even": "E", "odd": "O"}
NAMES = ("counts", "rate_cps", "interval_s", "interval_ms", "time_s", "time_ms", "seq")
# A silence shorter than this is a scheduler's pause, not a probe's.
SHORTEST_SILENCE_S = 0.5
SILENT_INTERVALS = 2.5
# No probe's line is longer; a longer one is noise or a wrong speed.
LONGEST_TEXT = 512
# The fastest that Linux has a name for.
FASTEST_BAUD = 4_000_000
_KEYS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "": {"name": str, "line": dict, "poll": dict, "message": dict, "counts": dict},
    "line": {"baud": int, "data_bits": int, "parity": str, "stop_bits": (int, float), "terminator": str},
    "poll": {"send": str, "every_s": (int, float)},
    "message": {
        **{"kind": str, "pattern": str, "separator": str, "fields": list},
        **{"interval_s": (int, float), "ignore": list, "checksum": str},
    },
    "counts": {"delay_s": (int, float), "nuclide": str, "window_kev": list, "probe_serial": str},
}


@dataclass(frozen=True, slots=True)
class LineFormat:
    """One format, checked. `pattern` has named groups out of NAMES and matches a whole line."""

    name: str
    kind: str
    pattern: re.Pattern[str]
    ignore: tuple[re.Pattern[str], ...] = ()
    interval_s: float | None = None
    checksum: str = "none"
    baud: int = 9600
    data_bits: int = 8
    parity: str = "none"
    stop_bits: float = 1
    terminator: bytes = b"\r\n"
    poll: bytes | None = None
    poll_every_s: float = math.inf
    delay_s: float = 0.0
    nuclide: str | None = None
    window_kev: tuple[float, float] | None = None
    probe_serial: str | None = None

    @property
    def silence_s(self) -> float:
        """After how long without a reading the probe counts as silent."""
        return max(SHORTEST_SILENCE_S, SILENT_INTERVALS * (self.interval_s or 0.0))


def shipped_format(name: str) -> LineFormat:
    """One of the formats that come with the program (SHIPPED)."""
    return _format(tomllib.loads(shipped_text(name)), f"{name}.toml")


def shipped_text(name: str) -> str:
    """The TOML of one of the formats that come with the program, to begin one's own from."""
    if name not in SHIPPED:
        raise InputError(f"format {name!r} is none of {', '.join(SHIPPED)}")
    file = resources.files("tracking.bridge") / "formats" / f"{name}.toml"
    return file.read_text(encoding="utf-8")


def read_format(path: Path) -> LineFormat:
    """The format in a TOML file. Raises InputError naming the file and the key."""
    return _format(read_toml(path), str(path))


def _format(found: dict[str, Any], source: str) -> LineFormat:
    _check_keys(found, "", source)
    tables = {name: found.get(name, {}) for name in ("line", "poll", "message", "counts")}
    for name, table in tables.items():
        _check_keys(table, name, source)
    line, poll, message, counts = tables.values()
    every_s = _positive(poll, "every_s", f"{source}, poll") if poll else None
    if poll and (every_s is None or "send" not in poll):
        raise InputError(f"{source}, poll: needs send and every_s")
    made = LineFormat(
        name=found.get("name", source),
        kind=_one_of(message.get("kind"), KINDS, f"{source}, message.kind"),
        pattern=_pattern(message, source),
        ignore=tuple(_compiled(x, f"{source}, message.ignore") for x in message.get("ignore", [])),
        interval_s=_positive(message, "interval_s", f"{source}, message"),
        checksum=_one_of(message.get("checksum", "none"), CHECKSUMS, f"{source}, message.checksum"),
        baud=_one_of(line.get("baud", 9600), None, f"{source}, line.baud"),
        data_bits=_one_of(line.get("data_bits", 8), (7, 8), f"{source}, line.data_bits"),
        parity=_one_of(line.get("parity", "none"), tuple(PARITIES), f"{source}, line.parity"),
        stop_bits=_one_of(line.get("stop_bits", 1), (1, 1.5, 2), f"{source}, line.stop_bits"),
        terminator=_bytes(line.get("terminator", "\r\n"), f"{source}, line.terminator"),
        poll=_bytes(poll["send"], f"{source}, poll.send") if poll else None,
        poll_every_s=math.inf if every_s is None else every_s,
        delay_s=_delay(counts, source),
        nuclide=counts.get("nuclide"),
        window_kev=_window(counts, source),
        probe_serial=counts.get("probe_serial"),
    )
    _check_sense(made, source)
    return made


def _check_keys(table: Mapping[str, Any], name: str, source: str) -> None:
    for key, value in table.items():
        full = f"{name}.{key}" if name else key
        wanted = _KEYS[name].get(key)
        if wanted is None:
            raise InputError(f"{source}: unknown key {full!r}")
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise InputError(f"{source}, {full}: {value!r} is of the wrong type")


def _check_sense(made: LineFormat, source: str) -> None:
    """What the lines must say for their kind."""
    groups = set(made.pattern.groupindex)
    count = "rate_cps" if made.kind == "rate" else "counts"
    if count not in groups:
        raise InputError(f"{source}, message: a line of kind {made.kind!r} must give {count}")
    timed = {"interval_s", "interval_ms"} if made.kind != "cumulative" else {"time_s", "time_ms"}
    if made.interval_s is None and not groups & timed:
        raise InputError(f"{source}, message.interval_s: is missing, and no line gives the time")


def _pattern(message: Mapping[str, Any], source: str) -> re.Pattern[str]:
    """The line's pattern, from `pattern` or from `separator` and `fields`."""
    if ("pattern" in message) == ("fields" in message):
        raise InputError(f"{source}, message: needs either pattern or fields")
    if "pattern" in message:
        pattern = _compiled(message["pattern"], f"{source}, message.pattern")
    else:
        gap = re.escape(message.get("separator", ","))
        kept = re.escape(message.get("separator", ",")[:1])
        if not gap or not all(isinstance(f, str) for f in message["fields"]):
            raise InputError(f"{source}, message.fields: needs a separator and names")
        parts = [f"(?P<{f}>[^{kept}]*)" if f else f"[^{kept}]*" for f in message["fields"]]
        pattern = _compiled(gap.join(parts), f"{source}, message.fields")
    unknown = sorted(set(pattern.groupindex) - set(NAMES))
    if unknown:
        raise InputError(f"{source}, message: {unknown[0]!r} is none of {', '.join(NAMES)}")
    return pattern


def _compiled(text: object, what: str) -> re.Pattern[str]:
    try:
        return re.compile(str(text))
    except re.error as error:
        raise InputError(f"{what}: {text!r} is no pattern ({error})") from None


def _one_of(value: Any, allowed: tuple[Any, ...] | None, what: str) -> Any:
    good = value in allowed if allowed is not None else 0 < value <= FASTEST_BAUD
    if not good:
        raise InputError(f"{what}: {value!r} is none of {allowed or 'the speeds of a line'}")
    return value


def _positive(table: Mapping[str, Any], key: str, what: str) -> float | None:
    value = table.get(key)
    if value is not None and not 0.0 < value <= 60.0:
        raise InputError(f"{what}.{key}: {value!r} is no time between 0 and 60 s")
    return None if value is None else float(value)


def _delay(counts: Mapping[str, Any], source: str) -> float:
    delay_s = float(counts.get("delay_s", 0.0))
    if not 0.0 <= delay_s <= 10.0:
        raise InputError(f"{source}, counts.delay_s: {delay_s!r} is no delay between 0 and 10 s")
    return delay_s


def _window(counts: Mapping[str, Any], source: str) -> tuple[float, float] | None:
    window = counts.get("window_kev")
    if window is None:
        return None
    if (
        len(window) != 2
        or not all(isinstance(x, int | float) for x in window)
        or not 0 <= window[0] < window[1] < math.inf
    ):
        raise InputError(f"{source}, counts.window_kev: {window!r} is no pair of energies")
    return float(window[0]), float(window[1])


def _bytes(text: str, what: str) -> bytes:
    if not text or not text.isascii():
        raise InputError(f"{what}: {text!r} is empty or not ASCII")
    return text.encode("ascii")
