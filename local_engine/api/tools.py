"""`tools` and `tool_choice`: to what the template writes and, when a call is demanded, to a grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from local_engine.api.errors import ApiError, invalid, unsupported
from local_engine.api.fields import Fields
from local_engine.jobs import Loaded
from local_engine.text.markup import CALL, CALLED
from local_engine.text.schema import SchemaRefusal, check_schema
from local_engine.text.template import ChatTemplate

MAX_TOOLS = 128
NO_TOOLS = "this model's chat template has no tools."
OTHER_TOOLS = "this model's chat template has tools in a form that this engine cannot read back."
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
ROOT = re.compile(r"^root ::=", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Toolset:
    """`shown` is what the template writes; `grammar` holds the answer to one call; `single` ends it after the first."""

    shown: list[dict[str, Any]]
    grammar: str | None = None
    single: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        return (CALLED,) if self.single else ()


NOTHING = Toolset([])


def why_no_tools(template: ChatTemplate | None) -> str:
    """Empty when the template has tools that can be read back."""
    if template is None or not template.has_tools:
        return NO_TOOLS
    return "" if template.takes_tools else OTHER_TOOLS


def read_tools(fields: Fields, loaded: Loaded) -> Toolset:
    fields.refuse("functions", "the older form of tools is not read; send tools.", ([],))
    fields.refuse("function_call", "the older form of tools is not read; send tool_choice.", ("none",))
    if why := why_no_tools(loaded.template):
        fields.refuse("tools", why, ([],))
        fields.refuse("tool_choice", why, ("none",))
        fields.refuse("parallel_tool_calls", why)
        return NOTHING
    found, choice = fields.take("tools") or [], fields.take("tool_choice")
    parallel = fields.take("parallel_tool_calls")
    if parallel not in (None, True, False):
        raise invalid("parallel_tool_calls", "parallel_tool_calls must be true or false.")
    if not isinstance(found, list) or len(found) > MAX_TOOLS:
        raise invalid("tools", f"tools must be a list of at most {MAX_TOOLS} tools.")
    shown = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(found)]
    return _chosen(shown, choice, loaded, single=parallel is False)


def _tool(found: object, place: str) -> dict[str, Any]:
    fields = _object(found, place)
    if (kind := fields.text("type")) != "function":
        raise unsupported(f"{place}.type", f"{place}.type: only functions can be called, not {kind!r}.")
    function = fields.fields("function")
    if function is None:
        raise invalid(f"{place}.function", f"{place}.function is missing.")
    fields.finish()
    name, description = function.text("name"), function.text("description")
    if name is None or not NAME.fullmatch(name):
        raise invalid(f"{place}.function.name", f"{place}.function.name must be 1 to 64 letters, digits, _, . or -.")
    parameters = function.take("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid(f"{place}.function.parameters", f"{place}.function.parameters must be a JSON schema.")
    function.refuse("strict", "calls are held to their schema when tool_choice demands one, not otherwise.", (False,))
    function.finish()
    said = {} if description is None else {"description": description}
    return {"type": "function", "function": {"name": name, **said, "parameters": parameters or EMPTY}}


EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def _chosen(shown: list[dict[str, Any]], choice: object, loaded: Loaded, *, single: bool) -> Toolset:
    if choice == "none" or (not shown and choice is None):
        return NOTHING
    if not shown:
        raise invalid("tool_choice", "tool_choice needs tools.")
    if choice in (None, "auto"):
        return Toolset(shown, single=single)
    if choice == "required":
        return Toolset(shown, _grammar(shown, loaded), single=True)
    name = _named(choice)
    wanted = [tool for tool in shown if tool["function"]["name"] == name]
    if not wanted:
        raise invalid("tool_choice", f"tool_choice names {name!r}, which is not among tools.")
    return Toolset(shown, _grammar(wanted, loaded), single=True)


def _named(choice: object) -> str:
    if not isinstance(choice, dict):
        raise invalid("tool_choice", "tool_choice must be none, auto, required or name a function.")
    fields = Fields(choice, "tool_choice")
    kind, function = fields.text("type"), fields.fields("function")
    fields.finish()
    name = function.text("name") if function else None
    if kind != "function" or function is None or name is None:
        raise invalid("tool_choice", 'tool_choice must be {"type": "function", "function": {"name": …}}.')
    function.finish()
    return name


def _grammar(tools: list[dict[str, Any]], loaded: Loaded) -> str:
    """One call of one of the tools, in its tags, its arguments held to the tool's schema."""
    calls = [_call_schema(tool["function"]) for tool in tools]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    try:
        check_schema(schema)
        body = loaded.grammar(schema)
    except SchemaRefusal as refusal:
        raise _refused(str(refusal)) from None
    except ValueError as error:
        raise _refused(str(error)) from error
    # The closing tag is a stop string: the text ends there whatever the grammar would still allow.
    return f'root ::= "{CALL}\\n" call "\\n{CALLED}"\n' + ROOT.sub("call ::=", body)


def _call_schema(function: dict[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": function["name"]}, "arguments": function["parameters"]}
    return {
        "type": "object",
        "properties": properties,
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _refused(message: str) -> ApiError:
    return invalid("tools", f"tools: a call cannot be held to this schema: {message}.", "invalid_schema")


def _object(found: object, place: str) -> Fields:
    if not isinstance(found, dict):
        raise invalid(place, f"{place} must be an object.")
    return Fields(found, place)
