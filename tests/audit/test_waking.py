"""When the writer is woken: at once, after a loop's pass, or when somebody waits for what lies in the inbox."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from router.audit import Durability, Kind, Ledger, LedgerUnavailable
from router.audit.pace import FEW, IN_A_ROW
from router.audit.writer import Writer
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
    is_calm: bool = False

    def soon(self, call: Callable[[], None]) -> None:
        self.soon_calls.append(call)

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self.delays.append(delay_s)
        self.after_calls.append(call)

    def calm(self) -> bool:
        return self.is_calm

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
    ledger, alarm = Ledger.open(settings(tmp_path, linger_s=0.0)), HandAlarm()
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


# --- a few lines are written where they are appended ---


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any disk is."""
    monkeypatch.setattr("router.audit.pace.QUICK_S", 3600.0)


def seasoned(directory: Path, **changes: object) -> Ledger:
    """A ledger whose disk has been quick for long, and whose writer sleeps."""
    given: dict[str, object] = {"durability": Durability.STRICT, "checkpoint_every": 1000, "linger_s": 0.0}
    ledger = Ledger.open(settings(directory, **{**given, **changes}))
    for _ in range(IN_A_ROW):
        ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    asleep(ledger)
    return ledger


def calm(ledger: Ledger) -> tuple[HandAlarm, list[int]]:
    """An alarm whose thread may wait for the disk; and the threads by which news come."""
    alarm, told = HandAlarm(is_calm=True), list[int]()
    ledger.on_durable(lambda _: told.append(threading.get_ident()))
    ledger.gather(alarm)
    return alarm, told


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("waited_for", [True, False])
def test_a_calm_thread_writes_a_few_lines_itself(tmp_path: Path, *, waited_for: bool) -> None:
    ledger = seasoned(tmp_path)
    alarm, told = calm(ledger)
    if waited_for:
        index = ledger.append(Kind.DENIAL, DENIAL).index
        alarm.ring(alarm.soon_calls)
        assert ledger.durable == index
    else:
        ledger.note(Kind.DENIAL, DENIAL)
        alarm.ring(alarm.after_calls)
    assert kinds(tmp_path).count("denial") == IN_A_ROW + 1
    assert told == [threading.get_ident()]
    assert ledger._inbox._asleep  # through all of it
    ledger.close()
    assert codes(check(tmp_path)) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "why", ["a stream", "slow once", "many lines", "a checkpoint", "sleeps for long", "busy", "group", "closed"]
)
def test_all_else_is_the_writers_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    changes: dict[str, object] = {"durability": Durability.GROUP} if why == "group" else {}
    if why == "a checkpoint":
        changes["checkpoint_every"] = IN_A_ROW + 3
    ledger = seasoned(tmp_path, **changes)
    alarm, told = calm(ledger)
    if why == "a stream":
        alarm.is_calm = False
    elif why == "slow once":
        ledger._writer._pace.took(3601.0)
    elif why == "sleeps for long":
        ledger._writer._wakes_s += 3601.0
    elif why == "busy":
        monkeypatch.setattr(ledger._writer, "_hand", threading.Lock())
        ledger._writer._hand.acquire()
    for _ in range(FEW + 1 if why == "many lines" else 1):
        index = ledger.append(Kind.DENIAL, DENIAL).index
    if why == "closed":
        ledger.close()
    alarm.ring(alarm.soon_calls)
    assert threading.get_ident() not in told
    if why == "busy":
        ledger._writer._hand.release()
    until(lambda: ledger.durable >= index)
    ledger.close()
    assert threading.get_ident() not in told
    assert codes(check(tmp_path)) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("loop", ["calm", "closed", "not calm"])
def test_what_comes_while_the_writer_is_at_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    """A calm loop is left to it, so that one record after the other does not keep both threads awake."""
    ledger = seasoned(tmp_path)
    alarm, told = calm(ledger)
    alarm.is_calm = False
    began, go_on, real = threading.Event(), threading.Event(), os.fdatasync

    def slow(descriptor: int) -> None:
        began.set()
        assert go_on.wait(WAIT_S)
        real(descriptor)

    def closed(_: Callable[[], None]) -> None:
        raise RuntimeError("the loop is closed")

    monkeypatch.setattr(os, "fdatasync", slow)
    ledger.append(Kind.DENIAL, DENIAL)
    alarm.ring(alarm.soon_calls)
    assert began.wait(WAIT_S)
    last = ledger.append(Kind.DENIAL, DENIAL).index
    alarm.is_calm = loop != "not calm"
    if loop == "closed":
        monkeypatch.setattr(alarm, "soon", closed)
    go_on.set()
    if loop == "calm":
        until(lambda: bool(alarm.soon_calls))
        assert ledger.durable < last
        alarm.ring(alarm.soon_calls)
        assert ledger.durable == last
    until(lambda: ledger.durable == last)
    assert (threading.get_ident() in told) is (loop == "calm")
    ledger.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("error", "said"), [(OSError(5, "Input/output error"), "Input/output error"), (ValueError("x"), "ValueError")]
)
def test_a_disk_that_fails_there_ends_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    ledger = seasoned(tmp_path, checkpoint_pause_s=3600.0)
    ledger._inbox.checkpoint()  # its file is not written yet
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    asleep(ledger)
    ledger._writer._wakes_s = 0.0
    before = (tmp_path / "checkpoint").read_bytes()
    alarm, told = calm(ledger)

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("router.audit.journal.Journal.sync", broken)
    index = ledger.append(Kind.DENIAL, DENIAL).index
    alarm.ring(alarm.soon_calls)
    assert said in (ledger.failure or "")
    assert told
    assert ledger.durable < index
    with pytest.raises(LedgerUnavailable):
        ledger.append(Kind.DENIAL, DENIAL)
    ledger.close()
    assert (tmp_path / "checkpoint").read_bytes() == before  # nothing is written any more


@pytest.mark.usefixtures("quick")
def test_after_a_mistake_of_our_own_nothing_is_written_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain is uncertain: what lies before the mistake is not written either, and the writer tells of it."""
    ledger = seasoned(tmp_path)
    alarm, told = calm(ledger)
    ledger.append(Kind.DENIAL, DENIAL)
    monkeypatch.setattr("router.audit.scribe.write", lambda *_: 1 / 0)
    with pytest.raises(LedgerUnavailable):
        ledger.append(Kind.DENIAL, DENIAL)
    alarm.ring(alarm.soon_calls)
    until(lambda: ledger._writer.failed is not None)
    assert threading.get_ident() not in told
    assert kinds(tmp_path).count("denial") == IN_A_ROW
    ledger.close()


@pytest.mark.usefixtures("quick")
def test_nobody_writes_between_a_failure_and_the_news_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second sync that succeeds would vouch for what the first one lost."""
    ledger = seasoned(tmp_path)
    alarm, _ = calm(ledger)
    alarm.is_calm = False  # this batch is the writer's
    sync, fail = os.fdatasync, Writer._fail

    def broken(_: int) -> None:
        monkeypatch.setattr(os, "fdatasync", sync)
        raise OSError(5, "Input/output error")

    def failing(writer: Writer, error: Exception) -> None:
        alarm.is_calm = True
        ledger.append(Kind.DENIAL, DENIAL)
        loop = threading.Thread(target=ledger._inbox._wake)
        loop.start()
        loop.join()
        fail(writer, error)

    monkeypatch.setattr(os, "fdatasync", broken)
    monkeypatch.setattr(Writer, "_fail", failing)
    lost = ledger.append(Kind.DENIAL, DENIAL).index
    alarm.ring(alarm.soon_calls)
    until(lambda: ledger._writer.failed is not None)
    assert ledger.durable < lost
    ledger.close()


@pytest.mark.usefixtures("quick")
def test_a_writer_that_slept_through_a_failure_writes_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = seasoned(tmp_path, checkpoint_pause_s=3600.0, checkpoint_idle_s=7200.0)
    ledger._inbox.checkpoint()  # its file is not written yet
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    asleep(ledger)
    ledger._writer._last_note_s -= 7200.0  # by the time it is woken, it would be
    before = (tmp_path / "checkpoint").read_bytes()
    alarm, told = calm(ledger)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("router.audit.journal.Journal.write", broken)
        ledger.append(Kind.DENIAL, DENIAL)
        alarm.ring(alarm.soon_calls)
    assert told == [threading.get_ident()]
    ledger.close()
    assert (tmp_path / "checkpoint").read_bytes() == before


@pytest.mark.usefixtures("quick")
def test_who_waits_on_the_alarms_own_thread_is_not_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loop stands still, so nothing that is put off on it is ever done."""
    ledger = seasoned(tmp_path, checkpoint_idle_s=3600.0)
    alarm, _ = calm(ledger)
    alarm.is_calm = False
    began, go_on, real = threading.Event(), threading.Event(), os.fdatasync

    def slow(descriptor: int) -> None:
        began.set()
        assert go_on.wait(WAIT_S)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    ledger.append(Kind.DENIAL, DENIAL)
    alarm.ring(alarm.soon_calls)
    assert began.wait(WAIT_S)
    alarm.is_calm = True
    hurry = ledger._inbox.hurry

    def hurried() -> None:
        hurry()
        go_on.set()

    monkeypatch.setattr(ledger._inbox, "hurry", hurried)
    ledger.append(Kind.DENIAL, DENIAL).wait(WAIT_S)
    assert alarm.soon_calls == []
    ledger.close()


def test_who_asks_to_be_told_just_as_it_becomes_durable_is_told(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    told: list[LedgerUnavailable | None] = []

    class Slow(dict[int, list[Callable[[LedgerUnavailable | None], None]]]):
        def setdefault(self, index: int, default: Any = None) -> Any:
            until(lambda: ledger.durable >= index)
            asleep(ledger)  # it has told whoever it saw
            return super().setdefault(index, default)

    ledger._callbacks = Slow()
    ledger.append(Kind.DENIAL, DENIAL).add_done_callback(told.append)
    assert told == [None]
    ledger.close()


def test_what_was_put_off_later_than_the_timer_waits_for_its_own_time(tmp_path: Path) -> None:
    """Outcomes come all the time: none is taken from the decision that it could go with."""
    ledger, alarm = Ledger.open(settings(tmp_path, linger_s=3600.0)), HandAlarm()
    asleep(ledger)
    ledger.gather(alarm)
    ledger.note(Kind.DENIAL, DENIAL)
    alarm.ring(alarm.after_calls[:])
    assert len(alarm.delays) == 2
    assert 0 < alarm.delays[1] < 3600.0
    assert "denial" not in kinds(tmp_path)
    ledger.close()


@pytest.mark.usefixtures("quick")
def test_a_recorder_waits_for_a_quick_disk_itself_while_no_stream_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        syncs.append(threading.get_ident())
        real(descriptor)

    async def run() -> None:
        recorder = Recorder(seasoned(tmp_path))
        monkeypatch.setattr(os, "fdatasync", counted)
        for streams, here in ((0, True), (1, False), (2, False), (0, True)):
            for _ in range(streams):
                recorder.stream_begins()
            for _ in range(3):
                await recorder.record(Kind.DENIAL, DENIAL)
            for _ in range(streams):
                recorder.stream_ends()
            assert (set(syncs) == {threading.get_ident()}) is here
            until(lambda: recorder._ledger._inbox._asleep)
            syncs.clear()
        recorder.close()

    asyncio.run(run())
    assert codes(check(tmp_path)) == []
