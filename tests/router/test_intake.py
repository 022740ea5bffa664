"""Counts of what is held, and the head without its offer."""

from __future__ import annotations

import pytest

from router.api import intake
from router.api.intake import Intake
from router.api.upgrade import without_offer
from router.gate.budget import LEAST, Budget


def test_bodies_are_held_up_to_a_sum_and_given_back() -> None:
    held = Intake()
    assert held.take(intake.LEAST, 1)
    assert not held.take(1, 1)
    held.give(1)
    assert held.take(1, 1)
    budget = Budget()
    assert budget.take(LEAST, 1)
    assert not budget.take(1, 1)
    budget.give(LEAST)
    assert budget.take(1, 1)


@pytest.mark.parametrize(("address", "entered"), [("10.0.0.1", False), ("127.0.0.1", True), ("::1", True), ("", True)])
def test_an_address_has_so_many_connections_unless_it_is_this_machines(
    address: str, *, entered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_CONNECTIONS", 1)
    counts = Intake()
    assert counts.enter(address)
    assert counts.enter(address) is entered
    counts.leave(address)
    counts.leave(address)
    assert counts.enter(address)


def test_the_settings_say_how_many() -> None:
    counts = Intake()
    counts.most_connections = 2
    assert [counts.enter("10.0.0.1") for _ in range(3)] == [True, True, False]


def test_a_head_is_written_without_its_offer() -> None:
    headers = [(b"host", b"x"), (b"connection", b"Upgrade, close"), (b"upgrade", b"h2c"), (b"http2-settings", b"A")]
    assert without_offer(b"POST", b"/a", headers) == b"POST /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert without_offer(b"GET", b"/", [(b"connection", b"upgrade")]) == b"GET / HTTP/1.1\r\n\r\n"
    with pytest.raises(ValueError, match="ends its line"):
        without_offer(b"GET", b"/", [(b"a", b"b\r\nc: d")])
