"""Who answers is asked before a prompt is sent, again on a timer, and read off the heads of real answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from policies import Backend, Destination, Reach
from router.audit import Kind
from router.channel.exchange import ExchangeFailed
from router.channel.messages import Cause
from router.channel.states import State
from router.gate import watcher
from router.gate.certificates import certificate_names
from router.settings.snapshot import Snapshot, TlsMaterial
from tests.router.certificates import Authority
from tests.router.house import House, Script, house, plain, read_request, scripted

Change = Callable[[Snapshot], Snapshot]


def server(pages: Mapping[str, object], seen: list[str], heads: Mapping[str, str] | None = None) -> Script:
    """Answers by path, 404 elsewhere; `heads`: an extra header line by path."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            method, path, _ = (await read_request(reader)).split(b"\r\n")[0].decode().split(" ")
            seen.append(f"{method} {path}")
            extra = (heads or {}).get(path, "")
            found = path in pages
            writer.write(plain(json.dumps(pages.get(path)).encode(), "200 OK" if found else "404 No", extra=extra))
            await writer.drain()

    return script


def declared(backend: Backend = Backend.OTHER, **changes: Any) -> Change:
    """The snapshot with its upstream changed."""

    def change(snapshot: Snapshot) -> Snapshot:
        policy = snapshot.policy
        rule = replace(policy.upstreams["u"], backend=backend, **changes)
        return replace(snapshot, policy=replace(policy, upstreams={**policy.upstreams, "u": rule}))

    return change


async def state_is(gate: House, state: State) -> str:
    """The reason, once the state is this one."""
    async with asyncio.timeout(5):
        while "u" not in gate.client.states or gate.client.states["u"].state is not state:
            await asyncio.sleep(0.005)
    return gate.client.states["u"].reason


GOOD = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}, "/v1/chat/completions": {"ok": True}}


async def test_a_good_upstream_is_recorded_once_with_its_software(tmp_path: Path) -> None:
    seen: list[str] = []
    pages = {**GOOD, "/health": {}, "/version": {"version": "0.15.0"}}
    async with scripted(server(pages, seen)) as port, house(port, tmp_path, declared(Backend.VLLM)) as gate:
        gate.upstreams.start()
        assert await state_is(gate, State.READY) == "probed"
        assert seen == ["GET /health", "GET /v1/models", "GET /version"]
        (record,) = gate.ledger.bodies(Kind.PROBE)
    assert record == {
        "upstream": "u", "state": "accepted", "backend": "vllm", "software": "vllm 0.15.0", "reason": "allowed",
        "address": f"127.0.0.1:{port}",
    }  # fmt: skip


async def test_the_same_finding_from_another_address_is_another_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "IDENTIFY_AGAIN_S", 0.0)
    async with scripted(server(GOOD, [])) as port, house(port, tmp_path) as gate:
        gate.upstreams.start()
        await state_is(gate, State.READY)
        upstream = gate.upstreams._all["u"]
        assert upstream.news() is None
        upstream.told = {**upstream.told, "address": f"127.0.0.2:{port}"}  # as if another had answered before
        upstream.look.set()
        async with asyncio.timeout(10):
            while len(gate.ledger.bodies(Kind.PROBE)) < 2:
                await asyncio.sleep(0.01)
        assert {record["address"] for record in gate.ledger.bodies(Kind.PROBE)} == {f"127.0.0.1:{port}"}


async def test_a_known_hole_and_another_software_are_told_and_serve(tmp_path: Path) -> None:
    pages = {**GOOD, "/health": {}, "/version": {"version": "0.14.0"}}
    async with scripted(server(pages, [])) as port, house(port, tmp_path, declared(Backend.TGI)) as gate:
        gate.upstreams.start()
        assert "declared tgi, answers as vllm" in await state_is(gate, State.READY)
        assert json.loads(await gate.answer()) == {"ok": True}
        await asyncio.sleep(0.02)
        assert "declared tgi" in gate.client.states["u"].reason  # an answer does not wipe it out


@pytest.mark.parametrize(
    ("backend", "pages", "words"),
    [
        (Backend.OTHER, {"/v1/models": {"data": [{"id": "m", "owned_by": "openai"}]}}, "cloud_upstream"),
        (
            Backend.OLLAMA,
            {
                "/api/version": {"version": "0.18.0"},
                "/v1/models": {"data": []},
                "/api/show": {"remote_host": "https://x"},
            },
            "remote_model: m runs in",
        ),
        (
            Backend.OTHER,  # an Ollama that nobody declared
            {
                "/v1/models": {"data": []},
                "/api/version": {"version": "0.18.0"},
                "/api/tags": {"models": [{"name": "m:latest", "remote_model": "x"}]},
            },
            "remote_model",
        ),
    ],
)
async def test_what_is_refused_never_gets_a_prompt(
    backend: Backend, pages: dict[str, object], words: str, tmp_path: Path
) -> None:
    seen: list[str] = []
    pages["/v1/chat/completions"] = {"ok": True}
    async with scripted(server(pages, seen)) as port, house(port, tmp_path, declared(backend)) as gate:
        gate.upstreams.start()
        assert words in await state_is(gate, State.FAILING)
        for wait in (True, False):
            with pytest.raises(ExchangeFailed) as caught:
                await gate.answer(wait=wait)
            assert caught.value.failure.cause is Cause.IDENTITY
        (record,) = gate.ledger.bodies(Kind.PROBE)
        assert record["state"] == "refused"
        assert words in record["reason"]
        assert [outcome["sent_bytes"] for outcome in await gate.outcomes(2)] == [0, 0]
    assert "POST /v1/chat/completions" not in seen


async def test_a_rented_upstream_is_asked_with_the_first_request_and_before_it(tmp_path: Path) -> None:
    seen: list[str] = []
    async with scripted(server(GOOD, seen)) as port, house(port, tmp_path, declared(reach=Reach.RENTED)) as gate:
        gate.upstreams.start()
        await asyncio.sleep(0.05)
        assert seen == []
        assert json.loads(await gate.answer()) == {"ok": True}
    assert seen == ["GET /v1/models", "GET /v1/models", "GET /api/version", "POST /v1/chat/completions"]


async def test_a_head_that_gives_a_cloud_away_is_the_last_one(tmp_path: Path) -> None:
    seen: list[str] = []
    script = server(GOOD, seen, {"/v1/chat/completions": "OpenAI-Organization: acme\r\n"})
    async with scripted(script) as port, house(port, tmp_path) as gate:
        gate.upstreams.start()
        await state_is(gate, State.READY)
        for _ in range(2):
            with pytest.raises(ExchangeFailed) as caught:
                await gate.answer()
            assert caught.value.failure.cause is Cause.IDENTITY
        assert "openai-organization" in await state_is(gate, State.FAILING)
        assert seen.count("POST /v1/chat/completions") == 1
        assert gate.ledger.bodies(Kind.PROBE)[-1]["state"] == "refused"
        await gate.upstreams.warm("u", "t", 0.3)  # looking again does not take it back
        assert gate.client.states["u"].state is State.FAILING


async def test_one_that_changes_is_noticed_on_the_timer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "IDENTIFY_AGAIN_S", 0.0)
    pages: dict[str, object] = dict(GOOD)
    async with scripted(server(pages, [])) as port, house(port, tmp_path) as gate:
        gate.upstreams.start()
        await state_is(gate, State.READY)
        pages["/v1/models"] = {"data": [{"id": "m", "owned_by": "openai"}]}
        await gate.upstreams.warm("u", "t", 0.3)
        assert "owned by openai" in await state_is(gate, State.FAILING)
        pages["/v1/models"] = {"data": [{"id": "m", "owned_by": "vllm"}]}
        await gate.upstreams.warm("u", "t", 2.0)
        await state_is(gate, State.READY)
        found = [record["state"] for record in gate.ledger.bodies(Kind.PROBE)]
    assert found == ["accepted", "refused", "accepted"]


async def test_a_cloud_that_refuses_our_question_is_known_by_its_refusal(tmp_path: Path) -> None:
    seen: list[str] = []
    script = server({"/v1/chat/completions": {"ok": True}}, seen, {"/v1/models": "OpenAI-Organization: acme\r\n"})
    async with scripted(script) as port, house(port, tmp_path) as gate:
        gate.upstreams.start()
        assert "openai-organization" in await state_is(gate, State.FAILING)
        with pytest.raises(ExchangeFailed) as caught:
            await gate.answer()
        assert caught.value.failure.cause is Cause.IDENTITY
    assert "POST /v1/chat/completions" not in seen


async def test_one_that_is_silent_about_itself_may_serve(tmp_path: Path) -> None:
    """Nothing but the completions: its probe fails, and it is asked all the same."""
    async with scripted(server({"/v1/chat/completions": {"ok": True}}, [])) as port, house(port, tmp_path) as gate:
        gate.upstreams.start()
        await state_is(gate, State.FAILING)
        assert json.loads(await gate.answer()) == {"ok": True}


def test_the_names_of_a_certificate_are_read(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    assert certificate_names(authority.certificate.public_bytes(Encoding.DER)) == ("test authority",)
    assert certificate_names(authority.server().certificate.public_bytes(Encoding.DER)) == ("server",)
    assert certificate_names(b"garbage") == ()


async def test_a_private_link_to_a_cloud_is_known_by_its_certificate(tmp_path: Path) -> None:
    seen: list[str] = []
    authority = Authority.make(tmp_path)
    context = authority.server(common="acme.openai.azure.com").context()
    running = await asyncio.start_server(server(GOOD, seen), "127.0.0.1", 0, ssl=context)
    port = running.sockets[0].getsockname()[1]
    link = Destination("https", "127.0.0.1", port, "/v1")

    def change(snapshot: Snapshot) -> Snapshot:
        material = {"u": TlsMaterial(authority.file.read_text())}
        return replace(declared(destination=link)(snapshot), tls=material)

    async with house(port, tmp_path, change) as gate:
        gate.upstreams.start()
        assert "acme.openai.azure.com" in await state_is(gate, State.FAILING)
    running.close()
    await asyncio.sleep(0.05)
    assert "POST /v1/chat/completions" not in seen
