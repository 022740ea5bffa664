"""ringfence explain: would this destination be dialled, where would this request go, and why? Nothing is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from policies import (
    ANONYMOUS,
    Caller,
    Decision,
    Destination,
    DestinationError,
    Endpoint,
    Policy,
    Reach,
    RequestFacts,
    UpstreamRule,
    Weighed,
    choose_model,
    decide_exchange,
    decide_listing,
    decide_request,
    judge_body,
    parse_destination,
)
from router.body import Inbound, read
from router.errors import RouterError
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import load
from router.settings.snapshot import Snapshot

REACHES = {reach.word: reach for reach in Reach}


def explain(
    url: Annotated[str | None, typer.Argument(help="a destination: http(s)://HOST:PORT/PATH")] = None,
    request: Annotated[Path | None, typer.Option(help="a request body as a JSON file")] = None,
    caller: Annotated[str, typer.Option(help="as this caller")] = ANONYMOUS.name,
    reach: Annotated[
        str | None, typer.Option(help="as if the client narrowed it: process, host, network, rented")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="the tier policy file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on standard output")] = False,
) -> None:
    """Say what would happen, and why. Exit 0: it would be dialled or served; 1: it would be refused."""
    if (url is None) == (request is None):
        _stop("name either a URL or --request FILE")
    if reach is not None and reach not in REACHES:
        _stop(f"--reach must be one of {', '.join(REACHES)}")
    snapshot = _snapshot(config)
    if url is not None:
        answer = _explain_url(url, snapshot.policy)
    else:
        answer = _explain_body(_bytes_of(request or Path(), snapshot), reach, caller, snapshot)
    print(json.dumps(answer) if as_json else "\n".join(_speak(answer)))
    raise typer.Exit(0 if answer["allowed"] else 1)


def _snapshot(config: Path | None) -> Snapshot:
    try:
        return load(config, current())
    except SettingsError as error:
        _stop(f"{error}\nthe settings are not good, so nothing can be explained: see 'ringfence check'")


def _explain_url(url: str, policy: Policy) -> dict[str, Any]:
    try:
        destination = parse_destination(url)
    except DestinationError as error:
        return {"url": url, "allowed": False, "reason": error.reason.value, "why": str(error)}
    listed = [rule for rule in policy.upstreams.values() if _same_server(rule, destination)]
    if listed:
        names = [rule.name for rule in listed]
        why = f"listed as {', '.join(names)}, reach {listed[0].reach.word}"
        return {"url": url, "allowed": True, "reason": "allowed", "upstreams": names, "why": why}
    judged = decide_listing(destination)
    why = judged.detail if not judged.allowed else "it is not in the 'upstreams' table, so it is never dialled"
    reason = judged.reason.value if not judged.allowed else "upstream_unknown"
    return {"url": url, "allowed": False, "reason": reason, "why": why}


def _same_server(rule: UpstreamRule, destination: Destination) -> bool:
    return rule.destination is not None and rule.destination.url == destination.url


def _bytes_of(file: Path, snapshot: Snapshot) -> bytes:
    """As much of the file as could be a body, and one byte more."""
    try:
        with file.open("rb") as opened:
            return opened.read(snapshot.limits.body_bytes + 1)
    except OSError as error:
        _stop(f"{file}: cannot be read: {error.strerror}")


def _explain_body(raw: bytes, reach: str | None, caller: str, snapshot: Snapshot) -> dict[str, Any]:
    """Read and judged by the service's own code, in its order: who asks, what it is, its model, its content."""
    policy = snapshot.policy
    known = policy.callers.get(caller)
    if known is None and not (policy.any_caller and caller == ANONYMOUS.name):
        callers = ", ".join(sorted(policy.callers)) or "none"
        why = f"no caller is called '{caller}' (known: {callers})"
        return {"allowed": False, "reason": "caller_unknown", "why": why}
    narrowed = REACHES[reach] if reach is not None else None
    try:
        inbound = read(raw, _endpoint(raw), "explained", narrowed, snapshot.limits)
    except RouterError as error:
        return {"allowed": False, "reason": error.code, "why": str(error), "param": error.param or ""}
    answer = _explain_request(inbound, known or ANONYMOUS, policy)
    return answer | {"notes": _hedges([tier["name"] for tier in answer["tiers"]], inbound, snapshot)}


def _endpoint(raw: bytes) -> Endpoint:
    """The one that takes such a body; what is no body at all, none takes."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return Endpoint.CHAT
    if not isinstance(body, dict) or "messages" in body:
        return Endpoint.CHAT
    if "documents" in body and "query" in body:
        return Endpoint.RERANK
    return Endpoint.EMBEDDINGS if "input" in body else Endpoint.COMPLETIONS


def _explain_request(inbound: Inbound, caller: Caller, policy: Policy) -> dict[str, Any]:
    asked = inbound.facts.model or policy.default_model
    choice = choose_model(inbound.facts, inbound.prompt, caller, policy)
    facts, model = inbound.as_model(choice.model).facts, choice.model
    decision = decide_request(facts, caller, policy)
    content = judge_body(inbound.document) if decision.allowed else decision
    return {
        "allowed": decision.allowed and content.allowed,
        "reason": content.reason.value,
        "why": _why(decision, content, caller, facts, policy),
        "param": content.param,
        "caller": caller.name,
        "asked": asked,
        "model": model,
        "rules": [_rule(number, rule) for number, rule in enumerate(choice.rules, 1)],
        "ceiling": decision.ceiling.word,
        "tiers": _tiers(facts, caller, model, policy) if model in policy.models and content.allowed else [],
    }


def _hedges(tiers: list[str], inbound: Inbound, snapshot: Snapshot) -> list[str]:
    """What a silence costs in those tiers that hedge."""
    whole = "" if inbound.facts.stream else ": as it is not streamed, it is then generated twice"
    return [
        f"tier {name} asks a second upstream after {snapshot.tiers[name].hedge_after_s:g} s without an answer{whole}"
        for name in tiers
        if snapshot.tiers[name].hedge_after_s
    ]


def _rule(number: int, rule: Weighed) -> dict[str, Any]:
    """One rule of an auto model, and what it came to."""
    refused = rule.decision is not None and not rule.decision.allowed
    verdict = f"refused: {rule.decision.reason}" if refused and rule.decision is not None else "chosen"
    return {
        "number": number,
        "use": rule.use,
        "matched": rule.matched,
        "verdict": verdict if rule.matched else "no match",
        "why": rule.why,
    }


def _why(decision: Decision, content: Decision, caller: Caller, facts: RequestFacts, policy: Policy) -> str:
    model = policy.models.get(facts.model or policy.default_model)
    if model is None:
        return f"no model is called '{facts.model}' (known: {', '.join((*policy.autos, *policy.models))})"
    if not content.allowed and decision.allowed:
        return f"what '{content.param}' asks for is refused whoever asks"
    if decision.detail:
        return decision.detail
    asked = f", the client {facts.reach.word}" if facts.reach is not None else ""
    return f"the caller may reach {caller.reach.word}, the model {model.reach.word}{asked}: the narrowest counts"


def _tiers(facts: RequestFacts, caller: Caller, model: str, policy: Policy) -> list[dict[str, Any]]:
    return [
        {
            "name": tier,
            "upstreams": [_upstream(facts, caller, tier, name, policy) for name in policy.tiers[tier].upstreams],
        }
        for tier in policy.models[model].tiers
    ]


def _upstream(facts: RequestFacts, caller: Caller, tier: str, name: str, policy: Policy) -> dict[str, Any]:
    decision = decide_exchange(facts, caller.name, tier, name, policy)
    reach = policy.upstreams[name].reach.word
    return {"name": name, "reach": reach, "allowed": decision.allowed, "reason": decision.reason.value}


def _speak(answer: dict[str, Any]) -> list[str]:
    verdict = "allowed" if answer["allowed"] else f"refused ({answer['reason']})"
    spoken = [f"{verdict}: {answer['why']}"]
    if "model" in answer:
        asked = f" (asked for as {answer['asked']})" if answer["asked"] != answer["model"] else ""
        spoken.append(f"caller {answer['caller']}, model {answer['model']}{asked}, ceiling {answer['ceiling']}")
    spoken += [
        f"   rule {row['number']}, {row['use']}: {row['verdict']}: {row['why']}" for row in answer.get("rules", [])
    ]
    for number, tier in enumerate(answer.get("tiers", []), 1):
        spoken.append(f"{number}. tier {tier['name']}")
        for one in tier["upstreams"]:
            outcome = "would be asked" if one["allowed"] else f"refused: {one['reason']}"
            spoken.append(f"   {one['name']} ({one['reach']}): {outcome}")
    return [*spoken, *(f"note: {note}" for note in answer.get("notes", []))]


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
