"""Answers of text completions as older clients read them. Errors and comments pass unchanged."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from router.reply import Headers, Reply

_DATA: Final = b"data:"
_DONE: Final = b"[DONE]"


class Shape(Protocol):
    """How one older API tells what was generated. One answer each: it remembers the text."""

    def piece(self, text: str) -> dict[str, Any]:
        """Of a stream, while it goes on."""

    def end(self, text: str, completion: dict[str, Any], reason: str) -> dict[str, Any]:
        """Of a stream; `text` is its last piece."""

    def whole(self, text: str, completion: dict[str, Any], reason: str) -> dict[str, Any]: ...


class LlamaShape:
    """llama.cpp's /completion: no `[DONE]`, the last event says `stop`."""

    def piece(self, text: str) -> dict[str, Any]:
        return {"index": 0, "content": text, "stop": False}

    def end(self, text: str, completion: dict[str, Any], reason: str) -> dict[str, Any]:
        return self.whole(text, completion, reason)

    def whole(self, text: str, completion: dict[str, Any], reason: str) -> dict[str, Any]:
        usage = completion.get("usage") or {}
        return {
            "index": 0,
            "content": text,
            "stop": True,
            "model": completion.get("model", ""),
            "stop_type": "limit" if reason == "length" else "eos",
            "tokens_predicted": usage.get("completion_tokens", 0),
            "tokens_evaluated": usage.get("prompt_tokens", 0),
        }


class TgiShape:
    """TGI's /generate: the last event of a stream carries the whole text. `lead`: the prompt, if it was asked for."""

    def __init__(self, lead: str) -> None:
        self._texts = [lead]
        self._count = 0

    def piece(self, text: str) -> dict[str, Any]:
        return {**self._token(text, special=False), "generated_text": None, "details": None}

    def end(self, text: str, completion: dict[str, Any], reason: str) -> dict[str, Any]:
        usage = completion.get("usage") or {}
        token = self._token(text, special=not text)
        finish = "length" if reason == "length" else "eos_token"
        details = {"finish_reason": finish, "generated_tokens": usage.get("completion_tokens", self._count)}
        return {**token, "generated_text": "".join(self._texts), "details": details}

    def whole(self, text: str, completion: dict[str, Any], reason: str) -> dict[str, Any]:
        return {"generated_text": "".join((*self._texts, text))}

    def _token(self, text: str, *, special: bool) -> dict[str, Any]:
        self._texts.append(text)
        self._count += 1
        return {"index": self._count, "token": {"text": text, "special": special}}


class OlderReply:
    """Stands before the reply of one request and writes what goes out in another shape."""

    def __init__(self, inner: Reply, shape: Shape) -> None:
        self._inner = inner
        self._shape = shape

    @property
    def started(self) -> bool:
        return self._inner.started

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """What is no answer passes."""
        await self._inner.whole(status, headers, body if status >= 400 else self._whole(body))

    async def start(self, status: int, headers: Headers) -> None:
        await self._inner.start(status, headers)

    async def write(self, data: bytes) -> None:
        if data.startswith((_DATA, b":", b"event:", b"id:", b"retry:")):
            if events := b"".join(self._event(event) for event in data.split(b"\n\n") if event):
                await self._inner.write(events)
        else:
            await self._inner.write(data)

    def pour(self, data: bytes | memoryview) -> bool:
        """What passes is put in other words first."""
        return False

    async def finish(self) -> None:
        await self._inner.finish()

    def _whole(self, body: bytes) -> bytes:
        completion = msgspec.json.decode(body)
        found = _choice(completion)
        return body if found is None else msgspec.json.encode(self._shape.whole(found[0], completion, found[1]))

    def _event(self, event: bytes) -> bytes:
        """One event; nothing for the end mark, which these clients do not know."""
        if not event.startswith(_DATA):
            return event + b"\n\n"
        data = event[len(_DATA) :].strip()
        if data == _DONE:
            return b""
        try:
            completion = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return event + b"\n\n"
        found = _choice(completion)
        if found is None:  # an error, or a chunk that only counts tokens
            return b"" if isinstance(completion, dict) and completion.get("choices") == [] else event + b"\n\n"
        text, reason = found
        told = self._shape.end(text, completion, reason) if reason else self._shape.piece(text)
        return _DATA + b" " + msgspec.json.encode(told) + b"\n\n"


def _choice(completion: Any) -> tuple[str, str] | None:
    """Text and finish reason ("" while it goes on) of the first choice; None when this is no text completion."""
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    return str(choices[0].get("text") or ""), str(choices[0].get("finish_reason") or "")
