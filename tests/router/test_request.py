"""The bytes that an upstream is sent."""

from __future__ import annotations

from policies import Destination, Endpoint, Reach, UpstreamRule
from router.gate.request import heads, post

ENGINE = UpstreamRule("e", Reach.PROCESS, engine="small")
SERVER = UpstreamRule("s", Reach.HOST, destination=Destination("http", "::1", 8000, "/v1"))


def head(rule: UpstreamRule, caller: str = "alice", *, stream: bool = True) -> list[bytes]:
    beginning = heads(rule, "secret", Endpoint.CHAT, caller)[stream]
    return post(beginning, "r-1", b"{}").partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_a_server_learns_nothing_of_the_caller() -> None:
    assert head(SERVER) == [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: [::1]:8000",
        b"User-Agent: ringfence",
        b"Accept-Encoding: identity",
        b"Authorization: Bearer secret",
        b"Accept: text/event-stream",
        b"Content-Type: application/json",
        b"Content-Length: 2",
        b"X-Request-ID: r-1",
    ]
    assert b"Accept: application/json" in head(SERVER, stream=False)


def test_our_engine_is_told_whose_cache_it_may_use() -> None:
    scopes = {
        caller: [line for line in head(ENGINE, caller) if line.startswith(b"X-Ringfence-Scope: ")]
        for caller in ("alice", "bob")
    }
    assert [len(lines) for lines in scopes.values()] == [1, 1]
    assert scopes["alice"] != scopes["bob"]
    assert b"alice" not in b"".join(head(ENGINE))
