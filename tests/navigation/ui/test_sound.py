"""The generated samples themselves: pitch, pulses, edges, and that no two states sound alike."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from navigation.ui.sound import (
    BELOW,
    COUNTS,
    EDGE_S,
    FASTEST_PULSES,
    FAULT,
    FAULT_HZ,
    LEVEL,
    LOWEST_HZ,
    MOST_CPS,
    OFF,
    RATE_HZ,
    SILENT_S,
    SLOWEST_PULSES,
    TICK_HZ,
    SoundSettings,
    Synthesiser,
    Tone,
    Voice,
    tone_of,
)

SETTINGS = SoundSettings(threshold_cps=20.0)


def rendered(tone: Tone, seconds: float = 2.0, block: int = 480, volume: float = 1.0) -> np.ndarray:
    made = Synthesiser()
    blocks = [made.render(block, tone, volume) for _ in range(int(seconds * RATE_HZ / block))]
    return np.concatenate(blocks)


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE_HZ / len(samples))


def pulses(samples: np.ndarray) -> int:
    """How often it becomes loud."""
    width = int(0.01 * RATE_HZ)
    loud = np.abs(samples[: len(samples) // width * width]).reshape(-1, width).max(axis=1) > 0.5 * LEVEL
    return int(np.count_nonzero(np.diff(loud.astype(int)) > 0) + loud[0])


@pytest.mark.parametrize("rate", [20.0, 80.0, 633.0, 5000.0, 20_000.0])
def test_pitch_and_pulses_are_those_of_the_rate(rate: float) -> None:
    share = np.log10(rate / 20.0) / 3.0
    tone = tone_of(rate, False, SETTINGS)
    samples = rendered(tone)
    assert loudest_hz(samples) == pytest.approx(LOWEST_HZ * 8.0**share, rel=0.01)
    assert pulses(samples) / 2.0 == pytest.approx(3.0 * (16.0 / 3.0) ** share, abs=1.0)


def test_more_counts_are_higher_and_faster_up_to_an_end() -> None:
    tones = [tone_of(r, False, SETTINGS) for r in np.geomspace(20.0, 20_000.0, 40)]
    assert all(a.pitch_hz < b.pitch_hz and a.pulses_hz < b.pulses_hz for a, b in pairwise(tones))
    assert tone_of(1e9, False, SETTINGS) == tone_of(20_000.0, False, SETTINGS)
    assert tones[0].pulses_hz == SLOWEST_PULSES and tones[-1].pulses_hz == pytest.approx(FASTEST_PULSES)


def test_a_fifth_more_counts_is_heard_as_a_difference() -> None:
    # Untrained ears tell tones apart that differ by less than one percent of their pitch, here 5 % of the rate.
    assert tone_of(105.0, False, SETTINGS).pitch_hz > 1.01 * tone_of(100.0, False, SETTINGS).pitch_hz


@pytest.mark.parametrize("kinds", [(100.0, 3000.0), (100.0, None), (None, 100.0), (5.0, 100.0)])
def test_no_change_clicks(kinds: tuple[float | None, float | None]) -> None:
    made = Synthesiser()
    first, second = (tone_of(rate, False, SETTINGS) for rate in kinds)
    samples = np.concatenate([made.render(997, t) for t in (first, second) * 40])
    steepest = LEVEL * (2.0 * np.pi * 8.0 * LOWEST_HZ / RATE_HZ + 1.0 / (EDGE_S * RATE_HZ))
    assert np.abs(np.diff(samples)).max() <= 1.01 * steepest


def test_no_counts_a_silent_engine_and_a_saturated_counter_sound_like_nothing_that_counts() -> None:
    for tone in (tone_of(None, False, SETTINGS), tone_of(5000.0, True, SETTINGS)):
        assert tone.kind == FAULT
        samples = rendered(tone, 2.4)
        first = samples[int(0.02 * RATE_HZ) : int(0.16 * RATE_HZ)]
        second = samples[int(0.2 * RATE_HZ) : int(0.34 * RATE_HZ)]
        assert loudest_hz(first) == pytest.approx(FAULT_HZ[0], abs=8.0)
        assert loudest_hz(second) == pytest.approx(FAULT_HZ[1], abs=8.0)
        assert max(FAULT_HZ) < LOWEST_HZ  # lower than the lowest count


def test_below_the_threshold_a_tick_says_that_counts_come() -> None:
    tone = tone_of(5.0, False, SETTINGS)
    assert tone.kind == BELOW
    samples = rendered(tone, 4.0)
    assert 0.05 * LEVEL < np.abs(samples).max() < 0.3 * LEVEL
    quiet = np.abs(samples[int(0.1 * RATE_HZ) : int(1.9 * RATE_HZ)])
    assert quiet.max() == 0.0
    assert loudest_hz(samples[: int(0.03 * RATE_HZ)]) == pytest.approx(TICK_HZ, abs=40.0)


def test_off_is_silent_and_the_volume_is_one() -> None:
    assert tone_of(500.0, False, SoundSettings(on=False)) == Tone(OFF)
    assert np.abs(rendered(Tone(OFF))).max() == 0.0
    half, whole = (np.abs(rendered(tone_of(500.0, False, SETTINGS), volume=v)).max() for v in (0.5, 1.0))
    assert half == pytest.approx(0.5 * whole, rel=1e-3)
    assert whole <= LEVEL


def test_samples_do_not_depend_on_the_blocks_they_are_made_in() -> None:
    tone = tone_of(321.0, False, SETTINGS)
    long, short = rendered(tone, block=4800), rendered(tone, block=160)
    np.testing.assert_allclose(long, short, atol=1e-5)


def test_a_voice_that_hears_nothing_more_tells_a_fault() -> None:
    voice = Voice()
    assert voice.tone(0.0).kind == FAULT
    voice.feed(300.0, False, 10.0)
    assert voice.tone(10.0 + SILENT_S).kind == COUNTS
    assert voice.tone(10.01 + SILENT_S).kind == FAULT
    assert len(voice.samples(480, 10.0)) == 480


def test_the_threshold_moves_in_steps_within_its_limits() -> None:
    assert SETTINGS.with_threshold(1).threshold_cps == pytest.approx(25.0)
    assert SETTINGS.with_threshold(100).threshold_cps == MOST_CPS
    assert SETTINGS.words == "sound above 20 cps"
    assert SoundSettings(on=False).words == "sound OFF"


def test_a_rate_that_jumps_is_heard_without_waiting_for_a_pulse() -> None:
    from navigation.ui.sound import DUTY, Synthesiser

    settings = SoundSettings()
    slow, fast = tone_of(30.0, False, settings), tone_of(5000.0, False, settings)
    maker = Synthesiser()
    # To the middle of the pause between two pulses.
    maker.render(int(RATE_HZ * (DUTY + 0.1) / slow.pulses_hz), slow)
    begun = maker.render(RATE_HZ // 50, fast)
    assert np.abs(begun).max() > 0.1
    same = Synthesiser()
    same.render(int(RATE_HZ * (DUTY + 0.1) / slow.pulses_hz), slow)
    # Noise of a tenth keeps the rhythm.
    kept = same.render(RATE_HZ // 50, tone_of(33.0, False, settings))
    assert np.abs(kept).max() == 0.0
