"""A thousand who stay and a hundred streams starve nobody; without descriptors answers are clear, no record is lost."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.conversations import CHAT, all_ready, chat, error_of
from tests.fakes.running import Fake
from tests.service import Service, events, resident_bytes, running, until

IDLE = 1000
STREAMS = 120
LIMIT = 160
LIMITED = ("/bin/sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "--")
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
MOST_GROWTH = 60_000_000  # of the worker: a whole interpreter once more would be too much
DONE = b"data: [DONE]\n\n\r\n0\r\n\r\n"
BUSY = b'"code":"upstreams_busy"'


def policy(fake: Fake, workers: int = 1) -> str:
    return f"""
listen: {{workers: {workers}}}
upstreams: {{up-1: {{url: "{fake.url}"}}}}
tiers:
- {{name: one, upstreams: [up-1], concurrency: 1000, timeouts: {{first_token: 60s, between_tokens: 60s, total: 99s}}}}
models: {{coder: {{tiers: [one]}}}}
"""


def stream_request() -> bytes:
    body = json.dumps(chat(stream=True)).encode()
    return f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def read(sock: socket.socket, *ends: bytes) -> bytes:
    """Until one of these ends, or the connection's."""
    answer = b""
    try:
        while not any(end in answer for end in ends) and (came := sock.recv(65536)):
            answer += came
    except ConnectionError:
        pass
    return answer


def ask(sock: socket.socket) -> bytes:
    with suppress(ConnectionError):  # closed already: what it was told is still to be read
        sock.sendall(LIVE)
    return read(sock, b"alive")


@contextmanager
def crowd(service: Service, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, from fifty addresses."""
    sockets: list[socket.socket] = []
    try:
        for number in range(count):
            sockets.append(sock := socket.socket())
            sock.settimeout(60)
            sock.bind((f"127.0.0.{1 + number % 50}", 0))
            sock.connect(("127.0.0.1", service.port))
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def test_who_stays_and_who_streams_starve_nobody(tmp_path: Path, fake: Fake) -> None:
    with running(tmp_path, policy(fake)) as service:
        until(lambda: all_ready(service), 20, "ready")
        before = resident_bytes(service.pids()["worker-0"])
        with crowd(service, IDLE) as idle, crowd(service, STREAMS) as streams:
            assert all(b" 200 " in ask(sock) for sock in idle)
            fake.become(tokens=6, delay_s=0.5)
            for sock in streams:
                sock.sendall(stream_request())
            assert service.get("/health").status_code == 200, "while all of them are under way"
            answers = [read(sock, DONE) for sock in streams]
            assert all(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(DONE) for answer in answers)
            assert all(b" 200 " in ask(sock) for sock in idle), "nobody was closed for the others' sake"
            assert resident_bytes(service.pids()["worker-0"]) - before < MOST_GROWTH
        assert len(service.settled(STREAMS)) >= STREAMS


def test_without_descriptors_who_comes_is_told_and_who_is_here_goes_on(tmp_path: Path, fake: Fake) -> None:
    with running(tmp_path, policy(fake), under=LIMITED) as service:
        until(lambda: all_ready(service), 20, "ready")
        limits = {row["process"]: row["limit"] for row in events(service.log(), "descriptors")}
        assert limits == {"gate": LIMIT, "worker-0": LIMIT}
        with crowd(service, LIMIT) as sockets:
            answers = [ask(sock) for sock in sockets]
            told = Counter(answer[9:12] for answer in answers)
            assert told.keys() == {b"200", b"503"}, "an answer for everybody"
            for answer in answers:
                if answer[9:12] == b"503":
                    assert b"retry-after: 1\r\n" in answer
                    assert "Too many connections" in error_of(answer.partition(b"\r\n\r\n")[2])["message"]
            sockets[0].sendall(stream_request())
            assert read(sockets[0], DONE).endswith(DONE), "who is here is served"
        until(lambda: service.get("/livez").status_code == 200, 20, "there is room again")
        assert service.post(CHAT, chat()).status_code == 200
        assert service.verify().returncode == 0


def test_a_gate_without_descriptors_is_busy_and_keeps_its_ledger(tmp_path: Path, fake: Fake) -> None:
    """Two workers take more clients than the gate has descriptors for upstreams; the last ones are the ledger's."""
    with running(tmp_path, policy(fake, workers=2), under=LIMITED) as service:
        until(lambda: all_ready(service), 20, "ready")
        fake.become(tokens=3, delay_s=1.0)
        with crowd(service, int(LIMIT * 1.1)) as streams:
            for sock in streams:
                with suppress(ConnectionError):  # a worker may be full, too
                    sock.sendall(stream_request())
            answers = [read(sock, DONE, BUSY) for sock in streams]
        told = Counter(answer[9:12] for answer in answers)
        assert told.keys() >= {b"200", b"429"}
        assert told.keys() <= {b"200", b"429", b"503"}
        assert all(answer.endswith(DONE) for answer in answers if answer[9:12] == b"200")
        assert all_ready(service), "the upstream has done nothing wrong"
        fake.reset()
        until(lambda: service.post(CHAT, chat()).status_code == 200, 20, "there is room again")
        service.settled()
        assert service.verify().returncode == 0
        assert not events(service.log(), "ledger_refuses")
