"""Parsers as DeepSite's forks have them: they split what one read brings at line feeds, and keep no rest.

Written from a description of their behaviour. An event cut in two is lost there without a word, so the service must
never cut one; the first test shows that these parsers do lose text when nothing stands between them and the upstream.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

from tests.e2e.conversations import GOOD_TEXT, chat
from tests.sdk.conftest import Shop


def naive(reads: Iterator[bytes]) -> str:
    """Each read is split at line feeds; JSON.parse of what begins with "data: ", errors swallowed."""
    text = ""
    for read in reads:
        for line in read.decode("utf-8", "ignore").split("\n"):
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            try:
                text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
            except (ValueError, KeyError):
                continue
    return text


def reads(port: int, path: str, key: str) -> Iterator[bytes]:
    """What each read of a browser's or Node's fetch brings: one HTTP chunk, or several that came together."""
    body = json.dumps(chat(stream=True)).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(head.encode() + body)
        file = sock.makefile("rb")
        while file.readline().strip():
            continue
        while length := int(file.readline(), 16):
            yield file.read(length)
            file.readline()


def test_the_naive_parser_loses_text_of_a_bare_upstream(shop: Shop) -> None:
    shop.fake.become(fault="split")
    assert naive(reads(shop.fake.port, "/v1/chat/completions", "")) != GOOD_TEXT


def test_it_loses_nothing_through_the_service(shop: Shop) -> None:
    for cut in ("", "split", "trickle", "crlf", "no_space"):
        shop.fake.become(fault=cut)
        assert naive(reads(shop.service.port, "/v1/chat/completions", shop.key)) == GOOD_TEXT
