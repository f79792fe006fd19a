"""Every instruction set gives the same bits, with any number of threads, from several threads and after a fork."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable

import numpy as np
import pytest

from navigation import _core
from tests.native.stored import INSTRUCTION_SETS, instruction_set, store


def row_kernels(threads: int = 2) -> list[np.ndarray]:
    """What packing, projecting, back-projecting and one EM step make of 203 rows of 4,400 columns."""
    rng = np.random.default_rng(11)
    # Wider than a block of 4,096 columns, more rows than a group of 8 and than one chunk of 64; tiny values are
    # subnormal halves.
    rows = (rng.gamma(0.3, 1.0, (203, 4400)) * 10.0 ** rng.uniform(-9, 0, (203, 4400))).astype(np.float32)
    packed, scales = store(rows)
    stride = packed.shape[1]
    x = rng.uniform(0.5, 2.0, stride).astype(np.float32)
    u = rng.uniform(-1.0, 1.0, 203).astype(np.float32)
    ax, atu = np.empty(203, dtype=np.float32), np.empty(stride, dtype=np.float32)
    _core.project(packed, scales, x, ax, threads)
    _core.back_project(packed, scales, u, atu, threads)
    counts, live = rng.poisson(5.0, 203).astype(np.float32), np.full(203, 0.1, dtype=np.float32)
    told = (counts, live, np.zeros(203, dtype=np.uint8), 1e-4, False, np.float32(1e4))
    seen, image = np.empty(stride, dtype=np.float32), x.copy()
    _core.em_subset(packed, scales, *told, 0, 2, x, 0.1, image, seen, threads=threads)
    return [packed, scales, ax, atu, image, seen]


def differing(one: list[np.ndarray], other: list[np.ndarray]) -> list[int]:
    return [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a.tobytes() != b.tobytes()]


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_row_kernels_give_the_same_bits_with_every_instruction_set(name: str) -> None:
    with instruction_set("portable"):
        expected = row_kernels()
    with instruction_set(name) as there:
        if not there:
            pytest.skip(f"this machine has no {name}")
        assert _core.instruction_set() == name
        assert differing(row_kernels(), expected) == []


def test_unknown_instruction_set_is_refused_and_changes_nothing() -> None:
    before = _core.instruction_set()
    assert not _core.use_instruction_set("vector-of-the-future")
    assert _core.instruction_set() == before


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 40])
def test_row_kernels_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    assert differing(row_kernels(threads), row_kernels(1)) == []


def in_a_thread(work: Callable[[], list[np.ndarray]], kept: list[list[np.ndarray]]) -> threading.Thread:
    thread = threading.Thread(target=lambda: kept.append(work()))
    thread.start()
    return thread


def test_several_callers_share_the_threads() -> None:
    expected, got = row_kernels(1), []
    callers = [in_a_thread(lambda: row_kernels(3), got) for _ in range(5)]
    for caller in callers:
        caller.join()
    assert [differing(result, expected) for result in got] == [[]] * 5


def in_a_child(results: multiprocessing.queues.Queue[bytes]) -> None:
    results.put(b"".join(a.tobytes() for a in row_kernels()))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    expected = b"".join(a.tobytes() for a in row_kernels())  # the parent's threads are there now
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=in_a_child, args=(results,))
    child.start()
    try:
        assert results.get(timeout=30) == expected
    finally:
        child.join(30)
    assert child.exitcode == 0
