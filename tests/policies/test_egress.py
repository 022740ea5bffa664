"""What the gate may dial: every answer judged, one bad refuses all, default deny."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import AddressKind, Destination, Reason, decide_egress, decide_listing, kind_of
from policies.policy import Address

OWN = Destination("https", "llm.corp.example", 8443, "")
PINNED = Destination("https", "llm.corp.example", 8443, "", pins=("10.1.2.0/24", "fd00:1::/64"))
SPACE = Destination("https", "alice-llm.hf.space", 443, "", third_party_host=True)
PUBLIC_PIN = Destination("https", "llm.corp.example", 443, "", pins=("93.184.215.0/24",), third_party_host=True)
LOOPBACK_PIN = Destination("http", "llm.corp.example", 80, "", pins=("127.0.0.0/8",))
WIDE_PIN = Destination("https", "llm.corp.example", 443, "", pins=("0.0.0.0/0", "::/0"), third_party_host=True)
LITERAL = Destination("http", "10.0.0.1", 80, "")
LOOPBACK = Destination("http", "127.0.0.1", 80, "")

CASES = [
    ("private answer", OWN, ["10.1.2.3"], Reason.ALLOWED),
    ("two private answers", OWN, ["10.1.2.3", "fd00:1::1"], Reason.ALLOWED),
    ("53 no answer", OWN, [], Reason.HOST_UNRESOLVED),
    ("45 one public among private", OWN, ["10.1.2.3", "93.184.215.14"], Reason.PUBLIC_NOT_ACKNOWLEDGED),
    ("45 documentation among private", OWN, ["10.1.2.3", "203.0.113.9"], Reason.FORBIDDEN_ADDRESS),
    ("46 rebound to loopback", OWN, ["127.0.0.1"], Reason.FORBIDDEN_ADDRESS),
    ("46 rebound to loopback, v6", OWN, ["::1"], Reason.FORBIDDEN_ADDRESS),
    ("47 AAAA outside the pin", PINNED, ["10.1.2.3", "fd00:2::1"], Reason.ADDRESS_OUTSIDE_PIN),
    ("48 zero address", OWN, ["0.0.0.0"], Reason.FORBIDDEN_ADDRESS),
    ("metadata answer", OWN, ["10.1.2.3", "169.254.169.254"], Reason.METADATA_ADDRESS),
    ("metadata inside the pin", WIDE_PIN, ["169.254.169.254"], Reason.METADATA_ADDRESS),
    ("forbidden inside the pin", WIDE_PIN, ["224.0.0.1"], Reason.FORBIDDEN_ADDRESS),
    ("mapped answer", OWN, ["::ffff:10.1.2.3"], Reason.FORBIDDEN_ADDRESS),
    ("pinned", PINNED, ["10.1.2.3", "fd00:1::1"], Reason.ALLOWED),
    ("outside the pin", PINNED, ["10.1.3.3"], Reason.ADDRESS_OUTSIDE_PIN),
    ("pinned to loopback", LOOPBACK_PIN, ["127.0.0.1"], Reason.ALLOWED),
    ("pinned in public", PUBLIC_PIN, ["93.184.215.14"], Reason.ALLOWED),
    ("third party, public", SPACE, ["93.184.215.14"], Reason.ALLOWED),
    ("third party rebound to private", SPACE, ["10.1.2.3"], Reason.FORBIDDEN_ADDRESS),
    ("third party rebound to loopback", SPACE, ["127.0.0.1"], Reason.FORBIDDEN_ADDRESS),
    ("literal", LITERAL, ["10.0.0.1"], Reason.ALLOWED),
    ("literal answered otherwise", LITERAL, ["10.0.0.2"], Reason.ADDRESS_OUTSIDE_PIN),
    ("loopback literal", LOOPBACK, ["127.0.0.1"], Reason.ALLOWED),
    ("cloud name", Destination("https", "api.openai.com", 443, ""), ["10.1.2.3"], Reason.CLOUD_PROVIDER),
    (
        "50 cloud name over a private link",
        Destination("https", "corp.openai.azure.com", 443, "", pins=("10.0.0.0/8",)),
        ["10.1.2.3"],
        Reason.CLOUD_PROVIDER,
    ),
    ("metadata name", Destination("http", "metadata.google.internal", 80, ""), ["10.1.2.3"], Reason.METADATA_ADDRESS),
    (
        "plain http to public",
        Destination("http", "alice-llm.hf.space", 80, "", third_party_host=True),
        ["93.184.215.14"],
        Reason.PLAIN_HTTP_TO_PUBLIC,
    ),
    (
        "public literal",
        Destination("https", "93.184.215.14", 443, ""),
        ["93.184.215.14"],
        Reason.PUBLIC_NOT_ACKNOWLEDGED,
    ),
    (
        "public literal, acknowledged",
        Destination("https", "93.184.215.14", 443, "", third_party_host=True),
        ["93.184.215.14"],
        Reason.ALLOWED,
    ),
]


@pytest.mark.parametrize(
    ("destination", "answers", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_may_be_dialled(destination: Destination, answers: list[str], reason: Reason) -> None:
    decision = decide_egress(destination, [ip_address(answer) for answer in answers])
    assert decision.reason is reason
    assert decision.allowed == (reason is Reason.ALLOWED)
    assert destination.host in decision.detail


@given(
    st.sampled_from([OWN, PINNED, SPACE, PUBLIC_PIN, LOOPBACK_PIN, WIDE_PIN, LITERAL, LOOPBACK]),
    st.lists(st.ip_addresses() | st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="127.0.0.0/8")),
)
def test_whatever_a_resolver_says(destination: Destination, answers: list[Address]) -> None:
    """Allowed implies that each answer is dialable, in the pins, public only if acknowledged; order never matters."""
    decision = decide_egress(destination, answers)
    assert decide_egress(destination, answers[::-1]).allowed == decision.allowed
    if not decision.allowed:
        return
    assert answers
    for answer in answers:
        kind = kind_of(answer)
        assert kind not in (AddressKind.METADATA, AddressKind.FORBIDDEN)
        assert kind is not AddressKind.PUBLIC or (destination.third_party_host and destination.scheme == "https")
        assert not destination.pins or any(answer in ip_network(pin) for pin in destination.pins)


LISTINGS = [
    (OWN, Reason.ALLOWED),
    (PINNED, Reason.ALLOWED),
    (SPACE, Reason.ALLOWED),
    (PUBLIC_PIN, Reason.ALLOWED),
    (LOOPBACK_PIN, Reason.ALLOWED),
    (LITERAL, Reason.ALLOWED),
    (WIDE_PIN, Reason.FORBIDDEN_ADDRESS),
    (Destination("http", "gpu.lan", 80, ""), Reason.ALLOWED),
    (Destination("https", "93.184.215.14", 443, ""), Reason.PUBLIC_NOT_ACKNOWLEDGED),
    (Destination("https", "alice-llm.hf.space", 443, ""), Reason.PUBLIC_NOT_ACKNOWLEDGED),  # case 41
    (Destination("https", "x.trycloudflare.com", 443, ""), Reason.PUBLIC_NOT_ACKNOWLEDGED),
    (Destination("https", "hf.space.evil.example", 443, ""), Reason.ALLOWED),  # judged by its answers
    (Destination("http", "alice-llm.hf.space", 80, "", third_party_host=True), Reason.PLAIN_HTTP_TO_PUBLIC),
    (Destination("http", "93.184.215.14", 80, "", third_party_host=True), Reason.PLAIN_HTTP_TO_PUBLIC),
    (Destination("http", "gpu.rented.example", 80, "", third_party_host=True), Reason.PLAIN_HTTP_TO_PUBLIC),
    (Destination("http", "gpu.rented.example", 80, "", ("10.8.0.0/16",), third_party_host=True), Reason.ALLOWED),
    (Destination("http", "10.0.0.1", 80, "", third_party_host=True), Reason.ALLOWED),
    (Destination("https", "llm.corp.example", 443, "", ("93.184.215.0/24",)), Reason.PUBLIC_NOT_ACKNOWLEDGED),
    (
        Destination("http", "llm.corp.example", 80, "", ("93.184.215.0/24",), third_party_host=True),
        Reason.PLAIN_HTTP_TO_PUBLIC,
    ),
    (Destination("https", "llm.corp.example", 443, "", ("224.0.0.0/4",)), Reason.FORBIDDEN_ADDRESS),
    (Destination("http", "10.0.0.1", 80, "", ("10.0.1.0/24",)), Reason.ADDRESS_OUTSIDE_PIN),
    (Destination("http", "10.0.0.1", 80, "", ("10.0.0.0/24",)), Reason.ALLOWED),
    (Destination("https", "api.anthropic.com", 443, "", third_party_host=True), Reason.CLOUD_PROVIDER),
]


@pytest.mark.parametrize(("destination", "reason"), LISTINGS)
def test_what_an_operator_may_list(destination: Destination, reason: Reason) -> None:
    decision = decide_listing(destination)
    assert decision.reason is reason
    assert decision.allowed == (reason is Reason.ALLOWED)
    assert decision.allowed or decision.detail
