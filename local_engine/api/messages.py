"""Chat messages to the flat role-and-text form that templates take."""

from __future__ import annotations

from local_engine.api.errors import invalid, unsupported
from local_engine.api.fields import Fields

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
MAX_MESSAGES = 4096


def read_messages(fields: Fields) -> list[dict[str, str]]:
    found = fields.take("messages")
    if not isinstance(found, list) or not 0 < len(found) <= MAX_MESSAGES:
        raise invalid("messages", f"messages must be a list of 1 to {MAX_MESSAGES} messages.")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(found)]


def _message(message: object, place: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise invalid(place, f"{place} must be an object.")
    fields = Fields(message, place)
    role = fields.text("role")
    if role in ("tool", "function"):
        raise unsupported(f"{place}.role", f"{place}.role: this model's template has no tools.")
    if role not in ROLES:
        raise invalid(f"{place}.role", f"{place}.role must be one of {', '.join(ROLES)}.")
    content = _content(fields.take("content"), f"{place}.content")
    fields.refuse("tool_calls", "this model's template has no tools.", ([],))
    fields.refuse("function_call", "this model's template has no tools.")
    fields.refuse("name", "this model's template has no names of participants.")
    fields.refuse("audio", "this model reads text only.")
    fields.refuse("refusal", "this model's template has no refusals.")
    fields.finish()
    return {"role": ROLES[role], "content": content}


def _content(content: object, place: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise invalid(place, f"{place} must be a string or a list of text parts.")
    return "".join(_part(part, f"{place}[{index}]") for index, part in enumerate(content))


def _part(part: object, place: str) -> str:
    if not isinstance(part, dict):
        raise invalid(place, f"{place} must be an object.")
    fields = Fields(part, place)
    kind = fields.text("type")
    if kind != "text":
        raise unsupported(
            f"{place}.type", f"{place}: parts of type {kind!r} cannot be read; this model reads text only."
        )
    text = fields.text("text")
    if text is None:
        raise invalid(f"{place}.text", f"{place}.text is missing.")
    fields.finish()
    return text
