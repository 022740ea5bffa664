"""The model's own chat template, in Jinja's sandbox, with user text that can never become a control token."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE = 64 * 1024


class TemplateRefusal(Exception):
    """The template cannot be used, or it refuses these messages; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of the rendered prompt. Only in `trusted` parts does the tokeniser read control tokens."""

    text: str
    trusted: bool


class ChatTemplate:
    """Renders messages (role and content) to the parts of a prompt that ends where the assistant begins."""

    def __init__(self, source: str, special_texts: Iterable[str], bos: str = "", eos: str = "") -> None:
        if len(source) > MAX_TEMPLATE:
            raise TemplateRefusal(f"the chat template has {len(source)} characters; {MAX_TEMPLATE} are allowed")
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.globals.update(raise_exception=_refuse, strftime_now=_today, bos_token=bos, eos_token=eos)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise TemplateRefusal(f"the chat template is not valid Jinja: {error}") from error
        self._special = _any_of(special_texts)
        # Nobody outside this process can write this mark, so nobody can end a quotation early.
        self._mark = f"\ufdd0{secrets.token_hex(16)}\ufdd1"

    def render(self, messages: list[dict[str, str]]) -> list[Part]:
        """Raises TemplateRefusal with the template's own sentence, e.g. for a role that it does not know."""
        quoted = [{**message, "content": self._quote(message["content"])} for message in messages]
        try:
            text = self._template.render(messages=quoted, add_generation_prompt=True)
        except TemplateRefusal:
            raise
        except Exception as error:  # a model file's template is foreign code: it may raise anything
            raise TemplateRefusal(f"the chat template failed: {type(error).__name__}") from error
        parts = text.split(self._mark)
        return [Part(part, trusted=index % 2 == 0) for index, part in enumerate(parts) if part]

    def _quote(self, content: str) -> str:
        return self._special.sub(lambda found: f"{self._mark}{found[0]}{self._mark}", content)


def prompt_tokens(parts: list[Part], tokenise: Callable[[str, bool], list[int]]) -> list[int]:
    """Token ids of a rendered prompt; `tokenise` takes a text and whether control tokens are read in it."""
    return [token for part in parts for token in tokenise(part.text, part.trusted)]


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any special text, the longest first; never matches when there is none."""
    alternatives = "|".join(re.escape(text) for text in sorted(set(texts), key=len, reverse=True))
    return re.compile(alternatives or r"(?!)")


def _refuse(message: Any) -> NoReturn:
    raise TemplateRefusal(str(message)[:300])


def _today(form: str) -> str:
    return datetime.now(UTC).strftime(form)
