"""Token for token what llama-server says, from the same source, flags, weights and number of threads.

llama.cpp has three attention kernels for a processor, and each rounds in its own way: one for a decode of a single
token over 512 cells or more (split by threads), one for up to 63 tokens, one for 64 and more (in tiles of cells). So
two runs are equal to the last bit when every token passes through the same kernel, and in the third when the cells lie
alike besides. That is what these tests arrange; elsewhere scores differ by some hundredths, and a near tie may fall
the other way (two runs of llama-server do the same: see docs/reference/engine.md).
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.model_file import locate
from tests.local_engine.conftest import SPEC, serving

SERVER = Path(sys.prefix).parent / ".cache" / "engine" / "build-peer" / "bin" / "llama-server"
SHORT = (
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Who wrote Hamlet?",
    "Count from one to ten in words.",
)
LONG = tuple(
    f"Number {number}: tell a story about these: {' '.join(f'item{(number * 31 + i * 7) % 97}' for i in range(words))}"
    for number, words in ((1, 25), (2, 40))
)
Answer = list[bytes]


@contextlib.contextmanager
def llama_server(slots: int) -> Iterator[httpx.Client]:
    if not SERVER.exists():
        pytest.skip("THERE IS NO LLAMA-SERVER TO COMPARE WITH: run `.venv/bin/python bench/engine_peers.py` first")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    shape = ["-c", "1024", "-np", str(slots), "-kvu", "-t", "1", "-tb", "1", "--no-webui"]
    command = [str(SERVER), "-m", str(locate(SPEC.model)), "--host", "127.0.0.1", "--port", str(port), *shape]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            _wait_until_healthy(client)
            yield client
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_healthy(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail("llama-server did not become healthy")


def tokens(client: httpx.Client, question: str) -> Answer:
    """The bytes of each generated token; llama-server lists the end token too, with none."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 16}
    answer = client.post("/v1/chat/completions", json={**body, "logprobs": True, "top_logprobs": 1})
    assert answer.status_code == 200, answer.text
    listed = answer.json()["choices"][0]["logprobs"]["content"]
    return [bytes(token["bytes"]) for token in listed if token["bytes"]]


def test_greedy_answers_are_llama_servers_alone_and_with_a_reused_prefix(
    built: None, tmp_path: Path, state_dir: Path
) -> None:
    with llama_server(1) as theirs, serving(tmp_path, state_dir, replace(SPEC, parallel=1)) as mine:
        for question in (*SHORT, *LONG):
            expected = tokens(theirs, question)
            assert len(expected) > 4
            assert tokens(mine, question) == expected, question
            assert tokens(mine, question) == tokens(theirs, question), f"again: {question}"


def test_greedy_answers_are_llama_servers_when_they_are_generated_together(
    built: None, tmp_path: Path, state_dir: Path
) -> None:
    with llama_server(1) as theirs:
        expected = [tokens(theirs, question) for question in SHORT]
    with serving(tmp_path, state_dir, replace(SPEC, parallel=4)) as mine:
        tokens(mine, "Hello!")  # the template's own words are in the cache now: what is left fits one small batch
        with ThreadPoolExecutor(len(SHORT)) as pool:
            together = list(pool.map(lambda question: tokens(mine, question), SHORT))
    assert together == expected
