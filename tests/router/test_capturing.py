"""An answer's tap that is cut while a thread works for it: a real sealed file, opened with the reviewer's key."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from router.audit import Capture, Ledger, LedgerUnavailable
from router.audit.format import content, layout
from router.audit.reveal import _unseal
from router.gate.capturing import AnswerTap
from tests.audit.ledgers import WAIT_S, all_keys, reviewer, settings
from tests.router.house import told

PIECE = 64 * 1024
ANSWER = b"a" * PIECE + b"b" * PIECE + b"c" * 10


class Held:
    """A method of Capture that is entered, and goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        real = getattr(Capture, name)

        def held(*arguments: object, **named: object) -> object:
            self.entered.set()
            assert self.go_on.wait(WAIT_S)
            return real(*arguments, **named)

        monkeypatch.setattr(Capture, name, held)


async def cut(tap: AnswerTap, work: asyncio.Task[None], held: Held) -> dict[str, object]:
    """What is told of it when it is cut in the thread's work."""
    await asyncio.to_thread(held.entered.wait, WAIT_S)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    ending = asyncio.ensure_future(tap.finish_cut())
    for _ in range(20):
        await asyncio.sleep(0.005)  # time enough for a second thread
    assert not ending.done()
    held.go_on.set()
    await asyncio.wait_for(ending, WAIT_S)
    return told(tap)


@pytest.mark.parametrize("name", ["seal", "finish"])
async def test_what_was_taken_is_sealed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A second thread on the same file would give its pieces the same numbers: nobody could open it."""
    ledger, held = Ledger.open(settings(tmp_path)), Held(monkeypatch, name)
    tap = await AnswerTap.open(ledger, "req-1", "alice")

    async def through() -> None:
        await tap.take(ANSWER)
        await tap.finish()

    told = await cut(tap, asyncio.ensure_future(through()), held)
    ledger.close()
    [file] = (tmp_path / content.CAPTURES).rglob("*.sealed")
    assert told["capture"] == content.sealed_name(file.read_bytes())
    info = content.capture_info(layout.log_of(all_keys(tmp_path).vkey.name), "req-1", "answer")
    assert _unseal(file.read_bytes(), info, reviewer(tmp_path)) == ANSWER


@pytest.mark.parametrize("name", ["seal", "finish"])
async def test_after_a_failure_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The file may end within a piece, so no record may name it."""
    ledger = Ledger.open(settings(tmp_path))
    tap = await AnswerTap.open(ledger, "req-1", "alice")

    async def through() -> None:
        await tap.take(ANSWER)
        await tap.finish()

    def full(_: Capture) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Capture, name, full)
        with pytest.raises(LedgerUnavailable, match="No space left"):
            await through()
    await tap.finish_cut()
    ledger.close()
    assert "capture" not in told(tap)
    assert list((tmp_path / content.CAPTURES).rglob("*.sealed")) == []
    assert tap._capture._descriptor == -1


async def test_one_that_is_cut_while_it_opens_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(settings(tmp_path))
    made: list[Capture] = []
    entered, go_on = threading.Event(), threading.Event()
    real = ledger.begin_capture

    def slow(request_id: str, part: str) -> Capture:
        entered.set()
        assert go_on.wait(WAIT_S)
        made.append(real(request_id, part))
        return made[0]

    monkeypatch.setattr(ledger, "begin_capture", slow)
    opening = asyncio.ensure_future(AnswerTap.open(ledger, "req-1", "alice"))
    await asyncio.to_thread(entered.wait, WAIT_S)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    go_on.set()
    async with asyncio.timeout(WAIT_S):
        while not made or made[0]._descriptor >= 0:
            await asyncio.sleep(0.005)
    ledger.close()


async def test_one_that_is_cut_before_the_disk_refuses_it_is_only_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(settings(tmp_path))
    entered, go_on = threading.Event(), threading.Event()

    def full(*_: str) -> Capture:
        entered.set()
        assert go_on.wait(WAIT_S)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger, "begin_capture", full)
    opening = asyncio.ensure_future(AnswerTap.open(ledger, "req-1", "alice"))
    await asyncio.to_thread(entered.wait, WAIT_S)
    opening.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    ledger.close()
