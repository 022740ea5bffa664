"""Endpoints of older clients: llama.cpp's /completion and /tokenize, TGI's /generate and /generate_stream."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_engine.api.errors import invalid
from local_engine.api.fields import Fields, read_json
from local_engine.api.front import Front
from local_engine.api.generate import Work, prompt_jobs, run_jobs
from local_engine.api.leaving import unless_left
from local_engine.api.parameters import read_wish
from local_engine.api.prompts import read_prompts
from local_engine.api.shapes import JsonObject, joined
from local_engine.jobs import Finished, Loaded, Piece, Usage
from local_engine.text.template import Part

RENAMED = {
    "n_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "stop_sequences": "stop",
}
"""llama.cpp's and TGI's words for what OpenAI's surface calls otherwise."""


async def completion(front: Front, request: Request) -> Response:
    """llama.cpp: one prompt; n_predict -1 means as much as the context leaves."""
    fields = _renamed(await read_json(request, front.max_body))
    loaded = await front.writer()
    prompts = read_prompts(fields.take("prompt"), "prompt", loaded)
    fields.refuse("n_probs", "use /v1/completions with logprobs.", (0,))
    fields.labels("cache_prompt", "id_slot")
    wish = read_wish(fields, loaded, logprobs=None, grammar=None)
    fields.finish()
    if len(prompts) != 1 or wish.choices != 1:
        raise invalid("prompt", "/completion takes one prompt and makes one answer.")
    jobs, clamped = await prompt_jobs(front, request, prompts, wish)
    return await run_jobs(front, request, Work(LlamaShape(front.spec.name), jobs, clamped, wish.stream))


async def generate(front: Front, request: Request) -> Response:
    return await _generate(front, request, stream=False)


async def generate_stream(front: Front, request: Request) -> Response:
    return await _generate(front, request, stream=True)


async def _generate(front: Front, request: Request, *, stream: bool) -> Response:
    """TGI: {"inputs": …, "parameters": {…}}."""
    outer = Fields(await read_json(request, front.max_body))
    loaded = await front.writer()
    prompts = read_prompts(outer.take("inputs"), "inputs", loaded)
    asked = outer.take("parameters") or {}
    if len(prompts) != 1 or not isinstance(asked, dict):
        raise invalid("inputs", "inputs must be one text, and parameters an object.")
    stream = outer.flag("stream") or stream
    outer.finish()
    fields = _sampling_switch(_renamed(asked), asked)
    fields.refuse("details", "this engine has no token details here; use /v1/completions.", (False,))
    fields.refuse("decoder_input_details", "this engine has no token details here.", (False,))
    full = fields.flag("return_full_text")
    fields.refuse("n", "/generate makes one answer.", (1,))
    wish = read_wish(fields, loaded, logprobs=None, grammar=None)
    fields.finish()
    jobs, clamped = await prompt_jobs(front, request, prompts, wish)
    lead = prompts[0] if full and isinstance(prompts[0], str) else ""
    return await run_jobs(front, request, Work(TgiShape(lead), jobs, clamped, stream))


async def tokenize(front: Front, request: Request) -> Response:
    """llama.cpp: the tokens of a text, control tokens read only when `parse_special` asks for it."""
    fields = Fields(await read_json(request, front.max_body))
    loaded = await front.loaded()
    content = fields.text("content")
    trusted, lead = fields.flag("parse_special"), fields.flag("add_special")
    fields.finish()
    if content is None:
        raise invalid("content", "content is missing.")
    tokens = await unless_left(request, front.service.tokens(loaded, [Part(content, trusted=trusted)]))
    shown = tokens if lead else tokens[len(loaded.beginning) :]
    return Response(msgspec.json.encode({"tokens": shown}) + b"\n", media_type="application/json")


async def detokenize(front: Front, request: Request) -> Response:
    fields = Fields(await read_json(request, front.max_body))
    loaded = await front.loaded()
    found = fields.take("tokens")
    fields.finish()
    content = _text_of(found, loaded) if found != [] else ""
    return Response(msgspec.json.encode({"content": content}) + b"\n", media_type="application/json")


def _text_of(found: object, loaded: Loaded) -> str:
    [tokens] = read_prompts(found, "tokens", loaded) if isinstance(found, list) else [None]
    if not isinstance(tokens, tuple):
        raise invalid("tokens", "tokens must be a list of token ids.")
    return b"".join(loaded.piece(token) for token in tokens).decode("utf-8", "replace")


def _renamed(values: JsonObject) -> Fields:
    """-1 and null limits mean "as much as fits", as their own servers read them."""
    named = {RENAMED.get(name, name): value for name, value in values.items()}
    if len(named) != len(values):
        raise invalid(None, "The body names one parameter by two names.")
    if named.get("max_tokens") == -1:
        named["max_tokens"] = None
    return Fields(named)


def _sampling_switch(fields: Fields, asked: JsonObject) -> Fields:
    """TGI's do_sample: false is greedy, whatever the temperature."""
    sample = fields.flag("do_sample")
    if "do_sample" in asked and not sample:
        rest = {RENAMED.get(name, name): value for name, value in asked.items() if name != "do_sample"}
        return Fields({**rest, "temperature": 0}, "parameters")
    return fields


class LlamaShape:
    """llama.cpp's /completion."""

    terminator = b""

    def __init__(self, model: str) -> None:
        self._model = model

    def opening(self, choices: int) -> list[JsonObject]:
        return []

    def piece(self, index: int, piece: Piece) -> list[JsonObject]:
        return [{"index": index, "content": piece.text, "stop": False}]

    def ending(self, index: int, end: Finished) -> list[JsonObject]:
        return [{"index": index, **self._end("", end)}]

    def closing(self, usages: list[Usage]) -> list[JsonObject]:
        return []

    def whole(self, pieces: Sequence[list[Piece]], ends: Sequence[Finished]) -> JsonObject:
        return {"index": 0, **self._end(joined(pieces[0]), ends[0])}

    def _end(self, text: str, end: Finished) -> JsonObject:
        return {
            "content": text,
            "stop": True,
            "model": self._model,
            "stop_type": "limit" if end.reason == "length" else "eos",
            "tokens_predicted": end.usage.completion_tokens,
            "tokens_evaluated": end.usage.prompt_tokens,
            "tokens_cached": end.usage.cached_tokens,
        }


class TgiShape:
    """TGI's /generate; a stream's last event carries the whole text."""

    terminator = b""

    def __init__(self, lead: str) -> None:
        self._texts = [lead] if lead else []
        self._count = 0

    def opening(self, choices: int) -> list[JsonObject]:
        return []

    def piece(self, index: int, piece: Piece) -> list[JsonObject]:
        self._texts.append(piece.text)
        self._count += 1
        token = {"text": piece.text, "special": False}
        return [{"index": self._count, "token": token, "generated_text": None, "details": None}]

    def ending(self, index: int, end: Finished) -> list[JsonObject]:
        self._count += 1
        details = {"finish_reason": _tgi_reason(end), "generated_tokens": end.usage.completion_tokens}
        token = {"text": "", "special": True}
        text = "".join(self._texts)
        return [{"index": self._count, "token": token, "generated_text": text, "details": details}]

    def closing(self, usages: list[Usage]) -> list[JsonObject]:
        return []

    def whole(self, pieces: Sequence[list[Piece]], ends: Sequence[Finished]) -> JsonObject:
        return {"generated_text": "".join(self._texts) + joined(pieces[0])}


def _tgi_reason(end: Finished) -> str:
    return "length" if end.reason == "length" else "eos_token"
