"""Upstreams with a `command` in a policy file: what is taken, and how each mistake is named."""

from __future__ import annotations

import pytest

from policies import Reach
from tests.settings.conftest import Write, refused, taken

END = "default_model: m\n"


def upstream(words: str) -> str:
    return f"upstreams:\n  a: {{{words}}}\n{END}"


def test_a_program_on_its_socket(write: Write) -> None:
    words = 'command: [/bin/server, --host, "{socket}"], exclusive: gpu0, idle: 5m, start: eager, environment: {A: b}'
    snapshot = taken(write(upstream(words))).snapshot
    program, rule = snapshot.managed["a"], snapshot.policy.upstreams["a"]
    assert program.command == ("/bin/server", "--host", "{socket}")
    assert (program.network, program.exclusive, program.idle_s, program.eager) == ("none", "gpu0", 300.0, True)
    assert (rule.managed, rule.destination, rule.engine, rule.reach) == (True, None, None, Reach.HOST)
    assert snapshot.for_workers().managed == {}
    assert snapshot.for_gate().managed["a"].command == ()
    assert snapshot.for_gate().managed["a"].environment == {}


def test_what_it_may_read_and_write_is_for_the_supervisor_alone(write: Write) -> None:
    words = 'command: [/bin/server, "{socket}"], read: [/models], write: [/dev/shm, /var/cache/a]'
    snapshot = taken(write(upstream(words))).snapshot
    program = snapshot.managed["a"]
    assert (program.read, program.write, program.address) == (("/models",), ("/dev/shm", "/var/cache/a"), ("", 0))
    for_gate = snapshot.for_gate().managed["a"]
    assert (for_gate.read, for_gate.write) == ((), ())


@pytest.mark.parametrize("part", ["{port}", "9001", "--port=9001", "127.0.0.1:9001"])
def test_a_program_on_the_port_of_its_url(part: str, write: Write) -> None:
    words = f'command: [/bin/server, "{part}"], network: loopback, url: "http://127.0.0.1:9001/v1"'
    snapshot = taken(write(upstream(words))).snapshot
    assert snapshot.managed["a"].command[1] == part.replace("{port}", "9001")
    rule = snapshot.policy.upstreams["a"]
    assert rule.managed
    assert rule.destination is not None
    assert rule.destination.port == 9001
    assert snapshot.managed["a"].address == ("127.0.0.1", 9001)


def test_what_it_is_started_by_is_part_of_the_policy(write: Write) -> None:
    one = taken(write(upstream('command: [/bin/one, "{socket}"]'))).snapshot.policy.digest
    assert taken(write(upstream('command: [/bin/two, "{socket}"]'))).snapshot.policy.digest != one


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ('command: [server, "{socket}"]', "not the whole path"),
        ("command: [/bin/server]", "does not say {socket}"),
        ('command: [/bin/server, "{socket}"], url: "http://127.0.0.1:9001/v1"', "nothing can listen there"),
        ("command: [/bin/server], network: loopback", "needs the 'url'"),
        ('command: [/bin/server], network: loopback, url: "nonsense"', "not_canonical"),
        ('command: [/bin/server, "19001"], network: loopback, url: "http://127.0.0.1:9001/v1"', "its url, 9001"),
        ('command: [/bin/server, "9001"], network: loopback, url: "http://10.0.0.1:9001/v1"', "listens on loopback"),
        (
            'command: [/bin/server, "9001"], network: loopback, url: "http://gpu.lan:9001/v1", addresses: [10.0.0.0/8]',
            "listens on loopback",
        ),
        ('command: [/bin/server, "{socket}"], exclusive: "gpu 0"', "is not a name"),
        ('command: [/bin/server, "{socket}"], environment: {"A B": c}', "not a variable's name"),
        ('command: [/bin/server, "{socket}"], engine: small', "means nothing beside 'engine'"),
        ('url: "http://127.0.0.1:9001/v1", idle: 5m', "means nothing without 'command'"),
        ('command: [/bin/server, "{socket}"], read: [models]', "'models' is not a whole path"),
        ('command: [/bin/server, "{socket}"], write: [/var/../etc]', "'/var/../etc' is not a whole path"),
        ('command: [/bin/server, "{socket}"], write: [/]', "'/' is everything"),
        ('url: "http://127.0.0.1:9001/v1", read: [/models]', "means nothing without 'command'"),
        ("backend: vllm", "neither 'url' nor 'engine' nor 'command'"),
    ],
)
def test_mistakes(words: str, says: str, write: Write) -> None:
    found = refused(write(upstream(words)))
    assert any(says in str(finding) for finding in found), found
