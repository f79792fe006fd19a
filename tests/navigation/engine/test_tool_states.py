"""Tools beside probe and stylus: the tracker itself, and a camera's marker, in Reference."""

from __future__ import annotations

import numpy as np

from navigation.engine.session import Session
from tests.navigation.engine.fakes import pose, pose_event, stream
from tests.navigation.engine.test_time_faults import placed
from tracking.sample import PoseStatus
from tracking.transform import invert_rigid


def told(camera: bool) -> tuple[Session, float]:
    session, _ = placed(list(stream(1.0)))
    last = max(e.arrival_s for e in stream(1.0))
    if camera:
        for k in range(3):
            session.handle(pose_event("CameraToTracker", last - 0.02 + 0.01 * k, pose(3.0 + 1e-6 * k)))
    return session, last


def test_the_tracker_stands_where_the_reference_says() -> None:
    session, last = told(camera=False)
    states = session.tools.states(last)
    chain = session.tools.buffer.chain("Probe")[1]
    assert chain is not None
    newest, _ = chain.sample(np.array([chain.newest_t_s]))
    found = states["TrackerToReference"]
    assert found.valid and found.matrix is not None
    np.testing.assert_allclose(found.matrix, invert_rigid(newest)[0], atol=1e-9)
    assert "CameraToReference" not in states


def test_a_camera_is_published_once_its_marker_was_seen() -> None:
    session, last = told(camera=True)
    found = session.tools.states(last)["CameraToReference"]
    tracker = session.tools.states(last)["TrackerToReference"].matrix
    assert found.valid and found.matrix is not None and tracker is not None
    np.testing.assert_allclose(found.matrix, tracker @ pose(3.0), atol=1e-4)
    for event in stream(1.5):
        if event.arrival_s > last:
            session.handle(event)
            session.handle(pose_event("CameraToTracker", event.arrival_s, np.eye(4), PoseStatus.OUT_OF_VIEW))
            newest = event.arrival_s
    assert not session.tools.states(newest)["CameraToReference"].valid
