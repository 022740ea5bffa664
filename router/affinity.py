"""Which conversation a request belongs to, as a key that nothing can be read from and nobody keeps.

Requests of one conversation share its beginning, so an upstream that has seen the last one has most of the next in its
cache. A session or user that the client names says the same, and more surely.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

OPENING = 4096  # characters of a prompt that is no chat


def conversation(caller: str, session: str, document: dict[str, Any]) -> bytes:
    """32 bytes: a digest over the caller and the session, the `user`, or the conversation's opening."""
    user = document.get("user")
    if session:
        of: object = ("session", session)
    elif isinstance(user, str) and user:
        of = ("user", user)
    else:
        of = ("opening", _opening(document))
    return hashlib.sha256(msgspec.json.encode((caller, of), order="deterministic")).digest()


def _opening(document: dict[str, Any]) -> object:
    """The first system message and the first of the user."""
    messages = document.get("messages")
    if not isinstance(messages, list):
        return str(document.get("prompt") or document.get("input") or document.get("query"))[:OPENING]
    first: dict[str, object] = {}
    for message in messages:
        first.setdefault(message["role"], message.get("content"))
        if "user" in first:
            break
    return first
