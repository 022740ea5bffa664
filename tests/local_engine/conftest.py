"""A real engine process, started as a supervisor starts it: on an inherited listening socket."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from local_engine.launch import EngineSpec, command

BUILT = (Path(sys.prefix) / "engine" / "native-lib" / "libllama.so").exists()
SPEC = EngineSpec(context=1024, parallel=4, queue=8, threads=1)


@dataclass
class Child:
    """The parent's side: it keeps the listener, whatever happens to the process."""

    listener: socket.socket
    path: Path
    process: subprocess.Popen[bytes]

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.path)), base_url="http://engine", timeout=180)

    def async_client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.path))
        return httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=180)

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
        self.listener.close()


def listen(folder: Path) -> tuple[socket.socket, Path]:
    path = folder / "engine.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(64)
    return listener, path


def spawn(listener: socket.socket, spec: EngineSpec, state_dir: Path) -> subprocess.Popen[bytes]:
    fd = listener.fileno()
    return subprocess.Popen(command(spec, fd, state_dir), pass_fds=(fd,), stdin=subprocess.DEVNULL)


def wait_until_ready(client: httpx.Client, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = client.get("/health")
        if answer.status_code == 200:
            return
        assert answer.json()["status"] == "loading", answer.text
        time.sleep(0.02)
    pytest.fail("the engine did not become ready")


@contextmanager
def serving(folder: Path, state_dir: Path, spec: EngineSpec) -> Iterator[httpx.Client]:
    """A client of an engine that is ready; the engine ends with the block."""
    listener, path = listen(folder)
    child = Child(listener, path, spawn(listener, spec, state_dir))
    try:
        with child.client() as client:
            wait_until_ready(client)
            yield client
    finally:
        child.end()


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One verdict on the CPU serves every process of the session."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def built() -> None:
    if not BUILT:
        pytest.skip("THE ENGINE IS NOT COMPILED: run `make` first, then these tests prove something")


@pytest.fixture
def fresh(built: None, tmp_path: Path, state_dir: Path) -> Iterator[Child]:
    """A process of the test's own, for tests that harm it."""
    listener, path = listen(tmp_path)
    child = Child(listener, path, spawn(listener, SPEC, state_dir))
    yield child
    child.end()


@pytest.fixture(scope="session")
def shared(built: None, tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Iterator[Child]:
    listener, path = listen(tmp_path_factory.mktemp("engine"))
    child = Child(listener, path, spawn(listener, SPEC, state_dir))
    with child.client() as client:
        wait_until_ready(client)
    yield child
    child.end()


@pytest.fixture
def client(shared: Child) -> Iterator[httpx.Client]:
    with shared.client() as client:
        yield client
