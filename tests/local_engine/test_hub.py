"""A pull against a server that speaks the Hub's protocol, whole and with every fault that networks and servers have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from local_engine.hub.https import HttpTransport
from local_engine.hub.pins import FILE as PINS
from local_engine.hub.pins import BadPins, Pin, read_pins, write_pin
from local_engine.hub.pull import Order, Pulled, Puller
from local_engine.hub.reference import BadReference, Reference, parse
from local_engine.hub.sources import NotListed, Source, Sources, Target, split
from local_engine.hub.transport import PullFailed
from tests.fakes.hub import COMMIT, FILE, REPO, Hub, fake_hub, gguf

CONTENT = gguf(300_000)
REFERENCE = Reference(REPO, FILE)


class Pulling(NamedTuple):
    hub: Hub
    directory: Path
    steps: list[tuple[str, int, int]]

    @property
    def path(self) -> Path:
        return REFERENCE.within(self.directory)

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    def pull(self, sha256: str = "", *, token: str = "", listed: bool = True) -> Pulled:
        sources = [Source("hub", self.hub.url, token)]
        if listed:
            sources.append(Source("cdn", self.hub.cdn_url))
        puller = Puller(Sources(sources), HttpTransport(), lambda *step: self.steps.append(step), lambda _: None)
        return puller.pull(Order(REFERENCE, self.directory, sha256))

    def refused(self, sentence: str, sha256: str = "", *, listed: bool = True) -> None:
        with pytest.raises(PullFailed, match=sentence):
            self.pull(sha256, listed=listed)
        assert not self.path.exists()


@pytest.fixture
def pulling(tmp_path: Path) -> Iterator[Pulling]:
    with fake_hub(CONTENT) as hub:
        yield Pulling(hub, tmp_path / "models", [])


def test_a_file_comes_by_way_of_a_listed_redirect_and_is_pinned(pulling: Pulling) -> None:
    pulled = pulling.pull(token="secret")
    assert pulled.path.read_bytes() == CONTENT
    assert (pulled.pin.sha256, pulled.pin.size, pulled.pin.commit) == (pulling.hub.digest, len(CONTENT), COMMIT)
    assert read_pins(pulling.directory) == {f"{REPO}:{FILE}": pulled.pin}
    assert pulling.steps[-1] == ("check", len(CONTENT), len(CONTENT))
    tokens = {server: headers.get("authorization") for server, _, headers in pulling.hub.requests}
    assert tokens == {"hub": "Bearer secret", "cdn": None}
    assert list(pulled.path.parent.iterdir()) == [pulled.path]


def test_what_is_here_is_checked_and_not_fetched_again(pulling: Pulling) -> None:
    pulling.pull()
    asked = len(pulling.hub.requests)
    assert pulling.pull().fetched == 0
    assert len(pulling.hub.requests) == asked
    pulling.path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(PullFailed, match="it is another file"):
        pulling.pull()


def test_a_cut_connection_is_resumed_from_its_last_byte(pulling: Pulling) -> None:
    pulling.hub.cut_after = [1000, 50_000]
    pulled = pulling.pull()
    assert pulled.path.read_bytes() == CONTENT
    assert pulling.hub.ranges() == ["", "bytes=1000-", "bytes=51000-"]
    assert pulling.hub.sent == len(CONTENT)


def test_a_pull_that_gave_up_goes_on_the_next_time(pulling: Pulling) -> None:
    pulling.hub.cut_after = [1000] + [0] * 10
    pulling.refused("tried 6 times. Pull again to go on")
    assert pulling.part.stat().st_size == 1000
    pulling.hub.cut_after = []
    assert pulling.pull().fetched == len(CONTENT) - 1000


def test_a_part_that_is_whole_but_unchecked_costs_one_byte(pulling: Pulling) -> None:
    pulling.hub.cut_after = [len(CONTENT) - 1] + [0] * 10
    pulling.refused("tried 6 times")
    pulling.part.write_bytes(CONTENT)
    pulling.hub.cut_after, pulling.hub.sent = [], 0
    assert pulling.pull().path.read_bytes() == CONTENT
    assert pulling.hub.sent == 1


def test_a_file_that_changed_in_between_is_fetched_from_its_beginning(pulling: Pulling) -> None:
    pulling.hub.cut_after = [1000] + [0] * 10
    pulling.refused("tried 6 times")
    pulling.hub.cut_after, pulling.hub.content = [], gguf(310_000)
    assert pulling.pull().path.read_bytes() == pulling.hub.content


def test_a_part_of_nobody_knows_what_is_not_built_upon(pulling: Pulling) -> None:
    pulling.part.parent.mkdir(parents=True)
    pulling.part.write_bytes(b"x" * 1000)
    assert pulling.pull().path.read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(pulling: Pulling) -> None:
    pulling.hub.deaf_to_ranges = True
    pulling.hub.cut_after = [1000]
    assert pulling.pull().path.read_bytes() == CONTENT


def test_a_server_that_shrank_the_file_is_asked_from_the_beginning(pulling: Pulling) -> None:
    pulling.hub.cut_after = [1000] + [0] * 10
    pulling.refused("tried 6 times")
    pulling.hub.cut_after, pulling.hub.content = [], gguf(10)
    assert pulling.pull().path.read_bytes() == pulling.hub.content


def test_a_busy_hub_is_asked_again(pulling: Pulling) -> None:
    pulling.hub.statuses = [503, 429]
    assert pulling.pull().fetched == len(CONTENT)


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "wants a token"), (403, "licence"), (404, "no such"), (410, "unexpected")]
)
def test_what_no_second_try_mends_is_told(pulling: Pulling, status: int, sentence: str) -> None:
    pulling.hub.statuses = [status]
    pulling.refused(sentence)
    assert len(pulling.hub.requests) == 1


def test_a_host_that_is_not_listed_is_named_and_never_dialled(pulling: Pulling) -> None:
    pulling.refused(f"sends us on to {pulling.hub.cdn_url}, which is not listed", listed=False)
    assert [server for server, _, _ in pulling.hub.requests] == ["hub"]


@pytest.mark.parametrize(
    "where", ["ftp://x/y", "http://user@127.0.0.1/x", "", "//evil.example/x", "http://A.B/x", "/\u00e9"]
)
def test_a_redirect_that_is_no_plain_address_is_refused(pulling: Pulling, where: str) -> None:
    pulling.hub.send_on_to = where or "\t"
    pulling.refused("not a plain http or https address|is not listed")


def test_a_ring_of_redirects_ends(pulling: Pulling) -> None:
    pulling.hub.send_on_to = f"/{REPO}/resolve/main/{FILE}"
    pulling.refused("sent on more than 5 times")


def test_another_file_than_was_promised_is_removed(pulling: Pulling) -> None:
    pulling.hub.altered = True
    pulling.refused("what was fetched is removed")
    assert not pulling.part.exists()


@pytest.mark.parametrize("wrong", [1, 400_000])
def test_a_size_that_the_hub_and_its_network_disagree_about_is_never_taken(pulling: Pulling, wrong: int) -> None:
    pulling.hub.lie_size = wrong
    pulling.refused("bytes, and .* are offered")


def test_an_empty_or_endless_file_is_refused(pulling: Pulling) -> None:
    pulling.hub.content, pulling.hub.direct = b"", True
    pulling.refused("answers 416|offers 0 bytes|fewer bytes")


def test_what_the_settings_ask_for_is_compared_before_a_byte_is_fetched(pulling: Pulling) -> None:
    pulling.refused("is pinned: it is another file. Nothing was fetched", "0" * 64)
    assert pulling.steps == []


def test_a_pin_outlives_its_file(pulling: Pulling) -> None:
    pulling.pull()
    pulling.path.unlink()
    pulling.hub.content = gguf(5000)
    pulling.refused("it is another file")
    pulling.refused("check which is right", "1" * 64)


def test_without_a_digest_of_the_hub_the_first_file_is_pinned(pulling: Pulling) -> None:
    pulling.hub.direct = True
    assert pulling.pull(listed=False).pin.sha256 == pulling.hub.digest


def test_a_file_that_is_no_model_is_removed(pulling: Pulling) -> None:
    pulling.hub.content = b"not a model at all"
    pulling.refused("is not a GGUF file")


def test_a_template_that_the_sandbox_cannot_render_is_refused(pulling: Pulling) -> None:
    pulling.hub.content = gguf(10, "{{ ''.__class__.__mro__ }}")
    pulling.refused("chat template is refused")
    pulling.hub.content = gguf(10, "{% for message in messages %}{{ message.content }}{% endfor %}")
    assert pulling.pull().path.exists()


def test_a_disk_without_room_is_told_before_a_byte_is_fetched(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 30, 1 << 30, 1000))
    pulling.refused("make room")
    assert not pulling.part.exists()


def test_nobody_there_is_told_after_some_tries(tmp_path: Path) -> None:
    with fake_hub(CONTENT) as hub:
        pass
    pulling = Pulling(hub, tmp_path, [])
    pulling.refused("no answer from hub: .*tried 6 times")


def test_damaged_pins_are_never_written_over(pulling: Pulling) -> None:
    pulling.directory.mkdir()
    for text in ("{", "[]", '{"a/b:c.gguf": {"sha256": "short", "size": 1}}', '{"a/b:c.gguf": {"sha": 1}}'):
        (pulling.directory / PINS).write_text(text)
        with pytest.raises(BadPins, match="restore it, or remove it"):
            pulling.pull()
        assert (pulling.directory / PINS).read_text() == text


def test_a_pin_can_be_forgotten(tmp_path: Path) -> None:
    write_pin(tmp_path, REFERENCE, Pin("a" * 64, 1))
    write_pin(tmp_path, REFERENCE, None)
    assert json.loads((tmp_path / PINS).read_text()) == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a/b", "names no file"),
        ("a:x.gguf", "not a repository"),
        ("../b:x.gguf", "not a repository"),
        ("a/b..c:x.gguf", "not a repository"),
        ("a/b:../x.gguf", "not a file"),
        ("a/b:x//y.gguf", "not a file"),
        ("a/b:/x.gguf", "not a file"),
        ("a/b:x.bin", "not a GGUF file"),
        ("a/b:" + "x" * 300 + ".gguf", "not a file"),
        ("a/b:x.gguf@a/b", "not a revision"),
        ("a/b?c:x.gguf", "not a repository"),
    ],
)
def test_names_that_cannot_be_pulled(text: str, wrong: str) -> None:
    with pytest.raises(BadReference, match=wrong):
        parse(text)


def test_a_model_in_parts_is_named_by_its_first() -> None:
    reference = parse("a/b:q4/x-00001-of-00002.gguf@v1")
    names = [f"a/b:q4/x-0000{part}-of-00002.gguf" for part in (1, 2)]
    assert [(part.name, part.revision) for part in reference.parts] == [(name, "v1") for name in names]
    assert parse("a/b:x.gguf").parts == (parse("a/b:x.gguf"),)
    with pytest.raises(BadReference, match=r"part 2 of 2: name the first one, q4/x-00001-of-00002\.gguf"):
        _ = parse(names[1]).parts
    for impossible in ("x-00003-of-00002.gguf", "x-00000-of-00002.gguf", "x-00001-of-99999.gguf"):
        with pytest.raises(BadReference, match="which cannot be"):
            _ = parse(f"a/b:{impossible}").parts


def test_a_name_is_a_path_of_its_own(tmp_path: Path) -> None:
    reference = parse("Qwen/Qwen2.5-GGUF:q4/model.gguf@v1.0")
    assert reference.path == "/Qwen/Qwen2.5-GGUF/resolve/v1.0/q4/model.gguf"
    assert reference.within(tmp_path) == tmp_path / "Qwen--Qwen2.5-GGUF" / "q4--model.gguf"
    assert parse("a/b:c.gguf").revision == "main"


def test_addresses_are_compared_with_their_port_written() -> None:
    assert split("https://cdn.example/a?b=c#d") == ("https://cdn.example:443", "/a?b=c")
    assert split("http://[::1]:80") == ("http://[::1]:80", "/")
    with pytest.raises(NotListed):
        split("https://x/" + "a" * 20_000)
    sources = Sources([Source("hub", "https://hub.example:443"), Source("plain", "http://hub.example:80")])
    target = Target(sources.hub, "/a")
    assert sources.follow(target, "http://hub.example/b").source.name == "plain"
    assert sources.follow(target, "/b").source.name == "hub"
