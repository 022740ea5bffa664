"""The engine as a process: how it starts, breaks, drains and dies."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from local_engine.launch import command
from tests.local_engine.conftest import SPEC, Child, listen, spawn, wait_until_ready
from tests.local_engine.conversation import chat, chat_body, events_of, text_of
from tests.local_engine.soak import resident_mb

pytestmark = pytest.mark.engine

ENDLESS = chat_body(stream=True, max_tokens=900, logit_bias={"2": -100})


def test_it_answers_while_it_loads_and_requests_wait_for_the_model(fresh: Child) -> None:
    with fresh.client() as client:
        health = client.get("/health")
        if health.status_code == 503:
            assert (health.json()["status"], health.headers["Retry-After"]) == ("loading", "1")
        assert chat(client, max_tokens=1)["usage"]["completion_tokens"] == 1


def test_a_native_crash_in_mid_stream_cuts_the_stream_and_the_next_process_serves(
    fresh: Child, state_dir: Path
) -> None:
    with fresh.client() as client:
        wait_until_ready(client)
        lines: list[str] = []
        with pytest.raises(httpx.RemoteProtocolError):
            _read_and_crash(client, fresh.process, lines)
    assert "data: [DONE]" not in lines
    assert fresh.process.wait(5) == -signal.SIGSEGV
    waiting: list[int] = []

    def ask() -> None:
        with fresh.client() as client:
            waiting.append(chat(client, max_tokens=2)["usage"]["total_tokens"])

    thread = threading.Thread(target=ask)
    thread.start()  # nobody accepts yet: the parent's listener keeps the request in its backlog
    time.sleep(0.1)
    fresh.process = spawn(fresh.listener, SPEC, state_dir)
    thread.join(10)
    assert waiting


def _read_and_crash(client: httpx.Client, process: subprocess.Popen[bytes], lines: list[str]) -> None:
    with client.stream("POST", "/v1/chat/completions", json=ENDLESS) as answer:
        for line in answer.iter_lines():
            lines.append(line)
            if len(lines) == 6:
                process.send_signal(signal.SIGSEGV)


def test_sigterm_lets_running_answers_finish_and_refuses_nobody_half_way(fresh: Child) -> None:
    with fresh.client() as client:
        wait_until_ready(client)
        body = {**ENDLESS, "max_tokens": 60}
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            text = answer.iter_text()
            raw = next(text)
            fresh.process.send_signal(signal.SIGTERM)
            raw += "".join(text)
    assert events_of(raw)[-1] == "[DONE]"
    assert fresh.process.wait(10) == 0


def test_it_dies_with_its_parent(built: None, tmp_path: Path, state_dir: Path) -> None:
    listener, path = listen(tmp_path)
    script = (
        "import subprocess, sys, time\n"
        "from local_engine.launch import EngineSpec, command\n"
        "from pathlib import Path\n"
        f"fd = {listener.fileno()}\n"
        f"line = command(EngineSpec(context=256, threads=1), fd, Path({str(state_dir)!r}))\n"
        "child = subprocess.Popen(line, pass_fds=(fd,))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    fd = listener.fileno()
    with subprocess.Popen([sys.executable, "-c", script], pass_fds=(fd,), stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        with Child(listener, path, parent).client() as client:
            wait_until_ready(client)
        parent.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.02)
    assert not _runs(pid)
    listener.close()


def _runs(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def test_a_child_whose_parent_is_gone_does_not_start(built: None, tmp_path: Path) -> None:
    listener, _ = listen(tmp_path)
    orphan = command(SPEC, listener.fileno(), tmp_path)
    orphan[orphan.index("--parent") + 1] = "1"
    done = subprocess.run(orphan, capture_output=True, check=False, pass_fds=(listener.fileno(),))
    assert b"is gone" in done.stderr
    listener.close()


def test_a_model_that_does_not_load_is_said_in_health(built: None, tmp_path: Path, state_dir: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    listener, path = listen(tmp_path)
    child = Child(listener, path, spawn(listener, replace(SPEC, model=str(broken)), state_dir))
    with child.client() as client:
        deadline = time.monotonic() + 20
        while (health := client.get("/health").json())["status"] == "loading" and time.monotonic() < deadline:
            time.sleep(0.05)
        refused = client.post("/v1/chat/completions", json=chat_body())
        assert client.get("/").json()["status"] == "failed"
    child.end()
    assert health["status"] == "failed"
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_error")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "give --api-key-file"),
        (["--host", "example.org"], "takes an IP address"),
        (["--host", "127.0.0.1", "--context", "5"], "--context must be from 256"),
        (["--host", "127.0.0.1", "--model", "/nowhere.gguf"], "No such file"),
        (["--host", "127.0.0.1", "--model", __file__], "not a GGUF file"),
        (["--host", "127.0.0.1", "--model", "package:httpx"], "0 GGUF files"),
        (["--host", "127.0.0.1", "--model", "package:not-there"], "not installed"),
        (["--host", "127.0.0.1", "--api-key-file", "/dev/null"], "holds no key"),
        ([], "one of the arguments"),
    ],
)
def test_a_command_line_that_cannot_be_served(arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "local_engine", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tcp_server_with_keys(built: None, tmp_path: Path, state_dir: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# the team\nsecret-one\nsecret-two\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--api-key-file", str(keys), "--state-dir", str(state_dir)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "local_engine", *options, "--context", "256", "--threads", "1"]
    )
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=8), timeout=60
    ) as client:
        wait_until_ready(client)
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret-one"}):
            refused = client.post("/v1/chat/completions", json=chat_body(), headers=header)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        client.headers["Authorization"] = "Bearer secret-two"
        assert chat(client, max_tokens=1)
    process.terminate()
    assert process.wait(10) == 0


def test_a_unix_socket_of_its_own_is_private_and_removed(built: None, tmp_path: Path, state_dir: Path) -> None:
    path = tmp_path / "own.sock"
    options = ["--socket", str(path), "--state-dir", str(state_dir), "--context", "256", "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-I", "-m", "local_engine", *options])
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path), retries=5), base_url="http://engine") as client:
        wait_until_ready(client)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(10) == 0
    assert not path.exists()


def test_an_idle_engine_gives_its_memory_back_and_loads_again_when_asked(
    built: None, tmp_path: Path, state_dir: Path
) -> None:
    listener, path = listen(tmp_path)
    child = Child(listener, path, spawn(listener, replace(SPEC, idle_unload=0.5), state_dir))
    with child.client() as client:
        before = chat(client)
        loaded = resident_mb(child)
        deadline = time.monotonic() + 60
        while client.get("/health").json()["status"] != "idle":
            assert time.monotonic() < deadline, "it was never unloaded"
            time.sleep(0.05)
        while resident_mb(child) >= loaded - 60:  # it is called idle before the last page is given back
            assert time.monotonic() < deadline, "its memory was kept"
            time.sleep(0.05)
        assert text_of(chat(client)) == text_of(before)
    child.end()
