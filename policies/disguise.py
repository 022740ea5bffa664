"""Why a text is no destination, in one sentence for the operator. The grammar refuses; this only explains."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_PORTLESS: Final = re.compile(r"(?P<front>(?P<scheme>https?)://(?:\[[0-9a-f:]+\]|[a-z0-9.-]+))(?P<path>/.*)?")
_LENIENT_SCHEME: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?(?=//)")
_DEFAULT_PORT: Final = {"http": "80", "https": "443"}
_HOSTNAME_IN_BRACKETS: Final = re.compile(r"https?://\[+(?![0-9a-f:]+\])")
_FOREIGN: Final = re.compile(r"[^a-z0-9.:\[\]-]")
_PATHLESS: Final = re.compile(r"https?://[^/]+")
_GOOD_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


def what_is_wrong(url: str) -> str:
    """The first thing wrong with a text that the grammar refuses, and what to write instead."""
    if not url:
        return "it is empty: write http://HOST:PORT or https://HOST:PORT"
    portless = _PORTLESS.fullmatch(url)
    if portless is not None:
        return "the port is missing"
    return next((sentence for wrong, sentence in _SIGNS if wrong(url)), _SHAPE)


def port_written(url: str) -> str:
    """The same URL with its scheme's usual port, or "" when a port is not what is missing."""
    portless = _PORTLESS.fullmatch(url)
    if portless is None:
        return ""
    return f"{portless['front']}:{_DEFAULT_PORT[portless['scheme']]}{(portless['path'] or '').rstrip('/')}"


def host_meant(url: str) -> str:
    """The host that a person or a lenient program would read in any text; "" for none. Good for refusing alone."""
    text = "".join(char for char in url if char > " ").replace("\\", "/").lower()
    authority = _LENIENT_SCHEME.sub("", text).lstrip("/").partition("/")[0].partition("?")[0].partition("#")[0]
    host = authority.rpartition("@")[2]
    return host.partition(":")[0].strip("[].")


def _authority(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _path(url: str) -> str:
    found = _PATHLESS.match(url)
    return url[found.end() :] if found else ""


def _scheme_is_not_http(url: str) -> bool:
    return not url.lower().startswith(("http://", "https://"))


_SHAPE: Final = "it is not of the form http://HOST:PORT/PATH: see the grammar of destinations"
_SIGNS: Final[tuple[tuple[Callable[[str], bool], str], ...]] = (
    (lambda url: not url.isascii(), "it holds letters outside ASCII: write the name in a-z, 0-9, '-' and '.'"),
    (
        lambda url: any(ord(char) <= 32 or ord(char) == 127 for char in url),
        "it holds white space or a control character",
    ),
    (lambda url: "\\" in url, "it holds a backslash, which programs read differently"),
    (_scheme_is_not_http, "it does not begin with http:// or https://: these two are all that is dialled"),
    (lambda url: "@" in url, "it holds '@': user names and passwords do not belong here, use key_file"),
    (lambda url: "?" in url, "it holds a query ('?'): the router makes its own"),
    (lambda url: "#" in url, "it holds a fragment ('#'), which is never sent"),
    (lambda url: "*" in url, "it holds '*': list exact names only, a wildcard lets strangers' machines in"),
    (lambda url: "%" in url, "it holds a percent-escape: write the plain character or another name"),
    (lambda url: _authority(url) != _authority(url).lower(), "host names are written in lower case here"),
    (lambda url: not url.startswith(("http://", "https://")), "the scheme is written in lower case here"),
    (lambda url: _HOSTNAME_IN_BRACKETS.match(url) is not None, "brackets are for IPv6 addresses (without a zone) only"),
    (lambda url: "_" in _authority(url), "a host name has no underscore (RFC 1123)"),
    (lambda url: _FOREIGN.search(_authority(url)) is not None, "a host name has only a-z, 0-9, '-' and '.'"),
    (lambda url: "//" in _path(url), "the path holds an empty segment ('//')"),
    (lambda url: _path(url).endswith("/"), "leave out the slash at the end"),
    (
        lambda url: _GOOD_PATH.fullmatch(_path(url)) is None,
        "a path has only letters, digits, '.', '_', '~' and '-' between its slashes",
    ),
    (lambda url: ":" in url[6:], "the port must be a number from 1 to 65535 without leading zeros"),
)
