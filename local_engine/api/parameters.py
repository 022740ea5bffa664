"""The generation parameters that chat and completions have in common."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from local_engine.api.errors import ApiError, invalid
from local_engine.api.fields import Fields
from local_engine.jobs import Job, Loaded, Sampling
from local_engine.pictures.prompt import Prompt

SEEDS = 0xFFFFFFFF
"""llama.cpp reads the seed 2³²-1 as "choose one yourself", so seeds are taken modulo this."""

MAX_CHOICES = 16
MAX_STOPS = 16
MAX_BIASES = 1024
MAX_RIVALS = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """One request but for its prompt. `max_tokens` None means: as much as the context leaves."""

    sampling: Sampling
    max_tokens: int | None
    stops: tuple[str, ...]
    choices: int
    stream: bool
    usage_chunk: bool
    logprobs: int | None


def read_wish(fields: Fields, loaded: Loaded, *, logprobs: int | None, grammar: str | None) -> Wish:
    """Takes every common field; the caller takes the others and then calls `fields.finish`."""
    stream = fields.flag("stream")
    return Wish(
        sampling=_sampling(fields, loaded, grammar),
        max_tokens=_max_tokens(fields),
        stops=_stops(fields),
        choices=fields.integer("n", 1, MAX_CHOICES) or 1,
        stream=stream,
        usage_chunk=_usage_chunk(fields, stream=stream),
        logprobs=logprobs,
    )


def jobs_for(wish: Wish, prompt: Prompt, loaded: Loaded, scope: str) -> tuple[list[Job], int | None]:
    """One job per choice, and the limit that had to replace the asked one, if it had to."""
    tokens = prompt.tokens
    room = loaded.context - len(tokens)
    if not tokens:
        raise invalid("prompt", "The prompt is empty.", "empty_prompt")
    if room < 1:
        raise ApiError(
            400,
            f"The prompt has {len(tokens)} tokens; the context holds {loaded.context}, one of them for the answer.",
            "context_length_exceeded",
            "messages",
        )
    granted = min(wish.max_tokens or room, room)
    seeds = ((wish.sampling.seed + choice) % SEEDS for choice in range(wish.choices))
    jobs = [
        Job(tokens, granted, replace(wish.sampling, seed=seed), wish.stops, wish.logprobs, scope, prompt.runs)
        for seed in seeds
    ]
    return jobs, granted if wish.max_tokens is not None and granted < wish.max_tokens else None


def _sampling(fields: Fields, loaded: Loaded, grammar: str | None) -> Sampling:
    default = Sampling(seed=0)
    seed = fields.integer("seed", -(1 << 63), (1 << 63) - 1)
    top_k = fields.integer("top_k", -1, loaded.vocabulary_size)
    return Sampling(
        seed=secrets.randbelow(SEEDS) if seed is None else seed % SEEDS,
        temperature=fields.number("temperature", 0, 2, default.temperature),
        top_k=default.top_k if top_k is None else max(0, top_k),
        top_p=fields.number("top_p", 0, 1, default.top_p),
        min_p=fields.number("min_p", 0, 1, default.min_p),
        repeat_penalty=fields.number("repeat_penalty", 0.01, 10, 1),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, 0),
        presence_penalty=fields.number("presence_penalty", -2, 2, 0),
        logit_bias=_biases(fields, loaded),
        grammar=grammar,
    )


def _biases(fields: Fields, loaded: Loaded) -> tuple[tuple[int, float], ...]:
    found = fields.take("logit_bias")
    if found is None:
        return ()
    if not isinstance(found, dict) or len(found) > MAX_BIASES:
        raise invalid("logit_bias", f"logit_bias must be an object of at most {MAX_BIASES} entries.")
    return tuple(_bias(token, value, loaded) for token, value in found.items())


def _bias(token: str, value: object, loaded: Loaded) -> tuple[int, float]:
    param = f"logit_bias.{token}"
    if not (token.isascii() and token.isdigit() and len(token) < 10 and int(token) < loaded.vocabulary_size):
        raise invalid(param, f"{param}: must be a token id below {loaded.vocabulary_size}.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not -100 <= value <= 100:
        raise invalid(param, f"{param}: the bias must be a number from -100 to 100.")
    return int(token), float(value)


def _max_tokens(fields: Fields) -> int | None:
    old = fields.integer("max_tokens", 1, 1 << 31)
    new = fields.integer("max_completion_tokens", 1, 1 << 31)
    if old is not None and new is not None and old != new:
        raise invalid("max_tokens", "max_tokens and max_completion_tokens differ; send one of them.")
    return new if old is None else old


def _stops(fields: Fields) -> tuple[str, ...]:
    found = fields.take("stop")
    stops = [found] if isinstance(found, str) else found or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and 0 < len(stop) <= 500 for stop in stops):
        raise invalid("stop", "stop must be a string or a list of strings of 1 to 500 characters.")
    if len(stops) > MAX_STOPS:
        raise invalid("stop", f"stop may hold at most {MAX_STOPS} strings.")
    return tuple(stops)


def _usage_chunk(fields: Fields, *, stream: bool) -> bool:
    options = fields.fields("stream_options")
    if options is None:
        return False
    if not stream:
        raise invalid("stream_options", "stream_options is only allowed when stream is true.")
    wanted = options.flag("include_usage")
    options.refuse("include_obfuscation", "this engine does not pad its events.", (False,))
    options.finish()
    return wanted
