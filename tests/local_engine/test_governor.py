"""Sharing cores with other programs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from local_engine.scheduling.governor import LONGEST_PATIENCE, ThreadGovernor
from local_engine.worker.contention import Contention


def test_a_busy_neighbour_costs_a_thread_and_a_quiet_machine_gives_it_back() -> None:
    governor = ThreadGovernor(2)
    assert [governor.observe(now / 10, 0.02) for now in range(5)] == [2] * 5
    assert governor.observe(0.5, 0.6) == 1
    assert governor.observe(0.6, 0.9) == 1, "the last thread stays"
    assert [governor.observe(now / 10, 0.0) for now in (7, 8, 9)] == [1, 1, 1]
    assert governor.observe(1.1, 0.0) == 2


def test_failed_trials_come_ever_later() -> None:
    governor = ThreadGovernor(2)
    now, raised = 0.0, list[float]()
    threads = 2
    while now < 120:
        before, threads = threads, governor.observe(now, 0.8 if threads == 2 else 0.0)
        if threads > before:
            raised.append(now)
        now += 0.1
    pauses = [later - earlier for earlier, later in pairwise(raised)]
    assert pauses[0] < 3
    assert [round(pause, 3) for pause in pauses] == sorted(round(pause, 3) for pause in pauses)
    assert pauses[-1] == pytest.approx(LONGEST_PATIENCE, abs=0.5)


def test_many_waiting_threads_are_given_up_at_once() -> None:
    governor = ThreadGovernor(16)
    assert governor.observe(1, 4.2) == 12
    assert governor.observe(2, 99) == 1


def test_no_trial_while_even_one_thread_is_short_of_its_core() -> None:
    governor = ThreadGovernor(2)
    governor.observe(0, 0.9)
    assert [governor.observe(now, 0.5) for now in (10, 20, 30)] == [1, 1, 1]
    assert governor.observe(40, 0.1) == 2


def test_one_thread_has_nothing_to_give() -> None:
    assert [ThreadGovernor(1).observe(now, 0.9) for now in (0.0, 1.0, 99.0)] == [1, 1, 1]


def test_missing_cores_are_processor_time_against_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, processor = [10.0], [3.0]
    monkeypatch.setattr("local_engine.worker.contention.time.monotonic", lambda: wall[0])
    monkeypatch.setattr("local_engine.worker.contention.time.process_time", lambda: processor[0])
    contention = Contention()

    def decode(seconds: float, used: float) -> float | None:
        with contention.decoding():
            wall[0] += seconds
            processor[0] += used
        wall[0] += 5  # time between decodes does not count
        return contention.verdict(2)

    assert decode(0.05, 0.1) is None
    assert contention.verdict(2, window=0.04) == pytest.approx(0.0), "the first verdict may come sooner"
    assert decode(0.05, 0.1) is None
    assert decode(0.15, 0.2) == pytest.approx(0.5)
    assert decode(0.2, 0.42) == 0, "the server's own work is not a shortage"
