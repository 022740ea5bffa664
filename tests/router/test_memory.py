"""What serving leaves behind for Python's collector: nothing, so that it may rest."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from router.channel.exchange import Exchange
from router.gate.exchange import GateExchange
from router.gate.relay import Relay
from router.memory import OBJECTS_MORE, importing, settle_memory
from tests.router.house import answering, house, plain, scripted, streamed

OK = plain(b'{"ok":true}')
STREAM = streamed(b'data: {"a":1}\n\n', b"data: [DONE]\n\n")


class Knot:
    """Refers to itself."""

    alive = 0

    def __init__(self) -> None:
        self.me = self
        Knot.alive += 1

    def __del__(self) -> None:
        Knot.alive -= 1


@pytest.fixture
def _collector() -> Iterator[None]:
    """As it was, afterwards."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.enable()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_collector")
def test_what_was_taken_is_looked_at_no_more_until_settings_are_taken_again() -> None:
    gc.collect()
    gc.unfreeze()  # Python 3.12 freezes by itself what a collection finds to be immortal
    Knot()
    settle_memory()
    assert gc.get_threshold()[0] == OBJECTS_MORE
    gc.collect()
    assert Knot.alive == 1  # frozen with what lives long
    settle_memory()
    assert Knot.alive == 0


@pytest.mark.usefixtures("_collector")
def test_the_collector_rests_while_modules_are_imported_and_never_after_settings_were_taken() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError), importing():
        import_module("router.no_such_module")
    assert gc.isenabled()
    gc.disable()  # as gate and workers do in their first line
    settle_memory()
    assert gc.isenabled()


@pytest.mark.usefixtures("_collector")
@pytest.mark.parametrize(("answer", "stream"), [(OK, False), (STREAM, True)])
async def test_an_exchange_is_freed_without_the_collector(answer: bytes, stream: bool, tmp_path: Path) -> None:
    async with scripted(answering(answer)) as port, house(port, tmp_path) as gate:
        await gate.answer(stream=stream)
        gc.collect()
        gc.disable()
        for _ in range(3):
            await gate.answer(stream=stream)
        await gate.outcomes(4)
        left = [thing for thing in gc.get_objects() if isinstance(thing, (GateExchange, Relay, Exchange))]
    assert left == []
