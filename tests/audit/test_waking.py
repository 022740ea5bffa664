"""When the writer is woken: at once, after a loop's pass, or when somebody waits for what lies in the inbox."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from router.audit import Durability, Kind, Ledger, LedgerUnavailable
from router.gate.recorder import LoopAlarm, Recorder
from router.gate.steps import Steps
from tests.audit.ledgers import DECISION, DENIAL, WAIT_S, check, codes, kinds, settings

OUTCOME = {"ending": "completed"}


@dataclass
class HandAlarm:
    """Rings when the test says so."""

    soon_calls: list[Callable[[], None]] = field(default_factory=list)
    after_calls: list[Callable[[], None]] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def soon(self, call: Callable[[], None]) -> None:
        self.soon_calls.append(call)

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self.delays.append(delay_s)
        self.after_calls.append(call)

    def ring(self, calls: list[Callable[[], None]]) -> None:
        for call in calls:
            call()
        calls.clear()


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.005)


def asleep(ledger: Ledger) -> None:
    """Wait until the writer has nothing to do."""
    until(lambda: ledger._inbox._asleep)


def test_a_loop_may_put_off_waking_the_writer_and_nothing_is_lost(tmp_path: Path) -> None:
    ledger, alarm = Ledger.open(settings(tmp_path)), HandAlarm()
    asleep(ledger)
    ledger.gather(alarm)
    tickets = [ledger.append(Kind.DENIAL, DENIAL) for _ in range(3)]
    assert len(alarm.soon_calls) == 1  # one call for all of a pass
    alarm.ring(alarm.soon_calls)
    until(lambda: ledger.durable >= tickets[-1].index)
    ledger.gather(None)
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    ledger.close()
    assert kinds(tmp_path).count("denial") == 4


def test_what_nobody_waits_for_goes_with_what_somebody_waits_for(tmp_path: Path) -> None:
    ledger, alarm = Ledger.open(settings(tmp_path, linger_s=0.5, checkpoint_every=60)), HandAlarm()
    decision = ledger.append(Kind.DECISION, DECISION)
    decision.wait(WAIT_S)
    asleep(ledger)
    ledger.gather(alarm)
    ledger.note(Kind.OUTCOME, {"decision": decision.index, **OUTCOME})
    ledger.note(Kind.DENIAL, DENIAL)
    assert alarm.delays == [0.5]  # one timer for all of them
    assert alarm.soon_calls == []
    assert kinds(tmp_path)[-1] == "decision"
    ticket = ledger.append(Kind.DENIAL, DENIAL)
    alarm.ring(alarm.soon_calls)
    until(lambda: ledger.durable >= ticket.index)
    assert kinds(tmp_path)[-3:] == ["outcome", "denial", "denial"]
    asleep(ledger)
    alarm.ring(alarm.after_calls)  # there is nothing left for it to do
    assert ledger._inbox._asleep
    ledger.close()


def test_what_nobody_waits_for_goes_when_its_time_is_over(tmp_path: Path) -> None:
    ledger, alarm = Ledger.open(settings(tmp_path)), HandAlarm()
    asleep(ledger)
    ledger.gather(alarm)
    ledger.note(Kind.DENIAL, DENIAL)
    alarm.ring(alarm.after_calls)
    until(lambda: kinds(tmp_path)[-1] == "denial")
    asleep(ledger)
    ledger.note(Kind.DENIAL, DENIAL)
    assert len(alarm.after_calls) == 1  # and so again
    ledger.close()


@pytest.mark.parametrize("end", ["close", "detach", "wait"])
def test_an_end_leaves_nothing_lying(tmp_path: Path, end: str) -> None:
    """The alarm never rings: its loop is the thread that closes, detaches or waits."""
    ledger = Ledger.open(settings(tmp_path))
    asleep(ledger)
    ledger.gather(HandAlarm())
    ledger.note(Kind.DENIAL, DENIAL)
    if end == "detach":
        ledger.gather(None)
        until(lambda: "denial" in kinds(tmp_path))
    elif end == "wait":
        ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
        ledger.wait(0, WAIT_S)
    ledger.close()
    assert kinds(tmp_path)[-2:] == ["stop", "checkpoint"]
    assert kinds(tmp_path).count("denial") == (2 if end == "wait" else 1)
    assert codes(check(tmp_path)) == []


def test_a_new_alarm_does_not_count_on_the_timer_of_the_one_before(tmp_path: Path) -> None:
    """Which may have gone with its loop."""
    ledger, second = Ledger.open(settings(tmp_path)), HandAlarm()
    asleep(ledger)
    ledger.gather(HandAlarm())
    ledger.note(Kind.DENIAL, DENIAL)
    ledger.gather(None)
    until(lambda: "denial" in kinds(tmp_path))
    asleep(ledger)
    ledger.gather(second)
    ledger.note(Kind.DENIAL, DENIAL)
    assert len(second.after_calls) == 1
    ledger.close()


def test_without_an_alarm_a_note_goes_at_once(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    ledger.note(Kind.DENIAL, DENIAL)
    until(lambda: "denial" in kinds(tmp_path))
    ledger.close()


# --- the gate's hand on it: a real loop, a real disk ---


async def durable(recorder: Recorder, index: int) -> None:
    """Wait as an exchange does: without a task."""
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def steps() -> None:
        try:
            await recorder.durable(index)
        except LedgerUnavailable as error:
            told.set_exception(error)
        else:
            told.set_result(None)

    Steps(steps(), asyncio.get_running_loop()).go_on()
    await told


def test_exchanges_of_one_loop_wait_for_decisions_alone(tmp_path: Path) -> None:
    async def exchange(recorder: Recorder, ledger: Ledger) -> None:
        index = recorder.append(Kind.DECISION, DECISION)
        await durable(recorder, index)
        assert ledger.durable >= index
        assert recorder.durable(index).ended
        recorder.note(Kind.OUTCOME, {"decision": index, **OUTCOME})

    async def run() -> None:
        ledger = Ledger.open(settings(tmp_path, durability=Durability.STRICT, linger_s=0.01))
        recorder = Recorder(ledger)
        async with asyncio.timeout(WAIT_S):
            for _ in range(10):
                await asyncio.gather(*(exchange(recorder, ledger) for _ in range(10)))
            while kinds(tmp_path).count("outcome") < 100:  # by the loop's own timer
                await asyncio.sleep(0.01)
        recorder.close()

    asyncio.run(run())
    assert kinds(tmp_path).count("decision") == 100
    assert codes(check(tmp_path)) == []


def test_an_exchange_that_is_alone_costs_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decision's; its outcome goes with the next decision, or with the last words."""
    syncs: list[int] = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        syncs.append(descriptor)
        real(descriptor)

    async def run() -> None:
        recorder = Recorder(Ledger.open(settings(tmp_path, durability=Durability.STRICT, linger_s=3600.0)))
        monkeypatch.setattr(os, "fdatasync", counted)
        for _ in range(10):
            index = await recorder.record(Kind.DECISION, DECISION)
            recorder.note(Kind.OUTCOME, {"decision": index, **OUTCOME})
            await asyncio.sleep(0.01)  # time enough for a sync that nobody needs
        assert len(syncs) == 10
        recorder.close()

    asyncio.run(run())
    assert kinds(tmp_path).count("outcome") == 10


def test_a_record_made_durable_before_anyone_asked_is_not_waited_for(tmp_path: Path) -> None:
    """The writer wakes the loop for nobody: whoever comes later sees for themselves."""

    async def run() -> None:
        ledger = Ledger.open(settings(tmp_path))
        recorder = Recorder(ledger)
        index = recorder.append(Kind.DENIAL, DENIAL)
        ledger.wait(index, WAIT_S)
        assert recorder.durable(index).ended
        recorder.close()

    asyncio.run(run())


@pytest.mark.parametrize("late", [False, True])
def test_who_waits_is_told_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool) -> None:
    heard: list[str] = []

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    async def run() -> None:
        ledger = Ledger.open(settings(tmp_path))
        recorder = Recorder(ledger, heard.append)
        monkeypatch.setattr("router.audit.journal.Journal.write", broken)
        index = recorder.append(Kind.DENIAL, DENIAL)
        if late:
            with pytest.raises(LedgerUnavailable):
                ledger.wait(index, WAIT_S)
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(LedgerUnavailable, match="Input/output error"):
                await durable(recorder, index)
        recorder.note(Kind.DENIAL, DENIAL)  # nobody waits for it, nobody hears of it
        recorder.close()

    asyncio.run(run())
    assert heard
    assert "Input/output error" in heard[0]


def test_another_thread_may_ask_the_loops_alarm(tmp_path: Path) -> None:
    """Without a call that wakes the loop it would sleep on."""

    async def run() -> None:
        alarm = LoopAlarm(asyncio.get_running_loop())
        for ask in (alarm.soon, lambda call: alarm.after(3600.0, call)):
            rung = asyncio.Event()
            threading.Thread(target=ask, args=(rung.set,)).start()
            async with asyncio.timeout(WAIT_S):
                await rung.wait()

    asyncio.run(run())
