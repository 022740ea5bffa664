"""POST /v1/embeddings."""

from __future__ import annotations

import array
import base64
import sys

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_engine.api.errors import ApiError, invalid, unsupported
from local_engine.api.fields import Fields, read_json
from local_engine.api.front import RETRY, Front
from local_engine.api.leaving import unless_left
from local_engine.api.prompts import Given, read_prompts
from local_engine.jobs import Loaded
from local_engine.service import EngineFailed
from local_engine.text.template import Part


async def embed(front: Front, request: Request) -> Response:
    fields = Fields(await read_json(request, front.max_body))
    model = front.model_name(fields.text("model"))
    loaded = await front.writer()
    prompts = read_prompts(fields.take("input"), "input", loaded)
    encoding = fields.text("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise invalid("encoding_format", "encoding_format must be float or base64.")
    dimensions = fields.integer("dimensions", 1, 1 << 20)
    if dimensions not in (None, loaded.width):
        raise unsupported(
            "dimensions", f"dimensions: this model's embeddings have {loaded.width}, neither more nor less."
        )
    fields.labels("user")
    fields.finish()
    inputs = await unless_left(request, _inputs(front, loaded, prompts))
    vectors = await unless_left(request, vectors_of(front, inputs))
    data = [
        {"object": "embedding", "index": index, "embedding": _encode(vector) if encoding == "base64" else vector}
        for index, vector in enumerate(vectors)
    ]
    count = sum(len(tokens) for tokens in inputs)
    usage = {"prompt_tokens": count, "total_tokens": count}
    body = {"object": "list", "data": data, "model": model, "usage": usage}
    return Response(msgspec.json.encode(body) + b"\n", media_type="application/json")


async def _inputs(front: Front, loaded: Loaded, prompts: list[Given]) -> tuple[tuple[int, ...], ...]:
    return tuple([await _tokens(front, loaded, prompt, index) for index, prompt in enumerate(prompts)])


async def _tokens(front: Front, loaded: Loaded, prompt: Given, index: int) -> tuple[int, ...]:
    tokens = prompt if isinstance(prompt, tuple) else await front.service.tokens(loaded, [Part(prompt, trusted=False)])
    if not tokens:
        raise invalid(f"input[{index}]", f"input[{index}] is empty.", "empty_prompt")
    if len(tokens) > loaded.embed_limit:
        message = f"input[{index}] has {len(tokens)} tokens; at most {loaded.embed_limit} can be embedded."
        raise ApiError(400, message, "context_length_exceeded", "input")
    return tokens


async def vectors_of(front: Front, inputs: tuple[tuple[int, ...], ...]) -> list[list[float]]:
    """The vectors, or scores. ApiError where the engine has failed."""
    try:
        return await front.service.embed(inputs)
    except EngineFailed as error:
        raise ApiError(503, str(error), "engine_error", headers=RETRY) from None


def _encode(vector: list[float]) -> str:
    """Little-endian 32-bit floats, as OpenAI's SDKs read them."""
    packed = array.array("f", vector)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode("ascii")
