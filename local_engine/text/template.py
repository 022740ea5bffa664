"""The model's own chat template, in Jinja's sandbox, with user text that can never become a control token."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, meta
from jinja2.ext import loopcontrols

from local_engine.text.markup import CALL, CALLED, THINK, Markup
from local_engine.text.sandbox import Sandbox

MAX_TEMPLATE = 64 * 1024
GIVEN = frozenset({"messages", "tools", "add_generation_prompt", "documents", "xml_tools", "custom_tools", "loop"})
"""Variables that no client may set as a switch."""
TRIAL = "a text to look for"


class TemplateRefusal(Exception):
    """The template cannot be used, or it refuses these messages; the sentence says why."""


class EndlessTemplate(TemplateRefusal):
    """It took more steps than it may."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of the rendered prompt. Only in `trusted` parts does the tokeniser read control tokens."""

    text: str
    trusted: bool
    picture: int | None = None
    """The number of the picture that stands here instead of text."""


class ChatTemplate:
    """Renders messages to the parts of a prompt that ends where the assistant begins.

    `takes_tools`: it writes tools in, and calls come back in the form that `text.markup` reads. `thinks`: it knows
    reasoning. `switches`: variables of its own that a client may set, such as `enable_thinking`.
    """

    def __init__(self, source: str, special_texts: Iterable[str], bos: str = "", eos: str = "") -> None:
        if len(source) > MAX_TEMPLATE:
            raise TemplateRefusal(f"the chat template has {len(source)} characters; {MAX_TEMPLATE} are allowed")
        environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.globals.update(raise_exception=_refuse, strftime_now=_today, bos_token=bos, eos_token=eos)
        environment.filters["tojson"] = _as_json
        try:
            unbound = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise TemplateRefusal(f"the chat template is not valid Jinja: {error}") from error
        self.has_tools = "tools" in unbound
        self.takes_tools = self.has_tools and CALL in source and CALLED in source
        self.thinks = THINK in source
        self.switches = frozenset(unbound) - GIVEN - environment.globals.keys()
        self._wants_parts = not self._writes(TRIAL) and self._writes([{"type": "text", "text": TRIAL}])
        self._special = _any_of(special_texts)
        # Nobody outside this process can write these marks, so nobody can end a quotation early.
        self._open, self._shut = (f"\ufdd0{secrets.token_hex(16)}{side}" for side in "\ufdd1\ufdd2")
        self._frame = f"\ufdd0{secrets.token_hex(16)}\ufdd2"
        self._seam = re.compile(
            f"{self._open}({self._special.pattern}){self._shut}|{self._open}|{self._shut}|{self._frame}([0-9]+);"
        )

    def _writes(self, content: str | list[dict[str, str]]) -> bool:
        """Whether a message's content comes out in this form. A template that fails says nothing about it."""
        try:
            return TRIAL in self._template.render(messages=[{"role": "user", "content": content}])
        except EndlessTemplate:
            raise
        except Exception:  # noqa: BLE001 - a model file's template is foreign code: it may raise anything
            return False

    def picture(self, number: int) -> str:
        """What a message says where a picture stands."""
        return f"{self._frame}{number};"

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        switches: Mapping[str, bool | str | int] | None = None,
    ) -> list[Part]:
        """Raises TemplateRefusal with the template's own sentence, e.g. for a role that it does not know."""
        shaped = [_in_parts(message) for message in messages] if self._wants_parts else messages
        given = self._quoted({**(switches or {}), "messages": shaped, **({"tools": tools} if tools else {})})
        try:
            text = self._template.render(**given, add_generation_prompt=True)
        except TemplateRefusal:
            raise
        except Exception as error:  # a model file's template is foreign code: it may raise anything
            raise TemplateRefusal(f"the chat template failed: {type(error).__name__}") from error
        return self._parts(text)

    def _parts(self, text: str) -> list[Part]:
        """A quotation that the template has cut in two leaves lone marks: they part what they stand between."""
        parts, at = [], 0
        for seam in self._seam.finditer(text):
            picture = int(seam[2]) if seam[2] else None
            parts += [Part(text[at : seam.start()], trusted=True), Part(seam[1] or "", False, picture)]
            at = seam.end()
        return [part for part in (*parts, Part(text[at:], trusted=True)) if part.text or part.picture is not None]

    def markup(self, parts: list[Part], *, tools: bool) -> Markup:
        """What to look for in the answer to this prompt."""
        inside = self.thinks and bool(parts) and parts[-1].trusted and parts[-1].text.rstrip().endswith(THINK)
        return Markup(self.thinks, inside, tools)

    def _quoted(self, value: Any) -> Any:
        """The same with every control token set apart, in whatever depth."""
        if isinstance(value, str):
            return self._special.sub(lambda found: f"{self._open}{found[0]}{self._shut}", value)
        if isinstance(value, dict):
            return {self._quoted(key): self._quoted(one) for key, one in value.items()}
        return [self._quoted(one) for one in value] if isinstance(value, list) else value


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    """For templates of models that see, some of which drop a content that is a text."""
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def prompt_tokens(parts: list[Part], tokenise: Callable[[str, bool], list[int]]) -> list[int]:
    """Token ids of a rendered prompt; `tokenise` takes a text and whether control tokens are read in it."""
    return [token for part in parts for token in tokenise(part.text, part.trusted)]


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any special text, the longest first; never matches when there is none."""
    alternatives = "|".join(re.escape(text) for text in sorted(set(texts), key=len, reverse=True))
    return re.compile(alternatives or r"(?!)")


def _refuse(message: Any) -> NoReturn:
    raise TemplateRefusal(str(message)[:300])


def _as_json(value: Any, indent: int | None = None, **_: Any) -> str:
    """As models saw it in training: plain JSON, not made safe for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _today(form: str) -> str:
    return datetime.now(UTC).strftime(form)
