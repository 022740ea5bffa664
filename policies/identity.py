"""Is what answers at a listed address the software that was declared, or a cloud or a gateway in its place? Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from policies.cloud import cloud_provider_of
from policies.decision import Decision, Reason
from policies.facts import Backend
from policies.fingerprints import (
    CLOUD_HEADERS,
    CLOUD_OWNERS,
    FRONT_HEADERS,
    GATEWAY_HEADERS,
    GATEWAY_ROW_KEYS,
    SOFTWARE_OWNERS,
    VERSION_FLOORS,
)
from policies.parameters import is_cloud_model
from policies.policy import Policy, UpstreamRule

MODELS: Final = "models"  # below the base path; every other question is asked at the root
OLLAMA_TAGS, OLLAMA_SHOW, OLLAMA_VERSION = "/api/tags", "/api/show", "/api/version"
_QUESTIONS: Final = {
    Backend.VLLM: ("/version",),
    Backend.LLAMA_CPP: ("/props",),
    Backend.OLLAMA: (OLLAMA_VERSION, OLLAMA_TAGS),
    Backend.TGI: ("/info",),
    Backend.OTHER: (OLLAMA_VERSION,),  # Ollama is what most often stands where nothing was declared
}
_VERSION: Final = re.compile(r"v?([0-9]{1,6})\.([0-9]{1,6})(?:\.([0-9]{1,6}))?")
MOST_SHOWN: Final = 3  # names in a sentence


class Heard(Struct, frozen=True):
    """One answer to a question: header names in lower case, the JSON document or None."""

    question: str
    status: int
    headers: Mapping[str, str]
    document: Any = None


class Identity(Struct, frozen=True):
    """What answers there, whether it may be sent prompts, and what the operator should know of it besides."""

    decision: Decision
    software: str = ""
    version: str = ""
    notes: tuple[str, ...] = ()


def questions_for(backend: Backend) -> tuple[str, ...]:
    """What to ask, in order."""
    return (MODELS, *_QUESTIONS[backend])


def questions_after(backend: Backend, heard: Sequence[Heard]) -> tuple[str, ...]:
    """What to ask next, once it is known what answers: an Ollama that was not declared tells where its models run."""
    undeclared = backend is not Backend.OLLAMA and _software(heard) == Backend.OLLAMA
    return (OLLAMA_TAGS,) if undeclared else ()


def asked_by_upstream(policy: Policy) -> dict[str, frozenset[str]]:
    """Upstream -> the models that it may be asked for, by the names that it knows."""
    asked: dict[str, set[str]] = {name: set() for name in policy.upstreams}
    for model in policy.models.values():
        for tier in model.tiers:
            for name in policy.tiers[tier].upstreams:
                asked[name].add(model.served.get(tier, model.name))
    return {name: frozenset(models) for name, models in asked.items()}


def judge_identity(
    rule: UpstreamRule, asked: frozenset[str], heard: Sequence[Heard], certificate_names: Iterable[str] = ()
) -> Identity:
    """The judgement over all answers; the first reason to refuse is the one that is told."""
    software = _software(heard)
    version = _version(heard)
    refusals = (
        *_certificates(certificate_names),
        *(refusal for answer in heard for refusal in _heads(rule, answer.headers)),
        *_models(rule, heard),
        *_remote(asked, heard, software),
    )
    decision = next(iter(refusals), Decision(allowed=True, reason=Reason.ALLOWED))
    return Identity(decision, software, version, tuple(_notes(rule, asked, heard, software, version)))


def judge_head(rule: UpstreamRule, headers: Mapping[str, str]) -> Decision:
    """The same for the head of a real answer: header names alone."""
    return next(_heads(rule, headers), Decision(allowed=True, reason=Reason.ALLOWED))


def _heads(rule: UpstreamRule, headers: Mapping[str, str]) -> Iterator[Decision]:
    for name in headers:
        if name.startswith(_CLOUD):
            yield _refused(Reason.CLOUD_UPSTREAM, f"header {name} is of {_whose(name, CLOUD_HEADERS)}")
        if name.startswith(_GATEWAY) and not rule.gateway:
            yield _gateway(f"header {name} is of {_whose(name, GATEWAY_HEADERS)}")


def _certificates(names: Iterable[str]) -> Iterator[Decision]:
    for name in names:
        provider = cloud_provider_of(name.lower().removeprefix("*."))
        if provider is not None:
            yield _refused(Reason.CLOUD_UPSTREAM, f"its certificate is for {name}, of {provider.name}")


def _models(rule: UpstreamRule, heard: Sequence[Heard]) -> Iterator[Decision]:
    """A declared gateway may list what it likes: LiteLLM says `openai` of every model."""
    if rule.gateway:
        return
    for row in _rows(heard, MODELS, "data"):
        gateway = next((GATEWAY_ROW_KEYS[key] for key in GATEWAY_ROW_KEYS if key in row), "")
        if gateway:
            yield _gateway(f"its list of models is {gateway}'s")
        if _is_of_a_peer(row):
            yield _gateway("its llama-swap passes models on to peers")
        owner = CLOUD_OWNERS.get(str(row.get("owned_by")).lower())
        if owner is not None:
            yield _refused(Reason.CLOUD_UPSTREAM, f"its models are owned by {owner}")


def _is_of_a_peer(row: Mapping[str, Any]) -> bool:
    meta = row.get("meta")
    swap = meta.get("llamaswap") if isinstance(meta, dict) else None
    return isinstance(swap, dict) and any("peer" in key.lower() for key in swap)


def _remote(asked: frozenset[str], heard: Sequence[Heard], software: str) -> Iterator[Decision]:
    """Only a model that we may ask for refuses the upstream: the gate sends nothing for any other."""
    wanted = {_tagged(name) for name in asked}
    found = [name for name in _remote_models(heard, software) if _tagged(name) in wanted]
    if found:
        shown = ", ".join(found[:MOST_SHOWN])
        yield _refused(Reason.REMOTE_MODEL, f"{shown} runs in Ollama's cloud: name a model that runs on the server")


def _remote_models(heard: Sequence[Heard], software: str) -> list[str]:
    """Ollama models that it passes on, by its own word or by their names."""
    listed = [row for row in _rows(heard, OLLAMA_TAGS, "models") if row.get("remote_host") or row.get("remote_model")]
    shown = [row for row in _documents(heard, OLLAMA_SHOW) if row.get("remote_host") or row.get("remote_model")]
    names = [str(row.get("name") or row.get("model")) for row in (*listed, *shown)]
    if software == Backend.OLLAMA:
        rows = (*_rows(heard, MODELS, "data"), *_rows(heard, OLLAMA_TAGS, "models"))
        every = (str(row.get("id") or row.get("name")) for row in rows)
        names += [name for name in every if is_cloud_model(name)]
    return sorted(set(names))


def _tagged(name: str) -> str:
    """Ollama's full name of a model: without a tag it means `latest`."""
    plain = name.strip().lower()
    return plain if ":" in plain.rpartition("/")[2] else f"{plain}:latest"


def _notes(
    rule: UpstreamRule, asked: frozenset[str], heard: Sequence[Heard], software: str, version: str
) -> Iterator[str]:
    if software and rule.backend is not Backend.OTHER and software != rule.backend:
        yield f"declared {rule.backend}, answers as {software}"
    floor, why = VERSION_FLOORS.get(software, ((), ""))
    if version and floor and _numbers(version) < floor:
        yield f"{software} {version} has known holes ({why}): run {'.'.join(map(str, floor))} or newer"
    wanted = {_tagged(name) for name in asked}
    others = [name for name in _remote_models(heard, software) if _tagged(name) not in wanted]
    if others:
        yield f"it also lists cloud models, never asked for here: {', '.join(others[:MOST_SHOWN])}"
    fronts = {FRONT_HEADERS[name] for answer in heard for name in answer.headers if name in FRONT_HEADERS}
    if fronts:
        yield f"a front of {', '.join(sorted(fronts))} is before it"


def _software(heard: Sequence[Heard]) -> str:
    """What it says that it is; "" when it does not."""
    if any(isinstance(row.get("version"), str) for row in _documents(heard, OLLAMA_VERSION)):
        return Backend.OLLAMA
    if any("build_info" in row or "default_generation_settings" in row for row in _documents(heard, "/props")):
        return Backend.LLAMA_CPP
    if any("model_id" in row and "version" in row for row in _documents(heard, "/info")):
        return Backend.TGI
    owners = [SOFTWARE_OWNERS.get(str(row.get("owned_by"))) for row in _rows(heard, MODELS, "data")]
    known = next((owner for owner in owners if owner), "")
    servers = " ".join(answer.headers.get("server", "") for answer in heard).lower()
    return known or (Backend.LLAMA_CPP if "llama.cpp" in servers else "")


def _version(heard: Sequence[Heard]) -> str:
    for question, key in ((OLLAMA_VERSION, "version"), ("/version", "version"), ("/info", "version")):
        found = next((row[key] for row in _documents(heard, question) if isinstance(row.get(key), str)), "")
        if found:
            return found[:40]
    builds = (row.get("build_info") for row in _documents(heard, "/props"))
    return next((build[:40] for build in builds if isinstance(build, str)), "")


def _numbers(version: str) -> tuple[int, ...]:
    """As far as it has any; a text without numbers is as new as can be, so that it is not warned about."""
    found = _VERSION.match(version)
    return tuple(int(part or 0) for part in found.groups()) if found else (10**6,)


def _documents(heard: Sequence[Heard], question: str) -> Iterator[dict[str, Any]]:
    for answer in heard:
        if answer.question == question and answer.status == 200 and isinstance(answer.document, dict):
            yield answer.document


def _rows(heard: Sequence[Heard], question: str, key: str) -> Iterator[dict[str, Any]]:
    for document in _documents(heard, question):
        rows = document.get(key)
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                yield row


def _whose(name: str, table: Mapping[str, str]) -> str:
    return next(owner for beginning, owner in table.items() if name.startswith(beginning))


def _refused(reason: Reason, detail: str) -> Decision:
    return Decision(allowed=False, reason=reason, detail=detail)


def _gateway(detail: str) -> Decision:
    return _refused(Reason.GATEWAY_UNDECLARED, f"{detail}: write 'gateway: true' if it is yours and keeps to your list")


_CLOUD: Final = tuple(CLOUD_HEADERS)
_GATEWAY: Final = tuple(GATEWAY_HEADERS)
