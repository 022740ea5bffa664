"""The two records of an exchange are encoded by a way of their own: it gives the very bytes of the common one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from router.audit import Kind, LedgerFieldError, Prepared
from router.audit.bodies import encode_body
from router.audit.exchanges import encode_outcome
from router.audit.fields import Outcome
from tests.audit.ledgers import DECISION

MAC = "ab" * 32
SAME = {name: value for name, value in DECISION.items() if name not in ("request_id", "attempt", "body_bytes")}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=140)
COUNTS = st.integers(0, 2**53 - 1)
MILLIS = st.floats(-1, 1e12)


@given(NAMES, NAMES, COUNTS, COUNTS, st.lists(st.sampled_from([MAC, "0" * 16]), max_size=3), st.sampled_from(["", MAC]))
def test_a_prepared_decision_is_spelled_as_any_other(
    caller: str, request_id: str, attempt: int, size: int, macs: list[str], capture: str
) -> None:
    same = {**SAME, "caller": caller, "tier": "gpu", "reach": "host"}
    own = {"request_id": request_id, "attempt": attempt, "body_bytes": size, "message_macs": macs}
    wanted = encode_body(Kind.DECISION, {**same, **own} | ({"capture": capture} if capture else {}))
    assert Prepared(same).encoded(request_id, attempt, size, macs, capture) == wanted


@pytest.mark.parametrize(
    ("request_id", "macs", "sentence"),
    [
        ("r", ["the words of it!"], "message_macs is not in hexadecimal"),
        ("r", [f"{MAC}\ud800"], "message_macs is not in hexadecimal"),
        ("r", [MAC, "AB" * 32], "message_macs is not in hexadecimal"),
    ],
)
def test_what_is_no_digest_is_refused(request_id: str, macs: list[str], sentence: str) -> None:
    with pytest.raises(LedgerFieldError, match=sentence):
        Prepared(SAME).encoded(request_id, 1, 1, macs)


def test_nothing_but_a_decisions_fields_can_be_prepared() -> None:
    with pytest.raises(LedgerFieldError, match="prompt"):
        Prepared({**SAME, "prompt": "the words"})


@pytest.mark.parametrize("request_id", ['r","capture":"', "r\\", "r\n", "<r>", "Zoë", "r" * 129, 'r"', "r&"], ids=ascii)
def test_a_name_cannot_break_out_of_its_place(request_id: str) -> None:
    body = {**SAME, "request_id": request_id, "attempt": 1, "body_bytes": 2, "message_macs": []}
    assert Prepared(SAME).encoded(request_id, 1, 2, []) == encode_body(Kind.DECISION, body)


@given(COUNTS, NAMES, st.one_of(st.just(UNSET), MILLIS), MILLIS, st.one_of(st.just(UNSET), NAMES), st.booleans())
def test_an_outcome_is_spelled_as_any_other(
    decision: int, ending: str, first: Any, total: float, address: Any, sealed: bool
) -> None:
    told: dict[str, Any] = {"decision": decision, "ending": ending[:100], "first_byte_ms": first, "total_ms": total}
    told |= {"status": 200, "address": address[:100] if address else UNSET}
    told |= {"capture": MAC, "answer_mac": MAC} if sealed else {}
    mapping = {name: value for name, value in told.items() if value is not UNSET}
    assert encode_outcome(Outcome(**told)) == encode_body(Kind.OUTCOME, mapping)


@pytest.mark.parametrize("millis", [{"first_byte_ms": -2.0}, {"total_ms": 1e13}, {"total_ms": float("nan")}])
def test_times_that_cannot_be_are_refused(millis: dict[str, float]) -> None:
    told = Outcome(decision=1, ending="x", first_byte_ms=1.0, total_ms=1.0)
    with pytest.raises(LedgerFieldError, match="is wanted"):
        encode_outcome(replace(told, **millis))
