"""POST /v1/chat/completions and POST /v1/completions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from local_engine.api.answer import Reply, answer
from local_engine.api.chat_shape import ChatShape
from local_engine.api.content import Album
from local_engine.api.errors import invalid, unsupported
from local_engine.api.fields import Fields, read_json
from local_engine.api.front import Front
from local_engine.api.leaving import unless_left
from local_engine.api.messages import read_messages
from local_engine.api.parameters import MAX_RIVALS, Wish, jobs_for, read_wish
from local_engine.api.prompts import Given, read_prompts
from local_engine.api.response_format import read_grammar
from local_engine.api.shapes import CompletionShape, Heading, Shape
from local_engine.api.tools import Toolset, read_tools
from local_engine.jobs import Job, Loaded
from local_engine.pictures.prompt import Prompt, Unreadable
from local_engine.text.markup import Markup
from local_engine.text.template import ChatTemplate, Part, TemplateRefusal

LABELS = ("user", "metadata", "safety_identifier", "prompt_cache_key")
MAX_SWITCH = 200
"""Characters of a template switch's text."""


async def chat(front: Front, request: Request) -> Response:
    fields = Fields(await read_json(request, front.max_body))
    model = front.model_name(fields.text("model"))
    loaded = await front.writer()
    album = Album(loaded.template if loaded.eye else None)
    messages = read_messages(fields, loaded.template, album)
    tools = read_tools(fields, loaded)
    switches = _switches(fields, loaded.template)
    _refuse_for_chat(fields)
    wish = read_wish(fields, loaded, logprobs=_chat_logprobs(fields), grammar=_one_grammar(fields, loaded, tools))
    fields.finish()
    parts, markup = _render(loaded, messages, tools, switches)
    if wish.sampling.grammar:  # such an answer has no room for reasoning
        markup = Markup(tools=markup.tools)
    prompt = await unless_left(request, _prompt(front, loaded, parts, album))
    wish = replace(wish, stops=(*wish.stops, *tools.stops))
    jobs, clamped = jobs_for(wish, prompt, loaded, front.scope(request))
    shape = ChatShape(Heading(model, front.fingerprint(loaded), wish.usage_chunk), markup)
    return await run_jobs(front, request, Work(shape, jobs, clamped, wish.stream))


async def complete(front: Front, request: Request) -> Response:
    fields = Fields(await read_json(request, front.max_body))
    model = front.model_name(fields.text("model"))
    loaded = await front.writer()
    prompts = read_prompts(fields.take("prompt"), "prompt", loaded)
    _refuse_for_completion(fields)
    logprobs = fields.integer("logprobs", 0, MAX_RIVALS)
    wish = read_wish(fields, loaded, logprobs=logprobs, grammar=read_grammar(fields, loaded))
    fields.finish()
    jobs, clamped = await prompt_jobs(front, request, prompts, wish)
    shape = CompletionShape(Heading(model, front.fingerprint(loaded), wish.usage_chunk))
    return await run_jobs(front, request, Work(shape, jobs, clamped, wish.stream))


@dataclass(frozen=True, slots=True)
class Work:
    """Jobs that are ready to run; `clamped` is the limit that replaced the asked one."""

    shape: Shape
    jobs: list[Job]
    clamped: int | None
    stream: bool


async def run_jobs(front: Front, request: Request, work: Work) -> Response:
    headers = {} if work.clamped is None else {"X-Ringfence-Clamped": f"max_tokens={work.clamped}"}
    reply = Reply(work.shape, len(work.jobs), headers)
    return await answer(request, front.service.submit(work.jobs), reply, stream=work.stream)


async def prompt_jobs(front: Front, request: Request, prompts: list[Given], wish: Wish) -> tuple[list[Job], int | None]:
    """Jobs for raw prompts, and the tightest limit that had to replace the asked one."""
    loaded = await front.loaded()
    jobs: list[Job] = []
    limits: list[int] = []
    for prompt in prompts:
        # The whole prompt is the caller's own text: control tokens in it are meant.
        tokens = (
            prompt
            if isinstance(prompt, tuple)
            else await unless_left(request, front.service.tokens(loaded, [Part(prompt, trusted=True)]))
        )
        more, limit = jobs_for(wish, Prompt(tokens), loaded, front.scope(request))
        jobs += more
        limits += [] if limit is None else [limit]
    return jobs, min(limits, default=None)


def _one_grammar(fields: Fields, loaded: Loaded, tools: Toolset) -> str | None:
    wanted = read_grammar(fields, loaded)
    if wanted and tools.shown:
        raise unsupported("response_format", "response_format cannot be enforced together with tools.")
    return wanted or tools.grammar


def _switches(fields: Fields, template: ChatTemplate | None) -> dict[str, bool | str | int]:
    """chat_template_kwargs: variables that the template itself reads, such as enable_thinking."""
    found = fields.take("chat_template_kwargs") or {}
    if not isinstance(found, dict):
        raise invalid("chat_template_kwargs", "chat_template_kwargs must be an object.")
    for name, value in found.items():
        place = f"chat_template_kwargs.{name[:100]}"
        if template is None or name not in template.switches:
            raise unsupported(place, f"{place}: this model's chat template has no such variable.")
        if not isinstance(value, bool | int | str) or (isinstance(value, str) and len(value) > MAX_SWITCH):
            raise invalid(place, f"{place} must be true, false, a whole number or a short text.")
    return found


def _render(
    loaded: Loaded, messages: list[dict[str, Any]], tools: Toolset, switches: dict[str, bool | str | int]
) -> tuple[list[Part], Markup]:
    if loaded.template is None:
        raise unsupported("messages", "This model has no usable chat template; use /v1/completions.")
    try:
        parts = loaded.template.render(messages, tools.shown, switches)
        return parts, loaded.template.markup(parts, tools=bool(tools.shown))
    except TemplateRefusal as refusal:
        raise invalid("messages", f"The model's chat template refuses these messages: {refusal}") from None


async def _prompt(front: Front, loaded: Loaded, parts: list[Part], album: Album) -> Prompt:
    """The tokens of a rendered chat, its pictures read and shown to be readable."""
    if loaded.eye is None or not album.pictures:
        return Prompt(await front.service.tokens(loaded, parts))
    shown = [part.picture for part in parts if part.picture is not None]
    if sorted(shown) != list(range(len(album.pictures))):
        raise unsupported("messages", "The model's chat template does not show every picture of these messages once.")
    try:
        return await front.service.off_loop(loaded.eye.read, parts, album.pictures, loaded.tokenise, loaded.beginning)
    except Unreadable as found:
        raise album.refusal(found.number, found.why) from None


def _chat_logprobs(fields: Fields) -> int | None:
    wanted = fields.flag("logprobs")
    rivals = fields.integer("top_logprobs", 0, MAX_RIVALS)
    if rivals is not None and not wanted:
        raise invalid("top_logprobs", "top_logprobs needs logprobs to be true.")
    return (rivals or 0) if wanted else None


def _refuse_for_chat(fields: Fields) -> None:
    fields.labels(*LABELS)
    fields.refuse("modalities", "this model writes text only.", (["text"],))
    for name in ("audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"):
        fields.refuse(name, "this engine has no such feature.")
    _refuse_for_both(fields)


def _refuse_for_completion(fields: Fields) -> None:
    fields.labels(*LABELS)
    fields.refuse("best_of", "only one candidate is made for each choice.", (1,))
    fields.refuse("echo", "the prompt is not repeated.", (False,))
    fields.refuse("suffix", "this model cannot fill in between.", ("",))
    _refuse_for_both(fields)


def _refuse_for_both(fields: Fields) -> None:
    fields.refuse("store", "nothing is stored here.", (False,))
    fields.refuse("service_tier", "there is one tier.", ("auto", "default"))
