"""Whether the counter is saturated as it is read, for both kinds of counter, and in the words of the status."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calibration.counter.deadtime import MODELS, PARALYSABLE, DeadTime
from navigation.engine.saturated import SaturationWatch, dead_time_in
from navigation.engine.words import status_words
from tests.navigation.ui.scene import snapshot
from tracking.sample import CountSample

TAU_S = 1e-4


def sample(t_s: float, recorded_cps: float) -> CountSample:
    return CountSample(t_s, int(10 * t_s), 0.1 * recorded_cps, 0.1, 0.0, 0.0)


@pytest.mark.parametrize("model", MODELS)
def test_a_sample_beyond_30_percent_loss_is_saturated(model: str) -> None:
    content = DeadTime(TAU_S, model).content()
    limit = DeadTime(TAU_S, model).saturated_recorded_cps
    assert SaturationWatch().look(sample(1.0, limit), content, None)
    assert not SaturationWatch().look(sample(1.0, 0.99 * limit), content, None)
    # The case's own figure comes first: half the dead time, twice the limit.
    assert not SaturationWatch().look(sample(1.0, limit), content, TAU_S / 2)
    assert not SaturationWatch().look(sample(1.0, 1e6), None, None)
    assert not SaturationWatch().look(None, content, None)


def test_a_paralysable_counter_that_tells_less_after_saturation_is_not_believed() -> None:
    content, watch = DeadTime(TAU_S, PARALYSABLE).content(), SaturationWatch()
    dead = DeadTime(TAU_S, PARALYSABLE)
    assert watch.look(sample(1.0, 3000.0), content, None)
    # n tau = 3: 1,494 cps, half the saturation's.
    assert watch.look(sample(1.5, float(dead.expected(3.0 / TAU_S))), content, None)
    # So few counts no scan leaves beyond the summit: it is away from the site.
    assert not watch.look(sample(2.0, 50.0), content, None)
    assert not watch.look(sample(2.1, 1500.0), content, None)
    # A non-paralysable counter tells more the more arrives.
    plain, other = DeadTime(TAU_S).content(), SaturationWatch()
    assert other.look(sample(1.0, 3100.0), plain, None)
    assert not other.look(sample(1.5, 1500.0), plain, None)
    # Ten seconds later nobody remembers.
    again = SaturationWatch()
    assert again.look(sample(1.0, 3000.0), content, None)
    assert not again.look(sample(12.0, 1500.0), content, None)


def test_a_malformed_dead_time_is_none_here() -> None:
    assert dead_time_in({"dead_time_s": "long"}, None).tau_s == 0.0
    assert dead_time_in({"dead_time_s": -1.0}, 1e-5) == DeadTime(1e-5)


def test_the_status_tells_saturation() -> None:
    counts = replace(snapshot().counts, saturated=True)
    assert status_words(snapshot(counts=counts))["counts"]["saturated"] is True
    assert status_words(snapshot())["counts"]["saturated"] is False
