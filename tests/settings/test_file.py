"""The tier policy file: what it means, and for every mistake its line, its key and a sentence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import Backend, Reach
from router.settings.findings import SettingsError
from router.settings.load import load_whole
from router.settings.snapshot import Timeouts
from tests.settings.conftest import Write, refused, taken
from tests.settings.examples import KEYS, complete
from tests.settings.mistakes import MISTAKES


def test_the_whole_file_means_what_it_says(tmp_path: Path) -> None:
    snapshot = taken(complete(tmp_path)).snapshot
    policy = snapshot.policy
    assert [(rule.name, rule.reach, rule.backend, rule.engine) for rule in policy.upstreams.values()] == [
        ("gpu-1", Reach.NETWORK, Backend.VLLM, None),
        ("gpu-2", Reach.NETWORK, Backend.VLLM, None),
        ("space", Reach.RENTED, Backend.LLAMA_CPP, None),
        ("embedded", Reach.PROCESS, Backend.LLAMA_CPP, "small"),
        ("embedded-coder", Reach.PROCESS, Backend.LLAMA_CPP, "coder"),
    ]
    pinned = policy.upstreams["gpu-2"].destination
    assert pinned is not None
    assert (pinned.url, pinned.pins) == ("https://gpu-2.lan.example:8443/v1", ("10.1.2.0/24",))
    assert len(pinned.tls_pins) == 1
    assert policy.tiers["gpu"].upstreams == ("gpu-1", "gpu-2")
    assert policy.models["house"].reach is Reach.NETWORK
    assert policy.models["deepseek-coder-1.3b-instruct"].served == {"gpu": "deepseek-coder-6.7b"}
    assert policy.default_model == "deepseek-coder-1.3b-instruct"
    gpu = snapshot.tiers["gpu"]
    assert gpu.timeouts == Timeouts(2.0, 180.0, 30.0, 120.0, 0.5, 240.0)
    assert (gpu.concurrency, gpu.queue, gpu.balance, gpu.warm_every_s) == (32, 64, "least_busy", 43200.0)
    assert (snapshot.engines["small"].context, snapshot.engines["small"].parallel) == (4096, 8)
    assert snapshot.engines["coder"].model == "/models/q4.gguf"
    assert snapshot.engines["coder"].sha256 == "a" * 64
    assert snapshot.listen.port == 7861
    assert 1 <= snapshot.listen.workers <= 8
    assert snapshot.audit.directory == str(tmp_path / "ledger")
    assert snapshot.audit.durability == "group"
    assert snapshot.limits.body_bytes == 2048
    assert snapshot.limits.drain_s == 5.0
    assert snapshot.require_seal == ("seccomp", "landlock")
    assert snapshot.credentials == {"space": "hf_token"}
    assert snapshot.source == str(tmp_path / "tiers.yaml")


def test_callers_come_from_the_keys_file(tmp_path: Path) -> None:
    snapshot = taken(complete(tmp_path)).snapshot
    alice, bob = snapshot.policy.callers["alice"], snapshot.policy.callers["bob"]
    assert (alice.reach, alice.models) == (Reach.NETWORK, frozenset({"house"}))
    assert (bob.reach, bob.models) == (Reach.RENTED, None)
    assert [(key.id, key.caller) for key in snapshot.keys] == [("0a1b2c3d", "alice"), ("0a1b2c3e", "bob")]
    assert not snapshot.policy.any_caller


def test_no_secret_is_shown_by_accident(tmp_path: Path) -> None:
    assert "hf_token" not in repr(taken(complete(tmp_path)).snapshot)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[f"{row[3]}-{row[4]}"[:60] for row in MISTAKES])
def test_a_mistake_is_found_where_it_stands(write: Write, mistake: tuple[str, int, int, str, str, str]) -> None:
    text, *place, message, hint = mistake
    path = write(text)
    found = refused(path)
    assert all(finding.file == str(path) for finding in found)
    match = [one for one in found if [one.line, one.column, one.key] == place and message in one.message]
    assert match, [str(one) for one in found]
    assert hint in match[0].hint


def test_all_mistakes_are_told_at_once_and_in_order(write: Write) -> None:
    found = refused(
        write(
            "version: 1\nlistn: {}\nupstreams:\n  a: {url: 'https://api.openai.com:443'}\n  a: {url: 'http://127.1:80'}\n"
            "  b: {engine: nano, backed: x}\n  c: {engine: nano}\n  d: e\ntiers: {}\nlimits: {drain: soon}\n"
        )
    )
    assert [(one.line, one.key) for one in found] == [
        (2, "listn"),
        (5, "upstreams.a"),
        (5, "upstreams.a.url"),
        (6, "upstreams.b.backed"),
        (7, "upstreams.c.engine"),
        (8, "upstreams.d"),
        (9, "tiers"),
        (10, "limits.drain"),
    ]


def test_mistakes_of_shape_hide_no_others_and_bring_no_consequences(write: Write) -> None:
    path = write(
        "listn: {}\nlisten: {host: 0.0.0.0, port: x}\n"
        "upstreams:\n  gpu: {url: 'http://10.0.0.1:80', bakend: vllm}\n  b: {url: 5}\n"
        "tiers: [{name: gpu, upstreams: [gpu, gone], timeouts: {connect: 5}}]\n"
        "models: {m: {tiers: [gpu, nowhere]}}\n"
    )
    assert [(one.line, one.key) for one in refused(path)] == [
        (1, "listn"),
        (2, "listen.host"),
        (2, "listen.port"),
        (4, "upstreams.gpu.bakend"),
        (5, "upstreams.b.url"),
        (6, "tiers[0].upstreams[1]"),
        (6, "tiers[0].timeouts.connect"),
        (7, "models.m.tiers[1]"),
    ]


def test_of_very_many_mistakes_the_first_are_told(write: Write) -> None:
    """Each is compared with all known keys: a large file of another kind must not take minutes to refuse."""
    found = refused(write("".join(f"k{number}: 1\n" for number in range(3000))))
    assert "3000 mistakes, of which 100 are told" in found[0].message
    assert len(found) == 101


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("upstream: {a: {engine: small}}\ntiers: [{name: t, upstreams: [a]}]\n", ["upstream"]),
        ("upstreams: {a: 5, b: {url: 'http://0.0.0.0:80'}}\ntiers: [{name: t, upstreams: [a]}]\n",
         ["upstreams.a", "upstreams.b.url"]),
        ("tiers: [{upstreams: [a]}, {name: t, upstreams: [b]}]\nupstreams: {b: {engine: none}}\n",
         ["tiers[0]", "upstreams.b.engine"]),
        ("upstreams: {a: {engine: small}}\ntiers: [{name: t, upstreams: [5, a]}]\n", ["tiers[0].upstreams[0]"]),
        ("upstreams: 5\n", ["upstreams"]),
    ],
)  # fmt: skip
def test_where_an_entry_is_lost_only_destinations_are_judged(write: Write, text: str, keys: list[str]) -> None:
    """What refers to it cannot be told from what refers to nothing."""
    assert [one.key for one in refused(write(text))] == keys


def test_a_finding_reads_as_a_compiler_writes(write: Write) -> None:
    path = write("listn: {}\n")
    assert str(refused(path)[0]) == f"{path}:1:1: listn: unknown key (did you mean 'listen'?)"


def test_text_that_other_parsers_read_as_something_else_stays_text(write: Write) -> None:
    snapshot = taken(write("upstreams: {no: {engine: small}}\ndefault_model: 1:30\n")).snapshot
    assert list(snapshot.policy.upstreams) == ["no"]
    assert snapshot.policy.default_model == "1:30"


def test_what_the_file_leaves_away_has_its_default(write: Write) -> None:
    snapshot = taken(
        write("upstreams: {a: {url: 'http://10.0.0.1:80'}, b: {engine: small}}\ndefault_model: m\n")
    ).snapshot
    assert list(snapshot.policy.tiers) == ["a", "b"]
    assert snapshot.policy.models["m"].tiers == ("a", "b")
    assert snapshot.policy.any_caller


def test_the_first_model_is_the_default_one(write: Write) -> None:
    snapshot = taken(write("models: {m: {tiers: [embedded]}, n: {tiers: [embedded]}}\n")).snapshot
    assert snapshot.policy.default_model == "m"


def test_a_cold_start_is_never_longer_than_the_whole(write: Write) -> None:
    snapshot = taken(
        write("tiers: [{name: t, upstreams: [e], timeouts: {total: 30s}}]\nupstreams: {e: {engine: small}}\n")
    )
    assert snapshot.snapshot.tiers["t"].timeouts.cold_start_s == 30.0


def test_only_engines_in_use_are_started(write: Write) -> None:
    snapshot = taken(
        write("upstreams: {a: {url: 'http://10.0.0.1:80'}}\ndefault_model: m\nengines: {small: {}}\n")
    ).snapshot
    assert snapshot.engines == {}


def test_an_engine_may_have_its_own_file(write: Write, tmp_path: Path) -> None:
    snapshot = taken(write("engines: {small: {model: {path: m.gguf}}}\n")).snapshot
    assert snapshot.engines["small"].model == str(tmp_path / "m.gguf")


KEY_MISTAKES = [
    ("x: 1\n", "", "a keys file is a list"),
    ("- {id: 0a1b2c3d}\n", "keys[0]", "'sha256' is missing"),
    ("- {id: XX, sha256: '%s', caller: a}\n" % ("b" * 64), "keys[0].id", "form"),
    (KEYS + "- {id: 0a1b2c3d, sha256: %s, caller: eve}\n" % ("d" * 64), "keys[2].id", "two keys have the id"),
    (KEYS + "- {id: 0a1b2c3f, sha256: %s, caller: alice}\n" % ("d" * 64), "keys[2].caller", "different ceilings"),
    ("- {id: 0a1b2c3d, sha256: %s, caller: anonymous}\n" % ("b" * 64), "keys[0].caller", "without a key"),
    ("- {id: 0a1b2c3d, id: 0a1b2c3d, sha256: %s, caller: a}\n" % ("b" * 64), "[0].id", "stands twice"),
    ("- &x 1\n", "[0]", "anchors"),
]


@pytest.mark.parametrize(("text", "key", "message"), KEY_MISTAKES)
def test_a_mistake_in_the_keys_file_is_found_there(tmp_path: Path, text: str, key: str, message: str) -> None:
    path = complete(tmp_path)
    (tmp_path / "keys.yaml").write_text(text)
    found = refused(path)
    assert [one for one in found if one.key == key and message in one.message], [str(one) for one in found]
    assert all(one.file == str(tmp_path / "keys.yaml") for one in found)


def test_a_keys_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    path = complete(tmp_path)
    (tmp_path / "keys.yaml").write_text("[]\n")
    snapshot = taken(path).snapshot
    assert snapshot.keys == ()
    assert not snapshot.policy.any_caller


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.from_regex(r"[a-z:\[\]{}&*!\- \n'\"|>#?1.]{1,60}", fullmatch=True))
def test_no_text_is_answered_with_a_traceback(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(SettingsError):
        load_whole(path, {})
