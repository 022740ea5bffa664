"""The service under proof: started as operators start it, asked as clients ask it, crashed as machines crash."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_GREETING: Final = re.compile(r"listens on http://127\.0\.0\.1:([0-9]+)/v1")
START_S, STOP_S, ANSWER_S, SILENT_S = 60.0, 60.0, 60.0, 3.0


class Broken(Exception):
    """The service did not do what every service must; the message says which step that was."""


class Service:
    """`ringfence serve` on loopback, in a directory of its own."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self.ports: set[int] = set()
        self._start()

    @property
    def port(self) -> int:
        return self._port

    def _start(self) -> None:
        command = [
            sys.executable,
            "-I",
            "-m",
            "router",
            "serve",
            "--config",
            "policy.yaml",
            "--port",
            "0",
            "--workers",
            "2",
        ]
        log = self._directory / "service.log"
        log.touch()
        from_here = log.stat().st_size
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=self._directory,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self._port = 0
        until(lambda: self._greeted(log, from_here), START_S, "the service did not start: see service.log")
        self.ports.add(self._port)
        until(self.ready, START_S, "no upstream became ready: see service.log")

    def _greeted(self, log: Path, from_here: int) -> bool:
        found = _GREETING.search(log.read_bytes()[from_here:].decode("utf-8", "replace"))
        self._port = int(found[1]) if found else 0
        if self._process.poll() is not None:
            raise Broken("the service ended at its start: see service.log")
        return bool(found)

    def ready(self) -> bool:
        try:
            return self.ask("GET", "/health") == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, document: object = None, headers: Mapping[str, str] | None = None) -> int:
        """One request; the status of its answer, read to its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_S)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from None
        else:
            return answer.status
        finally:
            connection.close()

    def raw(self, data: bytes) -> int:
        """Bytes as an attacker writes them; how many came back until the service hung up, or said nothing for long."""
        total = 0
        with socket.create_connection(("127.0.0.1", self._port), SILENT_S) as sock:
            sock.sendall(data)
            with contextlib.suppress(TimeoutError):
                while data := sock.recv(65536):
                    total += len(data)
        return total

    def reload(self) -> None:
        """Take the policy file as it is now."""
        self._process.send_signal(signal.SIGHUP)
        log = self._directory / "service.log"
        until(lambda: b"Settings taken" in log.read_bytes(), START_S, "the new policy was not taken: see service.log")

    def crash(self, module: str) -> None:
        """Kill the processes that run this module, and wait until the service serves again."""
        killed = [pid for pid in self._children() if module in _command_line(pid)]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        if not killed:
            raise Broken(f"no process runs {module}")
        until(lambda: not set(killed) & set(self._children()), START_S, f"{module} did not end")
        until(self.ready, START_S, f"the service did not come back after {module} was killed: see service.log")

    def stop(self) -> int:
        """Its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise Broken(f"the service did not stop within {STOP_S:g} s") from None

    def verify(self) -> int:
        """The exit code of `ringfence audit verify` over what was recorded."""
        command = [sys.executable, "-I", "-m", "router", "audit", "verify", "ledger"]
        with (self._directory / "verify.txt").open("wb") as file:
            return subprocess.run(command, cwd=self._directory, stdout=file, stderr=file, check=False).returncode

    def run(self, *arguments: str) -> int:
        """The exit code of a command beside the service, in the same hostile environment; what it says is kept."""
        command = [sys.executable, "-I", "-m", "router", *arguments]
        with (self._directory / "commands.txt").open("ab") as file:
            done = subprocess.run(
                command,
                cwd=self._directory,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=ANSWER_S,
                check=False,
            )
        return done.returncode

    def restart(self) -> None:
        """End it in order, and start it on the same ledger."""
        self.stop()
        self._start()

    def _children(self) -> list[int]:
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait for it; Broken when it does not come."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise Broken(otherwise)
        time.sleep(0.05)
