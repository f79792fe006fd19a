"""A probe that is held too far off or too obliquely: the surgeon is told what it cannot see (H18)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from navigation.engine.events import COMMAND, json_event
from navigation.engine.reach import FARTHEST_MM, MOST_OBLIQUE_DEG, ReachWatch, least_kbq, reach_of
from navigation.engine.session import Session
from navigation.engine.view import Viewer
from navigation.engine.words import status_words
from tests.navigation.engine.fakes import EPOCH_S, pose, pose_event, settings
from tests.navigation.scan_model import flat_surface, response


def looking_down(height_mm: float, lean_deg: float = 0.0, x_mm: float = 0.0) -> np.ndarray:
    """A tip over the plane z = 0 that looks down at the origin, leaned about y."""
    lean = math.radians(lean_deg)
    axis = np.array([math.sin(lean), 0.0, -math.cos(lean)])
    tip = np.eye(4)
    tip[:3, 2] = axis
    tip[:3, 0] = [math.cos(lean), 0.0, math.sin(lean)]
    tip[:3, 1] = np.cross(tip[:3, 2], tip[:3, 0])
    tip[:3, 3] = np.array([x_mm, 0.0, 0.0]) - height_mm / math.cos(lean) * axis
    return tip


@pytest.mark.parametrize("height", [1.0, 15.0, 60.0])
def test_the_distance_is_that_along_the_axis(height: float) -> None:
    for lean in (0.0, 30.0):
        found = reach_of(looking_down(height, lean), flat_surface(), response(), 20.0)
        assert found.distance_mm == pytest.approx(height / math.cos(math.radians(lean)), abs=0.1)
        assert found.angle_deg == pytest.approx(lean, abs=0.1)


def test_a_probe_on_the_skin_is_held_well() -> None:
    for height, lean in ((0.0, 0.0), (4.0, 15.0), (FARTHEST_MM - 1, 0.0), (4.0, MOST_OBLIQUE_DEG - 2)):
        assert reach_of(looking_down(height, lean), flat_surface(), response(), 20.0).words is None


def test_too_far_says_what_it_sees_instead() -> None:
    words = reach_of(looking_down(60.0), flat_surface(), response(), 20.0).words
    assert words is not None
    assert words.startswith("too far to see")
    # Currie: 2.71 + 3.29 sqrt(20) counts in a second, over the sensitivity at 60 and at 2 mm.
    seen = response().in_air(np.zeros(2), np.array([60.0, 2.0]))
    limit = 2.71 + 3.29 * math.sqrt(20.0)
    assert f"{limit / seen[0]:.2g} kBq" in words
    assert f"{limit / seen[1]:.2g} kBq at the surface" in words
    assert least_kbq(response(), 60.0, 20.0) > 10 * least_kbq(response(), 2.0, 20.0)


def test_too_oblique_and_past_it_are_said() -> None:
    oblique = reach_of(looking_down(4.0, MOST_OBLIQUE_DEG + 5), flat_surface(), response(), 20.0).words
    assert oblique is not None
    assert oblique.startswith("too oblique to see")
    past = looking_down(10.0)
    past[:3, :3] = np.eye(3)  # looks up, away from the body
    words = reach_of(past, flat_surface(), response(), 20.0).words
    assert words == "the probe looks past the touched surface"


def test_without_a_calibration_the_geometry_is_told() -> None:
    words = reach_of(looking_down(60.0), flat_surface(), None, None).words
    assert words == "too far (60 mm off)"
    watch = ReachWatch(settings().sheath)
    assert watch.response({"id": "none of ours"}) is None
    assert watch.response(None) is None


def test_the_words_are_shown_while_a_surface_is_scanned() -> None:
    session = Session(settings())

    def command(do: str, t_s: float, **content: object) -> None:
        session.handle(json_event("user", t_s, COMMAND, {"do": do, **content}))

    def hints(t_s: float) -> tuple[str, ...]:
        return Viewer(session).snapshot(t_s).hints

    start_s = EPOCH_S + 10.0
    for k in range(40):
        for name in ("ReferenceToTracker", "ProbeToTracker"):
            session.handle(pose_event(name, start_s + k / 60.0, pose(1e-3 * k)))
    now_s = start_s + 0.66
    # The fake tip looks along +z from (0, 0, 100): the surface lies 50 mm in front of it.
    points = [[x, y, 150.0] for x in range(-40, 41, 10) for y in range(-40, 41, 10)]
    command("points", now_s, what="surface", points_mm=points)
    assert hints(now_s) == ()
    command("start", now_s, mode="scan", name="scan-1")
    (hint,) = hints(now_s)
    assert "too far" in hint
    assert "50 mm" in hint
    assert status_words(Viewer(session).snapshot(now_s))["hints"] == [hint]
    command("stop", now_s)
    assert hints(now_s) == ()
