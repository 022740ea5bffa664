"""Tiers and models as the policy's tables, and the proof that every model has a tier within its ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from policies import (
    Caller,
    Endpoint,
    ModelRule,
    Policy,
    Reach,
    RequestFacts,
    TierRule,
    UpstreamRule,
    decide_request,
    is_cloud_model,
)
from router.settings.findings import Path, Report
from router.settings.model import SettingsFile
from router.settings.model_entries import ModelEntry
from router.settings.naming import check_default, check_model_name
from router.settings.shape import nearest
from router.settings.snapshot import TierSettings, Timeouts
from router.settings.tier_entries import TierEntry
from router.settings.upstream_entry import UpstreamSettings
from router.settings.upstreams import check_name

EMBEDDED_MODEL: Final = "smollm2-135m-instruct"
COLD_START_S: Final = 180.0
REACHES: Final = {reach.word: reach for reach in Reach}


def tiers_of(settings: SettingsFile) -> tuple[TierEntry, ...]:
    """The tiers of the file; without any, every upstream is one of its own."""
    return settings.tiers or tuple(TierEntry(name=name, upstreams=(name,)) for name in settings.upstreams)


def compile_tiers(settings: SettingsFile, report: Report) -> dict[str, TierRule]:
    """Every tier, its upstreams looked up."""
    rules: dict[str, TierRule] = {}
    for number, tier in enumerate(tiers_of(settings)):
        path = ("tiers", number)
        check_name(tier.name, (*path, "name"), report)
        if tier.name in rules:
            report.add((*path, "name"), f"two tiers are called '{tier.name}'")
        _report_twice(tier.upstreams, (*path, "upstreams"), report)
        for position, name in enumerate(tier.upstreams):
            if name not in settings.upstreams:
                hint = nearest(name, list(settings.upstreams))
                report.add((*path, "upstreams", position), f"no upstream is called '{name}'", hint)
        rules[tier.name] = TierRule(tier.name, tier.upstreams)
    return rules


def tier_settings(tier: TierEntry, upstreams: Mapping[str, UpstreamSettings]) -> TierSettings:
    """How a tier is used, in seconds."""
    times = tier.timeouts
    cold = times.cold_start if times.cold_start is not None else min(COLD_START_S, times.total)
    answer = times.answer if times.answer is not None else max(times.first_token, times.total / 2)
    waits = (times.connect, cold, times.first_token, answer, times.between_tokens)
    connect, cold, first, answer, between = (min(wait, times.total) for wait in waits)
    timeouts = Timeouts(connect, cold, first, answer, between, times.total)
    weights = {name: upstreams[name].weight for name in tier.upstreams if name in upstreams}
    return TierSettings(
        tier.name,
        timeouts,
        tier.concurrency,
        tier.queue,
        tier.balance,
        weights,
        tier.hedge_after,
        tier.warm.every,
        tier.continue_,
    )


def compile_models(settings: SettingsFile, tiers: Iterable[str], report: Report) -> tuple[dict[str, ModelRule], str]:
    """The models and the default one's name. Without `models`, the default model is served by all tiers in order."""
    known = list(tiers)
    rules: dict[str, ModelRule] = {}
    for name, model in settings.models.items():
        if model.auto:
            continue
        _check_model(name, model, known, ("models", name), report)
        rules[name] = ModelRule(name, model.tiers, model.served, REACHES[model.reach])
    default = settings.default_model or next(iter(settings.models), "") or _embedded_only(settings)
    if not default:
        report.add((), "the key 'default_model' is missing", "name the model that your upstreams serve")
    elif not settings.models and known:
        _check_model(default, ModelEntry(tiers=tuple(known)), known, ("default_model",), report)
        rules[default] = ModelRule(default, tuple(known))
    check_default(settings, default, rules, report)
    return rules, default


def _check_model(name: str, model: ModelEntry, known: list[str], path: Path, report: Report) -> None:
    check_model_name(name, path, report)
    if not model.tiers:
        report.add(path, "has neither 'tiers' nor 'auto'", "name the tiers that serve it, in order")
    _report_twice(model.tiers, (*path, "tiers"), report)
    for position, tier in enumerate(model.tiers):
        _known_tier(tier, known, (*path, "tiers", position), report)
    for tier, served in model.served.items():
        _known_tier(tier, list(model.tiers), (*path, "served", tier), report)
        if is_cloud_model(served):
            message = f"'{served}' is a name that Ollama sends to its cloud"
            report.add((*path, "served", tier), message, "name a model that runs on the server itself")
    if is_cloud_model(name) and not set(model.tiers) <= model.served.keys():
        report.add(
            path, f"'{name}' is a name that Ollama sends to its cloud", "give what each tier calls it in 'served'"
        )


def prove_ceilings(policy: Policy, report: Report) -> None:
    """Report each model that no tier can serve within its ceiling."""
    anyone = Caller("anyone")
    for name in policy.models:
        decision = decide_request(RequestFacts(Endpoint.CHAT, name), anyone, policy)
        if not decision.allowed:
            ways = sorted({policy.upstreams[one].reach.word for one in upstreams_of(name, policy)})
            hint = f"its tiers reach {', '.join(ways)}: add a nearer tier or widen 'reach'"
            report.add(("models", name), f"can never be served: its ceiling is {decision.ceiling.word}", hint)


def upstreams_of(model: str, policy: Policy) -> tuple[str, ...]:
    """All upstreams of all tiers that a model names, in order."""
    return tuple(name for tier in policy.models[model].tiers for name in policy.tiers[tier].upstreams)


def engines_used(upstreams: Mapping[str, UpstreamRule]) -> tuple[str, ...]:
    """The engines that are some upstream's, each once."""
    return tuple(dict.fromkeys(rule.engine for rule in upstreams.values() if rule.engine is not None))


def _report_twice(names: tuple[str, ...], path: Path, report: Report) -> None:
    seen: set[str] = set()
    for position, name in enumerate(names):
        if name in seen:
            report.add((*path, position), f"'{name}' stands twice")
        seen.add(name)


def _known_tier(tier: str, known: list[str], path: Path, report: Report) -> None:
    if tier not in known:
        report.add(path, f"no tier is called '{tier}' here", nearest(tier, known))


def _embedded_only(settings: SettingsFile) -> str:
    return EMBEDDED_MODEL if all(upstream.engine for upstream in settings.upstreams.values()) else ""
