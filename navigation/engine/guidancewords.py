"""Words of a live case that guide the hand: what is wanted of the bed, and where to scan next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from navigation.coverage import BedCoverage, ScanNext
from navigation.engine.guidancedesk import DISCARDED_S, FOCUS, TARGET
from navigation.engine.tools import PROBE
from navigation.surface import read_surface
from navigation.volume import Spot
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.engine.assembly import LiveCase
    from navigation.engine.jobs import Outcome

Do = Callable[..., "Outcome | None"]
AIM_USAGE = "expected `aim KBQ [DEPTH_MM]`"
BED_USAGE = "expected `bed [probe | FILE | sphere FOCUS RADIUS_MM | sphere X Y Z RADIUS_MM]`"


class GuidanceWords:
    """Turns words into the engine's commands and says what came of them."""

    def __init__(self, case: LiveCase, do: Do) -> None:
        self.case = case
        self.do = do
        self.words: dict[str, Callable[[list[str]], str]] = {
            "aim": self._aim,
            "coverage": self._coverage,
            "bed": self._bed,
            "discard": self._discard,
            "removed": self._removed,
            "go": self._go,
        }

    def _aim(self, rest: list[str]) -> str:
        content = aim_of(rest)
        self.do("aim", **content)
        depth = f" to {content['depth_mm']:g} mm deep" if "depth_mm" in content else ""
        return f"the bed is scanned for {content['threshold_kbq']:g} kBq{depth}"

    def _bed(self, rest: list[str]) -> str:
        """Outline the bed: with the stylus, painted with the probe, within a sphere, or out of a file."""
        if not rest or rest == ["probe"]:
            tool = {"tool": PROBE} if rest else {}
            self.do("start", mode="bed", **tool)
            return f"outlining the bed: move the {rest[0] if rest else 'stylus'} over it, then `stop`"
        if rest[0] == "sphere":
            content = self._sphere(rest[1:])
            self.do("bed_sphere", **content)
        else:
            points = read_surface(Path(" ".join(rest)))
            self.do("points", what="bed", points_mm=points.tolist())
        return "the bed is outlined"

    def _sphere(self, rest: Sequence[str]) -> dict[str, Any]:
        try:
            *place, radius = (float(word) for word in rest)
        except ValueError:
            raise InputError(BED_USAGE) from None
        if len(place) == 1:
            return {"centre_mm": self._focus(rest[0]).position_mm.tolist(), "radius_mm": radius}
        if len(place) != 3:
            raise InputError(BED_USAGE)
        return {"centre_mm": place, "radius_mm": radius}

    def _discard(self, rest: list[str]) -> str:
        try:
            (seconds,) = [float(word) for word in rest] or [DISCARDED_S]
        except ValueError:
            raise InputError("expected `discard [SECONDS]`") from None
        self.do("discard", seconds=seconds)
        return f"the last {seconds:g} s are not used any more; the record keeps them"

    def _removed(self, rest: list[str]) -> str:
        self.do("removed_here", **({"by": " ".join(rest)} if rest else {}))
        return "marked: removed here"

    def _go(self, rest: list[str]) -> str:
        """Show the way to a target or a focus, or to nothing any more."""
        if rest == ["nowhere"]:
            self.do("select", kind=None)
            return "nothing is selected"
        if len(rest) < 2 or rest[0] not in (TARGET, FOCUS):
            raise InputError("expected `go target NAME`, `go focus N`, or `go nowhere`")
        name = " ".join(rest[1:])
        if rest[0] == TARGET:
            self.do("select", kind=TARGET, name=name)
            return f"the way to {name} is shown"
        spot = self._focus(name)
        told = {"position_mm": spot.position_mm.tolist(), "covariance_mm2": spot.covariance_mm2.tolist()}
        self.do("select", kind=FOCUS, name=f"focus {spot.id}", **told)
        return f"the way to focus {spot.id} is shown"

    def _focus(self, number: str) -> Spot:
        snapshot = self.case.newest
        spots = () if snapshot is None else snapshot.spots
        for spot in spots:
            if str(spot.id) == number:
                return spot
        known = ", ".join(str(s.id) for s in spots) or "none"
        raise InputError(f"there is no focus {number!r} on the map; there are: {known}")

    def _coverage(self, _rest: list[str]) -> str:
        snapshot = self.case.newest
        coverage = None if snapshot is None else snapshot.coverage
        if coverage is None:
            return "no coverage yet: outline the bed, then scan it"
        tip = None if snapshot is None else snapshot.tools.get("ProbeTipToReference")
        pose = None if tip is None or not tip.valid else tip.matrix
        return coverage_words(coverage, pose)


def aim_of(rest: Sequence[str]) -> dict[str, Any]:
    """What follows `aim`. Raises InputError."""
    try:
        threshold, *depth = (float(word) for word in rest)
    except ValueError:
        raise InputError(AIM_USAGE) from None
    if len(depth) > 1:
        raise InputError(AIM_USAGE)
    return {"threshold_kbq": threshold, **({"depth_mm": depth[0]} if depth else {})}


def coverage_words(found: BedCoverage, tip: np.ndarray | None) -> str:
    """Coverage of the bed in a sentence, rounded against ourselves; `tip` (4, 4) is where the probe is."""
    share, unseen = found.share, float(found.unseen.mean())
    told = [] if found.aim.threshold_kbq is None or share is None else [_covered(found, share)]
    if found.worst_kbq is not None:
        told.append(f"the scan would notice {found.worst_kbq:.2g} kBq on 99 % of it")
    if unseen > 0.0:
        told.append(f"{max(round(100 * unseen), 1)} % not examined")
    look = "" if found.scan_next is None else f". {next_words(found.scan_next, tip)}"
    return f"bed: {'; '.join(told) or 'examined throughout'}{look}"


def _covered(found: BedCoverage, share: float) -> str:
    left = "" if found.widest_mm is None else f", {found.widest_mm:.0f} mm the widest patch that is not"
    return f"{int(100 * share)} % covered at {found.aim.threshold_kbq:g} kBq{left if share < 1.0 else ''}"


def next_words(look: ScanNext, tip: np.ndarray | None) -> str:
    """Where to scan next."""
    what = "" if look.of == "bed" else " for the focus"
    if tip is None:
        x, y, z = look.place_mm
        return f"Scan here next{what}: ({x:.0f}, {y:.0f}, {z:.0f}) mm"
    away = float(np.linalg.norm(look.place_mm - tip[:3, 3]))
    return f"Scan here next{what}: {away:.0f} mm from where the probe is"
