"""What is fuzzed: properties over any bytes; by atheris (tools/fuzz.py), and a little by Hypothesis in the suite."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from policies import DestinationError, Endpoint, judge_body, parse_destination
from router.body import read
from router.channel.frames import LARGEST, ChannelError, Splitter
from router.errors import RouterError
from router.prove.steps import hostile_bodies, hostile_bytes
from router.settings.snapshot import Limits
from tests.policies.disguises import REFUSED
from tests.router.house import plain
from tests.router.test_anything import CALLED, a_place, request

OneInput = Callable[[bytes], None]


@contextmanager
def service() -> Iterator[OneInput]:
    """The real front and gate over sockets, in this process: nobody but the listed upstream is called."""
    with tempfile.TemporaryDirectory() as directory, a_place(Path(directory)) as place:
        place.answer[0] = plain(b'{"choices":[]}')

        def talk(data: bytes) -> None:
            place.talk(data)
            called = place.dialled()
            assert called <= {("127.0.0.1", place.upstream)}, called
            CALLED.heard.clear()

        yield talk


@contextmanager
def body() -> Iterator[OneInput]:
    """What was judged is what is sent: the document that goes on is judged again as it was, by another parser too."""

    def judge(data: bytes) -> None:
        try:
            inbound = read(data, Endpoint.CHAT, "fuzz", None, Limits())
        except RouterError:
            return
        judged = judge_body(inbound.document)
        sent = msgspec.json.encode(inbound.document)
        again = judge_body(json.loads(sent))
        assert (again.allowed, again.reason) == (judged.allowed, judged.reason), (judged, again)

    yield judge


@contextmanager
def destination() -> Iterator[OneInput]:
    """Accepted means canonical, and the standard library reads the same host and port in it."""

    def parse(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        try:
            found = parse_destination(text)
        except DestinationError:
            return
        split = urlsplit(text)
        assert (found.url, split.port) == (text, found.port)
        assert split.hostname == found.host or ip_address(split.hostname or "") == ip_address(found.host)
        assert (split.username, split.query, split.fragment) == (None, "", "")

    yield parse


@contextmanager
def frames() -> Iterator[OneInput]:
    """However the channel's bytes are cut, the same frames come out; nonsense is a ChannelError and nothing else."""

    def split(data: bytes) -> None:
        whole, cut = _frames(data, len(data) or 1), _frames(data, 7)
        assert whole == cut

    yield split


def _frames(data: bytes, size: int) -> list[object]:
    splitter, found = Splitter(), list[object]()
    try:
        for at in range(0, len(data), size):
            for frame in splitter.feed(data[at : at + size]):
                assert len(frame[2]) <= LARGEST
                found.append(frame)
    except ChannelError:
        found.append("nonsense")
    return found


TARGETS: dict[str, Callable[[], AbstractContextManager[OneInput]]] = {
    "service": service,
    "body": body,
    "destination": destination,
    "frames": frames,
}
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "service": lambda: [
        *(data for _, data in hostile_bytes()),
        *(request("POST", "/v1/chat/completions", [], json.dumps(one).encode()) for one in hostile_bodies()),
    ],
    "body": lambda: [json.dumps(one).encode() for one in hostile_bodies()],
    "destination": lambda: [row[1].encode("utf-8", "replace") for row in REFUSED],
    "frames": lambda: [b"\1\0\0\0\1\0\0\0\x12x", b"\0\0\0\0\0\0\0\0\x13", b"\xff\xff\xff\xff\0\0\0\0\1"],
}
