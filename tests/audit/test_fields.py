"""The gate against content: closed forms, bounded and harmless strings."""

from __future__ import annotations

import json
import math
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.audit import Kind, LedgerFieldError
from router.audit.bodies import body_decision, encode_body, form_of
from router.audit.fields import DIGESTS, FORMS, Digest, Digests, Outcome
from tests.audit.ledgers import DECISION, DENIAL


def test_every_kind_has_its_form() -> None:
    assert set(FORMS) == set(Kind)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("field", ["prompt", "messages", "content", "text", "detail", "error", "sha256"])
def test_no_kind_has_a_field_for_content(kind: Kind, field: str) -> None:
    with pytest.raises(LedgerFieldError, match=f"unknown field `{field}`|missing required"):
        encode_body(kind, {field: "x"})
    assert field not in FORMS[kind].__struct_fields__


def test_each_digest_of_a_form_is_checked() -> None:
    """A pattern in the annotation would check them too, and cost a search in Python for each."""
    for kind, form in FORMS.items():
        hints = get_type_hints(form, include_extras=True)
        digests = {name for name, hint in hints.items() if {Digest, Digests} & {hint, *get_args(hint)}}
        assert set(DIGESTS.get(kind, ())) == digests


@pytest.mark.parametrize(
    ("kind", "body", "sentence"),
    [
        (Kind.DECISION, {**DECISION, "message_macs": ["ab" * 32, "AB" * 32]}, "message_macs is not in hexadecimal"),
        (Kind.DECISION, {**DECISION, "prompt_mac": "the words of it \ud800"}, "prompt_mac is not in hexadecimal"),
        (Kind.OUTCOME, {"decision": 1, "ending": "x", "answer_mac": "the words of it!"}, "answer_mac is not in hexad"),
        (Kind.OUTCOME, {"decision": "5", "ending": "x"}, "Expected `int`"),
        (Kind.OUTCOME, {"decision": True, "ending": "x"}, "Expected `int`"),
        (Kind.OUTCOME, {"decision": -1, "ending": "x"}, ">= 0"),
        (Kind.OUTCOME, {"decision": 2**53, "ending": "x"}, "<= 9007199254740991"),
        (Kind.OUTCOME, {"decision": 1}, "missing required field `ending`"),
        (Kind.OUTCOME, {"decision": 1, "ending": "x", "total_ms": math.nan}, "total_ms is nan"),
        (Kind.OUTCOME, {"decision": 1, "ending": "x", "total_ms": -2.0}, "total_ms is -2.0"),
        (Kind.OUTCOME, {"decision": 1, "ending": "x", "total_ms": 1e13}, "10\\^12"),
        (Kind.OUTCOME, {"decision": 1, "ending": "x", "answer_mac": "the answer"}, "length >= 16"),
        (Kind.DECISION, {**DECISION, "prompt_mac": "AB" * 32}, "not in hexadecimal"),
        (Kind.DECISION, {**DECISION, "prompt_mac": "ab" * 65}, "not in hexadecimal"),
        (Kind.DECISION, {**DECISION, "prompt_mac": "ab" * 32 + "\n"}, "not in hexadecimal"),
        (Kind.DECISION, {**DECISION, "message_macs": ["ab" * 32] * 65}, "length <= 64"),
        (Kind.DECISION, {**DECISION, "message_macs": ["words"]}, "length >= 16"),
        (Kind.DECISION, {**DECISION, "caller": b"bytes"}, "Expected `str`"),
    ],
)
def test_a_wrong_type_is_a_mistake_of_ours(kind: Kind, body: dict[str, object], sentence: str) -> None:
    with pytest.raises(LedgerFieldError, match=sentence):
        encode_body(kind, body)


@given(st.text(max_size=300))
def test_any_string_becomes_bounded_harmless_ascii(text: str) -> None:
    data = encode_body(Kind.DENIAL, {**DENIAL, "model": text})
    model = json.loads(data)["model"]
    assert len(model) <= 128
    assert model.isascii()
    assert model.isprintable()
    assert not set(model) & set("\"'\\<>&`")
    assert all(ours in (theirs, "_") for ours, theirs in zip(model[:127], text, strict=False))


@given(st.floats(-1, 1e12), st.integers(0, 2**53 - 1), st.text(max_size=50))
def test_a_body_has_one_spelling_in_two_libraries(ms: float, count: int, ending: str) -> None:
    data = encode_body(Kind.OUTCOME, {"decision": count, "ending": ending, "total_ms": ms, "first_byte_ms": -1})
    read = json.loads(data)
    assert json.dumps(read, separators=(",", ":"), ensure_ascii=False).encode() == data
    assert msgspec.json.encode(msgspec.json.decode(data)) == data
    assert abs(read["total_ms"] - ms) <= 0.001


def test_a_form_says_what_its_mapping_would() -> None:
    """What of many records is the same is looked at once; what a name may not have in it is cleaned in both."""
    for names in (DECISION, {**DECISION, "caller": "Zoë <z>", "model": "m" * 200}):
        form = form_of(Kind.DECISION, names)
        filled = replace(form, request_id="req-7", attempt=2)
        wanted = encode_body(Kind.DECISION, {**names, "request_id": "req-7", "attempt": 2})
        assert encode_body(Kind.DECISION, filled) == wanted
    ended = Outcome(decision=3, ending="up<stream>", first_byte_ms=1.23456)
    wanted = encode_body(Kind.OUTCOME, {"decision": 3, "ending": "up<stream>", "first_byte_ms": 1.23456})
    assert encode_body(Kind.OUTCOME, ended) == wanted
    with pytest.raises(LedgerFieldError, match="request_id"):
        form_of(Kind.DECISION, {"caller": "x"})


@pytest.mark.parametrize(
    ("kind", "body", "decision"),
    [
        (Kind.OUTCOME, Outcome(7, "ok"), 7),
        (Kind.OUTCOME, {"decision": 7, "ending": "ok"}, 7),
        (Kind.OUTCOME, {"ending": "ok"}, -1),
        (Kind.DECISION, DECISION, -1),
    ],
)
def test_which_decision_an_outcome_closes_is_the_same_for_a_form_and_a_table(
    kind: Kind, body: dict[str, object] | Outcome, decision: int
) -> None:
    assert body_decision(kind, body) == decision
