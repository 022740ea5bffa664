"""The snapshot in force: its way to other processes, its digest, its size, and what is printed of it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.settings.codec import decode, encode
from router.settings.durations import parse_duration, write_duration
from router.settings.effective import lines
from tests.settings.conftest import Write, taken
from tests.settings.examples import complete

EXAMPLES = sorted((Path(__file__).parents[2] / "policies" / "examples").glob("*.yaml"))
BASE = (
    "upstreams: {a: {url: 'http://10.0.0.1:80'}, e: {engine: small}}\nmodels: {m: {tiers: [a, e]}, n: {tiers: [e]}}\n"
)


def test_a_snapshot_comes_out_as_it_went_in(tmp_path: Path) -> None:
    snapshot = taken(complete(tmp_path)).snapshot
    assert decode(encode(snapshot)) == snapshot
    assert encode(decode(encode(snapshot))) == encode(snapshot)


MORE = f"""\
witnesses: {{w: {{url: "http://10.7.7.7:80/w", vkey: w+00000000+B{"A" * 43}}}}}
model_sources: {{hub: {{url: "http://10.8.8.8:80"}}}}
hosts: {{gpu-2.lan.example: [10.1.2.9]}}
"""


def test_workers_get_no_destination_and_no_credential_and_the_gate_no_hash(tmp_path: Path) -> None:
    path = complete(tmp_path)
    path.write_text(path.read_text() + MORE)
    snapshot = taken(path).snapshot
    worker, gate = encode(snapshot.for_workers()), encode(snapshot.for_gate())
    for text in (b"10.1.2.3", b"10.1.2.9", b"10.7.7.7", b"10.8.8.8", b"hf.space", b"hf_token"):
        assert text in encode(snapshot)
        assert text not in worker
    assert b"10.7.7.7" in gate
    assert b"c" * 64 in worker
    assert b"c" * 64 not in gate
    assert b"hf_token" in gate


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x80", b"[]"])
def test_what_is_no_snapshot_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(raw)


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("10.0.0.1", "10.0.0.2"),
        BASE.replace("[a, e]", "[e, a]"),
        BASE.replace("[a, e]", "[a, e], reach: network"),
        BASE + "default_model: n\n",
        BASE + "engines: {small: {context: 512}}\n",
        BASE + "limits: {json_depth: 10}\n",
        BASE + "require_seal: seccomp\n",
        BASE + "audit: {durability: async}\n",
        BASE + "capture: {models: [m]}\n",
        BASE.replace("'http://10.0.0.1:80'", "'http://10.0.0.1:80', third_party_host: true"),
    ],
)
def test_all_that_decides_changes_the_digest(write: Write, other: str) -> None:
    one = taken(write(BASE)).snapshot.policy.digest
    assert re.fullmatch(r"[0-9a-f]{64}", one)
    assert taken(write(other)).snapshot.policy.digest != one


@pytest.mark.parametrize(
    "other",
    [
        "# a comment\n" + BASE,
        BASE + "default_model: m\n",
        BASE + "listen: {port: 1, workers: 3}\n",
        BASE + "audit: {directory: /elsewhere}\n",
    ],
)
def test_what_does_not_decide_leaves_the_digest(write: Write, other: str) -> None:
    one = taken(write(BASE)).snapshot.policy.digest
    assert taken(write(other)).snapshot.policy.digest == one


_PINNED = f"""upstreams: {{e: {{engine: e}}, p: {{engine: pulled}}}}
default_model: m
engines:
  e:
    model: {{path: m.gguf, sha256: {"1" * 64}}}
    mmproj: {{path: p.gguf, sha256: {"2" * 64}}}
    lora: [{{path: l.gguf, sha256: {"3" * 64}}}]
    keep_prefixes: {{key_file: keep.key}}
  pulled: {{model: {{repo: o/n, file: x.gguf}}}}
"""


def _digest_in(directory: Path, text: str) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "keep.key").write_text("ab" * 32)
    (directory / "keep.key").chmod(0o600)
    (directory / "policy.yaml").write_text(text)
    return taken(directory / "policy.yaml").snapshot.policy.digest


def test_the_same_policy_in_another_directory_has_the_same_digest(tmp_path: Path) -> None:
    """A reviewer compares machines by it: what is pinned counts by its pin, wherever it lies."""
    one = _digest_in(tmp_path / "one", _PINNED)
    assert _digest_in(tmp_path / "two", _PINNED) == one
    for old, new in (("1" * 64, "4" * 64), ("2" * 64, "4" * 64), ("3" * 64, "4" * 64), ("x.gguf", "y.gguf")):
        assert _digest_in(tmp_path / "one", _PINNED.replace(old, new)) != one
    without = "".join(line for line in _PINNED.splitlines(keepends=True) if "keep_prefixes" not in line)
    assert _digest_in(tmp_path / "one", without) != one


def test_weights_that_nothing_pins_are_known_by_their_path(tmp_path: Path) -> None:
    text = "upstreams: {e: {engine: e}}\ndefault_model: m\nengines: {e: {model: {path: m.gguf}, lora: [l.gguf]}}\n"
    assert _digest_in(tmp_path / "one", text) != _digest_in(tmp_path / "two", text)


def test_a_new_key_of_a_known_caller_changes_nothing_that_decides(tmp_path: Path) -> None:
    path = complete(tmp_path)
    before = taken(path).snapshot.policy.digest
    keys = tmp_path / "keys.yaml"
    keys.write_text(keys.read_text() + f"- {{id: 1111111a, sha256: {'e' * 64}, caller: bob}}\n")
    assert taken(path).snapshot.policy.digest != taken().snapshot.policy.digest
    assert taken(path).snapshot.policy.digest == before


def test_ten_thousand_upstreams_in_one_tier_are_taken(write: Write) -> None:
    rows = (f"  u{i}: {{url: 'http://10.{i >> 16}.{i >> 8 & 255}.{i & 255}:80'}}\n" for i in range(10_000))
    names = ", ".join(f"u{i}" for i in range(10_000))
    text = f"upstreams:\n{''.join(rows)}tiers:\n- {{name: t, upstreams: [{names}]}}\ndefault_model: m\n"
    assert len(taken(write(text)).snapshot.policy.tiers["t"].upstreams) == 10_000


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_every_example_is_good(path: Path) -> None:
    assert taken(path).snapshot.policy.tiers


def test_the_examples_are_those_that_the_documentation_promises() -> None:
    promised = {
        "auto",
        "one-gpu-three-models",
        "embedded-only",
        "one-space",
        "three-spaces",
        "lan-gpus",
        "air-gapped",
        "deepsite",
    }
    assert {path.stem for path in EXAMPLES} == promised


def test_what_is_in_force_is_printed_with_where_it_came_from(tmp_path: Path) -> None:
    path = complete(tmp_path)
    loaded = taken(path, {"RINGFENCE_WORKERS": "2", "RINGFENCE_ENGINE_THREADS": "1"})
    printed = lines(loaded.settings, loaded.origins, loaded.snapshot.policy)
    assert f"listen.port = 7861  # {path}:2" in printed
    assert "engines.small.threads = 1  # environment RINGFENCE_ENGINE_THREADS" in printed
    assert "engines.coder.threads = all cores  # default" in printed
    assert f"tiers[0].timeouts.connect = 2s  # {path}:14" in printed
    assert "upstreams.space.engine = not set  # default" in printed
    assert f'upstreams.space.key_file = "space.key"  # {path}:6' in printed
    assert "hf_token" not in "\n".join(printed)
    alone = lines(taken().settings, taken().origins, taken().snapshot.policy)
    assert 'tiers[0].name = "embedded"  # default' in alone
    assert {"listen.workers = auto  # default", "require_seal = none  # default"} <= set(alone)
    assert 'models.smollm2-135m-instruct.tiers = ["embedded"]  # default' in alone
    assert not [line for line in alone if re.search(r"= (?:\[\]|\{\}|null|0|0\.0|\"\")  #", line)]


def test_tiers_of_the_environment_are_printed_with_their_variables() -> None:
    given = {
        "CUSTOM_LLM_BASE_URL": "http://10.0.0.1:80/v1", "CUSTOM_LLM_MODEL": "m", "TIER1_NAME": "gpu",
        "TIER2_BASE_URL": "https://a.hf.space:443/v1", "TIER2_MODEL": "n", "TIER2_TIMEOUT": "3000",
        "TIER2_THIRD_PARTY_HOST": "true", "RINGFENCE_EMBEDDED_LAST": "true",
    }  # fmt: skip
    loaded = taken(None, given)
    printed = dict(line.split("  # ") for line in lines(loaded.settings, loaded.origins, loaded.snapshot.policy))
    assert {value: name for value, name in printed.items() if name != "default"} == {
        'upstreams.gpu.url = "http://10.0.0.1:80/v1"': "environment CUSTOM_LLM_BASE_URL",
        'upstreams.tier-2.url = "https://a.hf.space:443/v1"': "environment TIER2_BASE_URL",
        "upstreams.tier-2.third_party_host = true": "environment TIER2_THIRD_PARTY_HOST",
        'upstreams.embedded.engine = "small"': "environment RINGFENCE_EMBEDDED_LAST",
        'tiers[0].name = "gpu"': "environment TIER1_NAME",
        'tiers[0].upstreams = ["gpu"]': "environment CUSTOM_LLM_BASE_URL",
        'tiers[1].upstreams = ["tier-2"]': "environment TIER2_BASE_URL",
        "tiers[1].timeouts.total = 3s": "environment TIER2_TIMEOUT",
        'tiers[2].name = "embedded"': "environment RINGFENCE_EMBEDDED_LAST",
        'tiers[2].upstreams = ["embedded"]': "environment RINGFENCE_EMBEDDED_LAST",
        'models.m.tiers = ["gpu", "tier-2", "embedded"]': "environment CUSTOM_LLM_MODEL",
        'models.m.served.tier-2 = "n"': "environment TIER2_MODEL",
        'models.n.tiers = ["tier-2"]': "environment TIER2_MODEL",
        'default_model = "m"': "environment CUSTOM_LLM_MODEL",
    }


@pytest.mark.parametrize("text", ["1ms", "1500ms", "2s", "90s", "3m", "12h", "30d", "61m"])
def test_a_time_is_written_as_it_would_be_read(text: str) -> None:
    assert parse_duration(write_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2.0), ("1.5s", 1.5), ("3m", 180.0), ("12h", 43200.0), ("30d", 2592000.0)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.text() | st.integers() | st.floats() | st.none() | st.from_regex(r"-?[0-9.]+ ?[a-z]*", fullmatch=True))
def test_a_time_is_understood_or_refused_with_advice(value: object) -> None:
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        seconds = 0.0
        advice = str(error)
    else:
        advice = "500ms at most"
    assert seconds >= 0
    assert "500ms" in advice or "at most" in advice
