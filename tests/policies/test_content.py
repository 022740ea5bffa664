"""What a body may not do, case by case, and that ordinary requests pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Reason, content, is_cloud_model, judge_body
from policies.parameters import is_reaiming
from tests.policies.hostile_bodies import PNG, RANK, REFUSED, SAY, function, part

AMBIGUOUS = [
    ("model", {**SAY, "MODEL": "gpt-oss:120b-cloud"}, "MODEL"),
    ("alone", {"Model": "m"}, "Model"),
    ("long-s", {"meſſages": []}, "meſſages"),
    ("kelvin", {**SAY, "top_\u212a": 1}, "top_\u212a"),
    ("stream", {**SAY, "Stream": True}, "Stream"),
    ("type", {"tools": [{"Type": "mcp"}]}, "tools[0].Type"),
    ("image", part(Input_Audio={"URL": "http://evil"}), "messages[0].content[1].Input_Audio"),
    ("url", part(image_url={"URL": "http://evil"}), "messages[0].content[1].image_url.URL"),
    ("ref", function({"$Ref": "http://evil"}), "tools[0].function.parameters.$Ref"),
    ("schema-table", function({"Properties": {}}), "tools[0].function.parameters.Properties"),
    ("unknown-pair", {**SAY, "made_up": 1, "MADE_up": 2}, "MADE_up"),
    ("text", {**SAY, "metadata": '{"x": {"MODEL": "m"}}'}, "metadata.x.MODEL"),
    ("twice-in-text", {**SAY, "metadata": '{"x": {"api_base": 1}, "x": 2}'}, "metadata"),
]
TOO_COMPLEX = [
    ("objects", {**SAY, "x": [{} for _ in range(200_001)]}, "x"),
    ("numbers", {**SAY, "x": [0] * 200_001}, "x"),
    ("sum", {**SAY, "x": [[0] * 50_000] * 5}, "x[3]"),
    ("text-of-objects", {**SAY, "x": "[" + "{}," * 3_000_000 + "{}]"}, "x"),
    ("deep-text", {**SAY, "user": "[" * 65 + "]" * 65}, "user" + "[0]" * 64),
    ("deepest-text", {**SAY, "user": "[" * 100_000}, "user"),
    ("names", {**SAY, **{f"made-up-{number}": 0 for number in range(200_001)}}, ""),
    ("names-below", {**SAY, "x": {f"made-up-{number}": 0 for number in range(199_000)}}, "x"),
    ("long-text-in-text", {**SAY, "x": json.dumps([json.dumps([json.dumps(["a" * 5_000_000])])])}, "x[0][0]"),
    ("deep-texts", {**SAY, "x": [("[" * 900 + "]" * 900)] * 280}, "x[44]"),
]
ALLOWED = [
    ("plain", SAY),
    ("empty", {}),
    ("parameters", {**SAY, "temperature": 0.1, "stop": ["{"], "seed": 1, "stream_options": {"include_usage": True}}),
    ("urls-in-text", {"messages": [{"role": "user", "content": "fetch https://evil/?api_base=1 and file:///etc"}]}),
    ("json-in-text", {"messages": [{"role": "user", "content": '{"api_base": "https://evil", "$ref": "http://x"}'}]}),
    ("json-in-prompt", {"prompt": ['{"base_url": 1}']}),
    ("json-in-input", {"input": '{"base_url": 1}'}),
    ("rerank", {**RANK, "documents": ["https://x", {"text": '{"api_base": 1}'}], "top_n": 3, "return_documents": True}),
    ("rerank-inline", {**RANK, "documents": [{"image": PNG}]}),
    ("inline-image", part(type="image_url", image_url={"url": PNG, "detail": "low"})),
    ("inline-image-bare", part(type="image_url", image_url=PNG)),
    (
        "inline-with-name",
        part(type="file", file={"file_data": "data:application/pdf;name=a;base64,JVBERi0=", "filename": "a"}),
    ),
    ("inline-audio", part(type="input_audio", input_audio={"data": "UklGRg==", "format": "wav"})),
    ("audio-parameters", {**SAY, "audio": {"voice": "alloy", "format": "wav"}}),
    ("nothing-named", part(type="file", file={"file_id": None, "file_data": None})),
    ("images", part(type="image", images=["iVBORw0KGgo=", PNG])),
    ("function", function({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}})),
    (
        "function-names",
        function({"properties": {"url": {"type": "string"}, "api_base": {}, "smtp_host": {}, "$ref": {}}}),
    ),
    ("property-called-properties", function({"properties": {"properties": {"type": "object"}}})),
    (
        "function-defaults",
        function({"properties": {"a": {"default": {"url": "https://x", "$ref": "y"}, "enum": ["{"]}}}),
    ),
    ("choice", {**SAY, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("choice-word", {**SAY, "tool_choice": "auto"}),
    (
        "calls-and-citations",
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"type": "function", "function": {"arguments": {"url": "https://x"}}}],
                },
                {"role": "assistant", "annotations": [{"url_citation": {"url": "https://x"}}], "content": "y"},
            ]
        },
    ),
    ("response-format", {**SAY, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}}),
    ("text-that-is-not-json", {**SAY, "user": "[not json", "metadata": {"a": "{also not"}}),
    ("template-names", {**SAY, "chat_template_kwargs": {"url": "x", "enable_thinking": False}}),
    ("logit-bias", {**SAY, "logit_bias": {"100": 1}}),
    ("deep-text", {**SAY, "user": "[" * 63 + "]" * 63}),
    ("free-names", function({"properties": {"Model": {}, "model": {}, "$REF": {}}})),
    ("free-body-names", {**SAY, "chat_template_kwargs": {"Model": 1, "model": 2}}),
    ("data-names", function({"default": {"Model": 1, "model": 2}})),
    ("texts-like-json", {**SAY, "x": ["{ no", "[", "no"], "y": "{ no"}),
    ("many-values", {**SAY, "x": [0] * 199_000}),
    ("many-values-in-a-text", {**SAY, "x": json.dumps([0] * 150_000)}),
    ("cloudy-names", {**SAY, "model": "cloud-model"}),
    ("model-elsewhere", {**SAY, "metadata": {"model": "x-cloud"}}),
]


@pytest.mark.parametrize(("body", "reason", "param"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_a_body_may_not_do(body: dict[str, Any], reason: Reason, param: str) -> None:
    decision = judge_body(body)
    assert not decision.allowed
    assert (decision.reason, decision.param) == (reason, param)
    assert decision.detail == ""


@pytest.mark.parametrize(("body", "param"), [row[1:] for row in AMBIGUOUS], ids=[row[0] for row in AMBIGUOUS])
def test_a_name_has_one_spelling(body: dict[str, Any], param: str) -> None:
    decision = judge_body(body)
    assert (decision.reason, decision.param) == (Reason.AMBIGUOUS_NAME, param)


@pytest.mark.parametrize(("body", "param"), [row[1:] for row in TOO_COMPLEX], ids=[row[0] for row in TOO_COMPLEX])
def test_what_is_too_much_to_judge_is_refused(body: dict[str, Any], param: str) -> None:
    decision = judge_body(body)
    assert (decision.reason, decision.param) == (Reason.TOO_COMPLEX, param)


def test_what_the_parser_gives_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    beyond = judge_body({**SAY, "user": "[" * 48_000 + "]" * 48_000})
    assert beyond.reason is Reason.TOO_COMPLEX  # here, or 64 levels down: parsers differ from Python to Python

    def deep(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr(json, "loads", deep)
    decision = judge_body({**SAY, "user": "[[]]"})
    assert (decision.reason, decision.param) == (Reason.TOO_COMPLEX, "user")


@pytest.mark.parametrize("body", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_ordinary_requests_pass(body: dict[str, Any]) -> None:
    assert judge_body(body).allowed


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
HOLES = st.sampled_from(["metadata", "messages", "x", "user", "response_format", "stream_options"])


@given(VALUES, st.lists(HOLES, max_size=6), st.sampled_from(["api_base", "base_url", "rpc_servers", "aws_region"]))
def test_a_reaiming_parameter_is_found_wherever_it_is_put(value: Any, way: list[str], name: str) -> None:
    body: dict[str, Any] = {name: value}
    for step in way:
        body = {"temperature": 1, step: [body]}
    assert not judge_body(body).allowed


@given(st.dictionaries(st.text(), VALUES))
def test_any_object_is_judged_without_an_error(body: dict[str, Any]) -> None:
    assert isinstance(judge_body(body).reason, Reason)


PLAIN_NAMES = st.sampled_from(["role", "content", "name", "text", "stop", "user", "n", "messages", "tools", "index"])
ODD_NAMES = st.sampled_from(["model", "Model", "api_base", "type", "input", "prompt", "x", "image_url", "uſer"])
TEXTS = st.sampled_from(["hi", "", " {", '{"api_base": 1}', '[{"model": 1, "model": 2}]', "m:cloud", "a-cloud", "{"])
LEAVES = st.none() | st.booleans() | st.integers() | TEXTS
MESSAGES = st.lists(st.dictionaries(PLAIN_NAMES | ODD_NAMES, LEAVES, max_size=3) | LEAVES, max_size=3)
BODIES = st.dictionaries(PLAIN_NAMES | ODD_NAMES, LEAVES | MESSAGES | st.dictionaries(ODD_NAMES, LEAVES, max_size=2))


@given(BODIES)
def test_what_passes_at_a_glance_is_what_the_judge_allows(body: dict[str, Any]) -> None:
    if content._is_plain_request(body):
        content._judge(content._Place(body))


def test_most_requests_pass_at_a_glance_and_no_more_than_can_be_looked_at() -> None:
    message = {"role": "user", "content": '{"api_base": "what people write is not judged"}'}
    plain = {"model": "m", "messages": [message], "stream": True, "max_tokens": 5, "stop": "{", "user": "u"}
    assert content._is_plain_request(plain)
    full = dict.fromkeys(content._ORDINARY, 0)
    assert content._is_plain_request({**full, "messages": [full] * content._FEW})
    content._judge(content._Place({**full, "messages": [full] * content._FEW}))
    odds: list[dict[str, Any]] = [
        {"user": " {}"}, {"messages": [message] * (content._FEW + 1)}, {"messages": [*[message], "x"]},
        {"messages": {}}, {"model": "m:cloud"}, {"tools": []}, {"x": 1},
    ]  # fmt: skip
    for odd in odds:
        assert not content._is_plain_request({**plain, **odd})


def test_depth_is_no_trouble() -> None:
    body: dict[str, Any] = {"api_base": 1}
    for _ in range(5_000):
        body = {"x": body}
    assert judge_body(body).reason is Reason.REAIMING_PARAMETER


@pytest.mark.parametrize("name", ["cloud", "a:cloud", "a:b-cloud", "A:CLOUD ", "a-cloud"])
def test_names_that_ollama_sends_away(name: str) -> None:
    assert is_cloud_model(name)


@pytest.mark.parametrize("name", ["", "cloudy", "a:cloud-b", "cloud:7b", "a:clouds"])
def test_names_that_stay(name: str) -> None:
    assert not is_cloud_model(name)


@pytest.mark.parametrize(
    "name",
    ["model", "messages", "max_tokens", "stop_token_ids", "top_k", "user", "seed", "n", "tools", "metadata", "name"],
)
def test_ordinary_parameters_are_not_taken_for_others(name: str) -> None:
    assert not is_reaiming(name)
