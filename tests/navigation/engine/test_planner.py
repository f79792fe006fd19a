"""The planner: what a tick may cost decides how much it does, and what takes longer is begun and taken in beside."""

from __future__ import annotations

from dataclasses import replace

from navigation.engine.planner import IDLE_PASSES, IDLE_TICKS, TICK_BUDGET_S, Planner
from navigation.schedule import FEWEST_REPLAYED, REPLAYED, Progress

AT = Progress(readings=1000, row_bytes=100_000)


def test_a_tick_that_takes_too_long_makes_the_next_one_shorter_and_recovers() -> None:
    planner = Planner()
    replayed = []
    for i in range(40):
        progress = replace(AT, readings=1000 + i)
        slow = 5 <= i < 15
        took = 2 * TICK_BUDGET_S if slow else TICK_BUDGET_S / 2
        replayed.append(planner.plan("s", 0.1 * i, progress, took).replay)
    assert replayed[0] == REPLAYED
    assert min(replayed) == FEWEST_REPLAYED
    assert replayed[-1] == REPLAYED


def test_a_search_is_begun_twice_a_second_and_limits_once() -> None:
    planner, progress = Planner(), AT
    sought = limits = adopted = 0
    for i in range(100):
        work = planner.plan("s", 0.1 * i, replace(progress, readings=1000 + i), 0.001)
        adopted += work.adopt
        sought += work.seek
        limits += work.limits
        progress = replace(AT, searching=work.seek, searched=work.seek)
    # Ten seconds: each search has ended by the next tick.
    assert sought == 20
    assert limits == 10
    assert adopted >= 19


def test_a_search_that_takes_long_is_left_half_of_a_core() -> None:
    planner, sought = Planner(), []
    pending, busy_until = False, 0.0
    for i in range(200):
        now = 0.1 * i
        running = pending and busy_until > now
        progress = replace(AT, readings=1000 + i, searching=pending, searched=pending and not running)
        work = planner.plan("s", now, progress, 0.001)
        assert not (work.seek and running)
        pending = work.seek or (pending and not work.adopt)
        if work.seek:
            sought.append(now)
            busy_until = now + 0.95
    # A search of one second every two.
    assert 9 <= len(sought) <= 12


def test_while_nothing_comes_in_the_map_is_refined_for_a_while() -> None:
    planner = Planner()
    passes = [planner.plan("s", 0.1 * i, AT, 0.001).passes for i in range(IDLE_TICKS + 20)]
    assert passes[0] == 1
    assert passes[1] == passes[IDLE_TICKS] == IDLE_PASSES
    assert passes[IDLE_TICKS + 1 :] == [0] * (len(passes) - IDLE_TICKS - 1)


def test_a_wider_field_is_begun_once_taken_in_when_made_and_searched_at_once() -> None:
    planner = Planner()
    due = planner.plan("s", 0.0, replace(AT, wider_due=True), None)
    assert due.grow
    growing = planner.plan("s", 0.1, replace(AT, wider_due=True, growing=True), None)
    assert not growing.grow
    assert not growing.widen
    made = planner.plan("s", 0.2, replace(AT, growing=True, grown=True), None)
    assert made.widen
    assert made.seek
    assert made.limits
