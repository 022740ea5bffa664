"""Bad input: the right 4xx in OpenAI's shape, a record where the caller was known, no traceback, nobody asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.conversations import CHAT, MODEL, chat, error_of, policy, raw_client, wait_until_ready
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, ringfence, running

LIMIT = 1_000_000
MESSAGES = '"messages":[{"role":"user","content":"hi"}]'


@dataclass(frozen=True)
class Desk:
    """A service that wants keys, and one key for it."""

    service: Service
    fake: Fake
    key: str

    @property
    def signed(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    directory = tmp_path_factory.mktemp("desk")
    key = ringfence(directory, "keys", "create", "alice").stdout.strip()
    more = f"callers: {{file: keys.yaml}}\nlimits: {{body_bytes: {LIMIT}}}\n"
    with fake_upstream() as fake, running(directory, policy(fake, more=more)) as service:
        wait_until_ready(service)
        yield Desk(service, fake, key)


@dataclass(frozen=True)
class Bad:
    """One row: what is sent, and what must come back."""

    name: str
    body: bytes
    status: int = 400
    code: str = "invalid_request"
    param: str | None = None
    path: str = CHAT
    headers: dict[str, str] = field(default_factory=dict)
    reason: str = ""  # in the ledger, where it tells more than the code


def document(**fields: object) -> bytes:
    return json.dumps({**chat(), **fields}).encode()


JSON = "invalid_json"
ROWS = [
    Bad("nothing", b"", code=JSON),
    Bad("malformed", b'{"model": "coder", ', code=JSON),
    Bad("two documents", b"{}{}", code=JSON),
    Bad("NaN", document(temperature=float("nan")), code=JSON),
    Bad("not UTF-8", b'{"model":"\xff\xfe"}', code=JSON),
    Bad("lone surrogate", b'{"model":"\\ud800",' + MESSAGES.encode() + b"}", code=JSON),
    Bad("UTF-16", '{"model":"coder"}'.encode("utf-16"), code=JSON),
    Bad("BOM", b"\xef\xbb\xbf" + document(), code=JSON),
    Bad("a list", b"[]", code=JSON),
    Bad("a string", b'"hi"', code=JSON),
    Bad("null", b"null", code=JSON),
    Bad("name twice", b'{"model":"coder","model":"coder",' + MESSAGES.encode() + b"}", code=JSON, param="model"),
    Bad("name twice, spelt otherwise", b'{"stream":true,"str\\u0065am" :false,' + MESSAGES.encode() + b"}", code=JSON,
        param="stream"),
    Bad("name twice, deep", b'{"messages":[{"role":"user","content":"a","content":"b"}]}', code=JSON, param="content"),
    Bad("deep lists", b"[" * 400_000 + b"]" * 400_000, code=JSON),
    Bad("deep objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, code=JSON),
    Bad("deep enough to be refused", document(metadata=json.loads("[" * 70 + "]" * 70)), code=JSON),
    Bad("model of another type", document(model=7), param="model"),
    Bad("model too long", document(model="m" * 300), param="model"),
    Bad("model with a control character", document(model="co\a"), param="model"),
    Bad("stream of another type", document(stream="yes"), param="stream"),
    Bad("no messages", b'{"model":"coder"}', param="messages"),
    Bad("messages of another type", document(messages="hi"), param="messages"),
    Bad("messages empty", document(messages=[]), param="messages"),
    Bad("a message of another type", document(messages=["hi"]), param="messages[0]"),
    Bad("a message without a role", document(messages=[{"content": "hi"}]), param="messages[0]"),
    Bad("no prompt", b'{"model":"coder"}', param="prompt", path="/v1/completions"),
    Bad("no input", b'{"model":"coder"}', param="input", path="/v1/embeddings"),
    Bad("streamed embeddings", b'{"model":"coder","input":"a","stream":true}', param="stream", path="/v1/embeddings"),
    Bad("no documents", b'{"model":"coder","query":"q"}', param="documents", path="/v1/rerank"),
    Bad("no query", b'{"model":"coder","documents":["d"]}', param="query", path="/rerank"),
    *(Bad(f"top_n {most}", b'{"model":"coder","query":"q","documents":["d"],"top_n":%s}' % most.encode(),
          param="top_n", path="/v1/rerank") for most in ('"3"', "true", "-1", "1.5", "2147483648", "[]")),
    Bad("unknown model", document(model="gpt-4o"), 404, "model_not_found", "model", reason="model_unknown"),
    Bad("a provider's form", document(model="coder:together"), 404, "model_not_found", "model", reason="model_unknown"),
    Bad("an unknown reach", document(), param="X-Ringfence-Reach", headers={"X-Ringfence-Reach": "moon"}),
    Bad("too large", document(pad="x" * LIMIT), 413, "body_too_large"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_bad_body_is_named_and_recorded(desk: Desk, row: Bad) -> None:
    desk.fake.reset()
    denials = len(desk.service.records("denial"))
    answer = desk.service.post(row.path, content=row.body, headers={**desk.signed, **row.headers})
    error = error_of(answer.content)
    assert (answer.status_code, error["code"], error["param"]) == (row.status, row.code, row.param), error
    assert error["type"] == "invalid_request_error"
    assert answer.headers["content-type"] == "application/json"
    [denial] = desk.service.records("denial")[denials:]
    assert (denial["body"]["caller"], denial["body"]["reason"]) == ("alice", row.reason or row.code)
    assert answer.headers["x-ringfence-record"] == str(denial["i"])
    assert answer.headers["x-request-id"] == denial["body"]["request_id"]
    assert desk.fake.asked() == []


# Authorization -> all of these are 401 and leave no record: nobody is known to have asked.
NO_KEYS = {
    "none": {},
    "empty": {"Authorization": ""},
    "not bearer": {"Authorization": "Basic YTpi"},
    "no key": {"Authorization": "Bearer"},
    "unknown": {"Authorization": "Bearer rf_00000000_" + "A" * 43},
    "not one of ours": {"Authorization": "Bearer sk-proj-1234"},
    "odd bytes": {"Authorization": b"Bearer \xff\xfe"},
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_without_a_key_nothing_is_told(desk: Desk, name: str) -> None:
    desk.fake.reset()
    before = len(desk.service.records())
    answer = desk.service.client.post(desk.service.url + CHAT, json=chat(), headers=NO_KEYS[name])  # type: ignore[arg-type]  # bytes on purpose
    error = error_of(answer.content)
    assert (answer.status_code, error["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "ringfence keys create" in error["message"]
    assert desk.fake.asked() == []
    assert [row["kind"] for row in desk.service.records()[before:] if row["kind"] == "denial"] == []
    assert desk.service.get("/v1/models", headers=NO_KEYS[name]).status_code == 401
    assert desk.service.post("/warm", headers=NO_KEYS[name]).status_code == 401


def test_a_key_one_character_off_is_unknown(desk: Desk) -> None:
    wrong = desk.key[:-1] + ("A" if desk.key[-1] != "A" else "B")
    answer = desk.service.post(CHAT, chat(), headers={"Authorization": f"Bearer {wrong}"})
    assert error_of(answer.content)["code"] == "invalid_api_key"
    assert wrong not in answer.text + desk.service.log()


PATHS = [
    ("GET", "/v1/nothing", 404, "unknown_path"),
    ("POST", "/v1/nothing", 404, "unknown_path"),
    ("POST", "/v1/chat/completions/", 404, "unknown_path"),
    ("POST", "//v1/chat/completions", 404, "unknown_path"),
    ("POST", "/v1/../v1/chat/completions", 404, "unknown_path"),
    ("POST", "/V1/chat/completions", 404, "unknown_path"),
    ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    ("PUT", "/v1/chat/completions", 405, "method_not_allowed"),
    ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ("POST", "/health", 405, "method_not_allowed"),
    ("GET", "/v1/models/nothing", 404, "model_not_found"),
    ("GET", "/warm?tier=nothing", 404, "tier_not_found"),
    ("GET", "/warm?wait=long", 400, "invalid_request"),
    ("GET", "/warm?wait=nan", 400, "invalid_request"),
    ("GET", "/warm?wait=-1", 400, "invalid_request"),
    ("GET", "/v1/receipts/one", 404, "receipt_not_found"),
    ("GET", "/v1/receipts/-1", 404, "receipt_not_found"),
    pytest.param("GET", "/v1/receipts/" + "9" * 5000, 404, "receipt_not_found", id="more digits than int() takes"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), PATHS)
def test_wrong_paths_and_methods(desk: Desk, method: str, path: str, status: int, code: str) -> None:
    with raw_client(desk.service) as client:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {desk.key}", "Content-Length: 2"]
        client.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n{}")
        given, headers = client.head()
        body = client.body(int(headers["content-length"]))
    assert (given, error_of(body)["code"]) == (status, code)
    recorded = code not in ("unknown_path", "method_not_allowed")  # these are no requests
    assert ("x-ringfence-record" in headers) == recorded


# Bytes that are no good HTTP -> refused (400, or the connection closed), never served.
NOT_HTTP = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 3 + b"\r\n\r\n",
    "two lengths": b"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunked": b"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0"
    b"\r\n\r\n",
    "negative length": b"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}",
    "space before the colon": b"POST {path} HTTP/1.1\r\nHost : x\r\nContent-Length: 2\r\n\r\n{}",
    "a bad chunk": b"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_bad_http_is_never_served(desk: Desk, name: str) -> None:
    desk.fake.reset()
    with raw_client(desk.service) as client:
        client.sock.sendall(NOT_HTTP[name].replace(b"{path}", CHAT.encode()))
        status, headers = client.head()
        body = client.body(int(headers["content-length"]))
    assert (status, error_of(body)["code"]) == (400, "invalid_request")
    assert desk.fake.asked() == []


def test_a_body_too_large_is_refused_before_it_is_sent(desk: Desk) -> None:
    with raw_client(desk.service) as client:
        lines = [f"POST {CHAT} HTTP/1.1", "Host: x", f"Authorization: Bearer {desk.key}", f"Content-Length: {10**10}"]
        client.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        status, headers = client.head()
        assert (status, error_of(client.body(int(headers["content-length"])))["code"]) == (413, "body_too_large")


def test_a_chunked_body_is_counted_too(desk: Desk) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(LIMIT // 50_000 + 2):
            yield b" " * 50_000

    answer = desk.service.post(CHAT, content=pieces(), headers=desk.signed)
    assert (answer.status_code, error_of(answer.content)["code"]) == (413, "body_too_large")


def test_a_body_that_only_our_spelling_makes_too_large_harms_nobody_else(desk: Desk) -> None:
    """1e15 is 1000000000000000.0 for the upstream: 4 bytes become 18. The gate must not take us for a broken worker."""
    numbers = ",".join(["1e15"] * 150_000)
    body = f'{{"model":"{MODEL}","pad":[{numbers}],{MESSAGES}}}'.encode()
    assert len(body) < LIMIT
    answer = desk.service.post(CHAT, content=body, headers=desk.signed)
    assert (answer.status_code, error_of(answer.content)["code"]) == (413, "body_too_large")
    assert desk.service.rows()["gate"]["restarts"] == 0
    assert desk.service.post(CHAT, chat(), headers=desk.signed).status_code == 200


def test_a_model_id_of_the_client_stays_out_of_log_and_ledger(desk: Desk) -> None:
    answer = desk.service.post(CHAT, {**chat(), "model": "NOSY-canary-model"}, headers=desk.signed)
    assert answer.status_code == 404
    assert "NOSY-canary" not in desk.service.log() + json.dumps(desk.service.records())


def test_it_still_works_and_has_logged_no_traceback(desk: Desk) -> None:
    answer = desk.service.post(CHAT, chat(), headers=desk.signed)
    assert answer.status_code == 200
    assert "Traceback" not in desk.service.log()
    assert "internal_error" not in desk.service.log()
    assert all(row["restarts"] == 0 for row in desk.service.rows().values())
    desk.service.settled()
    assert desk.service.verify().returncode == 0
