"""The grammar of destinations: every disguise refused with its reason, everything accepted canonical."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies import Destination, DestinationError, Reach, Reason, classify_reach, parse_destination
from policies.destination import address_of, literal_of
from policies.disguise import port_written, what_is_wrong
from tests.policies.disguises import REFUSED, REPAIRED_ELSEWHERE

ACCEPTED = [
    "http://127.0.0.1:8001",
    "https://llm.corp.example:8443",
    "https://alice-llm.hf.space:443",
    "https://alice-llm.hf.space.evil.example:443",
    "http://10.1.2.3:8000/v1",
    "http://[::1]:11434/v1",
    "http://[fd00:1::2]:80",
    "https://gpu-2.lan.example:8443/team/~a/v1.0_x",
    "http://vllm:8000/v1",
    "https://93.184.215.14:443",
    f"http://{'a' * 63}.example:65535",
]


@pytest.mark.parametrize(("url", "reason", "word"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_disguise_is_refused_with_its_reason(url: str, reason: Reason, word: str) -> None:
    with pytest.raises(DestinationError) as caught:
        parse_destination(url)
    assert caught.value.reason is reason
    assert word in str(caught.value)


@pytest.mark.parametrize("url", REPAIRED_ELSEWHERE)
def test_nothing_is_repaired(url: str) -> None:
    with pytest.raises(DestinationError) as caught:
        parse_destination(url)
    assert caught.value.reason is Reason.NOT_CANONICAL


@pytest.mark.parametrize("url", ACCEPTED)
def test_canonical_destinations_are_taken_and_come_out_as_they_went_in(url: str) -> None:
    assert parse_destination(url).url == url


def test_case_42_look_alikes_of_a_listed_name_are_other_destinations() -> None:
    listed = parse_destination("https://alice-llm.hf.space:443")
    for other in ("https://alice-llm.hf.space.evil.example:443", "https://evil-alice-llm.hf.space:443"):
        assert parse_destination(other) != listed
    assert parse_destination("https://alice-llm-hf.space:443") != listed


URL_LIKE = st.one_of(
    st.text(),
    st.from_regex(r"https?://[a-z0-9.\[\]:@%_*-]{1,30}(:[0-9]{0,6})?(/[a-zA-Z0-9._~%-]{0,6}){0,3}", fullmatch=True),
    st.builds("http://{}:{}".format, st.ip_addresses(), st.integers(-1, 70000)),
    st.builds("http://[{}]:{}".format, st.ip_addresses(v=6), st.integers(1, 65535)),
)


@given(URL_LIKE)
@example("http://[::ffff:102:304]:80")
@example("http://127.0.0.1:80/v1")
def test_accepted_implies_canonical(url: str) -> None:
    """For any text: what is accepted re-serialises to itself, is lower-case ASCII, and is never a forbidden address."""
    try:
        destination = parse_destination(url)
    except DestinationError:
        return
    assert destination.url == url
    assert url.isascii()
    assert destination.host == destination.host.lower()
    assert classify_reach(destination) is not None
    try:
        number = ip_address(destination.host)
    except ValueError:
        assert address_of(destination) is None
    else:
        assert str(number) == destination.host
        assert address_of(destination) == number


@given(st.text())
def test_every_refusal_has_a_sentence(url: str) -> None:
    assert len(what_is_wrong(url)) > 20


@pytest.mark.parametrize(
    ("destination", "reach"),
    [
        (Destination("http", "127.0.0.1", 80, ""), Reach.HOST),
        (Destination("http", "::1", 80, ""), Reach.HOST),
        (Destination("http", "10.0.0.1", 80, ""), Reach.NETWORK),
        (Destination("http", "100.64.0.1", 80, ""), Reach.NETWORK),
        (Destination("https", "93.184.215.14", 443, ""), Reach.RENTED),
        (Destination("http", "gpu.example", 80, ""), Reach.NETWORK),
        (Destination("http", "gpu.example", 80, "", ("127.0.0.0/8",)), Reach.HOST),
        (Destination("http", "gpu.example", 80, "", ("127.0.0.0/8", "10.0.0.0/8")), Reach.NETWORK),
        (Destination("https", "gpu.example", 80, "", ("93.184.215.0/24",)), Reach.RENTED),
        (Destination("http", "gpu.example", 80, "", ("0.0.0.0/0",)), Reach.NETWORK),
        (Destination("http", "10.0.0.1", 80, "", third_party_host=True), Reach.RENTED),
        (Destination("http", "127.0.0.1", 80, "", third_party_host=True), Reach.RENTED),
    ],
)
def test_reach_is_what_the_destination_is(destination: Destination, reach: Reach) -> None:
    assert classify_reach(destination) is reach


def test_reach_of_an_address() -> None:
    assert classify_reach(ip_address("10.0.0.1")) is Reach.NETWORK
    assert classify_reach(ip_address("224.0.0.1")) is None


def test_literals_have_one_form() -> None:
    assert str(literal_of("::1")) == "::1"
    with pytest.raises(DestinationError, match="write '::1'"):
        literal_of("0:0:0:0:0:0:0:1")


def test_the_port_is_only_suggested_when_it_is_what_lacks() -> None:
    assert port_written("https://a.example/v1/") == "https://a.example:443/v1"
    assert port_written("https://a.example:443/v1") == ""
