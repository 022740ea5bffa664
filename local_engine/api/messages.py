"""Chat messages to the form that templates take: role and text, and tool calls where the template has them."""

from __future__ import annotations

import json
from typing import Any

from local_engine.api.content import Album
from local_engine.api.errors import invalid, unsupported
from local_engine.api.fields import Fields
from local_engine.api.tools import why_no_tools
from local_engine.text.template import ChatTemplate

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
MAX_MESSAGES = 4096


def read_messages(fields: Fields, template: ChatTemplate | None, album: Album) -> list[dict[str, Any]]:
    """Pictures go into the album, where they are read."""
    found = fields.take("messages")
    if not isinstance(found, list) or not 0 < len(found) <= MAX_MESSAGES:
        raise invalid("messages", f"messages must be a list of 1 to {MAX_MESSAGES} messages.")
    return [_message(message, f"messages[{index}]", template, album) for index, message in enumerate(found)]


def _message(message: object, place: str, template: ChatTemplate | None, album: Album) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise invalid(place, f"{place} must be an object.")
    fields = Fields(message, place)
    role = fields.text("role")
    why = why_no_tools(template)
    if role == "function" or (role == "tool" and why):
        raise unsupported(f"{place}.role", f"{place}.role: {why or 'the older form of tools is not read; send tool.'}")
    if role not in ROLES and role != "tool":
        raise invalid(f"{place}.role", f"{place}.role must be one of {', '.join(ROLES)}.")
    more = {**_reasoning(fields, template), **(_result(fields) if role == "tool" else _calls(fields, place, why))}
    found = fields.take("content")
    content = "" if found is None and "tool_calls" in more else album.content(found, f"{place}.content")
    fields.refuse("function_call", "the older form of tools is not read; send tool_calls.")
    if role != "tool":
        fields.refuse("name", "this model's template has no names of participants.")
    fields.refuse("audio", "this engine hears nothing.")
    fields.refuse("refusal", "this model's template has no refusals.")
    fields.finish()
    return {"role": ROLES.get(role, role), "content": content, **more}


def _reasoning(fields: Fields, template: ChatTemplate | None) -> dict[str, str]:
    """What this engine itself called reasoning; a template that knows none refuses it."""
    if template is None or not template.thinks:
        return {}
    said = fields.text("reasoning_content")
    return {} if said is None else {"reasoning_content": said}


def _result(fields: Fields) -> dict[str, str]:
    """What a tool answered: to which call, and by which name where it is told."""
    given = {name: fields.text(name) for name in ("tool_call_id", "name")}
    return {name: value for name, value in given.items() if value is not None}


def _calls(fields: Fields, place: str, why: str) -> dict[str, Any]:
    if why:
        fields.refuse("tool_calls", why, ([],))
        return {}
    found = fields.take("tool_calls") or []
    if not isinstance(found, list):
        raise invalid(f"{place}.tool_calls", f"{place}.tool_calls must be a list.")
    calls = [_call(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(found)]
    return {"tool_calls": calls} if calls else {}


def _call(found: object, place: str) -> dict[str, Any]:
    """Templates write the arguments as JSON themselves, so they get them as an object."""
    fields = Fields(found, place) if isinstance(found, dict) else None
    function = fields.fields("function") if fields else None
    if fields is None or function is None or fields.text("type") not in ("function", None):
        raise invalid(place, f"{place} must be a call of a function.")
    name, raw, number = function.text("name"), function.text("arguments"), fields.text("id")
    fields.labels("index")
    fields.finish()
    function.finish()
    try:
        arguments = json.loads(raw or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if name is None or not isinstance(arguments, dict):
        raise invalid(place, f"{place} must have a name, and arguments that are the JSON text of an object.")
    return {"type": "function", "id": number or "", "function": {"name": name, "arguments": arguments}}
