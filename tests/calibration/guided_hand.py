"""A user's hand at a divot, for the tests of the guides: physics of its own, in a tracker that hangs anyhow."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.guided.guide import WORDS_OF_DIRECTION, Guide

RATE_HZ = 20.0


class Hand:
    """The user's frame: x right, y away, z up. The divot is its origin; the marker sits 160 mm up the shaft."""

    def __init__(self, seed: int = 0, noise_mm: float = 0.12) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise_mm = noise_mm
        self.T_tracker_user = np.eye(4)
        self.T_tracker_user[:3, :3] = Rotation.random(rng=self.rng).as_matrix()
        self.T_tracker_user[:3, 3] = self.rng.uniform(-300, 300, 3) + [0, 0, -1800]
        # The marker is mounted askew: neither its axes nor its centre lie on the shaft.
        mount = np.eye(4)
        mount[:3, :3] = Rotation.random(rng=self.rng).as_matrix()
        mount[:3, 3] = [12.0, -8.0, 160.0]
        self.T_shaft_marker = mount
        self.tip_mm = -mount[:3, :3].T @ mount[:3, 3]
        self.tilt = np.zeros(2)  # of the shaft, degrees to the right and away
        self.spin_deg = 0.0
        self.slipped_mm = np.zeros(3)
        self.t_s = 100.0

    def pose(self) -> np.ndarray:
        """The marker in the tracker, with noise."""
        x, y = np.radians(self.tilt)
        shaft = np.eye(4)
        shaft[:3, :3] = (
            Rotation.from_rotvec([-y, x, 0.0]) * Rotation.from_rotvec([0, 0, np.radians(self.spin_deg)])
        ).as_matrix()
        shaft[:3, 3] = self.slipped_mm
        marker = self.T_tracker_user @ shaft @ self.T_shaft_marker
        marker[:3, 3] += self.rng.normal(0.0, self.noise_mm, 3)
        return marker

    def hold(self, guide: Guide, seconds: float) -> None:
        """Stay."""
        for _ in range(round(seconds * RATE_HZ)):
            self.t_s += 1.0 / RATE_HZ
            guide.take_pose(self.t_s, self.pose())

    def lean(self, guide: Guide, goal: tuple[float, float], deg_s: float = 30.0) -> None:
        """Tilt straight to a goal in degrees."""
        way = np.array(goal) - self.tilt
        steps = max(int(np.ceil(np.linalg.norm(way) / deg_s * RATE_HZ)), 1)
        start = self.tilt.copy()
        for k in range(1, steps + 1):
            self.tilt = start + way * k / steps
            self.t_s += 1.0 / RATE_HZ
            guide.take_pose(self.t_s, self.pose())

    def turn(self, guide: Guide, to_deg: float, deg_s: float = 40.0) -> None:
        """Turn the shaft about itself."""
        steps = max(int(np.ceil(abs(to_deg - self.spin_deg) / deg_s * RATE_HZ)), 1)
        start = self.spin_deg
        for k in range(1, steps + 1):
            self.spin_deg = start + (to_deg - start) * k / steps
            self.t_s += 1.0 / RATE_HZ
            guide.take_pose(self.t_s, self.pose())

    def unseen(self, guide: Guide, seconds: float) -> None:
        """The marker is turned away."""
        for _ in range(round(seconds * RATE_HZ)):
            self.t_s += 1.0 / RATE_HZ
            guide.take_pose(self.t_s, None)

    def obey(self, guide: Guide, hint: str) -> None:
        """Do what the words say, in the user's own directions and nothing else."""
        if "upright, still" in hint:
            self.lean(guide, (0.0, 0.0))
            self.hold(guide, 0.5)
        elif "waiting" in hint or "hold still" in hint:
            self.hold(guide, 0.5)
        elif "back to upright" in hint:
            self.lean(guide, (0.0, 0.0))
        elif "to your left" in hint:
            self.lean(guide, (-20.0, 0.0))
        elif "all the way round" in hint:
            turn = np.radians(self.rng.uniform(0, 360))
            self.lean(guide, (25 * np.cos(turn), 25 * np.sin(turn)))
        else:
            words = max((w for w in WORDS_OF_DIRECTION if w in hint), key=len)
            azimuth = WORDS_OF_DIRECTION.index(words) * np.pi / 4
            reach = float(np.linalg.norm(self.tilt))
            if "tilt less" in hint:
                reach -= 6.0
            elif "tilt farther" in hint:
                # Shafts beyond 45 degrees knock against the block.
                reach = min(reach + 6.0, 45.0)
            else:
                reach = 25.0
            self.lean(guide, (reach * np.cos(azimuth), reach * np.sin(azimuth)))
