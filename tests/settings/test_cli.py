"""The commands check, explain and keys: what they print and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from policies import Decision, Reason
from router.cli.check import check
from router.cli.explain import explain
from router.cli.keys import keys_app
from tests.settings.conftest import Write, as_ordinary_user

LAN = Path(__file__).parents[2] / "policies" / "examples" / "lan-gpus.yaml"
app = typer.Typer()
app.command()(check)
app.command()(explain)
app.add_typer(keys_app, name="keys")


def run(*arguments: str | Path, **variables: str) -> Result:
    ours = dict.fromkeys(("RINGFENCE_CONFIG", "CUSTOM_LLM_BASE_URL", "TIER1_BASE_URL"), "")
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={**ours, **variables})


def test_a_good_file() -> None:
    result = run("check", LAN)
    assert result.exit_code == 0
    assert "model contracts-only: ceiling network\n  1. gpu: gpu-1 (network), gpu-2 (network)\n" in result.stdout
    assert "model deepseek-coder-1.3b-instruct: ceiling rented, the default model" in result.stdout
    assert "no failover crosses a ceiling: under every ceiling" in result.stdout
    assert "20 exchanges were judged: 13 stay within it, 7 would not and are never made" in result.stdout


def test_no_file_at_all_is_good_too() -> None:
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout.startswith("good: defaults")


def test_findings_go_to_standard_error_one_a_line(write: Write) -> None:
    path = write("listn: {}\nupstreams: {a: {engine: tiny}}\n")
    result = run("check", path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{path}:1:1: listn: unknown key (did you mean 'listen'?)",
        f"{path}:2:17: upstreams.a.engine: no engine is called 'tiny' (known: small)",
        "not good: 2 findings",
    ]


def test_findings_for_a_program(write: Write) -> None:
    result = run("check", write("listn: {}\n"), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert not document["valid"]
    assert [(one["line"], one["key"]) for one in document["findings"]] == [(1, "listn")]


@pytest.mark.parametrize(("name", "code"), [("nothing.yaml", 2), ("", 1)])
def test_a_missing_file_is_no_verdict_and_a_directory_is_one(tmp_path: Path, name: str, code: int) -> None:
    result = run("check", tmp_path / name)
    assert result.exit_code == code
    assert "not good: 1 finding\n" in result.stderr


def test_the_document_for_a_program() -> None:
    document = json.loads(run("check", LAN, "--json").stdout)
    assert document["valid"]
    assert document["proof"] == {"judged": 20, "refused": 7, "crossing": []}
    assert document["models"][1] == {
        "name": "contracts-only",
        "ceiling": "network",
        "tiers": [
            {"name": "gpu", "serves": True, "upstreams": {"gpu-1": "network", "gpu-2": "network"}},
            {"name": "last-resort", "serves": True, "upstreams": {"embedded": "process"}},
        ],
    }
    assert any(line.startswith("listen.port = 7860") for line in document["settings"])


def test_the_settings_in_force_are_printed() -> None:
    result = run("check", LAN, "--print", RINGFENCE_DRAIN="7s")
    assert result.exit_code == 0
    assert "limits.drain = 7s  # environment RINGFENCE_DRAIN" in result.stdout


def test_a_url_beside_v1_is_told(write: Write) -> None:
    result = run("check", write("upstreams: {a: {url: 'http://10.0.0.1:80'}}\ndefault_model: m\n"))
    assert result.exit_code == 0
    assert "note: upstream 'a' will be asked at http://10.0.0.1:80/chat/completions: most servers" in result.stdout
    rows = ", ".join(f"u{number}: {{url: 'http://10.0.0.{number}:80'}}" for number in range(1, 13))
    many = run("check", write(f"upstreams: {{{rows}}}\ndefault_model: m\n")).stdout
    assert (many.count("note:"), "and so will 4 more upstreams" in many) == (9, True)
    below = write("upstreams: {a: {url: 'http://10.0.0.1:80/v1'}}\ndefault_model: m\n")
    assert "note:" not in run("check", below).stdout


def test_a_cloud_without_a_port_is_told_what_it_is_and_not_how_to_write_it(write: Write) -> None:
    result = run("check", write("upstreams: {a: {url: 'https://api.openai.com/v1'}}\ndefault_model: m\n"))
    assert "cloud_provider: 'api.openai.com' belongs to the cloud provider openai" in result.stderr
    assert "443" not in result.stderr
    other = run("check", write("upstreams: {a: {url: 'https://llm.example/v1'}}\ndefault_model: m\n"))
    assert 'the port is missing (write url: "https://llm.example:443/v1")\n' in other.stderr
    both = run("check", TIER1_BASE_URL="https://a.hf.space/v1", TIER1_MODEL="m").stderr
    assert "(write TIER1_BASE_URL=https://a.hf.space:443/v1)" in both
    assert "(in the environment: TIER1_THIRD_PARTY_HOST=true)" in both, "the next mistake is told in the same run"


def test_a_file_behind_a_closed_folder_is_no_traceback(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with as_ordinary_user():
        checked, listed = run("check", closed / "x.yaml"), run("keys", "list", "--file", closed / "keys.yaml")
        made = run("keys", "create", "a", "--file", closed / "keys.yaml")
    assert [one.exit_code for one in (checked, listed, made)] == [2, 2, 2]
    assert all("Permission denied" in one.stderr for one in (checked, listed, made))


def test_what_is_not_used_is_said(write: Write) -> None:
    variables = {"CUSTOM_LLM_BASE_URL": "http://10.0.0.1:80", "CUSTOM_LLM_MODEL": "m"}
    result = run("check", write("upstreams: {a: {engine: small}}\n"), **variables)
    assert "note: the file lists its own upstreams" in result.stdout


def test_a_tier_beyond_the_ceiling_is_marked_and_a_long_one_cut_short(write: Write) -> None:
    rows = "".join(f"  u{i}: {{url: 'http://10.0.0.{i}:80'}}\n" for i in range(1, 11))
    names = ", ".join(f"u{i}" for i in range(1, 11))
    path = write(
        f"upstreams:\n  e: {{engine: small}}\n{rows}"
        f"tiers:\n- {{name: gpu, upstreams: [{names}]}}\n- {{name: e, upstreams: [e]}}\n"
        "models: {near: {tiers: [gpu, e], reach: host}}\n"
    )
    result = run("check", path)
    assert "u8 (network) and 2 more - beyond the ceiling" in result.stdout


def test_a_crossing_would_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof must be able to fail: with a judge that allows everything, it does."""
    everything = Decision(allowed=True, reason=Reason.ALLOWED)
    monkeypatch.setattr("router.cli.ceilings.decide_exchange", lambda *_: everything)
    result = run("check", LAN)
    assert result.exit_code == 1
    assert "CROSSES A CEILING: deepseek-coder-1.3b-instruct by space to space under process" in result.stdout


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://10.1.2.3:8000/v1", 0, "allowed: listed as gpu-1, reach network"),
        ("https://alice-llm.hf.space:443/v1", 0, "allowed: listed as space, reach rented"),
        ("http://10.1.2.4:8000/v1", 1, "refused (upstream_unknown): it is not in the 'upstreams' table"),
        ("https://bob.hf.space:443", 1, "refused (public_not_acknowledged)"),
        ("https://api.openai.com:443/v1", 1, "refused (cloud_provider)"),
        ("https://llm.example", 1, "refused (not_canonical): the port is missing: write https://llm.example:443"),
    ],
)
def test_explain_a_url(url: str, code: int, words: str) -> None:
    result = run("explain", url, "--config", LAN)
    assert result.exit_code == code
    assert words in result.stdout


SAYS = '"messages": [{"role": "user", "content": "hello"}]'


def ask(tmp_path: Path, body: str, *more: str | Path) -> Result:
    file = tmp_path / "request.json"
    file.write_text(body)
    return run("explain", "--request", file, *more)


def test_explain_a_request(tmp_path: Path) -> None:
    result = ask(tmp_path, f'{{"model": "contracts-only", {SAYS}}}', "--reach", "process", "--config", LAN)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "allowed: the caller may reach rented, the model network, the client process: the narrowest counts",
        "caller anonymous, model contracts-only, ceiling process",
        "1. tier gpu",
        "   gpu-1 (network): refused: reach_exceeded",
        "   gpu-2 (network): refused: reach_exceeded",
        "2. tier last-resort",
        "   embedded (process): would be asked",
    ]


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        (f'{{"model": "gpt-4o", {SAYS}}}', [], "model_unknown"),
        ('{"input": "x", "model": "contracts-only"}', ["--caller", "eve"], "caller_unknown"),
        (f'{{"api_base": "http://evil", {SAYS}}}', [], "reaiming_parameter"),
        (f'{{"metadata": {{"x": "{{\\"model\\": 1, \\"model\\": 2}}"}}, {SAYS}}}', [], "ambiguous_name"),
        (f'{{"Model": "m", {SAYS}}}', [], "ambiguous_name"),
        ("{", [], "invalid_json"),
        ("[]", [], "invalid_json"),
        ("[" * 100_000, [], "invalid_json"),
        (f"{{{SAYS}, {SAYS}}}", [], "invalid_json"),
        (f'{{"model": 1, {SAYS}}}', [], "invalid_request"),
        ('{"model": "m"}', [], "invalid_request"),
        ('{"prompt": ""}', [], "invalid_request"),
        ('{"query": "q", "documents": [{"image": "http://evil"}]}', [], "remote_content"),
        ('{"query": "q", "documents": []}', [], "invalid_request"),
        ('{"prompt": "' + "x" * (10 * 1024 * 1024) + '"}', [], "body_too_large"),
    ],
)
def test_explain_a_refusal(tmp_path: Path, body: str, more: list[str], reason: str) -> None:
    result = ask(tmp_path, body, "--config", LAN, "--json", *more)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason"] == reason


def test_explain_for_a_caller_with_a_ceiling(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(
        f"- {{id: 0a1b2c3d, sha256: {'b' * 64}, caller: near, reach: process, models: [m, n]}}\n"
    )
    config = tmp_path / "tiers.yaml"
    config.write_text(
        "upstreams: {a: {url: 'http://10.0.0.1:80'}, e: {engine: small}}\ncallers: {file: keys.yaml}\n"
        "models: {m: {tiers: [a]}, n: {tiers: [a, e]}, o: {tiers: [e]}}\n"
    )
    far = ask(tmp_path, '{"prompt": "x"}', "--caller", "near", "--config", config)
    assert far.exit_code == 1
    assert "refused (reach_exceeded): no tier of m lies within process" in far.stdout
    assert ask(tmp_path, '{"model": "n", "prompt": "x"}', "--caller", "near", "--config", config).exit_code == 0
    other = ask(tmp_path, '{"model": "o", "prompt": "x"}', "--caller", "near", "--config", config)
    assert "refused (model_not_for_caller): near may not use o" in other.stdout
    nobody = ask(tmp_path, '{"model": "o"}', "--config", config)
    assert "(known: near)" in nobody.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name either a URL or --request FILE"),
        (["http://10.0.0.1:80", "--request", "x"], "name either"),
        (["http://10.0.0.1:80", "--reach", "far"], "--reach must be one of process, host, network, rented"),
        (["http://10.0.0.1:80", "--config", "/nowhere.yaml"], "cannot be read"),
        (["--request", "/nowhere.json"], "/nowhere.json: cannot be read"),
    ],
)
def test_explain_used_wrongly(arguments: list[str], words: str) -> None:
    result = run("explain", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_keys_from_creation_to_revocation(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    made = run("keys", "create", "alice", "--file", file, "--reach", "host", "--model", "m", "--model", "n")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert key.startswith("rf_")
    assert f"Revoke it: ringfence keys revoke {key[3:11]} --file {file}\n" in made.stderr
    other = json.loads(run("keys", "create", "bob", "--file", file, "--json").stdout)
    assert other["caller"] == "bob"
    shown = run("keys", "list", "--file", file).stdout
    assert [line.split()[2:4] for line in shown.splitlines()] == [["alice", "host"], ["bob", "rented"]]
    assert key not in shown
    listed = json.loads(run("keys", "list", "--file", file, "--json").stdout)
    assert listed[0]["models"] == ["m", "n"]
    assert "sha256" not in listed[0]
    assert run("keys", "revoke", other["id"], "--file", file).exit_code == 0
    again = run("keys", "revoke", other["id"], "--file", file)
    assert again.exit_code == 1
    assert f"no key has the id {other['id']}" in again.stderr


def test_keys_used_wrongly(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    assert "no keys in" in run("keys", "list", "--file", file).stderr
    assert run("keys", "create", "two words", "--file", file).exit_code == 2
    assert run("keys", "create", "a", "--reach", "far", "--file", file).exit_code == 2
    assert run("keys", "create", "a", "--file", tmp_path / "no" / "keys.yaml").exit_code == 2
    assert run("keys", "revoke", "x", "--file", tmp_path / "no" / "keys.yaml").exit_code == 2
    run("keys", "create", "a", "--file", file)
    conflict = run("keys", "create", "a", "--reach", "host", "--file", file)
    assert conflict.exit_code == 1
    assert "another ceiling" in conflict.stderr
    file.write_text("x")
    assert run("keys", "list", "--file", file).exit_code == 2


HEDGED = """upstreams: {a: {url: "http://10.0.0.1:80/v1"}, b: {url: "http://10.0.0.2:80/v1"}}
tiers:
  - {name: pair, upstreams: [a, b], hedge_after: 2s}
  - {name: rest, upstreams: [a]}
default_model: m
"""


@pytest.mark.parametrize(("stream", "twice"), [(False, True), (True, False)])
def test_explain_says_what_a_hedge_costs(tmp_path: Path, *, stream: bool, twice: bool) -> None:
    (tmp_path / "policy.yaml").write_text(HEDGED)
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
    (tmp_path / "body.json").write_text(json.dumps(body))
    result = run("explain", "--request", tmp_path / "body.json", "--config", tmp_path / "policy.yaml")
    notes = [line for line in result.stdout.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert notes[0].startswith("note: tier pair asks a second upstream after 2 s")
    assert ("generated twice" in notes[0]) is twice


PROGRAMS = """upstreams:
  a: {command: [/bin/sh, "{socket}"], read: [/models], write: [/dev/shm]}
  b: {command: [/bin/sh, "{port}"], network: loopback, url: "http://127.0.0.1:9001/v1"}
default_model: m
"""


def test_check_says_what_each_program_is_left_with(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(PROGRAMS)
    lines = run("check", tmp_path / "policy.yaml").stdout.splitlines()
    one, two = (line for line in lines if line.startswith("program "))
    assert one.startswith("program a: serves on a socket, in an empty network; beside the system it reads ")
    assert one.endswith("/models; it writes its home, /dev/shm")
    assert "serves at 127.0.0.1:9001 of a network of its own" in two
    programs = json.loads(run("check", tmp_path / "policy.yaml", "--json").stdout)["programs"]
    assert (programs["a"]["network"], programs["a"]["writes"]) == ("none", ["/dev/shm"])
    assert programs["b"]["address"] == "127.0.0.1:9001"
