"""What the window sounds like, without Qt: count rate in, samples out.

As on a gamma probe: the more counts, the higher the tone and the faster its pulses, on logarithmic scales above a
threshold. Silence never means that nothing is there: below the threshold a soft tick says that counts come, and where
they do not, or nothing is heard of the engine, a fault tone falls.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE_HZ = 48_000
# Three octaves over three decades above the threshold: an ear tells a fifth of a tone, so it tells 5 % of a rate.
LOWEST_HZ, OCTAVES, DECADES = 330.0, 3.0, 3.0
# Pulses a second from the threshold up; the fastest still is no hum.
SLOWEST_PULSES, FASTEST_PULSES = 3.0, 16.0
# A pulse lasts this share of its period; its edges are as long as it takes to make no click.
DUTY, EDGE_S = 0.5, 0.004
# A rate that changes by more than this (by half, beyond its noise) is heard at once: no pause between pulses is kept.
AT_ONCE_OCTAVES = 0.18
# Below the threshold: a tick every so often, a soft one.
TICK_PERIOD_S, TICK_S, TICK_HZ, TICK_LEVEL = 2.0, 0.03, 220.0, 0.25
# The fault: two low tones one after the other, then a rest; nothing that counts sounds like it.
FAULT_HZ, FAULT_TONE_S, FAULT_PERIOD_S = (300.0, 200.0), 0.18, 1.2
LEVEL = 0.4
# No word of the counts for so long is a fault.
SILENT_S = 0.5
FIRST_THRESHOLD_CPS, LEAST_CPS, MOST_CPS = 20.0, 1.0, 1e5
STEP = 1.25

COUNTS, BELOW, FAULT, OFF = "counts", "below the threshold", "fault", "off"


@dataclass(frozen=True, slots=True)
class Tone:
    """What is to be heard: which of the kinds, at which pitch and with how many pulses a second."""

    kind: str
    pitch_hz: float = 0.0
    pulses_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class SoundSettings:
    """As a person set it: from which rate on it sounds, how loud (0 to 1), whether at all."""

    threshold_cps: float = FIRST_THRESHOLD_CPS
    volume: float = 1.0
    on: bool = True

    def with_threshold(self, steps: int) -> SoundSettings:
        """The threshold so many steps higher."""
        asked = self.threshold_cps * STEP**steps
        return replace(self, threshold_cps=float(np.clip(asked, LEAST_CPS, MOST_CPS)))

    @property
    def words(self) -> str:
        """For the screen."""
        return f"sound above {self.threshold_cps:.3g} cps" if self.on else "sound OFF"


def tone_of(rate_cps: float | None, saturated: bool, settings: SoundSettings) -> Tone:
    """The tone of a count rate; None is no counts. A saturated counter has no rate: that is a fault."""
    if not settings.on:
        return Tone(OFF)
    if rate_cps is None or saturated:
        return Tone(FAULT)
    if rate_cps < settings.threshold_cps:
        return Tone(BELOW)
    share = min(float(np.log10(rate_cps / settings.threshold_cps)) / DECADES, 1.0)
    pulses = SLOWEST_PULSES * (FASTEST_PULSES / SLOWEST_PULSES) ** share
    return Tone(COUNTS, LOWEST_HZ * 2.0 ** (OCTAVES * share), pulses)


class Synthesiser:
    """Makes samples of tones; phases go on from one block to the next, and no edge is steeper than EDGE_S."""

    def __init__(self) -> None:
        self._phase = self._pulse = 0.0  # turns of the tone, and of its pulses
        self._clock = 0  # samples since the beginning of a kind
        self._gate = 0.0  # how open the envelope was at the end
        self._kind = OFF
        self._pitch_hz = 0.0

    def render(self, count: int, tone: Tone, volume: float = 1.0) -> Samples:
        """`count` samples (count,), -1 to 1."""
        if tone.kind != self._kind:
            self._kind, self._clock, self._pulse = tone.kind, 0, 0.0
        seconds = (self._clock + np.arange(count)) / RATE_HZ
        self._clock += count
        pitch, wanted = self._heard(tone, seconds, count)
        turns = self._phase + np.cumsum(pitch) / RATE_HZ
        self._phase = float(turns[-1] % 1.0) if count else self._phase
        envelope = self._smooth(wanted)
        return np.asarray(LEVEL * volume * envelope * np.sin(2.0 * np.pi * turns), dtype=np.float32)

    def _heard(
        self, tone: Tone, seconds: NDArray[np.float64], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pitch in Hz and how open the envelope should be, of each sample (count,)."""
        if tone.kind == COUNTS:
            if self._pulse >= DUTY and _octaves(tone.pitch_hz, self._pitch_hz) > AT_ONCE_OCTAVES:
                self._pulse = 0.0
            self._pitch_hz = tone.pitch_hz
            pulses = self._pulse + np.arange(1, count + 1) * tone.pulses_hz / RATE_HZ
            self._pulse = float(pulses[-1] % 1.0) if count else self._pulse
            gate = np.asarray(pulses % 1.0 < DUTY, dtype=np.float64)
            return np.full(count, tone.pitch_hz), gate
        if tone.kind == BELOW:
            ticking = np.asarray(seconds % TICK_PERIOD_S < TICK_S, dtype=np.float64)
            return np.full(count, TICK_HZ), TICK_LEVEL * ticking
        if tone.kind == FAULT:
            within = seconds % FAULT_PERIOD_S
            pitch = np.full(count, FAULT_HZ[1])
            pitch[within < FAULT_TONE_S] = FAULT_HZ[0]
            return pitch, np.asarray(within < 2.0 * FAULT_TONE_S, dtype=np.float64)
        return np.full(count, TICK_HZ), np.zeros(count)

    def _smooth(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The envelope follows what is wanted in at most EDGE_S: a step would click."""
        if not len(wanted):
            return wanted
        step = 1.0 / (EDGE_S * RATE_HZ)
        change = np.flatnonzero(np.diff(wanted, prepend=np.nan))  # where it is constant the way is a ramp
        out = np.empty(len(wanted))
        for begin, end in zip(change, [*change[1:], len(wanted)], strict=True):
            ramp = np.arange(1, end - begin + 1) * step
            away = wanted[begin] - self._gate
            out[begin:end] = self._gate + np.sign(away) * np.minimum(ramp, abs(away))
            self._gate = float(out[end - 1])
        return out


def _octaves(first_hz: float, second_hz: float) -> float:
    """How far apart two pitches are."""
    return abs(float(np.log2(first_hz / second_hz))) if first_hz > 0.0 < second_hz else np.inf


class Voice:
    """What the newest counts sound like; fed by the link's thread, asked by that of the sound device."""

    def __init__(self) -> None:
        self.settings = SoundSettings()
        self._lock = threading.Lock()
        self._rate: float | None = None
        self._saturated = False
        self._fed_s = float("-inf")
        self._synthesiser = Synthesiser()

    def feed(self, rate_cps: float | None, saturated: bool, now_s: float) -> None:
        """The newest count rate, None when it has expired."""
        with self._lock:
            self._rate, self._saturated, self._fed_s = rate_cps, saturated, now_s

    def tone(self, now_s: float) -> Tone:
        """What is to be heard now."""
        with self._lock:
            rate = self._rate if now_s - self._fed_s <= SILENT_S else None
            return tone_of(rate, self._saturated, self.settings)

    def samples(self, count: int, now_s: float) -> Samples:
        """The next samples (count,)."""
        tone, volume = self.tone(now_s), self.settings.volume
        with self._lock:
            return self._synthesiser.render(count, tone, volume)
