"""Older clients' endpoints: llama.cpp's /completion, and TGI's /generate and /generate_stream.

Each is a text completion in another spelling: the request is written as OpenAI's, goes the way of every request, and
its answer is written back by `older_answers`. What OpenAI's surface has no words for is refused by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from router.api.older_answers import LlamaShape, OlderReply, Shape, TgiShape
from router.body import parse
from router.errors import InvalidRequest, RouterError
from router.pipeline import Arrival
from router.reply import Reply
from router.settings.snapshot import Limits

COMPLETION, GENERATE, GENERATE_STREAM = "/completion", "/generate", "/generate_stream"
OLDER: Final = {path.encode(): path for path in (COMPLETION, GENERATE, GENERATE_STREAM)}
# /v1/rerank by the other names that clients ask for it: LiteLLM's, Cohere's newer client's, llama-server's.
RANKING: Final = (b"/rerank", b"/v2/rerank", b"/reranking", b"/v1/reranking")

_LLAMA_NAMES: Final = {"n_predict": "max_tokens"}
_LLAMA_LABELS: Final = ("cache_prompt", "id_slot")  # about a server's own cache: they change no answer
_TGI_NAMES: Final = {"max_new_tokens": "max_tokens", "stop_sequences": "stop", "repetition_penalty": "repeat_penalty"}
_TGI_REFUSED: Final[Mapping[str, tuple[Any, ...]]] = {
    "details": (False,),
    "decoder_input_details": (False,),
    "best_of": (1,),
    "watermark": (False,),
    "truncate": (),
    "top_n_tokens": (0,),
    "typical_p": (1, 1.0),
    "grammar": (),
    "adapter_id": (),
}
"""What only TGI can do, with the values that ask for nothing."""
_TGI_SWITCHES: Final = ("do_sample", "return_full_text")  # obeyed here: no upstream sees them


class Translation:
    """One request of an older client. `error` is set where it cannot be one of ours; else `body` is."""

    def __init__(self, path: str, raw: bytes, limits: Limits) -> None:
        self.body = raw
        self.error: RouterError | None = None
        self._shape: Shape = LlamaShape() if path == COMPLETION else TgiShape("")
        try:
            document = parse(raw, limits.json_depth)
            self.body = msgspec.json.encode(self._llama(document) if path == COMPLETION else self._tgi(path, document))
        except RouterError as error:
            self.error = error

    def reply(self, inner: Reply) -> Reply:
        """Where the answer is to be written."""
        return OlderReply(inner, self._shape)

    def _llama(self, document: dict[str, Any]) -> dict[str, Any]:
        _refuse(document, "n_probs", (0,), "ask /v1/completions for 'logprobs'")
        kept = {name: value for name, value in document.items() if name not in (*_LLAMA_LABELS, "n_probs")}
        return _renamed(kept, _LLAMA_NAMES)

    def _tgi(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        outer = dict(document)
        prompt, parameters = outer.pop("inputs", None), _parameters(outer.pop("parameters", None))
        if not isinstance(prompt, str):
            raise InvalidRequest("'inputs' must be a text.", param="inputs")
        if "prompt" in outer:
            raise InvalidRequest("'prompt' is called 'inputs' here: send that alone.", param="prompt")
        inner = {name: value for name, value in parameters.items() if name not in _TGI_REFUSED}
        if inner.pop("return_full_text", None):
            self._shape = TgiShape(prompt)
        sample = inner.pop("do_sample", None)
        fields = _renamed(inner, _TGI_NAMES)
        if sample is False:
            fields["temperature"] = 0  # TGI's word for greedy, whatever the temperature
        if taken := sorted(fields.keys() & (outer.keys() | {"prompt"})):
            raise InvalidRequest(f"'{taken[0]}' stands in the body and in 'parameters': send it once.", param=taken[0])
        stream = path == GENERATE_STREAM or outer.pop("stream", False)
        return {**outer, **fields, "prompt": prompt, "stream": stream}


async def translated(
    serve: Callable[[Arrival, Reply], Awaitable[None]], limits: Limits, arrival: Arrival, reply: Reply, path: str
) -> None:
    """Serve an older client's request in OpenAI's words, and answer it in its own."""
    translation = Translation(path, arrival.body, limits)
    asked = replace(arrival, body=translation.body, refusal=translation.error)
    await serve(asked, translation.reply(reply))


def _parameters(given: Any) -> dict[str, Any]:
    """TGI's parameters, without those that would do nothing here."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidRequest("'parameters' must be an object.", param="parameters")
    for name, harmless in _TGI_REFUSED.items():
        _refuse(given, name, harmless, "no upstream is asked for it here")
    for name in _TGI_SWITCHES:
        if not isinstance(given.get(name), bool | None):
            raise InvalidRequest(f"'{name}' must be true or false.", param=name)
    return given


def _renamed(values: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """By OpenAI's names; a limit of -1 means as much as fits, which is said by leaving it away."""
    renamed = {names.get(name, name): value for name, value in values.items()}
    if len(renamed) != len(values):
        both = next(name for name, other in names.items() if name in values and other in values)
        raise InvalidRequest(f"'{both}' and '{names[both]}' are one parameter: send one of them.", param=both)
    if renamed.get("max_tokens") in (-1, None):
        renamed.pop("max_tokens", None)
    return renamed


def _refuse(values: Mapping[str, Any], name: str, harmless: tuple[Any, ...], instead: str) -> None:
    value = values.get(name)
    if value is not None and value not in harmless:
        raise InvalidRequest(f"'{name}' is not understood here: {instead}.", param=name)
