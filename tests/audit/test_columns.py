"""Many lines at once: a codec takes nothing that would be refused line by line, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.audit.codec import CODEC
from router.audit.fields import FORMS
from router.audit.format.record import head, heads, leaf_hash, tails, tails_of
from router.audit.show import Filter, show_records
from router.audit.verify.lines import STANDARD, Codec, parse_line
from router.audit.verify.story import FORMED
from router.audit.verify.stream import Stream
from tests.audit.attacker import Forger, steal
from tests.audit.ledgers import agreed, all_keys, build, codes

START = head("00" * 16, 1, 7, bytes(32))
TAIL = b',"mac":"' + b"0" * 64 + b'"}'
STOP = b'"t":1,"mono":2,"kind":"stop","body":{"reason":"x","open":0}'
OUTCOME = b'"t":1,"mono":2,"kind":"outcome","body":{"decision":3,"ending":"completed","total_ms":812.345}'
DECISION = (
    b'"t":1,"mono":2,"kind":"decision","body":{"request_id":"r","caller":"a","model":"m","endpoint":"e","upstream":"u"'
    b',"policy":"p","reason":"allowed","stream":true,"message_macs":["00"]}'
)
BODY = b'"body":{"reason":"x","open":0}'
REFUSED: dict[str, list[bytes]] = {
    "nothing": [b""],
    "another order": [b'"kind":"stop",' + BODY + b',"t":1,"mono":2'],
    "a body before the times": [BODY + b',"t":1,"mono":2,"kind":"stop"'],
    "one member more": [STOP + b',"x":1'],
    "one member fewer": [b'"t":1,"kind":"stop",' + BODY],
    "a member twice": [b'"t":1,' + STOP],
    "a space": [STOP.replace(b":{", b": {")],
    "a number in another spelling": [STOP.replace(b'"t":1', b'"t":01')],
    "no integer": [STOP.replace(b'"t":1', b'"t":1.0')],
    "no number": [STOP.replace(b'"t":1', b'"t":true')],
    "a kind that is no text": [STOP.replace(b'"stop"', b"7")],
    "a body that is a list": [STOP.replace(BODY, b'"body":[]')],
    "an escape": [STOP.replace(b'"x"', rb'"\u0078"')],
    "a member twice in the body": [STOP.replace(b'"open":0', b'"open":1,"open":0')],
    "half a body": [b'"t":1,"mono":2,"kind":"stop","body":{"reason":"x","open":0'],
    "two records on a line": [STOP + b"},{" + STOP],
    "a text over two lines, and two records on a third": [
        STOP.replace(b'"x","open":0}', b'"x'),
        b'x","open":0}',
        STOP + b"},{" + STOP,
    ],
    "a list over two lines, and two records on a third": [
        STOP.replace(b'"open":0}', b'"open":[{"a":1'),
        b'"b":2}]}',
        STOP + b"},{" + STOP,
    ],
    "no UTF-8": [STOP.replace(b'"x"', b'"\xff"')],
    "a member outside of the body": [b'"t":1},"t":5,"mono":6,"kind":"stop","body":{"a":1'],
}


def taken(codec: Codec, inners: list[bytes]) -> list[tuple[Any, ...]] | None:
    """What the codec reads, or that it refuses."""
    try:
        found = codec.columns(inners)
    except (ValueError, RecursionError):
        return None
    bodies = [dict(body.items()) for body in found.bodies]
    return list(zip(found.times, found.monos, found.kinds, bodies, strict=True))


def exactly(inners: list[bytes]) -> list[tuple[Any, ...]] | None:
    """The same, one by one."""
    try:
        rows = [parse_line(START + inner + TAIL) for inner in inners]
    except (ValueError, RecursionError):
        return None
    return [(row.t, row.mono, row.kind, row.body) for row in rows]


@pytest.mark.parametrize("codec", [STANDARD, CODEC], ids=["standard", "fast"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_record_is_taken_by_nobody(name: str, codec: Codec) -> None:
    assert exactly(REFUSED[name]) is None
    for inners in (REFUSED[name], [STOP, *REFUSED[name]], [*REFUSED[name], STOP], [*REFUSED[name], *REFUSED[name]]):
        assert taken(codec, inners) is None


@given(st.data())
def test_what_is_taken_is_what_the_lines_say(data: st.DataObject) -> None:
    """Whatever is spliced into it, at any place."""
    inners = data.draw(st.lists(st.sampled_from([STOP, OUTCOME, DECISION]), min_size=1, max_size=3))
    at = data.draw(st.integers(0, len(inners) - 1))
    line = inners[at]
    low = data.draw(st.integers(0, len(line)))
    high = data.draw(st.integers(low, min(len(line), low + 12)))
    pieces = st.sampled_from([b"", b'"', b"{", b"}", b"},{", b",", b":", b"0", b"1e3", b"1.50", b"-0", b"null", STOP])
    inners[at] = line[:low] + data.draw(st.one_of(pieces, st.binary(max_size=2))).replace(b"\n", b"") + line[high:]
    wanted = exactly(inners)
    assert taken(STANDARD, inners) == wanted
    assert taken(CODEC, inners) in (wanted, None)


def test_the_usual_is_taken() -> None:
    usual = [STOP, OUTCOME, DECISION]
    assert taken(CODEC, usual) == taken(STANDARD, usual) == exactly(usual)


def test_a_body_is_read_like_a_mapping() -> None:
    body = CODEC.columns([OUTCOME]).bodies[0]
    assert dict(body.items()) == {name: body[name] for name in body.keys()}  # noqa: SIM118 - it is no dict
    assert (body.get("decision"), body.get("status"), body.get("nothing", 5)) == (3, None, 5)
    assert ("ending" in body, "status" in body, "nothing" in body) == (True, False, False)
    with pytest.raises(KeyError, match="status"):
        body["status"]


def test_a_codec_tells_of_sealed_texts() -> None:
    named = OUTCOME.replace(b"}", b',"capture":"' + b"0" * 64 + b'"}')
    for codec in (STANDARD, CODEC):
        assert [codec.columns([inner]).sealed for inner in (OUTCOME, named)] == [False, True]


def test_what_the_fast_codec_vouches_for_is_what_the_story_needs() -> None:
    for kind, written in FORMS.items():
        hints = written.__annotations__
        assert set(FORMED[kind]) <= set(hints)


@pytest.mark.parametrize("tail", [TAIL[:-1] + b" ", TAIL.replace(b"mac", b"mca"), TAIL.replace(b"0", b"g"), b"short"])
def test_a_line_that_does_not_end_in_a_mac_is_none(tail: bytes) -> None:
    line = START + STOP + TAIL
    assert tails_of([line, line]) == TAIL + TAIL == tails([bytes(32)] * 2)
    with pytest.raises(ValueError, match="does not end in its MAC"):
        tails_of([line, START + STOP + tail])


@pytest.mark.parametrize("at", [11, 13, 14])
def test_a_key_in_the_middle_of_an_epoch_is_judged_alike(bad: Path, at: int) -> None:
    """By someone with all keys: a record that calls itself the first of the epoch that it is in."""
    forger = Forger(bad, steal(bad, mac_at=0, signing=True))
    forger.records.insert(at, dict(forger.records[0]))
    forger.rebuild()
    assert codes(agreed(bad))


@given(st.integers(0, 2**40), st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=9))
def test_many_heads_are_what_each_is(first: int, prevs: list[bytes]) -> None:
    first = min(first, 10 ** len(str(first)) - len(prevs))  # all with as many digits
    if first < 0 or len(str(first)) != len(str(first + len(prevs) - 1)):
        first = 100
    wanted = [head("ab" * 16, 3, first + at, prev) for at, prev in enumerate(prevs)]
    assert heads("ab" * 16, 3, first, prevs) == b"".join(wanted)


def test_heads_that_fit_as_a_row_only_are_refused(tmp_path: Path) -> None:
    """By someone with all keys: a hundred lines whose heads have as many bytes as the right ones, in other portions."""
    log, size = "00" * 16, len(head("00" * 16, 1, 10, bytes(32)))
    prevs, lines, due = [bytes(32)], list[bytes](), b""
    for at in range(100):  # five with one digit, ninety with two, five with three
        due += head(log, 1, 5 + at, prevs[at])
        lines.append((due + START)[at * size : (at + 1) * size] + STOP + TAIL)
        prevs.append(leaf_hash(lines[at]))
    assert b"".join(line[:size] for line in lines) == due
    stream = Stream(tmp_path, log, CODEC, print)
    stream.index, stream.epoch, stream.prev = 5, 1, bytes(32)
    assert stream._read_whole(lines) is None


def test_views_are_the_same_however_the_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = build(tmp_path / "ledger", exchanges=12)
    views = []
    for size in (64 * 1024, 1500):
        monkeypatch.setattr("router.audit.format.segments.CHUNK", size)
        report, lines = show_records(directory, all_keys(directory), Filter(), as_json=False)
        views.append((report.exit_code(), list(lines)))
    assert views[0] == views[1]
