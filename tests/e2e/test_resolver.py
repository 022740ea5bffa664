"""The machine's resolver while the service runs: its file emptied in place and written again, as DHCP clients do."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conversations import CHAT, chat, error_of, policy, wait_until_ready
from tests.fakes.running import fake_upstream
from tests.service import events, running, until

SERVER = "127.53.53.53"
NAME = "up.internal.example"
BIND = ("unshare", "--mount", "sh", "-c", 'mount --bind resolv.conf /etc/resolv.conf && exec "$@"', "sh")
ADDRESS = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton("127.0.0.1")  # RFC 1035, 4.1.3

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file over resolv.conf, serves port 53: needs root")


@contextmanager
def name_server() -> Iterator[None]:
    """Every name has one address, 127.0.0.1, and none of IPv6."""

    def serve() -> None:
        while True:
            question, asker = sock.recvfrom(512)
            if not question:
                return
            end = question.index(b"\0", 12) + 5
            answer = ADDRESS if question[end - 4 : end - 2] == b"\0\1" else b""
            head = question[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, bool(answer), 0, 0)
            sock.sendto(head + question[12:end] + answer, asker)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((SERVER, 53))
        except OSError as error:
            pytest.skip(f"{SERVER}:53 cannot be served here: {error.strerror}")
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            sock.sendto(b"", (SERVER, 53))
            thread.join()


def test_names_are_lost_and_found_with_the_resolvers_file(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(f"nameserver {SERVER}\n")
    tried = subprocess.run([*BIND, "true"], cwd=tmp_path, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr}")
    with name_server(), fake_upstream() as fake:
        url = fake.url.replace("127.0.0.1", NAME)
        rules = policy(fake).replace(f'{{url: "{fake.url}"}}', f'{{url: "{url}", addresses: [127.0.0.0/8]}}')
        assert NAME in rules
        with running(tmp_path, rules, under=BIND) as service:
            wait_until_ready(service)
            assert service.post(CHAT, chat()).status_code == 200
            file.write_text("")
            until(
                lambda: service.post(CHAT, chat()).status_code != 200,
                20,
                "kept connections end, and a name is asked for",
            )
            answer = service.post(CHAT, chat())
            assert (answer.status_code, error_of(answer.content)["code"]) == (502, "upstream_failed")
            file.write_text(f"nameserver {SERVER}\n")
            until(lambda: service.post(CHAT, chat()).status_code == 200, 20, "it is found again")
            service.settled()
        assert "its name has no address" in {
            row["reason"].removeprefix("dns: ") for row in events(service.log(), "upstream_state")
        }
