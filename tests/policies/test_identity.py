"""What answers at a listed address: clouds, undeclared gateways and remote models are refused, the rest is told."""

from __future__ import annotations

from typing import Any

import pytest

from policies import (
    Backend,
    Destination,
    Heard,
    ModelRule,
    Policy,
    Reach,
    Reason,
    TierRule,
    UpstreamRule,
    asked_by_upstream,
    judge_head,
    judge_identity,
    questions_after,
    questions_for,
)

ASKED = frozenset({"qwen2.5-coder"})


def rule(backend: Backend = Backend.OTHER, *, gateway: bool = False) -> UpstreamRule:
    destination = Destination("http", "10.0.0.1", 80, "/v1")
    return UpstreamRule("u", Reach.NETWORK, backend, destination, gateway=gateway)


def models(*rows: dict[str, Any], **headers: str) -> Heard:
    return Heard("models", 200, headers, {"object": "list", "data": list(rows)})


def tags(*rows: dict[str, Any]) -> Heard:
    return Heard("/api/tags", 200, {}, {"models": list(rows)})


def says(question: str, **document: Any) -> Heard:
    return Heard(question, 200, {}, document)


OLLAMA = says("/api/version", version="0.18.0")
VLLM = models({"id": "m", "owned_by": "vllm"})

REFUSED = [
    # An API of a cloud at a private address: its headers and its owners give it away.
    ("openai's head", [Heard("models", 200, {"openai-organization": "acme"})], (), "cloud_upstream", "openai"),
    ("openai's error", [Heard("models", 401, {"openai-processing-ms": "3"})], (), "cloud_upstream", "openai"),
    ("groq", [Heard("models", 200, {"x-groq-region": "dls"})], (), "cloud_upstream", "groq"),
    ("anthropic", [Heard("models", 404, {"anthropic-organization-id": "x"})], (), "cloud_upstream", "anthropic"),
    ("azure", [Heard("models", 200, {"azureml-model-session": "x"})], (), "cloud_upstream", "azure"),
    ("bedrock", [Heard("models", 200, {"x-amzn-bedrock-invocation-latency": "9"})], (), "cloud_upstream", "bedrock"),
    ("openai's models", [models({"id": "gpt-4o", "owned_by": "openai"})], (), "cloud_upstream", "owned by openai"),
    ("the new ones", [models({"id": "m", "owned_by": "system"})], (), "cloud_upstream", "openai"),
    ("one among ours", [models({"id": "a", "owned_by": "vllm"}, {"id": "b", "owned_by": "OpenAI"})], (),
     "cloud_upstream", ""),
    ("a private link", [VLLM], ("gpu.lan", "*.openai.azure.com"), "cloud_upstream", "*.openai.azure.com"),
    ("an API's certificate", [VLLM], ("API.OPENAI.COM",), "cloud_upstream", "OPENAI"),
    # Gateways that nobody declared.
    ("litellm", [Heard("models", 200, {"x-litellm-version": "1.80"})], (), "gateway_undeclared", "litellm"),
    ("portkey", [Heard("models", 200, {"x-portkey-trace-id": "x"})], (), "gateway_undeclared", "portkey"),
    ("cloudflare's", [Heard("models", 200, {"cf-aig-cache-status": "MISS"})], (), "gateway_undeclared", "cloudflare"),
    ("openrouter", [models({"id": "a/b", "top_provider": {}, "pricing": {}})], (), "gateway_undeclared", "openrouter"),
    ("a peer", [models({"id": "m", "meta": {"llamaswap": {"peerID": "x"}}})], (), "gateway_undeclared", "peers"),
    # Ollama models that are not on the server.
    ("by its tags", [OLLAMA, tags({"name": "qwen2.5-coder:latest", "remote_host": "https://x"})], (),
     "remote_model", "qwen2.5-coder"),
    ("by the other key", [OLLAMA, tags({"name": "qwen2.5-coder:latest", "remote_model": "y"})], (), "remote_model", ""),
    ("in capitals", [OLLAMA, tags({"name": "Qwen2.5-Coder:LATEST", "remote_host": "https://x"})], (),
     "remote_model", ""),
    ("an alias", [OLLAMA, says("/api/show", name="qwen2.5-coder", remote_host="https://x")], (), "remote_model", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("heard", "names", "reason", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_not_ours_is_refused(heard: list[Heard], names: tuple[str, ...], reason: str, words: str) -> None:
    decision = judge_identity(rule(), ASKED, heard, names).decision
    assert (decision.allowed, decision.reason) == (False, reason)
    assert words in decision.detail


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "qwen3:cloud", "Qwen3:CLOUD", "qwen3-coder:480b-cloud"])
def test_a_cloud_name_is_refused_in_every_form_where_ollama_answers(name: str) -> None:
    asked = frozenset({name.lower()})
    listed = [OLLAMA, models({"id": name, "owned_by": "library"})]
    assert judge_identity(rule(Backend.OLLAMA), asked, listed).decision.reason is Reason.REMOTE_MODEL


ACCEPTED: list[tuple[str, UpstreamRule, list[Heard], str, str]] = [
    ("vllm", rule(Backend.VLLM), [VLLM, says("/version", version="0.15.0")], "vllm 0.15.0", ""),
    ("vllm with a hole", rule(Backend.VLLM), [VLLM, says("/version", version="0.14.0")], "vllm 0.14.0",
     "0.14.1 or newer"),
    ("the floor itself", rule(Backend.VLLM), [VLLM, says("/version", version="0.14.1")], "vllm 0.14.1", ""),
    ("two digits", rule(Backend.VLLM), [VLLM, says("/version", version="v0.9.2.post1")], "vllm v0.9.2.post1",
     "CVE-2026"),
    ("a build without numbers", rule(Backend.VLLM), [VLLM, says("/version", version="dev")], "vllm dev", ""),
    ("ollama with a hole", rule(Backend.OLLAMA), [says("/api/version", version="0.17.0")], "ollama 0.17.0",
     "CVE-2026-7482"),
    ("llama.cpp", rule(Backend.LLAMA_CPP), [says("/props", build_info="b7400-abc")], "llama_cpp b7400-abc", ""),
    ("llama.cpp by its server", rule(Backend.LLAMA_CPP), [Heard("models", 200, {"server": "llama.cpp"})],
     "llama_cpp", ""),
    ("tgi", rule(Backend.TGI), [says("/info", model_id="m", version="3.3.0")], "tgi 3.3.0", ""),
    ("another one", rule(Backend.VLLM), [OLLAMA], "ollama 0.18.0", "declared vllm, answers as ollama"),
    ("llama-swap", rule(Backend.LLAMA_CPP), [models({"id": "m", "owned_by": "llama-swap"})], "llama-swap",
     "answers as llama-swap"),
    ("nothing said", rule(Backend.TGI), [], "", ""),
    ("a front", rule(), [Heard("models", 200, {"cf-ray": "x"})], "", "a front of cloudflare"),
    ("a cloud model beside", rule(Backend.OLLAMA), [OLLAMA, tags({"name": "gpt-oss:120b-cloud"})],
     "ollama 0.18.0", "never asked for"),
    ("a name that only sounds so", rule(Backend.VLLM), [models({"id": "my-cloud", "owned_by": "vllm"})], "vllm", ""),
    ("a declared gateway", rule(gateway=True), [models({"id": "m", "owned_by": "openai"}),
     Heard("/api/version", 404, {"x-litellm-version": "1"})], "", ""),
    ("its openrouter", rule(gateway=True), [models({"id": "m", "top_provider": {}})], "", ""),
    ("a model of that name", rule(), [models({"id": "openai/gpt-oss-20b", "owned_by": "openai/gpt-oss-20b"})], "", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("upstream", "heard", "software", "note"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED]
)
def test_what_is_ours_is_taken_and_its_faults_are_told(
    upstream: UpstreamRule, heard: list[Heard], software: str, note: str
) -> None:
    found = judge_identity(upstream, ASKED, heard)
    assert found.decision.allowed, found.decision
    assert f"{found.software} {found.version}".strip() == software
    assert note in " ".join(found.notes)
    assert bool(found.notes) == bool(note)


def test_a_declared_gateway_does_not_excuse_a_clouds_own_head() -> None:
    assert judge_head(rule(gateway=True), {"x-litellm-version": "1"}).allowed
    assert judge_head(rule(gateway=True), {"openai-organization": "x"}).reason is Reason.CLOUD_UPSTREAM
    assert judge_head(rule(), {"content-type": "x", "server": "uvicorn"}).allowed


@pytest.mark.parametrize(
    "document",
    [None, [], "x", 3, {"data": None}, {"data": [None, 3, "x"]}, {"data": {"a": 1}}, {"data": [{"owned_by": None}]},
     {"data": [{"meta": []}]}, {"data": [{"meta": {"llamaswap": "x"}}]}, {"version": 3}, {"models": [[]]}],
)  # fmt: skip
def test_nonsense_is_no_identity_and_no_crash(document: Any) -> None:
    heard = [
        Heard(question, 200, {}, document) for question in ("models", "/api/version", "/api/tags", "/props", "/info")
    ]
    assert judge_identity(rule(Backend.OLLAMA), ASKED, heard).decision.allowed


def test_an_answer_that_is_an_error_says_nothing_but_by_its_head() -> None:
    heard = [Heard("models", 500, {}, {"data": [{"owned_by": "openai"}]})]
    assert judge_identity(rule(), ASKED, heard).decision.allowed


def test_an_undeclared_ollama_is_asked_where_its_models_run() -> None:
    assert questions_for(Backend.OTHER) == ("models", "/api/version")
    assert questions_after(Backend.OTHER, [OLLAMA]) == ("/api/tags",)
    assert questions_after(Backend.OTHER, [VLLM]) == ()
    assert questions_after(Backend.OLLAMA, [OLLAMA]) == ()


def test_what_an_upstream_may_be_asked_for_is_what_its_tiers_call_the_models() -> None:
    policy = Policy(
        digest="", upstreams={name: rule() for name in ("a", "b", "c")},
        tiers={"t": TierRule("t", ("a", "b")), "s": TierRule("s", ("b",))},
        models={"m": ModelRule("m", ("t", "s"), {"s": "m-small"}), "n": ModelRule("n", ("s",))},
        default_model="m", callers={},
    )  # fmt: skip
    assert asked_by_upstream(policy) == {
        "a": frozenset({"m"}),
        "b": frozenset({"m", "m-small", "n"}),
        "c": frozenset(),
    }
