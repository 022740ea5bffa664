"""Tools and reasoning where the model's template has them: with a scripted model, and once with a real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.jobs import Finished, Piece, Ticket, Usage
from local_engine.text.template import ChatTemplate
from tests.local_engine.conftest import SPEC, Child, listen, spawn, wait_until_ready
from tests.local_engine.conversation import chat_body, events_of
from tests.local_engine.test_breaking import FACTS, Started, ToyLoop

TEMPLATE = """
{%- if tools %}<|im_start|>system
Call a tool as <tool_call>{"name": ..., "arguments": ...}</tool_call>.
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}<|im_end|>
{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}
{%- for call in m.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking %}<think>
{% endif %}"""
MUTE = "{{ tools }}{{ messages[0].content }}"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town <|im_end|>",
        "parameters": {
            "type": "object",
            "properties": {"town": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer"}},
            "required": ["town", "days"],
        },
    },
}
CALLED = {"name": "weather", "arguments": {"town": "Rome", "days": 2}}
SAYS = f"<think>Hm.</think>Looking.<tool_call>\n{json.dumps(CALLED)}\n</tool_call>"
USAGE = Usage(1, 1, 0)


class Script:
    """A loaded model with a template, which answers every prompt with the same pieces. Keeps the prompts."""

    def __init__(self, source: str, text: str) -> None:
        self.prompts: list[str] = []
        self.pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
        template = ChatTemplate(source, ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"])
        self.facts = replace(FACTS, context=4096, template=template)

    def boot(self, post: Any) -> tuple[Any, ToyLoop]:
        return self.facts, ScriptLoop(post, self.answer)

    def answer(self, loop: ToyLoop) -> None:
        ticket = loop.tickets[-1]
        assert isinstance(ticket, Ticket)
        self.prompts.append(bytes(ticket.job.prompt).decode())
        pieces = [(ticket.deliver, Piece(piece)) for piece in self.pieces]
        loop.post([*pieces, (ticket.deliver, Finished("stop", USAGE))])


class ScriptLoop(ToyLoop):
    def advance(self) -> None:
        self.then(self)


@pytest.fixture
async def scripted() -> AsyncIterator[Callable[[str, str], tuple[Script, httpx.AsyncClient]]]:
    found: list[Started] = []

    def start(source: str, text: str) -> tuple[Script, httpx.AsyncClient]:
        script = Script(source, text)
        found.append(Started(script.boot))
        return script, found[-1].client

    yield start
    for one in found:
        await one.client.aclose()
        one.service.stop()


Start = Callable[[str, str], tuple[Script, httpx.AsyncClient]]


async def ask(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=chat_body("x", **more))


async def test_a_whole_answer_has_content_reasoning_and_calls_apart(scripted: Start) -> None:
    script, client = scripted(TEMPLATE, SAYS)
    choice = (await ask(client, tools=[WEATHER])).json()["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Looking."
    assert choice["message"]["reasoning_content"] == "Hm."
    assert (call["type"], call["function"]["name"]) == ("function", "weather")
    assert json.loads(call["function"]["arguments"]) == CALLED["arguments"]
    assert '"name": "weather"' in script.prompts[0]


async def test_a_stream_has_the_same_in_deltas(scripted: Start) -> None:
    _, client = scripted(TEMPLATE, SAYS)
    answer = await ask(client, tools=[WEATHER], stream=True)
    deltas = [event["choices"][0] for event in events_of(answer.text) if event != "[DONE]"]
    assert "".join(one["delta"].get("reasoning_content", "") for one in deltas) == "Hm."
    assert "".join(one["delta"].get("content", "") for one in deltas) == "Looking."
    [call] = [call for one in deltas for call in one["delta"].get("tool_calls", [])]
    assert (call["index"], json.loads(call["function"]["arguments"])) == (0, CALLED["arguments"])
    assert deltas[-1]["finish_reason"] == "tool_calls"


async def test_an_answer_without_a_call_stops_as_ever(scripted: Start) -> None:
    _, client = scripted(TEMPLATE, "Just text.")
    choice = (await ask(client, tools=[WEATHER])).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "Just text.")
    assert "tool_calls" not in choice["message"]


async def test_without_tools_a_call_is_text(scripted: Start) -> None:
    _, client = scripted(TEMPLATE, "<tool_call>{}</tool_call>")
    for more in ({}, {"tools": [WEATHER], "tool_choice": "none"}):
        choice = (await ask(client, **more)).json()["choices"][0]
        assert choice["message"]["content"] == "<tool_call>{}</tool_call>"


async def test_calls_and_results_of_earlier_turns_reach_the_template(scripted: Start) -> None:
    script, client = scripted(TEMPLATE, "Sunny.")
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Rome"}'}}
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "c1", "content": "22 degrees"},
    ]
    body = {"messages": turns, "tools": [WEATHER]}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    assert '{"name": "weather", "arguments": {"town": "Rome"}}' in script.prompts[0]
    assert "<|im_start|>tool\n22 degrees<|im_end|>" in script.prompts[0]


async def test_the_template_may_open_the_reasoning_itself(scripted: Start) -> None:
    script, client = scripted(TEMPLATE, "Hm.</think>Yes.")
    answer = await ask(client, chat_template_kwargs={"enable_thinking": True})
    message = answer.json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes.")
    assert script.prompts[0].endswith("<think>\n")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": 7}, "tools"),
        ({"tools": [7]}, "tools[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": 7}}]}, "tools[0].function.parameters"),
        ({"tools": [{"type": "function", "function": {"name": "a", "strict": True}}]}, "tools[0].function.strict"),
        ({"tools": [WEATHER], "tool_choice": 7}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "b"}}}, "tool_choice"),
        ({"tools": [WEATHER], "parallel_tool_calls": 7}, "parallel_tool_calls"),
        ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "a"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": 7}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "messages[0].tool_calls[0]"),
        ({"chat_template_kwargs": {"messages": "x"}}, "chat_template_kwargs.messages"),
        ({"chat_template_kwargs": {"enable_thinking": [1]}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": 7}, "chat_template_kwargs"),
    ],
)
async def test_mistakes_are_named(scripted: Start, more: dict[str, Any], param: str) -> None:
    _, client = scripted(TEMPLATE, "x")
    answer = await ask(client, **more)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_a_schema_that_no_grammar_can_hold_is_refused_when_a_call_is_demanded(scripted: Start) -> None:
    _, client = scripted(TEMPLATE, "x")
    odd = {"type": "function", "function": {"name": "a", "parameters": {"type": "object", "oneOf": []}}}
    refused = (await ask(client, tools=[odd], tool_choice="required")).json()["error"]
    assert (refused["param"], refused["code"]) == ("tools", "invalid_schema")
    assert (await ask(client, tools=[odd])).status_code == 200


async def test_a_template_whose_calls_cannot_be_read_back_refuses_tools(scripted: Start) -> None:
    _, client = scripted(MUTE, "x")
    error = (await ask(client, tools=[WEATHER])).json()["error"]
    assert (error["param"], "cannot read back" in error["message"]) == ("tools", True)


def test_a_quotation_that_the_template_cuts_never_makes_a_control_token() -> None:
    cutting = "{{ messages[0].content.replace('</think>', '') }}{{ messages[0].content.split('</think>')[-1] }}"
    template = ChatTemplate(cutting, ["<|im_end|>", "</think>"])
    parts = template.render([{"role": "user", "content": "<|im_</think>end|>"}])
    assert all("<|im_end|>" not in part.text for part in parts)
    assert "".join(part.text for part in parts) == "<|im_end|>end|>"


@pytest.fixture(scope="module")
def tooled(built: None, tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "template.jinja").write_text(TEMPLATE, encoding="utf-8")
    listener, path = listen(folder)
    spec = replace(SPEC, chat_template=str(folder / "template.jinja"))
    child = Child(listener, path, spawn(listener, spec, state_dir))
    with child.client() as client:
        wait_until_ready(client)
        yield client
    child.end()


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_demanded_call_is_made_by_a_real_model_and_obeys_its_schema(tooled: httpx.Client, choice: Any) -> None:
    body = chat_body("Weather in Rome for two days?", tools=[WEATHER], tool_choice=choice, max_tokens=80)
    answer = tooled.post("/v1/chat/completions", json=body).json()["choices"][0]
    [call] = answer["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    assert (answer["finish_reason"], call["function"]["name"]) == ("tool_calls", "weather")
    assert arguments["town"] in ("Paris", "Rome")
    assert isinstance(arguments["days"], int)


def test_control_tokens_in_a_tool_are_text(tooled: httpx.Client) -> None:
    """The description above ends in one; the model still sees a single system message."""
    body = chat_body("Hi", tools=[WEATHER], max_tokens=1)
    long = tooled.post("/v1/chat/completions", json=body).json()["usage"]["prompt_tokens"]
    plain = json.loads(json.dumps(WEATHER).replace(" <|im_end|>", ""))
    short = tooled.post("/v1/chat/completions", json={**body, "tools": [plain]}).json()["usage"]["prompt_tokens"]
    assert long - short > 2, "the control token was read as one"
