"""What of a body is read, and everything that is refused, by name."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Endpoint, Reach
from router.body import parse, read
from router.errors import BodyTooLarge, InvalidJSON, InvalidRequest
from router.settings.snapshot import Limits

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def read_chat(document: object, **limits: int) -> Any:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read(raw, Endpoint.CHAT, "id", None, Limits(**limits))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "valid JSON"),
        (b"{", "valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"{} {}", "valid JSON"),
        (b"\xef\xbb\xbf{}", "valid JSON"),
        (b'{"a":NaN}', "valid JSON"),
        (b'{"a":Infinity}', "valid JSON"),
        (b'{"a":1e999}', "valid JSON"),
        (b'{"a":"\\ud800"}', "valid JSON"),
        (b'{"a":"\xff"}', "UTF-8"),
        ('{"a":1}'.encode("utf-16"), "valid JSON"),
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b'{"a" :1,"a" :2}', "'a' stands twice"),
        (b'{"a":1,"\\u0061":2}', "'a' stands twice"),
        (b'{"x":{"b":1,"c":[{"d":1,"d":2}]}}', "'d' stands twice"),
        (b'{"x":"\\":","a":1,"a" :2}', "'a' stands twice"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64"),
        (b"[" * 5_000_000, "nested too deeply"),
    ],
)
def test_bad_json_is_refused_with_a_sentence(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidJSON, match=says):
        parse(raw, 64)


NAMES = st.sampled_from(["a", 'b"', "c:", 'd":', 'e" :', "\\", "f\n"])
DOCUMENTS = st.recursive(
    st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.none(), st.sampled_from(['":', '" :', '\\":'])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, DOCUMENTS, max_size=4), st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\t")]))
def test_a_document_without_a_name_twice_is_read_as_it_is(
    document: dict[str, Any], separators: tuple[str, str]
) -> None:
    assert parse(json.dumps(document, separators=separators).encode(), 64) == document


def twice(document: dict[str, Any], colon: str) -> bytes:
    """The document with its first name said once more, as no honest serialiser would."""
    body = json.dumps(document, separators=(",", colon))
    name = json.dumps(next(iter(document)))
    return f"{{{name}{colon}0,{body[1:]}".encode()


@given(st.dictionaries(NAMES, DOCUMENTS, min_size=1, max_size=4), st.sampled_from([":", " :", ": ", "\n:\t"]))
def test_a_name_that_stands_twice_is_always_found(document: dict[str, Any], colon: str) -> None:
    with pytest.raises(InvalidJSON, match="stands twice"):
        parse(twice(document, colon), 64)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": 7}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user"}, {"role": 1}]}, "messages[1]"),
    ],
)
def test_wrong_types_are_refused_by_name(change: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_chat({**CHAT, **change})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("endpoint", "document", "param"),
    [
        (Endpoint.COMPLETIONS, {"model": "m"}, "prompt"),
        (Endpoint.COMPLETIONS, {"prompt": 7}, "prompt"),
        (Endpoint.EMBEDDINGS, {"input": []}, "input"),
        (Endpoint.EMBEDDINGS, {"input": "x", "stream": True}, "stream"),
        (Endpoint.RERANK, {"query": "q"}, "documents"),
        (Endpoint.RERANK, {"query": "q", "documents": []}, "documents"),
        (Endpoint.RERANK, {"query": "q", "documents": "d"}, "documents"),
        (Endpoint.RERANK, {"documents": ["d"]}, "query"),
        (Endpoint.RERANK, {"query": "", "documents": ["d"]}, "query"),
        (Endpoint.RERANK, {"query": ["q"], "documents": ["d"]}, "query"),
        (Endpoint.RERANK, {"query": "q", "documents": ["d"], "stream": True}, "stream"),
    ],
)
def test_each_endpoint_wants_its_own_content(endpoint: Endpoint, document: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(json.dumps(document).encode(), endpoint, "id", None, Limits())
    assert caught.value.param == param


def test_facts_hold_no_content() -> None:
    inbound = read(json.dumps({**CHAT, "stream": True}).encode(), Endpoint.CHAT, "id-1", Reach.HOST, Limits())
    assert (inbound.facts.model, inbound.facts.stream, inbound.facts.reach) == ("m", True, Reach.HOST)
    assert "hi" not in repr(inbound.facts)


def test_what_is_sent_is_what_was_checked_with_the_served_name() -> None:
    assert json.loads(read_chat(CHAT).body("served", 1000)) == {**CHAT, "model": "served"}


def test_what_names_its_model_so_already_is_sent_as_it_came() -> None:
    raw = b'{ "model":"m","messages":[{"role":"user","content":"caf\\u00e9"}]}'
    assert read_chat(raw).body("m", 10 * len(raw)) is raw
    ours = read_chat(raw).body("m", 2 * len(raw))  # it might grow beyond the limit, so it is looked at
    assert ours == '{"model":"m","messages":[{"role":"user","content":"café"}]}'.encode()


@given(
    st.recursive(st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers(), st.lists, max_leaves=9)
)
def test_our_spelling_is_never_five_times_as_long_as_a_clients(value: object) -> None:
    for raw in (json.dumps(value), json.dumps(value, ensure_ascii=False), "[1e15,1e15,-1e15,1E15]", "1e15"):
        assert len(msgspec.json.encode(msgspec.json.decode(raw))) < 5 * len(raw.encode())


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        read_chat(CHAT, body_bytes=10)
