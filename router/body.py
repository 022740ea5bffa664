"""Read the least of a request body, strictly: one JSON object, each name once, bounded in size and depth.

What is sent on is what was read here, in which no name stands twice; the gate reads it once more, by the same parser,
and writes it out anew, so that no upstream's parser can see another request in it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec.structs import replace

from policies import Endpoint, PromptFacts, Reach, RequestFacts, prompt_facts
from router.errors import BodyTooLarge, InvalidJSON, InvalidRequest
from router.settings.snapshot import Limits

_NAME_ENDS = re.compile(rb'"[ \t\n\r]*:')
_SPACE = b" \t\n\r"
_FEW = 200  # bytes to a name: with more, looking for its colon costs less than counting all
_GROWS = 5  # times: no more longer than the client's is our spelling, of 1e15
_CONTAINERS = frozenset({dict, list})  # as msgspec decodes JSON: no subclasses
_CONTENT = {
    Endpoint.CHAT: "messages",
    Endpoint.COMPLETIONS: "prompt",
    Endpoint.EMBEDDINGS: "input",
    Endpoint.RERANK: "documents",
}
_AT_ONCE = {Endpoint.EMBEDDINGS: "Embeddings", Endpoint.RERANK: "Ranks"}
LONGEST_MODEL = 256
MOST_RANKS = (1 << 31) - 1  # llama-server reads it into 32 bits, and answers 500 to what is below 0


class Inbound(msgspec.Struct, frozen=True):
    """One request as read: what may be decided by, the document, and the bytes that it was read from."""

    request_id: str
    facts: RequestFacts
    document: dict[str, Any]
    raw: bytes
    chosen: bool = False  # `facts.model` is not what the client wrote: the default, an alias, an auto model's choice

    def prompt(self) -> PromptFacts:
        """What the rules of `auto` models may ask. Reads the whole prompt, so only they pay for it."""
        return prompt_facts(self.document)

    def as_model(self, name: str) -> Inbound:
        """The same request for a model by the policy's own name."""
        if name == self.facts.model:
            return self
        return replace(self, facts=replace(self.facts, model=name), chosen=True)

    def body(self, served_model: str, most_bytes: int) -> bytes:
        """The bytes for an upstream that calls the model so: the client's own, where they say just that, and could not
        be more than `most_bytes` in our spelling. BodyTooLarge for what is.
        """
        if self.document.get("model") == served_model and len(self.raw) * _GROWS <= most_bytes:
            return self.raw
        return spelled(self.document, served_model, most_bytes)


def spelled(document: dict[str, Any], served_model: str, most_bytes: int) -> bytes:
    """Our own bytes of a document; BodyTooLarge where these are too many."""
    body = msgspec.json.encode({**document, "model": served_model})
    if len(body) > most_bytes:
        raise BodyTooLarge(f"The body is larger than {most_bytes} bytes.")
    return body


def read(raw: bytes, endpoint: Endpoint, request_id: str, reach: Reach | None, limits: Limits) -> Inbound:
    """Parse and check one body; a RouterError says what is wrong with it, by name."""
    if len(raw) > limits.body_bytes:
        raise BodyTooLarge(f"The body is larger than {limits.body_bytes} bytes.")
    document = parse(raw, limits.json_depth)
    model = document.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("'model' must be a string.", param="model")
    model = model or ""
    if len(model) > LONGEST_MODEL or not model.isprintable():
        raise InvalidRequest(f"'model' must be at most {LONGEST_MODEL} printable characters.", param="model")
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("'stream' must be true or false.", param="stream")
    if stream and endpoint in _AT_ONCE:
        raise InvalidRequest(f"{_AT_ONCE[endpoint]} cannot be streamed.", param="stream")
    _check_content(document, endpoint)
    return Inbound(request_id, RequestFacts(endpoint, model, bool(stream), len(raw), reach), document, raw)


def _check_content(document: dict[str, Any], endpoint: Endpoint) -> None:
    name = _CONTENT[endpoint]
    value = document.get(name)
    if value is None:
        raise InvalidRequest(f"'{name}' is missing.", param=name)
    if name == "messages":
        _check_messages(value)
    elif endpoint is Endpoint.RERANK:
        _check_ranking(document)
    elif not isinstance(value, (str, list)) or not value:
        raise InvalidRequest(f"'{name}' must be a string or a non-empty list.", param=name)


def _check_ranking(document: dict[str, Any]) -> None:
    """As Jina's, Cohere's and vLLM's clients send it; what else a document may be is the upstream's to say."""
    query, documents = document.get("query"), document["documents"]
    if not isinstance(query, (str, dict)) or not query:
        raise InvalidRequest("'query' must be a string that is not empty.", param="query")
    if not isinstance(documents, (list, dict)) or not documents:
        raise InvalidRequest("'documents' must be a non-empty list.", param="documents")
    most = document.get("top_n")
    if most is not None and (type(most) is not int or not 0 <= most <= MOST_RANKS):
        raise InvalidRequest("'top_n' must be a whole number, not below 0.", param="top_n")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a non-empty list.", param="messages")
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest("Each message must be an object with a 'role'.", param=f"messages[{position}]")


def parse(raw: bytes, most_depth: int) -> dict[str, Any]:
    """One JSON object (RFC 8259, UTF-8, no NaN, no name twice); InvalidJSON tells what is wrong."""
    try:
        document = msgspec.json.decode(raw)
    except RecursionError:
        raise InvalidJSON("The JSON is nested too deeply.") from None
    except UnicodeDecodeError:
        raise InvalidJSON("The body is not valid UTF-8.") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidJSON(f"The body is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidJSON("The body must be a JSON object.")
    names = _count_names(document, most_depth)
    # Every name has its colon, so when there are no more colons than names, no name was there twice.
    many = raw.count(b":") > names if names * _FEW > len(raw) else _has_more_colons(raw, names)
    if many and _may_repeat_names(raw, document, names):
        json.loads(raw, object_pairs_hook=_each_once)
    return document


def _may_repeat_names(raw: bytes, document: dict[str, Any], names: int) -> bool:
    """No name is there twice when we would write the same bytes, nor when no more colons than names follow a quotation
    mark. First asked is what is likelier: we write no spaces.
    """
    if raw[raw.find(b":") + 1] not in _SPACE:
        return msgspec.json.encode(document) != raw and len(_NAME_ENDS.findall(raw)) != names
    return len(_NAME_ENDS.findall(raw)) != names and msgspec.json.encode(document) != raw


def _has_more_colons(raw: bytes, names: int) -> bool:
    """Of few names in a long text: to look for each costs less than to count them all."""
    at = -1
    for _ in range(names + 1):
        at = raw.find(b":", at + 1)
        if at < 0:
            return False
    return True


def _count_names(document: dict[str, Any], most_depth: int) -> int:
    """Names of all objects in the document; InvalidJSON where it is nested deeper than allowed."""
    count = 0
    level: list[Any] = [document]
    for _ in range(most_depth):
        inner: list[Any] = []
        for value in level:
            if type(value) is dict:
                count += len(value)
                value = value.values()  # noqa: PLW2901 - a list is looked through as it is
            if _CONTAINERS.isdisjoint(map(type, value)):
                continue
            for item in value:
                if type(item) in _CONTAINERS:
                    inner.append(item)  # noqa: PERF401 - most objects are small: a comprehension costs more than it saves
        if not inner:
            return count
        level = inner
    raise InvalidJSON(f"The JSON is nested deeper than {most_depth} levels.")


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise InvalidJSON(f"The name '{name[:64]}' stands twice in one object.", param=name[:64])
        seen.add(name)
