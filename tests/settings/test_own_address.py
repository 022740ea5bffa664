"""An upstream that is this service itself is refused where that can be known without asking DNS."""

from __future__ import annotations

import pytest

from tests.settings.conftest import Write, refused, taken

SAID = "this service itself listens there"
KEYS = "callers: {file: keys.yaml}\n"


def policy(host: str, upstream: str, more: str = "") -> str:
    return (
        f"version: 1\nlisten: {{host: '{host}', port: 7860}}\nupstreams:\n  a: {{{upstream}}}\ndefault_model: m\n{more}"
    )


@pytest.mark.parametrize(
    ("host", "upstream", "more"),
    [
        ("127.0.0.1", 'url: "http://127.0.0.1:7860/v1"', ""),
        ("::1", 'url: "http://[::1]:7860/v1"', ""),
        ("0.0.0.0", 'url: "http://127.0.0.1:7860/v1"', KEYS),
        ("::", 'url: "http://127.0.0.2:7860/v1"', KEYS),
        ("10.0.0.5", 'url: "http://10.0.0.5:7860/v1"', KEYS),
        ("127.0.0.1", 'url: "http://gpu.lan:7860/v1", addresses: [127.0.0.0/8]', "hosts: {gpu.lan: [127.0.0.1]}\n"),
    ],
)
def test_it_is_found(host: str, upstream: str, more: str, write: Write) -> None:
    path = write(policy(host, upstream, more))
    (path.parent / "keys.yaml").write_text("[]\n")
    (path.parent / "keys.yaml").chmod(0o600)
    (found,) = [one for one in refused(path) if SAID in one.message]
    assert (found.key, found.line) == ("upstreams.a.url", 4)
    assert "the model server's own URL" in found.hint


@pytest.mark.parametrize(
    "upstream",
    [
        'url: "http://127.0.0.1:7861/v1"',
        'url: "http://127.0.0.2:7860/v1"',
        'url: "http://10.0.0.5:7860/v1"',
        'url: "http://gpu.lan:7860/v1"',
        'url: "http://127.0.0.1:7860/v1", command: [/bin/true, "{port}"], network: loopback',
        "engine: small",
    ],
)
def test_others_are_not(upstream: str, write: Write) -> None:
    assert taken(write(policy("127.0.0.1", upstream))).snapshot.policy.upstreams["a"]


def test_a_host_that_is_no_address_is_said_alone(write: Write) -> None:
    assert [one.key for one in refused(write(policy("here", 'url: "http://127.0.0.1:7860/v1"')))] == ["listen.host"]
