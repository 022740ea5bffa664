"""How an answer is written as a chat completion: content, reasoning and tool calls, streamed or whole."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence

from local_engine.api.shapes import DONE, Heading, JsonObject, all_scores, chat_scores, joined, usage_object
from local_engine.jobs import Chosen, Finished, Piece, Usage
from local_engine.text.markup import Call, Markup, MarkupReader, Said


class ChatShape:
    """One request's answer; each choice has a reader of its own for what the model wraps in tags."""

    terminator = DONE

    def __init__(self, heading: Heading, markup: Markup) -> None:
        self._heading = heading
        self._markup = markup
        self._readers: dict[int, MarkupReader] = defaultdict(lambda: MarkupReader(markup))
        self._calls: dict[int, int] = defaultdict(int)
        self._scores: dict[int, tuple[Chosen, ...]] = defaultdict(tuple)

    def opening(self, choices: int) -> list[JsonObject]:
        return [self._chunk(index, {"role": "assistant", "content": ""}) for index in range(choices)]

    def piece(self, index: int, piece: Piece) -> list[JsonObject]:
        if self._markup == Markup():
            return [self._chunk(index, {"content": piece.text}, scores=piece.scores)]
        self._scores[index] += piece.scores
        return self._said(index, self._readers[index].feed(piece.text))

    def ending(self, index: int, end: Finished) -> list[JsonObject]:
        rest = self._said(index, self._readers[index].finish())
        reason = _reason(end, self._calls[index])
        return [*rest, self._chunk(index, {}, reason, self._scores.pop(index, ()))]

    def closing(self, usages: list[Usage]) -> list[JsonObject]:
        return [{**self._object([]), "usage": usage_object(usages)}] if self._heading.usage_chunk else []

    def whole(self, pieces: Sequence[list[Piece]], ends: Sequence[Finished]) -> JsonObject:
        choices = [self._message(index, *both) for index, both in enumerate(zip(pieces, ends, strict=True))]
        body = self._heading.object("chatcmpl", "chat.completion", choices)
        return {**body, "usage": usage_object([end.usage for end in ends])}

    def _said(self, index: int, items: list[Said | Call]) -> list[JsonObject]:
        """One delta for each; a call is sent when it is whole, since only then it is known to be one."""
        return [self._chunk(index, self._delta(index, item), scores=self._scores.pop(index, ())) for item in items]

    def _delta(self, index: int, item: Said | Call) -> JsonObject:
        if isinstance(item, Said):
            return {item.kind: item.text}
        number = self._calls[index]
        self._calls[index] += 1
        return {"tool_calls": [{"index": number, **_call_object(item)}]}

    def _chunk(
        self, index: int, delta: JsonObject, reason: str | None = None, scores: tuple[Chosen, ...] = ()
    ) -> JsonObject:
        choice = {"index": index, "delta": delta, "logprobs": chat_scores(scores), "finish_reason": reason}
        return self._object([choice])

    def _object(self, choices: list[JsonObject]) -> JsonObject:
        body = self._heading.object("chatcmpl", "chat.completion.chunk", choices)
        return {**body, "usage": None} if self._heading.usage_chunk else body

    def _message(self, index: int, pieces: list[Piece], end: Finished) -> JsonObject:
        reader = MarkupReader(self._markup)
        text = joined(pieces)
        items = [Said("content", text)] if self._markup == Markup() else [*reader.feed(text), *reader.finish()]
        calls = [_call_object(item) for item in items if isinstance(item, Call)]
        message: JsonObject = {"role": "assistant", "content": _text(items, "content"), "refusal": None}
        if calls:
            message |= {"content": message["content"] or None, "tool_calls": calls}
        if reasoning := _text(items, "reasoning_content"):
            message["reasoning_content"] = reasoning
        scores = chat_scores(all_scores(pieces))
        return {"index": index, "message": message, "logprobs": scores, "finish_reason": _reason(end, len(calls))}


def _reason(end: Finished, calls: int) -> str:
    return "tool_calls" if calls and end.reason == "stop" else end.reason


def _text(items: Sequence[Said | Call], kind: str) -> str:
    return "".join(item.text for item in items if isinstance(item, Said) and item.kind == kind)


def _call_object(call: Call) -> JsonObject:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
