"""The Hugging Face Space's start script, run as the container runs it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.local_engine.conftest import wait_until_ready
from tests.local_engine.conversation import chat, chat_body

SPACE = Path(__file__).parents[2] / "deploy" / "huggingface-space"


def test_a_space_without_a_key_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", str(SPACE / "start.sh")], env={"HOME": str(tmp_path)}, capture_output=True, check=False
    )
    assert (done.returncode, b"ENGINE_API_KEY" in done.stderr) == (2, True)
    assert not (tmp_path / "keys").exists()


@pytest.mark.engine
def test_a_space_serves_with_its_key(built: None, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"ENGINE_API_KEY": "the-key", "ENGINE_HOST": "127.0.0.1", "PORT": str(port), "ENGINE_CONTEXT": "256"}
    environment = {**settings, "HOME": str(tmp_path), "ENGINE_PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(["sh", str(SPACE / "start.sh")], env=environment)
    transport = httpx.HTTPTransport(retries=8)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=60) as client:
        wait_until_ready(client)
        assert client.post("/v1/chat/completions", json=chat_body()).status_code == 401
        client.headers["Authorization"] = "Bearer the-key"
        assert chat(client, max_tokens=1)
    process.terminate()
    assert process.wait(10) == 0
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
