"""From a failed exchange to the next attempt or the client's error: the whole table."""

from __future__ import annotations

import pytest

from router.channel.messages import Cause, Failure, Head
from router.errors import (
    AuditUnavailable,
    GateUnavailable,
    PolicyDenied,
    RouterError,
    Unavailable,
    UpstreamFailed,
    UpstreamsBusy,
    UpstreamsUnavailable,
    UpstreamTimeout,
)
from router.failures import COME_BACK_S, MOVE_ON, error_of, failure_of, retry_after_s


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (200, None), (400, None), (404, None), (422, None),
        (401, Cause.CREDENTIAL), (403, Cause.CREDENTIAL), (408, Cause.BROKE), (429, Cause.BUSY),
        (500, Cause.BROKE), (502, Cause.BROKE), (599, Cause.BROKE), (501, None),
    ],
)  # fmt: skip
def test_which_statuses_make_us_ask_another(status: int, cause: Cause | None) -> None:
    failure = failure_of(Head(status, "application/json"))
    assert (failure.cause if failure else None) == cause


@pytest.mark.parametrize(
    ("causes", "kind", "back"),
    [
        ([], UpstreamsUnavailable, COME_BACK_S),
        ([Cause.AUDIT], AuditUnavailable, COME_BACK_S),
        ([Cause.REFUSED, Cause.GATE_LOST], GateUnavailable, COME_BACK_S),
        ([Cause.STALE_POLICY], Unavailable, COME_BACK_S),
        ([Cause.TOTAL_TIMEOUT], UpstreamTimeout, None),
        ([Cause.COLD, Cause.REFUSED], UpstreamsUnavailable, COME_BACK_S),
        ([Cause.BUSY, Cause.REFUSED], UpstreamsBusy, COME_BACK_S),
        ([Cause.REFUSED, Cause.FIRST_TOKEN_TIMEOUT], UpstreamTimeout, None),
        ([Cause.POLICY], PolicyDenied, None),
        ([Cause.POLICY, Cause.REFUSED], UpstreamFailed, None),
        ([Cause.CREDENTIAL], UpstreamFailed, None),
        ([Cause.MISTAKE], RouterError, None),
        ([Cause.REFUSED, Cause.MISTAKE], RouterError, None),
    ],
)
def test_what_the_client_is_told(causes: list[Cause], kind: type[RouterError], back: float | None) -> None:
    error = error_of([Failure(cause) for cause in causes])
    assert (type(error), error.retry_after_s) == (kind, back)


@pytest.mark.parametrize(
    ("causes", "says"),
    [
        ([Cause.DNS], "a name does not resolve"),
        ([Cause.REFUSED, Cause.DNS], "a name does not resolve"),
        ([Cause.REFUSED], "No upstream accepts connections"),
        ([Cause.DNS, Cause.REFUSED], "No upstream accepts connections"),
        ([Cause.REFUSED, Cause.MISTAKE], "Something went wrong here"),
    ],
)
def test_what_the_client_reads(causes: list[Cause], says: str) -> None:
    assert says in str(error_of([Failure(cause, "gpu-1.lan.example") for cause in causes]))
    assert "gpu-1" not in str(error_of([Failure(cause, "gpu-1.lan.example") for cause in causes]))


def test_every_cause_either_moves_on_or_has_an_answer() -> None:
    ends = set(Cause) - MOVE_ON
    told = {
        type(error_of([Failure(cause)]))
        for cause in ends - {Cause.CANCELLED, Cause.HEDGED, Cause.PROTOCOL, Cause.NO_RECEIPT}
    }
    assert UpstreamFailed not in told


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("", COME_BACK_S),
        ("Wed, 21 Oct 2026 07:28:00 GMT", COME_BACK_S),
        ("999999", 3600.0),
        ("²", COME_BACK_S),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_the_longest_wait_asked_for_is_passed_on() -> None:
    error = error_of([Failure(Cause.BUSY, "", 9.0), Failure(Cause.BUSY, "", 3.0)])
    assert error.retry_after_s == 9.0
