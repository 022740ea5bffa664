"""The words of an answer, for its keyed digest: of the first choice, as a client joins them. They are not kept."""

from __future__ import annotations

import hmac
from typing import Any, Final

import msgspec

LARGEST: Final = 4 * 1024 * 1024  # of an answer that is not streamed; the digest of a larger one is left out
_DATA: Final = b"data: "


class AnswerText:
    """Feed whole events, or pieces of one JSON document."""

    def __init__(self, digester: hmac.HMAC) -> None:
        self._digester = digester
        self._streamed: bool | None = None
        self._document = bytearray()
        self._some = False

    def feed(self, data: bytes) -> None:
        if self._streamed is None and data:
            self._streamed = not data.lstrip().startswith(b"{")
        if not self._streamed:
            if len(self._document) <= LARGEST:  # what is cut off is no document any more, and has no digest
                self._document += data[: LARGEST + 1]
            return
        for line in data.split(b"\n"):
            if line.startswith(_DATA):
                self._see(line[len(_DATA) :])

    def _see(self, data: bytes) -> None:
        text = _words(data)
        if text:
            self._some = True
            self._digester.update(text.encode(errors="surrogatepass"))

    def mac(self) -> str:
        """The digest; "" if there were no words."""
        if self._document:
            self._see(bytes(self._document))
            self._document.clear()
        return self._digester.hexdigest() if self._some else ""


def _words(data: bytes) -> str:
    try:
        choice = msgspec.json.decode(data, type=dict[str, Any])["choices"][0]
        part = choice.get("delta") or choice.get("message") or {}
        text = part.get("content") or choice.get("text")
    except (msgspec.MsgspecError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return text if isinstance(text, str) else ""
