"""Settings from the environment: the only place that reads it. Unknown names in our own families are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, field

from router.settings.findings import Finding, Origin, Path
from router.settings.layers import Layer
from router.settings.shape import nearest

FAMILIES: Final = re.compile(r"(?:RINGFENCE|CUSTOM_LLM|TIER[0-9]+)_.*")
_TIER: Final = re.compile(r"TIER([1-9][0-9]?)_([A-Z_]+)")
_FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Variable(Struct, frozen=True):
    """One variable: its name, where its value belongs in the file, how it is read, and why one would set it."""

    name: str
    path: Path
    kind: str  # "text", "whole" or "words"
    why: str


VARIABLES: Final = (
    Variable("RINGFENCE_CONFIG", (), "text", "The tier policy file, when --config does not name one."),
    Variable(
        "RINGFENCE_HOST", ("listen", "host"), "text", "Serve on this IP address; beyond loopback, keys are needed."
    ),
    Variable("RINGFENCE_PORT", ("listen", "port"), "whole", "Serve on this TCP port."),
    Variable("RINGFENCE_WORKERS", ("listen", "workers"), "whole", "Worker processes; 'auto': the CPU cores but one."),
    Variable(
        "RINGFENCE_TLS_CERTIFICATE", ("listen", "tls", "certificate"), "text", "Speak TLS, with this certificate (PEM)."
    ),
    Variable("RINGFENCE_TLS_KEY", ("listen", "tls", "key"), "text", "The certificate's private key (PEM, mode 0600)."),
    Variable(
        "RINGFENCE_KEYS_FILE", ("callers", "file"), "text", "Hashed keys, as 'ringfence keys create' writes them."
    ),
    Variable("RINGFENCE_AUDIT_DIRECTORY", ("audit", "directory"), "text", "Where the ledger lies."),
    Variable("RINGFENCE_AUDIT_DURABILITY", ("audit", "durability"), "text", "strict, group or async."),
    Variable(
        "RINGFENCE_REQUIRE_SEAL", ("require_seal",), "words", "Refuse to start without: seccomp, landlock, netns."
    ),
    Variable("RINGFENCE_BODY_BYTES", ("limits", "body_bytes"), "whole", "The largest request body."),
    Variable("RINGFENCE_ANSWER_BYTES", ("limits", "answer_bytes"), "whole", "The largest answer of an upstream."),
    Variable("RINGFENCE_JSON_DEPTH", ("limits", "json_depth"), "whole", "How deep a request's JSON may be nested."),
    Variable(
        "RINGFENCE_DRAIN", ("limits", "drain"), "text", "How long requests may go on after a signal to stop: 20s."
    ),
    Variable("RINGFENCE_ENGINE_CONTEXT", ("engines", "small", "context"), "whole", "Tokens the embedded engine holds."),
    Variable("RINGFENCE_ENGINE_PARALLEL", ("engines", "small", "parallel"), "whole", "Requests it generates at once."),
    Variable(
        "RINGFENCE_ENGINE_THREADS", ("engines", "small", "threads"), "whole", "CPU threads it uses; 0: all cores."
    ),
    Variable("RINGFENCE_EMBEDDED_LAST", (), "text", "true: the embedded engine stands behind the tiers named below."),
)
_NO_TEXT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # os.environ has stray bytes as surrogates
FIRST_TIER: Final = (
    Variable("CUSTOM_LLM_BASE_URL", (), "text", "Tier 1: http(s)://HOST:PORT/v1, with the port."),
    Variable("CUSTOM_LLM_MODEL", (), "text", "Tier 1: the model's name, for clients and for the server."),
    Variable("CUSTOM_LLM_API_KEY", (), "text", "Tier 1: the bearer token that the server wants, if any."),
)
TIER_PARTS: Final = (
    ("BASE_URL", "where its server listens, with the port"),
    ("MODEL", "what its server calls the model"),
    ("API_KEY", "the bearer token that the server wants, if any"),
    ("NAME", "its name in headers and in the ledger; otherwise tier-n"),
    ("TIMEOUT", "milliseconds for the whole of a request"),
    ("ENABLED", "false: as if it were not there"),
    ("THIRD_PARTY_HOST", "true: it may run on somebody else's computer, such as your Space"),
)


def current() -> Mapping[str, str]:
    """The environment of this process, as it is now."""
    return dict(os.environ)  # noqa: TID251 - the one place


class FromEnvironment(Struct, frozen=True):
    """What the environment says: the general layer, the tiers (which a file that lists its own replaces), secrets."""

    general: Layer
    tiers: Layer
    secrets: Mapping[str, str]  # upstream name -> bearer token
    config: str
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"FromEnvironment({self.config!r})"  # its secrets are for no log


def read(environment: Mapping[str, str]) -> FromEnvironment:
    """Read all our variables. An empty value counts as not set."""
    ours = {name: value.strip() for name, value in environment.items() if FAMILIES.fullmatch(name) and value.strip()}
    reader = _Reader(ours)
    return FromEnvironment(
        reader.general(),
        reader.tiers(),
        reader.secrets,
        reader.ours.get("RINGFENCE_CONFIG", ""),
        tuple(reader.findings),
    )


class _Reader:
    def __init__(self, ours: Mapping[str, str]) -> None:
        self.ours = {name: value for name, value in ours.items() if _NO_TEXT.search(value) is None}
        self.findings: list[Finding] = []
        self.secrets: dict[str, str] = {}
        for name in sorted(ours.keys() - self.ours.keys()):
            self._find(name, "holds a control character, or bytes that are no UTF-8", "set it again")
        self._refuse_unknown()

    def general(self) -> Layer:
        """Everything but the tiers."""
        tree: dict[str, Any] = {}
        origins: dict[Path, Origin] = {}
        for variable in VARIABLES:
            if variable.path and variable.name in self.ours:
                _put(tree, variable.path, self._value(variable))
                origins[variable.path] = _origin(variable.name)
        return Layer(tree, origins)

    def tiers(self) -> Layer:
        """Upstreams, tiers and models of CUSTOM_LLM_* and TIERn_*."""
        plan = _Plan()
        numbered = self._numbered()
        for number in sorted(numbered):
            parts = numbered[number]
            if self._flag(parts.get("ENABLED"), default=True):
                self._add_tier(plan, number, parts)
        if self._flag(self._pair("RINGFENCE_EMBEDDED_LAST"), default=False) and plan.entries:
            plan.add_embedded()
        return plan.layer()

    def _add_tier(self, plan: _Plan, number: int, parts: Mapping[str, tuple[str, str]]) -> None:
        written = [parts[part][0] for part in ("BASE_URL", "MODEL") if part in parts]
        prefix = "CUSTOM_LLM" if any(name.startswith("CUSTOM") for name in written) else f"TIER{number}"
        missing = [part for part in ("BASE_URL", "MODEL") if part not in parts]
        for part in missing:
            needed = "the address" if part == "BASE_URL" else "the model's name"
            self._find(f"{prefix}_{part}", f"tier {number} lacks {needed}", f"set {prefix}_{part}")
        name = parts["NAME"][1] if "NAME" in parts else f"tier-{number}"
        if name in plan.upstreams:
            self._find(parts["NAME"][0] if "NAME" in parts else f"TIER{number}_NAME", f"two tiers are called '{name}'")
        if missing or name in plan.upstreams:
            return
        third_party_host = self._flag(parts.get("THIRD_PARTY_HOST"), default=False)
        plan.add(name, parts, self._timeout(parts), third_party_host=third_party_host)
        if "API_KEY" in parts:
            self.secrets[name] = parts["API_KEY"][1]

    def _numbered(self) -> dict[int, dict[str, tuple[str, str]]]:
        """Tier number -> part -> (variable, value)."""
        tiers: dict[int, dict[str, tuple[str, str]]] = {}
        for name, value in self.ours.items():
            found = _TIER.fullmatch(name)
            if found and found[2] in dict(TIER_PARTS):
                tiers.setdefault(int(found[1]), {})[found[2]] = (name, value)
        for variable in FIRST_TIER:
            if variable.name in self.ours:
                part = variable.name.removeprefix("CUSTOM_LLM_")
                first = tiers.setdefault(1, {})
                if part in first and first[part][1] != self.ours[variable.name]:
                    self._find(variable.name, f"says something else than {first[part][0]}", "set only one of them")
                first[part] = (variable.name, self.ours[variable.name])
        return tiers

    def _refuse_unknown(self) -> None:
        single = [variable.name for variable in (*VARIABLES, *FIRST_TIER)]
        for name in sorted(self.ours):
            found = _TIER.fullmatch(name)
            if name not in single and not (found and found[2] in dict(TIER_PARTS)):
                known = single if found is None else [f"TIER{found[1]}_{part}" for part, _ in TIER_PARTS]
                part = name.removeprefix("CUSTOM_LLM_")
                meant = f"TIER1_{part}" if part != name and part in dict(TIER_PARTS) else ""
                self._find(name, "unknown variable", f"write {meant}" if meant else nearest(name, known))

    def _value(self, variable: Variable) -> Any:
        text = self.ours[variable.name]
        if variable.kind == "whole" and re.fullmatch(r"[0-9]{1,12}", text):
            return int(text)
        return tuple(text.replace(",", " ").split()) if variable.kind == "words" else text

    def _pair(self, name: str) -> tuple[str, str] | None:
        return (name, self.ours[name]) if name in self.ours else None

    def _flag(self, pair: tuple[str, str] | None, *, default: bool) -> bool:
        if pair is None:
            return default
        value = _FLAGS.get(pair[1].lower())
        if value is None:
            self._find(pair[0], f"'{pair[1]}' is neither true nor false")
        return default if value is None else value

    def _timeout(self, parts: Mapping[str, tuple[str, str]]) -> str | None:
        if "TIMEOUT" not in parts:
            return None
        name, text = parts["TIMEOUT"]
        if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
            self._find(name, f"'{text}' is not a number of milliseconds", f"{name}=240000 is four minutes")
            return None
        return f"{text}ms"

    def _find(self, variable: str, message: str, hint: str = "") -> None:
        self.findings.append(Finding("environment", 0, 0, variable, message, hint))


class _Plan(Struct):
    """The tables that numbered tiers stand for."""

    upstreams: dict[str, Any] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)  # of each entry
    origins: dict[Path, Origin] = field(default_factory=dict)

    def add(
        self,
        name: str,
        parts: Mapping[str, tuple[str, str]],
        timeout: str | None,
        *,
        third_party_host: bool,
    ) -> None:
        entry: dict[str, Any] = {"name": name, "upstreams": (name,)}
        if timeout is not None:
            entry["timeouts"] = {"total": timeout}
        for part, (variable, _) in sorted(parts.items(), key=lambda item: item[0] != "NAME"):  # whoever names it, first
            for path in self._stands_at(part, name, parts["MODEL"][1]):
                self.origins.setdefault(path, _origin(variable))
        url = parts["BASE_URL"][1]
        self.upstreams[name] = {"url": url, "third_party_host": third_party_host}
        self.entries.append(entry)
        self.models.append(parts["MODEL"][1])

    def _stands_at(self, part: str, name: str, model: str) -> tuple[Path, ...]:
        """Where the value of one variable comes to stand, and what is there because of it."""
        upstream, tier = ("upstreams", name), ("tiers", len(self.entries))
        first = self.models[0] if self.models else ""
        default: tuple[Path, ...] = (("models", first, "served", name),) if first else (("default_model",),)
        places: dict[str, tuple[Path, ...]] = {
            "BASE_URL": (upstream, (*upstream, "url"), tier, (*tier, "upstreams")),
            "THIRD_PARTY_HOST": ((*upstream, "third_party_host"),),
            "NAME": (upstream, (*tier, "name")),
            "TIMEOUT": ((*tier, "timeouts", "total"),),
            "MODEL": (("models", model), ("models", model, "tiers"), *default),
        }
        return places.get(part, ())

    def add_embedded(self) -> None:
        self.upstreams["embedded"] = {"engine": "small"}
        self.entries.append({"name": "embedded", "upstreams": ("embedded",)})
        self.models.append("")
        upstream, tier = ("upstreams", "embedded"), ("tiers", len(self.entries) - 1)
        for path in (upstream, (*upstream, "engine"), tier, (*tier, "name"), (*tier, "upstreams")):
            self.origins[path] = _origin("RINGFENCE_EMBEDDED_LAST")

    def layer(self) -> Layer:
        """The first model falls over all tiers; any other one stays with the tiers that serve it."""
        if not self.entries:
            return Layer({}, {})
        names = [entry["name"] for entry in self.entries]
        first = self.models[0]
        served = {name: model for name, model in zip(names, self.models, strict=True) if model not in ("", first)}
        models: dict[str, Any] = {first: {"tiers": tuple(names), "served": served}}
        for model in dict.fromkeys(self.models):
            if model not in ("", first):
                own = tuple(name for name, other in zip(names, self.models, strict=True) if other == model)
                models[model] = {"tiers": own}
        tree = {"upstreams": self.upstreams, "tiers": tuple(self.entries), "models": models, "default_model": first}
        return Layer(tree, self.origins)


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(str(part), {})
    tree[str(path[-1])] = value


def _origin(variable: str) -> Origin:
    return Origin("environment", variable=variable)
