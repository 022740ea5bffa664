"""The bytes that an upstream is sent."""

from __future__ import annotations

from policies import Destination, Endpoint, Reach, UpstreamRule
from router.channel.messages import Open
from router.gate.request import post

ENGINE = UpstreamRule("e", Reach.PROCESS, engine="small")
SERVER = UpstreamRule("s", Reach.HOST, destination=Destination("http", "::1", 8000, "/v1"))


def head(rule: UpstreamRule, caller: str = "alice") -> list[bytes]:
    message = Open("r-1", caller, "m", Endpoint.CHAT, "t", rule.name, 1, True, 2, "digest")
    return post(rule, "secret", message, b"{}").partition(b"\r\n\r\n")[0].split(b"\r\n")


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


def test_our_engine_is_told_whose_cache_it_may_use() -> None:
    scopes = {caller: head(ENGINE, caller)[-1] for caller in ("alice", "bob")}
    assert all(scope.startswith(b"X-Ringfence-Scope: ") for scope in scopes.values())
    assert scopes["alice"] != scopes["bob"]
    assert b"alice" not in b"".join(head(ENGINE))
