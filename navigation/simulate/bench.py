"""The calibration bench: a divot for each tool, a point source in air, and a hand that knows its trade.

To rehearse a calibration without hardware, over the same sockets as an operating room. Beside what the room leaves
out, the bench has no sway, a tracker near its tools, and a hand that neither slips nor loses sight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.guided.guidecheck import CHECK_PLACES
from calibration.probe.gridplan import TRACKED_SD_MM, plan_grid
from navigation.simulate import hand
from navigation.simulate.body import AIR
from navigation.simulate.chance import stream, wave
from navigation.simulate.hand import STEP_S, Path
from navigation.simulate.room import PATH_POSES, Event, OperatingRoom
from navigation.simulate.scenes import HALF_LIFE_S, Scene, build_scene
from tracking.errors import InputError

Array = NDArray[np.float64]

# Counts per second of the room, with no source near.
ROOM_CPS = 2.0
# A camera two metres away over a quiet bench: this share of the noise over an operating table.
BENCH_NOISE = 0.3
# Two divots side by side, for both hands: a stylus and the probe.
PROBE_DIVOT_MM, STYLUS_DIVOT_MM = np.array([150.0, 0.0, 0.0]), np.array([-150.0, 0.0, 0.0])
# The user stands at -y of the bench and looks along +y: left is -x.
UPRIGHT_S, LEFT_S, LEFT_DEG = 2.2, 1.2, 26.0
CONE_DEG, CONE_TURNS = (13.0, 38.0), 5.0
# A wrist's reach to either side, and the time for there and back.
SPIN_DEG, SPIN_PERIOD_S = 78.0, 9.0
SWEEP_HEIGHT_MM, SWEEP_LEFT_MM = 25.0, 50.0
MOVE_S, REST_S = 1.3, 11.9
# A tremor of a hand that rests on the bench, mm.
TREMOR_MM = 0.06

_LENGTHS_S: dict[str, float] = {"pivot": 45.0, "spin": 36.0, "sweep": 80.0, "quiet": 30.0}


def bench_scene(name: str, seed: int) -> Scene:
    """The equipment of the seed on a bench, for one kind of calibration. Raises InputError for another name."""
    if name not in BENCH_SCENES:
        raise InputError(f"scene {name!r}: not one of {', '.join(BENCH_SCENES)}")
    return replace(build_scene("bed", seed), name=name, occlusions=0)


class BenchRoom(OperatingRoom):
    """Plays the phases of a calibration; each is named as its scene, which plays it over and over."""

    sways = False
    noise_share = BENCH_NOISE

    def command(self, phase: str, t_s: float, duration_s: float | None = None) -> list[Event]:
        """Start a phase at t; returns its start and stop. Raises InputError for one that no bench knows."""
        if phase not in _PATHS:
            raise InputError(f"phase {phase!r}: not one of {', '.join(_PATHS)}")
        self._commands += 1
        length = duration_s or _length(phase)
        rng = stream(self.scene.seed, self.scene.name, "bench", phase, str(self._commands))
        probe, stylus = _PATHS[phase](self.scene, length, rng)
        now = np.array([t_s])
        for history, path in ((self._probe, probe), (self._stylus, stylus)):
            history.add(t_s, hand.approached(history.poses(now)[0], path, hand.LEAD_S))
        return [Event(t_s, phase, "start"), Event(t_s + hand.LEAD_S + length, phase, "stop")]

    def rate_cps(self, t_s: Array) -> Array:
        """True rates (n,) at times (n,): the source on its stand, and the room."""
        if self.scene.name in WITHOUT_SOURCE:
            return np.full(len(t_s), ROOM_CPS)
        equipment = self.scene.equipment
        rate = self.model.of_sources([equipment.check_source], AIR, self.probe_in_body(t_s), PATH_POSES)
        decayed = rate * 0.5 ** (t_s / HALF_LIFE_S) * equipment.mismatch.gain(t_s)
        return np.asarray(decayed + ROOM_CPS)


def _length(phase: str) -> float:
    each = MOVE_S + REST_S
    if phase == "check":
        return len(CHECK_PLACES) * each + hand.LEAD_S + _LENGTHS_S["sweep"]
    return len(tracked_plan()) * each if phase == "grid" else _LENGTHS_S[phase]


def tracked_plan() -> list[tuple[float, float]]:
    """The places that `gammanav calibrate guide grid` leads to."""
    return plan_grid(place_sd_mm=TRACKED_SD_MM)


def _times(length_s: float) -> Array:
    return np.arange(0.0, length_s, STEP_S)


def _tremor(rng: np.random.Generator, t: Array) -> Array:
    return TREMOR_MM * np.stack([wave(rng, t, 0.4, 3.0) for _ in range(3)], axis=1)


def cone(divot: Array, length_s: float, rng: np.random.Generator) -> Path:
    """Upright and still, then to the left, then round and round with a changing tilt; the tip stays in the divot."""
    t = _times(length_s)
    left = np.clip((t - UPRIGHT_S) / LEFT_S, 0.0, 1.0)
    after = np.clip((t - UPRIGHT_S - LEFT_S) / max(length_s - UPRIGHT_S - LEFT_S, 1.0), 0.0, 1.0)
    middle, reach = 0.5 * (CONE_DEG[0] + CONE_DEG[1]), 0.5 * (CONE_DEG[1] - CONE_DEG[0])
    # The wave begins and ends at LEFT_DEG, so that the hand makes no jump.
    tilt = left * (3.0 - 2.0 * left) * left * LEFT_DEG + (after > 0.0) * (
        (middle - LEFT_DEG) * np.minimum(8.0 * after, 1.0) + reach * np.sin(2.0 * np.pi * 3.3 * after)
    )
    azimuth = np.pi + 2.0 * np.pi * CONE_TURNS * after
    tilt_rad = np.radians(tilt)
    shaft = np.stack(
        [np.sin(tilt_rad) * np.cos(azimuth), np.sin(tilt_rad) * np.sin(azimuth), np.cos(tilt_rad)], axis=1
    )
    turn = 0.3 * np.sin(2.0 * np.pi * after)
    side = np.stack([np.cos(turn), np.sin(turn), np.zeros(len(t))], axis=1)
    return Path(divot + 0.3 * _tremor(rng, t), -shaft, side)


def spin(place: Array, length_s: float, rng: np.random.Generator) -> Path:
    """The tip in the divot, the shaft upright but for a sway of a degree, to and fro about itself."""
    t = _times(length_s)
    sway = np.radians(1.2) * np.stack([wave(rng, t, 1.5, 6.0), wave(rng, t, 1.5, 6.0)], axis=1)
    turn = np.radians(SPIN_DEG) * np.sin(2.0 * np.pi * t / SPIN_PERIOD_S)
    axis = -np.column_stack([sway, np.ones(len(t))])
    side = np.stack([np.cos(turn), np.sin(turn), np.zeros(len(t))], axis=1)
    return Path(place + 0.3 * _tremor(rng, t), axis, side)


def sweep_round(source: Array, length_s: float, rng: np.random.Generator) -> Path:
    """Above the source, once to the left, then over it in every direction, leaning to all sides."""
    t = _times(length_s)
    begin = 2.5
    left = np.clip((t - 0.8) / (begin - 0.8), 0.0, 1.0)
    s = np.maximum(t - begin, 0.0)
    ease = np.minimum(s / 2.0, 1.0)
    radius, turn = 24.0 * np.sin(1.9 * s), 0.37 * s
    x = -SWEEP_LEFT_MM * left * (1.0 - ease) + ease * radius * np.cos(turn)
    y = ease * (radius * np.sin(turn) + 2.0 * wave(rng, t, 1.0, 4.0))
    z = SWEEP_HEIGHT_MM + ease * 10.0 * np.sin(0.5 * s)
    lean = np.tan(np.radians(14.0)) * np.tanh(
        np.stack([wave(rng, t, 2.0, 7.0), wave(rng, t, 2.0, 7.0)], axis=1)
    )
    axis = -np.column_stack([ease[:, None] * lean, np.ones(len(t))])
    return Path(source + np.stack([x, y, z], axis=1), axis, np.tile([1.0, 0.0, 0.0], (len(t), 1)))


def at_places(source: Array, places: list[tuple[float, float]], rng: np.random.Generator) -> Path:
    """The probe on a stand: at each place, source aside and in front in mm, for REST_S."""
    goals = np.array([[r, 0.0, z] for r, z in places])
    t = _times(len(places) * (MOVE_S + REST_S))
    number = np.minimum((t / (MOVE_S + REST_S)).astype(np.int64), len(places) - 1)
    way = np.clip((t - number * (MOVE_S + REST_S)) / MOVE_S, 0.0, 1.0)
    ease = (way * way * (3.0 - 2.0 * way))[:, None]
    before = goals[np.maximum(number - 1, 0)]
    offset = before + ease * (goals[number] - before)
    down = np.tile([0.0, 0.0, -1.0], (len(t), 1))
    return Path(source + offset + 0.3 * _tremor(rng, t), down, np.tile([1.0, 0.0, 0.0], (len(t), 1)))


def joined(first: Path, second: Path) -> Path:
    """One path after the other, with a second's way between them."""
    then = hand.approached(first.at(np.array([first.duration_s]))[0], second, hand.LEAD_S)
    return Path(
        np.concatenate([first.position, then.position]),
        np.concatenate([first.axis, then.axis]),
        np.concatenate([first.side, then.side]),
    )


def _resting(place: Array) -> Path:
    return hand.resting(place)


_Paths = tuple[Path, Path]


def _pivot(scene: Scene, length_s: float, rng: np.random.Generator) -> _Paths:
    return cone(PROBE_DIVOT_MM, length_s, rng), cone(STYLUS_DIVOT_MM, length_s, rng)


def _spin(scene: Scene, length_s: float, rng: np.random.Generator) -> _Paths:
    return spin(PROBE_DIVOT_MM, length_s, rng), _resting(STYLUS_DIVOT_MM)


def _sweep(scene: Scene, length_s: float, rng: np.random.Generator) -> _Paths:
    return sweep_round(scene.equipment.check_source.centre, length_s, rng), _resting(STYLUS_DIVOT_MM)


def _grid(scene: Scene, length_s: float, rng: np.random.Generator) -> _Paths:
    return at_places(scene.equipment.check_source.centre, tracked_plan(), rng), _resting(STYLUS_DIVOT_MM)


def _check(scene: Scene, length_s: float, rng: np.random.Generator) -> _Paths:
    source = scene.equipment.check_source.centre
    rests = at_places(source, list(CHECK_PLACES), rng)
    sweep = sweep_round(source, _LENGTHS_S["sweep"], rng)
    return joined(rests, sweep), _resting(STYLUS_DIVOT_MM)


def _quiet(scene: Scene, length_s: float, rng: np.random.Generator) -> _Paths:
    return _resting(PROBE_DIVOT_MM), _resting(STYLUS_DIVOT_MM)


_PATHS: dict[str, Callable[[Scene, float, np.random.Generator], _Paths]] = {
    "pivot": _pivot,
    "spin": _spin,
    "sweep": _sweep,
    "grid": _grid,
    "check": _check,
    "quiet": _quiet,
}
BENCH_SCENES = tuple(_PATHS)
WITHOUT_SOURCE = ("pivot", "spin", "quiet")
