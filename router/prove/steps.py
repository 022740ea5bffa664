"""What the service is driven through: everything it does, and what an attacker would have it do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from router.prove.internet import HUB, NOWHERE, Internet
from router.prove.service import Service

NAMES: Final = {"gpu.prove.example": "10.1.2.5"}
POLICY: Final = """
hosts: {table.prove.example: [10.1.2.6]}
engines: {small: {context: 512, parallel: 2, threads: 1}}
model_sources:
  hub: {url: "http://10.1.2.8:8080"}
  files: {url: "http://10.1.2.9:8080"}
upstreams:
  first: {url: "http://10.1.2.3:8000/v1"}
  second: {url: "http://10.1.2.4:8000/v1"}
  named: {url: "http://gpu.prove.example:8001/v1", addresses: [10.1.2.0/24]}
  table: {url: "http://table.prove.example:8001/v1"}
  embedded: {engine: small}
tiers:
- {name: near, upstreams: [first, second], timeouts: {connect: 2s, cold_start: 5s, first_token: 5s, total: 20s}}
- {name: far, upstreams: [named, table], timeouts: {connect: 5s, cold_start: 10s, first_token: 5s, total: 20s}}
- {name: here, upstreams: [embedded], timeouts: {connect: 5s, cold_start: 60s, first_token: 60s, total: 120s}}
models: {m: {tiers: [near, far]}, f: {tiers: [far]}, e: {tiers: [here]}}
"""
RELOADED: Final = POLICY.replace("tiers:\n", '  later: {url: "http://10.1.2.7:8080/v1"}\ntiers:\n', 1).replace(
    "[named, table]", "[later, named, table]"
)
EVIL: Final = f"http://{NOWHERE}/steal"
HOSTILE_ENVIRONMENT: Final = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), EVIL),
    **dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE", "HF_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"), EVIL),
}
"""What a developer's shell carries; none of it may re-aim anything."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done. `wanted`: the statuses that are right; empty: any end is, the witness alone decides."""

    name: str
    run: Callable[[], int]
    wanted: tuple[int, ...] = ()


def steps(service: Service, internet: Internet, directory: Path) -> Iterator[Step]:
    """In order; what a step changes, the next ones live with."""
    yield from _requests(service)
    yield from _failures(service, internet)
    yield from _engine(service)
    yield from _pulls(service, internet)
    for position, body in enumerate(hostile_bodies(), 1):
        yield Step(f"hostile body {position}", partial(service.ask, "POST", "/v1/chat/completions", body))
    for name, data in hostile_bytes():
        yield Step(f"hostile bytes: {name}", partial(service.raw, data))
    yield from _life(service, directory)


def _chat(service: Service, model: str = "m", **more: Any) -> int:
    document = {"model": model, "messages": [{"role": "user", "content": "canary"}], **more}
    return service.ask("POST", "/v1/chat/completions", document)


def _requests(service: Service) -> Iterator[Step]:
    yield Step("chat", lambda: _chat(service), (200,))
    yield Step("chat, streamed", lambda: _chat(service, stream=True), (200,))
    yield Step("a model behind a name", lambda: _chat(service, "f"), (200,))
    text = {"model": "m", "prompt": "canary"}
    yield Step("completions", lambda: service.ask("POST", "/v1/completions", text), (200,))
    vectors = {"model": "m", "input": "canary"}
    yield Step("embeddings", lambda: service.ask("POST", "/v1/embeddings", vectors), (200,))
    ranking = {"model": "m", "query": "canary", "documents": ["canary"]}
    yield Step("rerank", lambda: service.ask("POST", "/v1/rerank", ranking), (200,))
    for path in ("/", "/livez", "/health", "/v1/models", "/v1/models/m"):
        yield Step(f"GET {path}", partial(service.ask, "GET", path), (200,))
    yield Step("warm-up", lambda: service.ask("POST", "/warm?wait=60"), (200,))
    yield Step("no such path", lambda: service.ask("GET", "/metrics/../../etc"), (404,))


def _failures(service: Service, internet: Internet) -> Iterator[Step]:
    def with_faults(**faults: str) -> int:
        internet.faults.update({address.replace("_", ".").strip("a"): fault for address, fault in faults.items()})
        try:
            return _chat(service)
        finally:
            internet.faults.clear()

    yield Step("one upstream is broken", lambda: with_faults(a10_1_2_3="broken"), (200,))
    yield Step("a whole tier is broken", lambda: with_faults(a10_1_2_3="broken", a10_1_2_4="broken"), (200,))
    redirects = dict.fromkeys(("a10_1_2_3", "a10_1_2_4", "a10_1_2_5", "a10_1_2_6"), "redirects")
    yield Step("every upstream redirects", lambda: with_faults(**redirects), (502,))


def _engine(service: Service) -> Iterator[Step]:
    """The embedded engine: in a cage without network, through prompts, attacks and death."""
    yield Step("the embedded engine", lambda: _chat(service, "e", max_tokens=4), (200,))
    yield Step("the embedded engine, streamed", lambda: _chat(service, "e", max_tokens=4, stream=True), (200,))
    older = {"model": "e", "prompt": "canary", "n_predict": 2}
    yield Step("an older client", lambda: service.ask("POST", "/completion", older), (200,))
    for key in ("rpc", "rpc_servers", "lora", "model_url", "hf_repo"):
        yield Step(f"the embedded engine with {key}", partial(_chat, service, "e", max_tokens=1, **{key: EVIL}))

    def crash() -> int:
        service.crash("local_engine")
        return _chat(service, "e", max_tokens=2)

    yield Step("the embedded engine is killed", crash, (200,))


def _pulls(service: Service, internet: Internet) -> Iterator[Step]:
    """A model fetched while the service runs, from listed places; one that is sent elsewhere gets no byte there."""

    def sent_elsewhere() -> int:
        internet.faults[HUB] = "sends elsewhere"
        try:
            return service.run("models", "pull", "o/n:b.gguf", "--config", "policy.yaml")
        finally:
            internet.faults.clear()

    yield Step("a pull that is sent elsewhere", sent_elsewhere, (1,))
    yield Step("a pull", lambda: service.run("models", "pull", "o/n:a.gguf", "--config", "policy.yaml"), (0,))
    yield Step("the ledger of pulls is verified", lambda: service.run("audit", "verify", "ledger-models"), (0,))


def hostile_bodies() -> Iterator[dict[str, Any]]:
    """Bodies that name a place to send things to, in every way that some software obeys."""
    message = {"role": "user", "content": "canary"}
    for key in ("api_base", "base_url", "api_key", "custom_llm_provider", "model_list", "extra_headers", "rpc_servers"):
        yield {"model": "m", "messages": [message], key: EVIL}
        yield {"model": "m", "messages": [message], "metadata": {key: EVIL}, "extra_body": {key: EVIL}}
    for kind in ("image_url", "video_url", "audio_url", "input_audio", "file_url"):
        yield {"model": "m", "messages": [{"role": "user", "content": [{"type": kind, kind: {"url": EVIL}}]}]}
        yield {"model": "m", "messages": [{"role": "user", "content": [{"type": kind, kind: "file:///etc/passwd"}]}]}
    for model in (EVIL, "openai/gpt-4o", "gpt-oss:120b-cloud", "m\r\nHost: evil", "../../api/pull", f"{NOWHERE}:443/m"):
        yield {"model": model, "messages": [message]}
    yield {"model": "m", "messages": [message], "tools": [{"type": "mcp", "server_url": EVIL}]}
    yield {"model": "m", "messages": [message], "tools": [{"type": "web_search"}]}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": EVIL}}}
    yield {"model": "m", "messages": [message], "response_format": schema}


def hostile_bytes() -> Iterator[tuple[str, bytes]]:
    """Requests that no client library writes."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "canary"}]}).encode()
    evil = f"{NOWHERE}:80"
    heads = {
        "absolute form": f"POST http://{evil}/v1/chat/completions HTTP/1.1\r\nHost: {evil}\r\n",
        "CONNECT": f"CONNECT {evil} HTTP/1.1\r\nHost: {evil}\r\n",
        "another host": f"POST /v1/chat/completions HTTP/1.1\r\nHost: {evil}\r\n",
        "forwarding headers": f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Host: {evil}\r\n"
        f"Forwarded: host={evil}\r\nX-Upstream-Https-Proxy: {EVIL}\r\nX-Portkey-Custom-Host: {EVIL}\r\n",
        "an upgrade": "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "two lengths": "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n",
        "a trick in the path": f"POST /v1/chat/completions?base_url={EVIL}#@{evil} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Connection: close\r\n",
    }
    for name, head in heads.items():
        yield name, f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)


def _life(service: Service, directory: Path) -> Iterator[Step]:
    """Reload, crashes, restart; after each it must still serve."""

    def then_chat(act: Callable[[], None]) -> Callable[[], int]:
        def run() -> int:
            act()
            return _chat(service, "f")

        return run

    def reload() -> None:
        (directory / "policy.yaml").write_text(RELOADED)
        service.reload()

    yield Step("reload", then_chat(reload), (200,))
    yield Step("the gate is killed", then_chat(lambda: service.crash("router.gate")), (200,))
    yield Step("the workers are killed", then_chat(lambda: service.crash("router.worker")), (200,))
    yield Step("restart", then_chat(service.restart), (200,))
    yield Step("stop", service.stop, (0,))
    yield Step("the ledger is verified", service.verify, (0,))
