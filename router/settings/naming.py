"""The names that clients may say beside the models' own: aliases, and `auto` models with their rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policies import ANY_PROVIDER, AutoModel, AutoRule, Condition, ModelRule, Policy, is_cloud_model
from router.settings.findings import Path, Report
from router.settings.model import SettingsFile
from router.settings.model_entries import AutoEntry, ConditionEntry, ModelEntry
from router.settings.shape import nearest

LONGEST_MODEL_NAME: Final = 256
_ONLY_WITH_TIERS: Final = ("tiers", "served", "reach")


def check_model_name(name: str, path: Path, report: Report) -> None:
    """Names of models are the operator's own, so anything goes that can be shown."""
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > LONGEST_MODEL_NAME:
        report.add(path, "is not a model's name", f"up to {LONGEST_MODEL_NAME} printable characters")


def compile_autos(settings: SettingsFile, report: Report) -> dict[str, AutoModel]:
    """Every `auto` model; its rules name models with tiers, and the last one takes what no other took."""
    autos = {name: model for name, model in settings.models.items() if model.auto}
    return {name: _auto(name, model, settings.models, report) for name, model in autos.items()}


def compile_aliases(settings: SettingsFile, report: Report) -> dict[str, str]:
    """Alias -> the model's own name."""
    aliases: dict[str, str] = {}
    for name, model in settings.models.items():
        for position, alias in enumerate(model.aliases):
            path: Path = ("models", name, "aliases", position)
            check_model_name(alias, path, report)
            if alias in settings.models:
                report.add(path, f"'{alias}' is a model of its own", "leave the alias away, or the model")
            elif aliases.setdefault(alias, name) != name:
                report.add(path, f"'{alias}' stands for '{aliases[alias]}' already", "a name means one model")
            if is_cloud_model(alias):
                report.add(path, f"'{alias}' is a name that Ollama sends to its cloud", "requests for it are refused")
            if "*" in alias.removesuffix(ANY_PROVIDER) or alias == ANY_PROVIDER:
                report.add(path, "a '*' may only stand for the provider", "write 'org/name:*', or each name in full")
    return aliases


def check_callers_models(policy: Policy, report: Report) -> None:
    """A key's `models` names models with tiers: what an alias stands for, what an `auto` model may choose."""
    for caller in policy.callers.values():
        for name in sorted(caller.models or ()):
            if name in policy.autos:
                uses = ", ".join(dict.fromkeys(rule.use for rule in policy.autos[name].rules))
                message = f"the models of '{caller.name}' name '{name}', which chooses among others"
                report.add(("callers",), message, f"name those that it may choose: {uses}")
            elif name in policy.aliases:
                message = f"the models of '{caller.name}' name the alias '{name}'"
                report.add(("callers",), message, f"name the model itself: {policy.aliases[name]}")


def _auto(name: str, model: ModelEntry, models: Mapping[str, ModelEntry], report: Report) -> AutoModel:
    path: Path = ("models", name)
    check_model_name(name, path, report)
    for key in _ONLY_WITH_TIERS:
        if key in model.written:
            report.add((*path, key), "means nothing beside 'auto'", "each model that it chooses has its own")
    last = len(model.auto) - 1
    for position, entry in enumerate(model.auto):
        place = (*path, "auto", position)
        _check_use(entry, models, (*place, "use"), report)
        if position < last and entry.when == ConditionEntry():
            report.add(place, "has no 'when', so the rules after it are never reached", "write it last")
        if position == last and entry.when != ConditionEntry():
            report.add(place, "is the last rule and has a 'when'", "end with {use: MODEL} for all that no rule took")
    return AutoModel(name, tuple(AutoRule(entry.use, Condition(**entry.when.values())) for entry in model.auto))


def _check_use(entry: AutoEntry, models: Mapping[str, ModelEntry], path: Path, report: Report) -> None:
    known = [name for name, model in models.items() if not model.auto]
    if entry.use not in known:
        report.add(path, f"no model with tiers is called '{entry.use}'", nearest(entry.use, known))


def check_default(settings: SettingsFile, default: str, rules: Mapping[str, ModelRule], report: Report) -> None:
    """The default model is one of the models, auto or not; never an alias."""
    if settings.models and default not in settings.models:
        report.add(("default_model",), f"no model is called '{default}'", nearest(default, [*rules]))
