"""Which program runs: tables of rules, and a state machine that plays clients, crashes and operators against them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from router.supervisor.swapping import HOLDING, Do, Known, Phase, back_off_s, decide

NOW = 1000.0
GPU = {"group": "gpu0", "patience_s": 30.0, "idle_s": 60.0, "start_within_s": 20.0}
LOADED = {"phase": Phase.RUNNING, "ready": True, "ready_since": NOW - 5, "started_at": NOW - 9, "used_at": NOW - 5}


def known(name: str, **changes: Any) -> Known:
    return Known(name, **{**GPU, **changes})


def told(*programs: Known) -> str:
    return " ".join(f"{action.do} {action.name} ({action.reason})" for action in decide(programs, NOW))


WAITS = {"waiting": 1, "waiting_since": NOW - 10}


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        ([known("a")], ""),
        ([known("a", **WAITS)], "start a (requested)"),
        ([known("a", eager=True)], "start a (eager)"),
        ([known("a", eager=True), known("b", **WAITS)], "start b (requested)"),  # who waits comes first
        ([known("a", **WAITS), known("b", waiting=9, waiting_since=NOW - 11)], "start b (requested)"),
        ([known("a", **WAITS), known("b", ordered=True)], "start b (ordered)"),
        ([known("a", **WAITS, dismissed=True)], ""),
        ([known("a", **WAITS, phase=Phase.FAILED, retry_at=NOW + 1)], ""),
        ([known("a", **WAITS, phase=Phase.FAILED, retry_at=NOW)], "start a (requested)"),
        ([known("a", **LOADED)], ""),
        ([known("a", **{**LOADED, "ready_since": NOW - 61, "used_at": NOW - 61})], "drain a (idle)"),
        ([known("a", **{**LOADED, "ready_since": NOW - 61, "used_at": NOW - 59})], ""),
        ([known("a", **{**LOADED, "ready_since": NOW - 61, "used_at": NOW - 61}, under_way=1)], ""),
        ([known("a", **{**LOADED, "ready_since": 0.0, "used_at": 0.0}, eager=True)], ""),
        ([known("a", **{**LOADED, "ready_since": 0.0, "used_at": 0.0, "idle_s": 0.0})], ""),
        ([known("a", **LOADED, dismissed=True, under_way=3)], "drain a (dismissed)"),
        ([known("a", **LOADED), known("b", **WAITS)], "drain a (gives way to b)"),
        ([known("a", **LOADED, under_way=1), known("b", **WAITS)], ""),  # a batch is not broken up
        ([known("a", **LOADED, waiting=1), known("b", **WAITS)], ""),
        (
            [known("a", **{**LOADED, "ready_since": NOW - 31}, under_way=1), known("b", waiting=1)],
            "drain a (gives way to b)",
        ),
        ([known("a", **{**LOADED, "ready_since": NOW - 29}, under_way=1), known("b", waiting=1)], ""),
        ([known("a", **LOADED, under_way=1), known("b", ordered=True)], "drain a (gives way to b)"),
        ([known("a", **LOADED), known("b", eager=True)], ""),  # nobody waits for it
        ([known("a", **LOADED), known("b", **WAITS, phase=Phase.FAILED, retry_at=NOW + 9)], ""),
        ([known("a", phase=Phase.RUNNING, started_at=NOW - 19), known("b", **WAITS)], ""),  # a load is not given up
        ([known("a", phase=Phase.RUNNING, started_at=NOW - 21)], "drain a (not ready within 20 s)"),
        ([known("a", phase=Phase.DRAINING, under_way=1), known("b", **WAITS)], ""),
        ([known("a", phase=Phase.DRAINING, settled=False), known("b", **WAITS)], ""),  # the gate has not heard yet
        ([known("a", phase=Phase.DRAINING), known("b", **WAITS)], "stop a (finished)"),
        ([known("a", phase=Phase.STOPPING), known("b", **WAITS)], ""),  # the card is held until it is gone
        ([known("a", **WAITS), known("b", **WAITS, group="gpu1")], "start a (requested) start b (requested)"),
        ([known("a", **WAITS, group=""), known("b", **WAITS, group="")], "start a (requested) start b (requested)"),
    ],
)
def test_decisions(programs: list[Known], expected: str) -> None:
    assert told(*programs) == expected


def test_back_off_grows_and_stays() -> None:
    assert [back_off_s(count) for count in (1, 2, 6, 7, 1000)] == [1.0, 2.0, 60.0, 60.0, 60.0]


class Swapper(RuleBasedStateMachine):
    """Three models on one card, one beside it. Requests come and end; programs load, crash, and are ordered about."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        names = {"a": "gpu0", "b": "gpu0", "c": "gpu0", "d": ""}
        self.all = {name: Known(name, group=group, idle_s=100.0, start_within_s=50.0) for name, group in names.items()}
        self.swaps = 0

    def _set(self, name: str, **changes: Any) -> None:
        self.all[name] = replace(self.all[name], **changes)

    @rule(name=st.sampled_from("abcd"))
    def request(self, name: str) -> None:
        one = self.all[name]
        if one.phase is Phase.RUNNING and one.ready:
            self._set(name, under_way=one.under_way + 1, used_at=self.now)
        elif one.phase is not Phase.FAILED:
            self._set(name, waiting=one.waiting + 1, waiting_since=one.waiting_since if one.waiting else self.now)

    @rule(name=st.sampled_from("abcd"))
    def request_ends(self, name: str) -> None:
        one = self.all[name]
        if one.under_way:
            self._set(name, under_way=one.under_way - 1, used_at=self.now)

    @rule(name=st.sampled_from("abcd"))
    def becomes_ready(self, name: str) -> None:
        one = self.all[name]
        if one.phase is Phase.RUNNING and not one.ready:
            self._set(name, ready=True, ready_since=self.now, under_way=one.waiting, waiting=0, ordered=False)

    @rule(name=st.sampled_from("abcd"))
    def dies(self, name: str) -> None:
        if self.all[name].phase in HOLDING:
            self._set(
                name, phase=Phase.FAILED, ready=False, under_way=0, waiting=0, retry_at=self.now + 5, ordered=False
            )

    @rule(name=st.sampled_from("abcd"))
    def gate_hears(self, name: str) -> None:
        self._set(name, settled=True)

    @rule(name=st.sampled_from("abcd"))
    def is_gone(self, name: str) -> None:
        if self.all[name].phase is Phase.STOPPING:
            self._set(name, phase=Phase.STOPPED, ready=False, dismissed=False)

    @rule(name=st.sampled_from("abcd"))
    def order(self, name: str) -> None:
        if self.all[name].phase is not Phase.RUNNING:
            self._set(name, ordered=True, dismissed=False)

    @rule(name=st.sampled_from("abcd"))
    def dismiss(self, name: str) -> None:
        self._set(name, ordered=False, dismissed=self.all[name].phase in HOLDING)

    @rule(seconds=st.floats(0.1, 60.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def act(self) -> None:
        actions = decide(list(self.all.values()), self.now)
        assert len({self.all[action.name].group or action.name for action in actions}) == len(actions)
        for action in actions:
            self._do(action.name, action.do)

    def _do(self, name: str, do: Do) -> None:
        one = self.all[name]
        match do:
            case Do.START:
                assert one.phase in (Phase.STOPPED, Phase.FAILED)
                assert self.now >= one.retry_at
                changes = {"ready": False, "ready_since": 0.0, "started_at": self.now, "used_at": self.now}
                self._set(name, phase=Phase.RUNNING, settled=False, **changes)
            case Do.DRAIN:
                assert one.phase is Phase.RUNNING
                self._set(name, phase=Phase.DRAINING, settled=False)
            case Do.STOP:
                assert one.phase is Phase.DRAINING
                assert one.under_way == 0, "nothing is stopped that works"
                assert one.settled, "the gate has heard of it"
                self._set(name, phase=Phase.STOPPING)

    @invariant()
    def one_holds_the_card(self) -> None:
        assert sum(one.phase in HOLDING for one in self.all.values() if one.group) <= 1

    @precondition(lambda self: any(one.waiting for one in self.all.values()))
    @rule()
    def everybody_is_served_in_the_end(self) -> None:
        """From any state on, if programs load, requests end and time passes, nobody waits for ever."""
        kept, now = dict(self.all), self.now
        for _ in range(60):
            self.now += 10.0
            for name in "abcd":
                self.gate_hears(name)
                self.is_gone(name)
                self.becomes_ready(name)
                self.request_ends(name)
            self.act()
            if not any(one.waiting for one in self.all.values()):
                break
        waiting = [one.name for one in self.all.values() if one.waiting]
        assert not waiting
        self.all, self.now = kept, now


TestSwapper = Swapper.TestCase
TestSwapper.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_two_models_in_turn_swap_once_each_patience() -> None:
    """A request for each every second, each taking one: without patience that would be a swap each second."""
    all_of = {name: known(name, idle_s=0.0) for name in "ab"}
    swaps, now = 0, 0.0
    for _ in range(300):
        now += 1.0
        for name, one in all_of.items():
            running = one.phase is Phase.RUNNING
            waiting = one.waiting if running else one.waiting + 1
            since = one.waiting_since if one.waiting else now
            all_of[name] = replace(one, waiting=0 if running else waiting, waiting_since=since, under_way=int(running))
        for action in decide(list(all_of.values()), now):
            one = all_of[action.name]
            if action.do is Do.START:
                swaps += 1
                all_of[action.name] = replace(one, phase=Phase.RUNNING, ready=True, ready_since=now)
            elif action.do is Do.DRAIN:
                all_of[action.name] = replace(one, phase=Phase.DRAINING, under_way=0)
            else:
                all_of[action.name] = replace(one, phase=Phase.STOPPED, ready=False)
    assert swaps <= 300 / 30 + 1
