"""The grammar of destinations: every disguise refused with its reason, everything accepted canonical."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies import Destination, DestinationError, Reach, Reason, classify_reach, parse_destination
from policies.destination import LONGEST_URL, address_of, literal_of
from policies.disguise import port_written, what_is_wrong

# Case number (the project's adversarial table), text, reason, a word that the sentence must have.
REFUSED = [
    ("1", "https://llm.corp.example:8443@evil.example/", Reason.NOT_CANONICAL, "'@'"),
    ("1-password", "https://user:pass@llm.corp.example:8443", Reason.NOT_CANONICAL, "'@'"),
    ("2", "http://llm.corp.example:8443\\@evil.example/", Reason.NOT_CANONICAL, "backslash"),
    ("3", "http://evil.example\\@@llm.corp.example/", Reason.NOT_CANONICAL, "backslash"),
    ("4", "http://llm.corp.example#@evil.example/", Reason.NOT_CANONICAL, "'@'"),
    ("4-fragment", "http://llm.corp.example:80#evil", Reason.NOT_CANONICAL, "fragment"),
    ("5", "http://llm.corp.example &@evil.example# @x/", Reason.NOT_CANONICAL, "white space"),
    ("6", "http://llm.corp.example?@evil.example", Reason.NOT_CANONICAL, "'@'"),
    ("6-query", "http://llm.corp.example:80/v1?x=1", Reason.NOT_CANONICAL, "query"),
    ("7-no-scheme", "//evil.example", Reason.NOT_CANONICAL, "http://"),
    ("7-backslash", "/\\evil.example", Reason.NOT_CANONICAL, "backslash"),
    ("7-opaque", "http:evil.example", Reason.NOT_CANONICAL, "http://"),
    ("7-one-slash", "http:/evil.example:80", Reason.NOT_CANONICAL, "http://"),
    ("7-three-slashes", "http:///evil.example:80", Reason.NOT_CANONICAL, ""),
    ("8-tab", "http://llm.corp\t.example:80", Reason.NOT_CANONICAL, "white space"),
    ("8-newline-end", "http://llm.corp.example:80\n", Reason.NOT_CANONICAL, "white space"),
    ("8-cr", "http://llm.corp.example:80\r/v1", Reason.NOT_CANONICAL, "white space"),
    ("8-scheme", "ht\ntp://llm.corp.example:80", Reason.NOT_CANONICAL, "white space"),
    ("8-nul", "http://llm.corp.example\x00:80", Reason.NOT_CANONICAL, "control"),
    ("8-leading", " http://llm.corp.example:80", Reason.NOT_CANONICAL, "white space"),
    ("9", "http://llm.corp.example%2eevil.example:80", Reason.NOT_CANONICAL, "percent"),
    ("10", "http://evil.example%00.llm.corp.example:80", Reason.NOT_CANONICAL, "percent"),
    ("11", "https://[llm.corp.example]:8443", Reason.NOT_CANONICAL, "brackets"),
    ("12", "https://[[llm.corp.example]]:8443", Reason.NOT_CANONICAL, "brackets"),
    ("12-address", "https://[[::1]]:8443", Reason.NOT_CANONICAL, "brackets"),
    ("13", "https://llm.corp.example.:8443", Reason.NOT_CANONICAL, "dot"),
    ("14", "HTTPS://LLM.CORP.EXAMPLE:8443", Reason.NOT_CANONICAL, "lower case"),
    ("14-scheme", "HTTPS://llm.corp.example:8443", Reason.NOT_CANONICAL, "scheme"),
    ("14-host", "https://Llm.corp.example:8443", Reason.NOT_CANONICAL, "lower case"),
    ("15-zero-led", "https://llm.corp.example:08443", Reason.NOT_CANONICAL, "port"),
    ("15-zero", "https://llm.corp.example:0", Reason.NOT_CANONICAL, "port"),
    ("15-large", "https://llm.corp.example:65536", Reason.NOT_CANONICAL, "port"),
    ("15-negative", "https://llm.corp.example:-1", Reason.NOT_CANONICAL, "port"),
    ("15-word", "https://llm.corp.example:https", Reason.NOT_CANONICAL, "port"),
    ("15-empty", "https://llm.corp.example:", Reason.NOT_CANONICAL, "port"),
    ("15-arabic-digits", "https://llm.corp.example:\u0668\u0664", Reason.NOT_CANONICAL, "ASCII"),
    ("16", "https://llm.corp.example", Reason.NOT_CANONICAL, "write https://llm.corp.example:443"),
    ("16-path", "http://llm.corp.example/v1/", Reason.NOT_CANONICAL, "write http://llm.corp.example:80/v1"),
    ("16-ipv6", "http://[::1]", Reason.NOT_CANONICAL, "write http://[::1]:80"),
    ("17-ftp", "ftp://llm.corp.example:21", Reason.NOT_CANONICAL, "http://"),
    ("17-file", "file:///etc/passwd", Reason.NOT_CANONICAL, "http://"),
    ("17-gopher", "gopher://llm.corp.example:70", Reason.NOT_CANONICAL, "http://"),
    ("17-jar", "jar:http://llm.corp.example:80!/", Reason.NOT_CANONICAL, "http://"),
    ("17-unix", "unix:/run/x.sock", Reason.NOT_CANONICAL, "http://"),
    ("17-data", "data:text/plain,x", Reason.NOT_CANONICAL, "http://"),
    ("17-ws", "ws://llm.corp.example:80", Reason.NOT_CANONICAL, "http://"),
    ("18-circled", "http://\u24d4xample.com:80", Reason.NOT_CANONICAL, "ASCII"),
    ("18-fullwidth-dot", "http://llm\uff0ecorp.example:80", Reason.NOT_CANONICAL, "ASCII"),
    ("19", "http://llm.\u0441orp.example:80", Reason.NOT_CANONICAL, "ASCII"),
    ("20", "http://xn--e1afmkfd.example:80", Reason.NOT_CANONICAL, "international"),
    ("20-inner", "http://llm.xn--p1ai:80", Reason.NOT_CANONICAL, "international"),
    ("21-colon", "http://llm.corp.example\uff1a80", Reason.NOT_CANONICAL, "ASCII"),
    ("21-2048", "http://llm.corp.example\u2048:80", Reason.NOT_CANONICAL, "ASCII"),
    ("21-2a74", "http://llm.corp.example\u2a74:80", Reason.NOT_CANONICAL, "ASCII"),
    ("22", "http://[fd00::\ufb00]:80", Reason.NOT_CANONICAL, "ASCII"),
    ("23-short", "http://127.1:80", Reason.NOT_CANONICAL, "number"),
    ("23-three", "http://127.0.1:80", Reason.NOT_CANONICAL, "number"),
    ("23-0", "http://0:80", Reason.NOT_CANONICAL, "number"),
    ("23-any", "http://0.0.0.0:80", Reason.FORBIDDEN_ADDRESS, "0.0.0.0"),
    ("24-decimal", "http://2130706433:80", Reason.NOT_CANONICAL, "number"),
    ("24-hex", "http://0x7f000001:80", Reason.NOT_CANONICAL, "number"),
    ("24-hex-bare", "http://0x:80", Reason.NOT_CANONICAL, "number"),
    ("24-octal", "http://017700000001:80", Reason.NOT_CANONICAL, "number"),
    ("24-hex-part", "http://0x7f.0.0.1:80", Reason.NOT_CANONICAL, "number"),
    ("24-hex-last", "http://127.0.0.0x1:80", Reason.NOT_CANONICAL, "number"),
    ("24-octal-part", "http://0177.0.0.1:80", Reason.NOT_CANONICAL, "not an IP address"),
    ("25-zeros", "http://127.000.000.001:80", Reason.NOT_CANONICAL, "not an IP address"),
    ("25-08", "http://08.8.8.8:80", Reason.NOT_CANONICAL, "not an IP address"),
    ("25-256", "http://256.0.0.1:80", Reason.NOT_CANONICAL, "not an IP address"),
    ("25-2^32", "http://4294967296:80", Reason.NOT_CANONICAL, "number"),
    ("25-five", "http://1.2.3.4.5:80", Reason.NOT_CANONICAL, "number"),
    ("26", "http://127.0.0.1.:80", Reason.NOT_CANONICAL, "dot"),
    ("27", "http://127\u30020\u30020\u30021:80", Reason.NOT_CANONICAL, "ASCII"),
    ("28-dotted", "http://[::ffff:127.0.0.1]:80", Reason.NOT_CANONICAL, ""),
    ("28-hex", "http://[::ffff:7f00:1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("28-long", "http://[0:0:0:0:0:ffff:127.0.0.1]:80", Reason.NOT_CANONICAL, ""),
    ("28-long-hex", "http://[0:0:0:0:0:ffff:7f00:1]:80", Reason.NOT_CANONICAL, "canonical"),
    ("28-private", "http://[::ffff:a01:203]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("29-compatible", "http://[::127.0.0.1]:80", Reason.NOT_CANONICAL, ""),
    ("29-compatible-hex", "http://[::7f00:1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("29-translated", "http://[::ffff:0:7f00:1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("30-nat64", "http://[64:ff9b::7f00:1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("30-nat64-local", "http://[64:ff9b:1::7f00:1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("31-6to4", "http://[2002:7f00:1::]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("31-teredo", "http://[2001:0:7f00:1::]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("32-zone", "http://[fe80::1%25eth0]:80", Reason.NOT_CANONICAL, ""),
    ("32-zone-host", "http://[::%evil.example]:80", Reason.NOT_CANONICAL, ""),
    ("32-future", "http://[v1.evil.example]:80", Reason.NOT_CANONICAL, "brackets"),
    ("32-empty", "http://[]:80", Reason.NOT_CANONICAL, ""),
    ("32-colons", "http://[:::]:80", Reason.NOT_CANONICAL, "not an IP address"),
    ("33-site-local", "http://[fec0::1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("33-documentation", "http://[3fff::1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("33-segment-routing", "http://[5f00::1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("33-db8", "http://[2001:db8::1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("33-discard", "http://[100::1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("34-multicast", "http://224.0.0.1:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("34-reserved", "http://240.0.0.1:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("34-broadcast", "http://255.255.255.255:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("34-multicast6", "http://[ff02::1]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("34-this-network", "http://0.1.2.3:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("34-link-local", "http://169.254.1.1:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("34-unspecified6", "http://[::]:80", Reason.FORBIDDEN_ADDRESS, "RFC 6890"),
    ("35-aws", "http://169.254.169.254:80", Reason.METADATA_ADDRESS, "metadata"),
    ("35-aws6", "http://[fd00:ec2::254]:80", Reason.METADATA_ADDRESS, "metadata"),
    ("35-azure", "http://168.63.129.16:80", Reason.METADATA_ADDRESS, "metadata"),
    ("35-alibaba", "http://100.100.100.200:80", Reason.METADATA_ADDRESS, "metadata"),
    ("35-oracle", "http://192.0.0.192:80", Reason.METADATA_ADDRESS, "metadata"),
    ("35-google", "http://metadata.google.internal:80", Reason.METADATA_ADDRESS, "metadata"),
    ("36-localhost", "http://localhost:80", Reason.NOT_CANONICAL, "127.0.0.1"),
    ("36-ip6-localhost", "http://ip6-localhost:80", Reason.NOT_CANONICAL, "127.0.0.1"),
    ("36-below", "http://llm.localhost:80", Reason.NOT_CANONICAL, "127.0.0.1"),
    ("36-localdomain", "http://localhost.localdomain:80", Reason.NOT_CANONICAL, "127.0.0.1"),
    ("37-space", "https://*.hf.space:443", Reason.NOT_CANONICAL, "wildcard"),
    ("37-run", "https://*.run.app:443", Reason.NOT_CANONICAL, "wildcard"),
    ("37-azure", "https://*.azurewebsites.net:443", Reason.NOT_CANONICAL, "wildcard"),
    ("38", "https://*.corp.example:443", Reason.NOT_CANONICAL, "wildcard"),
    ("38-middle", "https://llm.*.example:443", Reason.NOT_CANONICAL, "wildcard"),
    ("39", "https://api.openai.com:443/v1", Reason.CLOUD_PROVIDER, "openai"),
    ("40-router", "https://router.huggingface.co:443/v1", Reason.CLOUD_PROVIDER, "huggingface"),
    ("40-inference", "https://api-inference.huggingface.co:443", Reason.CLOUD_PROVIDER, "huggingface"),
    ("40-hub", "https://huggingface.co:443", Reason.CLOUD_PROVIDER, "huggingface"),
    ("empty", "", Reason.NOT_CANONICAL, "empty"),
    ("underscore", "http://my_gpu.example:80", Reason.NOT_CANONICAL, "underscore"),
    ("slash-end", "http://gpu.example:80/v1/", Reason.NOT_CANONICAL, "slash at the end"),
    ("slash-only", "http://gpu.example:80/", Reason.NOT_CANONICAL, "slash at the end"),
    ("slash-double", "http://gpu.example:80//v1", Reason.NOT_CANONICAL, "'//'"),
    ("dot-dot", "http://gpu.example:80/v1/../admin", Reason.NOT_CANONICAL, "'..'"),
    ("dot", "http://gpu.example:80/./v1", Reason.NOT_CANONICAL, "'.'"),
    ("percent-path", "http://gpu.example:80/%2e%2e", Reason.NOT_CANONICAL, "percent"),
    ("path-letters", "http://gpu.example:80/v1;x", Reason.NOT_CANONICAL, "path has only"),
    ("hyphen-first", "http://-gpu.example:80", Reason.NOT_CANONICAL, "not a host name"),
    ("hyphen-last", "http://gpu-.example:80", Reason.NOT_CANONICAL, "not a host name"),
    ("empty-label", "http://gpu..example:80", Reason.NOT_CANONICAL, "not a host name"),
    ("dot-first", "http://.example:80", Reason.NOT_CANONICAL, "not a host name"),
    ("long-label", f"http://{'a' * 64}.example:80", Reason.NOT_CANONICAL, "63"),
    ("long-name", f"http://{'a.' * 126}aa:80", Reason.NOT_CANONICAL, "253"),
    ("long-url", "http://gpu.example:80/" + "a" * LONGEST_URL, Reason.NOT_CANONICAL, "longer"),
    ("six-digit-port", "http://gpu.example:123456", Reason.NOT_CANONICAL, "port"),
    ("braces", "http://{host}:80", Reason.NOT_CANONICAL, "a host name has only"),
    ("nothing", "http://", Reason.NOT_CANONICAL, "not of the form"),
]
# What the URL Standard's parser repairs, decodes or maps to a host that the text does not show. All refused here.
REPAIRED_ELSEWHERE = [
    "http:\\\\llm.corp.example:80",
    "http://llm.corp.example:80\\v1",
    "http:/\\llm.corp.example:80",
    "http:////llm.corp.example:80",
    "http:llm.corp.example:80",
    "hTTp://llm.corp.example:80",
    "http ://llm.corp.example:80",
    "http://llm.corp.example :80",
    "http://llm.corp.example: 80",
    "http://llm.corp.example:80 ",
    "\ufeffhttp://llm.corp.example:80",
    "http://llm\u00adcorp.example:80",
    "http://llm.corp.example\u200b:80",
    "http://llm\u3002corp\uff0eexample:80",
    "http://llm.corp.example:8\t0",
    "http://l\nlm.corp.example:80",
    "http://%6c%6c%6d.corp.example:80",
    "http://%31%30.0.0.1:80",
    "http://0xa.0x0.0x0.0x1:80",
    "http://012.0.0.1:80",
    "http://10.1:80",
    "http://167772161:80",
    "http://10.0.0.1.:80",
    "http://10.0.0.1..:80",
    "http://10.0.0.:80",
    "http://.10.0.0.1:80",
    "http://10.0.0.-1:80",
    "http://10.0.0.1e0:80/@x",
    "http://\uff11\uff10.0.0.1:80",
    "http://\u2474.0.0.1:80",
    "http://[0:0::1]:80",
    "http://[::01]:80",
    "http://[FD00::1]:80",
    "http://[fd00:0:0:0:0:0:0:1]:80",
    "http://[fd00::1%2525]:80",
    "http://[fd00::1]]:80",
    "http://[fd00::1:80",
    "http://fd00::1:80",
    "http://[fd00::1].evil.example:80",
    "http://[fd00::1]evil:80",
    "http://[::10.0.0.1]:80",
    "http://[1::2::3]:80",
    "http://[fd00:::1]:80",
    "http://[:1]:80",
    "http://[12345::1]:80",
    "http://@llm.corp.example:80",
    "http://:@llm.corp.example:80",
    "http://:80",
    "http://llm.corp.example:+80",
    "http://llm.corp.example:80:80",
    "http://llm.corp.example:8080:",
    "http://llm.corp.example:0x50",
    "http://llm.corp.example:1e3",
    "http://llm.corp.example:80/%2E%2E/admin",
    "http://llm.corp.example:80/v1/..",
    "http://llm.corp.example:80/..;/admin",
    "http://llm.corp.example:80/v1%00",
    "http://llm.corp.example:80/v1 /x",
    "http://llm.corp.example:80?",
    "http://llm.corp.example:80#",
    "http://llm!corp.example:80",
    "http://llm,corp.example:80",
    "http://llm;corp.example:80",
    "http://llm^corp.example:80",
    "http://llm|corp.example:80",
    "http://llm<corp>.example:80",
    "http://xn--:80",
    "http://xn--a-ecp.ru:80",
    "blob:http://llm.corp.example:80",
    "view-source:http://llm.corp.example:80",
    "javascript:http://llm.corp.example:80",
    "http",
    "://llm.corp.example:80",
]
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
