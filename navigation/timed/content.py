"""Timed counts as files: timed_counts.json with everything, timed_counts.csv with one row for each count."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from calibration.counter.counttest import rate_interval
from calibration.counter.deadtime import DeadTime
from navigation.timed.compare import RULES, Pair, Told, pairs_of
from navigation.timed.count import TimedCount
from navigation.timed.exact import CONFIDENCE, rate_of
from navigation.timed.planning import Plan
from navigation.timed.sentinel import Nodes, Share, nodes_of
from navigation.timed.words import node_sentences, pair_sentence, sentences
from tracking.errors import InputError
from tracking.jsonfile import read_json, write_json, write_text

JSON_NAME, CSV_NAME = "timed_counts.json", "timed_counts.csv"
HEADER = (
    *("id", "kind", "specimen", "name", "start_utc", "counts", "live_s", "ready_s", "decay", "rate_cps"),
    *("rate_low_cps", "rate_high_cps", "saturated", "background_id", "ratio", "ratio_low", "ratio_high"),
    *("p_different", *RULES, "share_of_hottest", "share_low", "share_high", "ten_percent", "marks", "failed"),
    *("void", "void_by"),
)


def counts_content(
    counts: Iterable[TimedCount], nuclide: str, epoch_s: float | None, simulated: bool, case: str
) -> dict[str, Any]:
    """timed_counts.json; rates and ratios are those at the reference time `epoch_s` (Unix).

    Without one, times of counts are s after it, whenever it was.
    """
    return {
        "case": case,
        "nuclide": nuclide,
        "reference_time": None if epoch_s is None else iso(epoch_s),
        "simulated": simulated,
        **table_content(tuple(counts)),
    }


@lru_cache(maxsize=2)  # asked for again with every heartbeat
def table_content(counts: tuple[TimedCount, ...]) -> dict[str, Any]:
    """Counts, ratios and the 10 % rule; not to be changed by whoever gets it."""
    every = list(counts)
    nodes = nodes_of(every)
    return {
        "confidence": CONFIDENCE,
        "counts": [count_content(c) for c in every],
        "pairs": [pair_content(p) for p in pairs_of(every)],
        "ten_percent": None if nodes is None else nodes_content(nodes),
        "statements": sentences(every),
    }


def count_content(count: TimedCount) -> dict[str, Any]:
    """One count, with everything that it can be made again from."""
    rate = rate_of(count) if count.window_s > 0.0 else None
    found = asdict(count)
    found.pop("dead")
    return {
        **found,
        **count.dead.content(),
        "marks": list(count.marks),
        "label": count.label,
        "usable": count.usable,
        "counts_ci95": list(rate_interval(count.counts, 1.0, CONFIDENCE)),
        "ready_s": count.live_s,
        "rate_cps": None if rate is None else rate.cps,
        "rate_ci95_cps": None if rate is None else [rate.low_cps, rate.high_cps],
    }


def count_of(content: Mapping[str, Any], where: str) -> TimedCount:
    """What `count_content` wrote. Raises InputError beginning with `where`."""
    try:
        place = content["place_mm"]
        return TimedCount(
            **{
                name: content[name]
                for name in TimedCount.__slots__
                if name not in ("dead", "marks", "place_mm")
            },
            dead=DeadTime.of(content) or DeadTime(0.0),
            marks=tuple(str(mark) for mark in content["marks"]),
            place_mm=None if place is None else (float(place[0]), float(place[1]), float(place[2])),
        )
    except (KeyError, TypeError, ValueError, IndexError) as fault:
        raise InputError(f"{where}: no timed count ({fault!r})") from None


def read_counts(folder: Path) -> tuple[TimedCount, ...]:
    """The counts of a folder of results, none without the file. Raises InputError for one that is not ours."""
    path = folder / JSON_NAME
    if not path.is_file():
        return ()
    counts = read_json(path).get("counts")
    if not isinstance(counts, list):
        raise InputError(f"{path}: counts is missing or no list")
    return tuple(count_of(c, f"{path}, count {n}") for n, c in enumerate(counts, 1))


def pair_content(pair: Pair) -> dict[str, Any]:
    """A ratio with the rules beside it, and what it tells of each threshold."""
    ratio = pair.ratio
    return {
        "id": pair.first.id,
        "label": pair.first.label,
        "background_id": pair.background.id,
        "background": pair.background.label,
        "ratio": ratio.value,
        "ratio_ci95": [ratio.low, ratio.high],
        "p_more": ratio.p_more,
        "p_different": ratio.p_different,
        "rules": dict(pair.rules),
        "told": {name: told_content(told) for name, told in pair.told.items()},
        "statement": pair_sentence(pair),
    }


def told_content(told: Told | Share) -> dict[str, Any]:
    """On which side, and the count that would decide."""
    plan: Plan | None = told.plan
    return {
        "state": told.state,
        "seconds_to_decide": None if plan is None else plan.seconds,
        "more_s": None if plan is None else plan.more_s,
        "both": None if plan is None else plan.both,
    }


def nodes_content(nodes: Nodes) -> dict[str, Any]:
    """The 10 % rule."""
    return {
        "hottest_id": nodes.hottest.id,
        "hottest": nodes.hottest.label,
        "rivals": [r.id for r in nodes.rivals],
        "background_subtracted": False,
        "shares": [
            {
                "id": s.count.id,
                "label": s.count.label,
                "share": s.value,
                "share_ci95": [s.low, s.high],
                "ten_percent": s.rule,
                **told_content(s),
            }
            for s in nodes.shares
        ],
        "statements": node_sentences(nodes),
    }


def rows_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of timed_counts.csv out of timed_counts.json."""
    pairs = {p["id"]: p for p in content["pairs"]}
    nodes = content["ten_percent"]
    shares = {} if nodes is None else {s["id"]: s for s in nodes["shares"]}
    dated = content["reference_time"] is not None
    return [
        {
            **_row(c, pairs.get(c["id"]), shares.get(c["id"])),
            "start_utc": iso(c["start_s"]) if dated else None,
        }
        for c in content["counts"]
    ]


def _row(
    count: Mapping[str, Any], pair: Mapping[str, Any] | None, share: Mapping[str, Any] | None
) -> dict[str, Any]:
    low, high = count["rate_ci95_cps"] or (None, None)
    found = {
        **{key: count[key] for key in ("id", "kind", "specimen", "name", "counts", "ready_s", "decay")},
        **{key: count[key] for key in ("rate_cps", "saturated", "failed", "void", "void_by")},
        "live_s": count["window_s"],
        "rate_low_cps": low,
        "rate_high_cps": high,
        "marks": "; ".join(count["marks"]),
    }
    if pair is not None:
        found |= {key: pair[key] for key in ("background_id", "ratio", "p_different")}
        found |= {"ratio_low": pair["ratio_ci95"][0], "ratio_high": pair["ratio_ci95"][1], **pair["rules"]}
    if share is not None:
        low, high = share["share_ci95"]
        found |= {"share_of_hottest": share["share"], "share_low": low, "share_high": high}
        found |= {"ten_percent": share["ten_percent"]}
    return found


def csv_text(content: Mapping[str, Any]) -> str:
    """timed_counts.csv; a cell of what is not known is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows_of(content):
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return int(value) if isinstance(value, bool) else value


def write_counts(content: Mapping[str, Any], folder: Path) -> None:
    """Both files into `folder`. Raises OSError."""
    write_json(folder / JSON_NAME, content)
    write_text(folder / CSV_NAME, csv_text(content))


def iso(unix_s: float) -> str:
    """A moment, UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
