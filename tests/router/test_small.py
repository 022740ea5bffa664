"""Small rules: what may be logged, who a request was meant for, what the environment hands on, how a process ended."""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import sys

import pytest
from msgspec.structs import replace

from router.api.host import judge_origin
from router.errors import HostNotAllowed
from router.logs import Log, hear_libraries
from router.supervisor.child import describe
from router.supervisor.scrub import scrubbed
from tests.router.house import snapshot_for


def test_a_log_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    Log("gate")("ledger_refused", reason='two\nlines and a "quote"')
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert json.loads(line)["reason"] == 'two\nlines and a "quote"'
    assert json.loads(line)["process"] == "gate"


def test_a_field_outside_the_closed_list_cannot_be_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TypeError, match="prompt"):
        Log("gate")("answered", prompt="secret")
    assert not capsys.readouterr().err


def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full, a reader that left: what is told of must go on all the same."""

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    Log("gate")("ledger_refuses", reason="No space left on device")


def test_libraries_are_heard_without_their_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """These may quote what a client sent."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    hear_libraries(Log("gate"))
    logging.getLogger("some.library").warning("the prompt was: %s", "secret")
    logging.getLogger("some.library").debug("not worth a line")
    logging.getLogger("some.library").error("secret", exc_info=ZeroDivisionError("secret"))
    first, second = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (first["event"], first["process"]) == ("library_warning", "gate")
    assert re.fullmatch(r"some\.library, test_small\.py:[0-9]+", first["reason"])
    assert second["reason"].endswith("(ZeroDivisionError)")
    assert "secret" not in str([first, second])


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ([(b"host", b"127.0.0.1:7860")], True),
        ([(b"host", b"localhost")], True),
        ([(b"host", b"[::1]:7860")], True),
        ([], True),
        ([(b"host", b"localhost:7860"), (b"origin", b"http://127.0.0.1:3000")], True),
        ([(b"host", b"evil.example")], False),
        ([(b"host", b"localhost.evil.example")], False),
        ([(b"host", b"evil.example@localhost.")], False),
        ([(b"host", b"localhost"), (b"host", b"localhost")], False),
        ([(b"host", b"[nonsense")], False),
        ([(b"host", b"localhost"), (b"origin", b"null")], False),
        ([(b"host", b"localhost"), (b"sec-fetch-site", b"cross-site")], False),
        ([(b"host", b"localhost"), (b"sec-fetch-site", b"same-origin")], True),
        ([(b"host", b"localhost"), (b"origin", b"https://evil.example")], False),
    ],
)
def test_without_keys_a_request_must_be_meant_for_this_machine(
    headers: list[tuple[bytes, bytes]], *, ours: bool
) -> None:
    snapshot = snapshot_for(1)
    if ours:
        judge_origin(headers, snapshot)
        return
    with pytest.raises(HostNotAllowed):
        judge_origin(headers, snapshot)
    judge_origin(headers, replace(snapshot, policy=replace(snapshot.policy, any_caller=False)))


def test_children_get_a_closed_list_of_the_environment() -> None:
    given = {"HTTPS_PROXY": "x", "LD_PRELOAD": "x", "SSLKEYLOGFILE": "x", "PATH": "/evil", "TZ": "UTC", "HF_TOKEN": "x"}
    assert scrubbed(given) == {"PATH": "/usr/local/bin:/usr/bin:/bin", "TZ": "UTC"}


@pytest.mark.parametrize(("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-11, "killed by SIGSEGV")])
def test_how_a_process_ended_is_said_in_words(code: int, words: str) -> None:
    assert describe(code) == words
