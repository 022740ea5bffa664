"""The operations' side of a worker, called as ASGI."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request

from router.api import health, operations, status
from router.api.app import Application
from router.api.operations import http_error
from router.channel.control import ProcessState
from router.channel.steering import Steering
from router.logs import Log
from router.view import View
from tests.router.house import House, answering, house, plain, scripted


def client_of(parts: House, view: View) -> httpx.AsyncClient:
    application = Application(parts.snapshot, parts.client, view, Log("test"), Steering(lambda _: None))
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_health_tells_of_tiers_and_processes(tmp_path: Path) -> None:
    view = View(processes=(ProcessState("gate", "ready", 2, "killed by SIGKILL"),))
    async with scripted(answering(plain(b"{}"))) as port, house(port, tmp_path) as parts:
        async with client_of(parts, view) as client:
            assert (await client.get("/livez")).json() == {"status": "alive"}
            warm = await client.post("/warm?tier=t&wait=2")
            assert (warm.status_code, warm.json()["status"]) == (200, "warm")
            health = await client.get("/health")
            assert (health.status_code, health.json()["ready"]) == (200, True)
            assert health.json()["processes"][0]["restarts"] == 2
            assert (await client.get("/")).json()["service"] == "ringfence"


async def test_a_gate_that_is_gone_is_said(tmp_path: Path) -> None:
    async with house(1, tmp_path) as parts, client_of(parts, View()) as client:
        parts.client.close()
        await parts.gate.drain(0.01)
        await asyncio.sleep(0)  # the channel's closing is told in the loop's next pass
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "gate_unavailable")
        assert int(health.headers["retry-after"]) > 0
        warm = await client.get("/warm")
        assert (warm.status_code, warm.json()["error"]["code"]) == (503, "gate_unavailable")


@pytest.mark.parametrize(
    ("method", "path", "expected", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_path"),
        ("POST", "/livez", 405, "method_not_allowed"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("GET", "/v1/models/none", 404, "model_not_found"),
        ("GET", "/warm?tier=none", 404, "tier_not_found"),
        ("GET", "/warm?wait=long", 400, "invalid_request"),
        ("GET", "/warm?wait=-1", 400, "invalid_request"),
    ],
)
async def test_what_is_refused_is_refused_in_openais_shape(
    method: str, path: str, expected: int, code: str, tmp_path: Path
) -> None:
    async with house(1, tmp_path) as parts, client_of(parts, View()) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (expected, code)


@pytest.mark.parametrize(("path", "module"), [("/livez", status), ("/health", health)])
async def test_a_mistake_of_ours_is_a_500_without_a_word_of_it(
    path: str, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(module, "as_json", broken)
    async with house(1, tmp_path) as parts, client_of(parts, View()) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text + capsys.readouterr().err


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank", "/v1/reranking", "/completion", "/generate"])
async def test_a_generating_endpoint_takes_post_by_each_of_its_names(path: str, tmp_path: Path) -> None:
    async with house(1, tmp_path) as parts, client_of(parts, View()) as client:
        for method in ("GET", "PUT", "DELETE"):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
            assert answer.json()["error"]["message"] == f"{path} takes POST."
        assert (await client.head(path)).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/livez", "GET, HEAD"),
        ("GET", "/v1/chat/completions", "POST"),
        ("TRACE", "/v1/chat/completions", "POST"),
        ("PROPFIND", "/generate", "POST"),
        ("DELETE", "/warm", "GET, HEAD, POST"),
        ("DELETE", "/admin/narrow", "GET, HEAD, POST"),
    ],
)
async def test_the_methods_that_a_path_takes_are_named(method: str, path: str, allow: str, tmp_path: Path) -> None:
    async with house(1, tmp_path) as parts, client_of(parts, View()) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_a_generating_endpoint_in_another_spelling_is_told_its_own(tmp_path: Path) -> None:
    """The protocol did not take it; that the path takes no POST would be no truth."""
    async with house(1, tmp_path) as parts, client_of(parts, View()) as client:
        answer = await client.post("/v1/ch%61t/completions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert "POST /v1/chat/completions" in answer.json()["error"]["message"]


async def test_an_import_that_fails_is_told_in_our_words_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first request beside /health, while there is no descriptor to read the module by."""

    def short(*_: object) -> Starlette:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a/secret/path")

    async with house(1, tmp_path) as parts, client_of(parts, View()) as client:
        with monkeypatch.context() as patched:
            patched.setattr(operations, "operations", short)
            answer = await client.get("/livez")
            assert (await client.get("/health")).json()["status"]
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert answer.headers["x-request-id"]
        assert (await client.get("/livez")).status_code == 200
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "internal_error" in line]
    assert line["reason"].startswith("OSError (Too many open files) at ")


@pytest.mark.parametrize(
    ("refusal", "code"), [(404, "unknown_path"), (405, "method_not_allowed"), (400, "invalid_request")]
)
async def test_starlettes_own_refusals_are_told_in_our_words(refusal: int, code: str) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "app": Starlette()})
    answer = await http_error(request, HTTPException(refusal))
    assert json.loads(answer.body)["error"]["code"] == code
